"""Enumeration: what it costs, what it keeps in memory, what it refuses."""

import gc

import numpy as np
import pytest
import torch
from contracts import network, normal
from oracles import model_values, tolerance
from torch import nn
from torch.testing import assert_close

import shapnotes as sn

F64 = tolerance(torch.float64)


class Counted:
    """A function that remembers how many rows it was given, call by call."""

    def __init__(self, f):
        self.f, self.rows = f, []

    def __call__(self, z):
        self.rows.append(len(z))
        return self.f(z)


# --- shapes, types, outputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [(1,), (3,), (2, 2), (1, 2, 3)])
@pytest.mark.parametrize("outputs", [(), (1,), (2, 3)])
def test_axes_are_batch_players_outputs(features, outputs):
    x = normal(2, *features)
    weight = normal(x[0].numel(), *outputs, seed=2)
    f = lambda z: torch.tensordot(z.flatten(1), weight, 1).tanh()  # noqa: E731
    values = sn.shapley_values(f, x)
    assert values.shape == (2, *features, *outputs)
    zero = torch.zeros(features, dtype=torch.float64)
    assert_close(values.flatten(1, len(features)), model_values(f, x, zero), **F64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_have_the_inputs_dtype(dtype):
    x = normal(2, 4, dtype=dtype)
    values = sn.shapley_values(lambda z: (z * z).sum(1), x)
    assert values.dtype == dtype
    assert_close(values, x * x, **tolerance(dtype))


def test_constants_leave_no_trace():
    assert float(sn.shapley_values(lambda z: z.new_full((len(z),), 1 / 3), normal(2, 7)).abs().max()) == 0
    x = normal(2, 7)
    assert_close(sn.shapley_values(lambda z: z.sum(1) + 2**30, x), x, rtol=0, atol=2e-6)


def test_float32_model_accumulates_in_float64():
    """2**16 terms of size one lose nothing beyond the model's own rounding."""
    x = torch.ones(1, 16)
    values = sn.shapley_values(lambda z: z.sum(1) + 1000, x)
    assert_close(values, x, rtol=1e-6, atol=1e-6)


def test_baselines_of_every_shape_broadcast():
    model, x = network(3, 1).requires_grad_(False), normal(2, 3)
    one = normal(3, seed=5)
    assert_close(
        sn.shapley_values(model, x, 0.5),
        sn.shapley_values(model, x, torch.full((2, 3), 0.5).double()),
        **F64,
    )
    both = torch.stack([one, 2 * one])
    each = torch.cat([sn.shapley_values(model, x[:1], one), sn.shapley_values(model, x[1:], 2 * one)])
    assert_close(sn.shapley_values(model, x, both), each, **F64)


def test_group_labels_broadcast_over_channels():
    """Pixels of a three-channel image as players."""
    x = normal(1, 3, 2, 2)
    labels = torch.arange(4).reshape(2, 2)
    f = lambda z: z.flatten(1).prod(1) + z.flatten(1).sum(1)  # noqa: E731
    expected = model_values(f, x, torch.zeros(3, 2, 2, dtype=torch.float64), labels.expand(3, 2, 2).flatten().tolist())
    assert_close(sn.shapley_values(f, x, groups=labels), expected, **F64)


def test_explain_carries_both_predictions():
    model, x, baseline = network(4, 2).requires_grad_(False), normal(3, 4), normal(4, seed=2)
    e = sn.explain(model, x, baseline)
    assert_close(e.prediction, model(x), **F64)
    assert_close(e.baseline_prediction, model(baseline.expand(3, 4)), **F64)
    assert_close(e.attributions, sn.shapley_values(model, x, baseline), **F64)
    assert float(e.gap().abs().max()) < 1e-12


# --- the first layer ----------------------------------------------------------------------------------------------


def test_shared_first_layer_skips_it(monkeypatch):
    """The linear layer is applied to no coalition: only to the ends of the games."""
    model = network(8, 1).requires_grad_(False)
    count, forward = Counted(model[0].forward), nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda m, z: count(z) if m is model[0] else forward(m, z))
    sn.shapley_values(model, normal(1, 8))
    assert 0 < sum(count.rows) <= 4  # a probe, both ends, W r + b


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m[0].register_forward_hook(lambda _, __, out: 2 * out),
        lambda m: m[0].register_forward_pre_hook(lambda _, args: (args[0] + 1,)),
        lambda m: nn.utils.parametrizations.weight_norm(m[0]),
        lambda m: m.register_forward_hook(lambda _, __, out: out**2),
        lambda m: m[1].register_forward_hook(lambda _, __, out: out**2),
        lambda m: setattr(m, "forward", lambda x: type(m).forward(m, x) ** 2),
        *(lambda m, i=i: setattr(m[i], "forward", lambda x: type(m[i]).forward(m[i], x) ** 2) for i in range(3)),
    ],
    ids=["hook", "pre-hook", "parametrised", "hook on the model", "hook on the activation"]
    + [f"another forward of {part}" for part in ("the model", "the first layer", "the activation", "the last layer")],
)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_layers_that_do_more_are_respected(wrap, activation):
    model, x = network(5, 1, activation=activation).requires_grad_(False), normal(2, 5)
    wrap(model)
    with torch.no_grad():
        expected = model_values(model, x, torch.zeros(5, dtype=torch.float64))
        assert_close(sn.shapley_values(model, x, chunk_size=8), expected, **F64)


def test_hooks_of_all_modules_that_only_watch_leave_it_shared():
    model, x, seen = network(8, 1, activation=nn.ReLU).requires_grad_(False), normal(1, 8), []
    expected = sn.shapley_values(model, x)
    handle = nn.modules.module.register_module_forward_hook(lambda module, _, out: seen.append((module, len(out))))
    try:
        assert torch.equal(sn.shapley_values(model, x), expected)
    finally:
        handle.remove()
    assert 0 < sum(rows for module, rows in seen if module is model[0]) < 8


@pytest.mark.parametrize("kind", [nn.Linear, nn.ReLU])
def test_hooks_of_all_modules_are_respected(kind):
    model, x = network(5, 1, activation=nn.ReLU).requires_grad_(False), normal(2, 5)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _, out: out**2 + 1 if isinstance(module, kind) else out
    )
    try:
        expected = model_values(model, x, torch.zeros(5, dtype=torch.float64))
        assert_close(sn.shapley_values(model, x, chunk_size=8), expected, **F64)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "register, hook",
    [
        (
            nn.modules.module.register_module_full_backward_hook,
            lambda _, to_inputs, __: tuple(None if g is None else 2 * g for g in to_inputs),
        ),
        (nn.modules.module.register_module_full_backward_pre_hook, lambda _, grads: tuple(3 * g for g in grads)),
    ],
    ids=["backward", "before backward"],
)
def test_hooks_of_all_modules_on_the_backward_pass_are_respected(register, hook):
    model, x = network(4, 1), normal(2, 4).requires_grad_()  # else PyTorch warns that hooks fire at outputs
    handle = register(hook)
    try:
        gradients = [
            torch.autograd.grad(sn.shapley_values(f, x).square().sum(), [x, *model.parameters()])
            for f in (model, lambda rows: model(rows))
        ]
    finally:
        handle.remove()
    for gradient, expected in zip(*gradients, strict=True):
        assert_close(gradient, expected, **F64)


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(4, 2),
        nn.Sequential(nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(inplace=True), nn.Linear(3, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
        nn.Sequential(nn.Flatten(1, -2), nn.Linear(2, 3), nn.Tanh()),
        nn.Sequential(nn.Tanh(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3)).eval(),
    ],
    ids=["Linear", "one layer", "in place", "Flatten", "Flatten that leaves an axis", "no linear first", "eval mode"],
)
def test_sequential_models(model):
    model = model.double().requires_grad_(False)
    flat = isinstance(model, nn.Sequential) and isinstance(model[0], nn.Flatten)
    x = normal(2, 2, 1, 2) if flat else normal(2, 4)
    expected = model_values(model, x, torch.zeros(x.shape[1:], dtype=torch.float64))
    for chunk_size in (None, 2, 4):
        values = sn.shapley_values(model, x, chunk_size=chunk_size)
        assert_close(values.flatten(1, x.dim() - 1), expected, **F64)


# --- cost and memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 8, 100, 4096])
def test_evaluations(chunk_size):
    """2**n rows, the ends of the games and one probe; never more rows at once than asked for."""
    f = Counted(lambda z: z.prod(1))
    sn.shapley_values(f, normal(3, 6), chunk_size=chunk_size)
    assert max(f.rows) <= chunk_size
    assert sum(f.rows) == 3 * 2**6 + 2 * 3 + 1


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_an_input_costs_its_own_players_whatever_else_is_in_the_batch(explain, shared):
    """Three in 24 features each; and then 12 for each of two inputs that share none."""
    codes = torch.randint(8, (64, 3), generator=torch.Generator().manual_seed(0))
    several = nn.functional.one_hot(codes, 8).flatten(1).double()
    disjoint = torch.block_diag(normal(1, 12), normal(1, 12, seed=2))
    for x, players, probes in ((several, 3, 2 * 64 + 1), (disjoint, 12, 2 * 2 + 1)):
        linear = nn.Linear(24, 2, bias=False).double().requires_grad_(False)
        rest = Counted(lambda z: z.sin())
        layer = nn.Identity()
        layer.forward = rest
        f = nn.Sequential(linear, layer) if shared else lambda z: rest(linear(z))  # noqa: B023
        values = sn.explain(f, x).attributions if explain else sn.shapley_values(f, x)
        assert sum(rest.rows) == len(x) * 2**players + probes
        for i in (0, len(x) - 1):
            moved = torch.nonzero(x[i]).flatten()
            alone = linear.weight.T[moved] * x[i, moved, None]
            table = (sn.coalitions.masks(players).double() @ alone).sin()
            assert_close(values[i, moved], sn.coalitions.shapley_matrix(players) @ table, **F64)
            assert float(values[i][x[i] == 0].abs().max()) == 0


def test_neurons_cost_as_little():
    x = torch.block_diag(*torch.ones(16, 1, 2)).double()  # 32 inputs of a neuron, two of them not 0 in each row
    values = sn.nn.functional.exact_relu_shapley_values(x, normal(3, 32), normal(3, seed=2))
    alone = sn.nn.functional.exact_relu_shapley_values(x[:1], normal(3, 32), normal(3, seed=2))
    assert_close(values[:1], alone, **F64)


def test_the_guard_counts_what_will_be_done():
    one = torch.eye(40, dtype=torch.float64)
    assert sn.shapley_values(LINE, one).shape == (40, 40)
    everybody = torch.cat([one, torch.ones(1, 40, dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"40 players need 2\*\*40 evaluations of f per input, 1.1e\+12 in all"):
        sn.shapley_values(LINE, everybody)


def test_bars_count_rows(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, unit, shown):
            self.total, self.unit, self.n = total, unit, 0
            bars.append(self)

        def update(self, n):
            self.n += n

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(sn.exact, "progress_bar", Bar)
    monkeypatch.setattr(sn.sampling, "progress_bar", Bar)
    x = normal(3, 6)
    x[0, :2] = 0
    for chunk_size in (1, 8, None):
        sn.shapley_values(LINE, x, chunk_size=chunk_size)
        assert (bars[-1].total, bars[-1].n, bars[-1].unit) == (2**4 + 2 * 2**6,) * 2 + ("rows",)
        sn.sample_shapley_values(LINE, x, permutations=8, chunk_size=chunk_size)
        assert bars[-1].total == 3 * 8 and bars[-1].n == 3 * 8 and bars[-1].unit == "orders"


def test_players_at_the_baseline_cost_nothing():
    f = Counted(lambda z: z.sum(1) ** 2)
    x = normal(1, 40)
    x[:, 5:] = 0
    assert sn.shapley_values(f, x).shape == (1, 40)
    assert sum(f.rows) == 2**5 + 2  # and the two ends


def test_a_first_call_in_inference_mode_leaves_gradients_alone():
    for n in (1, 2, 3, 5, 8):
        for f in (lambda z: z.tanh().prod(1), network(n, 1, seed=n)):
            x = normal(1, n)
            with torch.inference_mode():
                sn.shapley_values(f, x)
            x.requires_grad_()
            values = sn.shapley_values(f, x)
            assert bool(torch.isfinite(torch.autograd.grad(values.square().sum(), x)[0]).all())


@pytest.mark.parametrize("graph", [False, True])
def test_memory_is_that_of_a_chunk(graph):
    """No more than a few tensors of chunk size are ever alive, with gradients or without."""
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))
    alive = []

    def f(z):
        out = model(z)
        alive.append(sum(t.numel() for t in gc.get_objects() if issubclass(type(t), torch.Tensor)))
        return out

    x = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    gc.freeze()  # what is there already is not gone through again and again
    try:
        with torch.set_grad_enabled(graph):
            values = sn.shapley_values(f, x, chunk_size=64)
    finally:
        gc.unfreeze()
    before_any_chunk, largest = alive[0], max(alive)
    # Rows and masks of a chunk, outputs and weights of the table; all rows at once would be 2**10 * 10.
    assert largest - before_any_chunk < 64 * 10 * 4 + 2**10 * 4
    if graph:
        values.sum().backward()
        assert float(model[0].weight.grad.abs().max()) > 0


def test_saved_for_backward_is_that_of_a_chunk():
    saved = []
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        sn.shapley_values(lambda z: model(z), torch.ones(1, 10), chunk_size=16)
    assert sum(saved) < 2**10 * 64  # one hidden layer over all coalitions would be more


def test_gradients_survive_gradcheck():
    model = network(3, 2)
    x, baseline = normal(2, 3).requires_grad_(), normal(3, seed=2).requires_grad_()
    for f in (model, lambda z: model(z)):
        for chunk_size in (None, 2):
            g = lambda a, r: sn.shapley_values(f, a, r, chunk_size=chunk_size)  # noqa: B023, E731
            assert torch.autograd.gradcheck(g, (x, baseline))
    assert torch.autograd.gradgradcheck(lambda a: sn.shapley_values(model, a, baseline.detach()), (x,))
    assert torch.autograd.gradcheck(sn.shapley_from_table, (normal(8, 2).requires_grad_(),))


def test_no_graph_is_kept_when_none_is_wanted():
    model = network(3, 1)
    with torch.no_grad():
        assert not sn.shapley_values(model, normal(1, 3)).requires_grad
    assert not sn.shapley_values(model.requires_grad_(False), normal(1, 3)).requires_grad


def test_progress_is_shown_when_asked(capsys):
    sn.shapley_values(lambda z: z.sum(1), normal(1, 3), progress=True)
    assert "rows" in capsys.readouterr().err
    sn.shapley_values(lambda z: z.sum(1), normal(1, 3))
    assert capsys.readouterr().err == ""


# --- refused at the door ------------------------------------------------------------------------------------------

LINE = staticmethod(lambda z: z.sum(1)).__func__


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (
            ValueError,
            "2\\*\\*64 evaluations.*sample_shapley_values",
            lambda: sn.shapley_values(LINE, torch.ones(1, 64)),
        ),
        (
            ValueError,
            "chunk_size must be",
            lambda: sn.shapley_values(LINE, torch.ones(1, 2), chunk_size=0),
        ),
        (
            ValueError,
            "chunk_size must be",
            lambda: sn.shapley_values(LINE, torch.ones(1, 2), chunk_size=2.5),
        ),
        (ValueError, "needs 2\\*\\*n rows", lambda: sn.shapley_from_table(torch.ones(6))),
        (ValueError, "needs 2\\*\\*n rows", lambda: sn.shapley_from_table(torch.ones(1))),
        (ValueError, "needs 2\\*\\*n rows", lambda: sn.shapley_from_table(torch.tensor(1.0))),
        (TypeError, "must be a tensor", lambda: sn.shapley_from_table([0.0, 1.0])),
        (
            TypeError,
            "real numbers",
            lambda: sn.shapley_from_table(torch.ones(2, dtype=torch.complex64)),
        ),
        (
            ValueError,
            "NaN or infinity",
            lambda: sn.shapley_from_table(torch.tensor([0.0, torch.nan])),
        ),
        (
            ValueError,
            "NaN or infinity for some coalition",
            lambda: sn.shapley_values(lambda z: 1 / z.sum(1), torch.ones(1, 2)),
        ),
        (ValueError, "at least 1", lambda: sn.coalitions.masks(0)),
        (
            ValueError,
            "up to 6e\\+38 in size, which torch.float32 cannot hold",
            lambda: sn.shapley_from_table(torch.tensor([-3e38, 3e38])),
        ),
        (
            ValueError,
            "float64 cannot hold",
            lambda: sn.shapley_from_table(torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64)),
        ),
    ],
)
def test_refusals(error, says, call):
    with pytest.raises(error, match=says):
        call()


def test_numpy_counts_rows_too():
    x = normal(2, 4)
    assert torch.equal(sn.shapley_values(LINE, x, chunk_size=np.int64(4)), sn.shapley_values(LINE, x, chunk_size=4))


def test_random_functions_are_found():
    noise = torch.Generator().manual_seed(0)
    with pytest.raises(sn.GapError, match="the gap is"):
        sn.shapley_values(lambda z: z.sum(1) + torch.randn(len(z), generator=noise), torch.ones(2, 3))


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 0.99), (torch.float64, 0.99999)])
def test_rounding_is_not_taken_for_randomness(dtype, share):
    """Outputs that are small remainders of large terms carry the rounding of the large ones."""
    weight = torch.rand(64, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    layer = nn.Linear(8, 64, dtype=dtype).requires_grad_(False)
    layer.weight.copy_(weight)
    layer.bias.copy_(-share * weight.sum(1))
    x = torch.ones(1, 8, dtype=dtype)
    for f in (nn.Sequential(layer, nn.ReLU()), lambda z: torch.relu(layer(z))):
        assert sn.shapley_values(f, x).shape == (1, 8, 64)


def test_another_default_device_changes_nothing():
    """Sizes that no other test has, so that tables of weights are made here; they are as good afterwards."""
    table, x = normal(2**13, 2), normal(2, 13)
    f = lambda rows: rows.prod(1)  # noqa: E731
    with torch.device("meta"):
        made = [sn.shapley_from_table(table), sn.shapley_values(f, x), *weights_of(13)]
        sampled = sn.sample_shapley_values(f, x, permutations=4, generator=torch.Generator().manual_seed(0))
    for got, expected in zip(
        made, [sn.shapley_from_table(table), sn.shapley_values(f, x), *weights_of(13)], strict=True
    ):
        assert torch.equal(got, expected)
    again = sn.sample_shapley_values(f, x, permutations=4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.stack(sampled), torch.stack(again))


def weights_of(n: int) -> list[torch.Tensor]:
    coalitions = sn.coalitions
    return [coalitions.shapley_matrix(n), *coalitions.value_weights(n), coalitions.marginal_weights(n)]
