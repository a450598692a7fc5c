"""From a model to its layers: what is followed, what is left behind, what is refused."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from relevance_models import Does, by_loops, mlp, neuron, row, seeded
from torch import Tensor, nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import relevance as R

F64 = tolerance(torch.float64)
X, GOOD = row(0.5, 1.0), row(1.0, 2.0)
LINEAR = neuron([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])


def test_activations_in_place_and_modules_used_twice():
    relu = nn.ReLU(inplace=True)
    shared = seeded(lambda: nn.Sequential(nn.Linear(3, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 2)))
    plain = nn.Sequential(shared[0], nn.ReLU(), shared[2], nn.ReLU(), shared[4])
    x, r = normal(2, 3), normal(2, 2, seed=2)
    found = R.propagate(shared, x, r)
    assert len(found) == 6
    for got, expected in zip(found, R.propagate(plain, x, r), strict=True):
        assert_close(got, expected, **F64)
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1).double())
    kept = x.clone()
    R.propagate(first, x, normal(2, 1))
    assert torch.equal(x, kept)


def test_parametrised_weights_are_those_in_force():
    layer = nn.utils.parametrizations.weight_norm(seeded(lambda: nn.Linear(3, 2)))
    x, r = normal(2, 3), normal(2, 2, seed=2)
    assert_close(R.propagate(layer, x, r)[0], by_loops(neuron(layer.weight.tolist(), layer.bias.tolist()), x, r), **F64)


class Optional(nn.Module):
    """Arguments that have a default, and a module made on the way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, mask=None, repeats=2):
        for _ in range(repeats):
            x = nn.ReLU()(x)
        x = self.layer(x)
        return x if mask is None else x * mask


def test_arguments_with_a_default_have_it():
    model, x, r = seeded(Optional), normal(2, 3), normal(2, 2)
    assert_close(R.propagate(model, x, r)[0], R.propagate(model.layer, torch.relu(x), r)[0], **F64)


def test_hooks_of_all_modules_are_seen():
    model, x, r = seeded(lambda: mlp(4, 6, 2)), normal(3, 4), normal(3, 2, seed=2)
    for change, harmless in ((lambda *call: None, True), (lambda *call: 2 * call[2], False)):
        handle = nn.modules.module.register_module_forward_hook(change)
        try:
            if harmless:
                R.propagate(model, x, r)
            else:
                with pytest.raises(TypeError, match="'0' has a hook or another forward"):
                    R.propagate(model, x, r)
        finally:
            handle.remove()


def test_branches_nobody_reads_need_no_rule():
    class Dead(nn.Module):
        def forward(self, x):
            torch.tanh(x)
            return torch.relu(x)

    assert_close(R.propagate(Dead(), row(1, 2), row(3, 4))[0], row(3, 4), **F64)


# --- what is left behind ------------------------------------------------------------------------------------------


def traces(model: nn.Module) -> tuple:
    """Everything a run might leave: hooks, patched methods, gradients, modes."""
    hooks = [
        len(d)
        for module in model.modules()
        for d in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    ]
    everywhere = [
        len(d) for name, d in vars(nn.modules.module).items() if name.startswith("_global_") and d is not None
    ]
    gradients = [p.grad for p in model.parameters()]
    own = [sorted(vars(module)) for module in model.modules()]
    return hooks, everywhere, gradients, own, nn.Module.__call__, nn.Module.__getattr__, torch.is_grad_enabled()


class Stops(nn.Module):
    """Fails inside forward once it is followed step by step."""

    def __init__(self):
        super().__init__()
        self.calls, self.layer = 0, nn.Linear(3, 2)

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("stops")
        return self.layer(x)


def test_nothing_is_left_behind():
    model, x, r = seeded(lambda: mlp(3, 4, 2)), normal(2, 3), normal(2, 2)
    cancelling, stopping = nn.Sequential(neuron([[1.0, -1.0]], None)), Stops().double()
    for module, inputs, relevance, error in (
        (model, x, r, None),
        (model, x, normal(2, 3), ValueError),
        (cancelling, row(1, 1), row(1), sn.GapError),
        (stopping, x, r, TypeError),
        (nn.Sequential(nn.Linear(3, 2).double(), nn.Tanh()), x, r, TypeError),
    ):
        before = traces(module)
        if error is None:
            R.propagate(module, inputs, relevance)
        else:
            with pytest.raises(error):
                R.propagate(module, inputs, relevance)
        assert traces(module) == before


def test_a_crash_inside_a_layer_is_passed_on():
    """The first call is the model's own, the second the one layer by layer."""
    model, calls = seeded(lambda: mlp(3, 4, 2)), []

    def stop(module, args, out):
        calls.append(out)
        if len(calls) == 2:
            raise RuntimeError("stops")

    handle = model[2].register_forward_hook(stop)
    before = traces(model)
    with pytest.raises(RuntimeError, match="stops"):
        R.propagate(model, normal(2, 3), normal(2, 2))
    assert traces(model) == before
    handle.remove()


# --- refused at the door ------------------------------------------------------------------------------------------


class Second(nn.Linear):
    """Extends a layer, with another forward, and is not of this package."""

    def forward(self, x):
        return super().forward(x) ** 2


class TwoInputs(nn.Module):
    """The second one without a default."""

    def forward(self, x, mask):
        return torch.relu(x)


def changed(change) -> nn.Module:
    model = seeded(lambda: mlp(2, 3, 2))
    change(model)
    return model


def patched(model: nn.Module) -> None:
    model[0].forward = lambda x: nn.functional.linear(x, 2 * model[0].weight)


def written_over(model: nn.Module, x: Tensor) -> Tensor:
    h = model.layer(x)
    h.add_(x)
    return model.relu(h)


@pytest.mark.parametrize(
    ("error", "says", "model"),
    [
        (TypeError, r"layer '1' \(Tanh\).*rules for Linear, .*Replace it", nn.Sequential(LINEAR, nn.Tanh())),
        (TypeError, r"layer '0' \(Softmax\)", nn.Softmax(1)),
        (TypeError, r"layer '0' \(LeakyReLU\)", nn.LeakyReLU()),
        (TypeError, r"layer '0\.1' \(GELU\)", nn.Sequential(nn.Sequential(LINEAR, nn.GELU()))),
        (TypeError, r"layer '0' \(Second\)", nn.Sequential(Second(2, 2).double())),
        (TypeError, r"function 'tanh' in forward", Does(lambda m, x: torch.tanh(m.layer(x)))),
        (TypeError, r"function 'sigmoid' in '1'", nn.Sequential(LINEAR, Does(lambda m, x: torch.sigmoid(x)))),
        (TypeError, r"method 'mean' in forward", Does(lambda m, x: x.mean(1))),
        (TypeError, r"function 'getitem' in forward", Does(lambda m, x: m.layer(x)[:, [1, 0]])),
        (TypeError, r"function 'add' in forward.*sums of two layers", Does(lambda m, x: x + 1)),
        (TypeError, r"function 'add' in forward", Does(lambda m, x: torch.add(x, m.layer(x), alpha=2))),
        (TypeError, r"get_attr 'offset' in forward", Does(lambda m, x: x + m.offset)),
        (TypeError, r"cannot be followed.*torch\.fx stopped at", Does(lambda m, x: m.layer(x) if x.sum() > 0 else x)),
        (TypeError, r"missing 1 required positional argument: 'mask'", TwoInputs()),
        (TypeError, r"'0' has a hook", changed(lambda m: m[0].register_forward_hook(lambda *a: 2 * a[2]))),
        (TypeError, r"'0' has a hook", changed(lambda m: m[0].register_forward_pre_hook(lambda _, a: (a[0] + 1,)))),
        (TypeError, r"'0' has a hook or another forward", changed(patched)),
        (
            ValueError,
            r"do not give the model's output",
            changed(lambda m: m.register_forward_hook(lambda *a: a[2] + 1)),
        ),
        (ValueError, r"do not give the model's output", Does(written_over)),
        (TypeError, r"f must return a tensor", Does(lambda m, x: (x, x))),
        (ValueError, r"call f\.eval\(\) first", nn.Sequential(LINEAR, nn.Dropout(0.5))),
        (
            ValueError,
            r"'1' normalises by the batch",
            nn.Sequential(LINEAR, nn.BatchNorm1d(2, track_running_stats=False)).double().eval(),
        ),
        (TypeError, r"model must be a torch\.nn\.Module.*function", torch.relu),
    ],
)
def test_models_that_are_refused(error, says, model):
    with pytest.raises(error, match=says):
        R.propagate(model, X.expand(2, 2), GOOD.expand(2, 2))
