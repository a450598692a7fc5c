"""Other methods: closed forms, hand calculation, agreement between two packages, and no trace on the model."""

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from contracts import network, normal
from oracles import model_values, tolerance
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import explainers as E
from shapnotes.explanation import GapError

F64 = tolerance(torch.float64)
CAPTUM_STEPS = {"rtol": 1e-7, "atol": 1e-8}  # captum >= 0.8 keeps the weights of its steps in float32
MODULES_ONLY = ("deeplift", "deep_shap")
EFFICIENT = ("exact", "sampling", "regression", "kernel_shap", "deeplift", "deep_shap")
WITH_SEED = ("sampling", "regression", "kernel_shap", "gradient_shap")


@pytest.fixture(autouse=True)
def same_weights():
    """Networks are drawn from torch's global generator; every test starts it anew, and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def relu_network(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1]).double()


def attributions(method: str, f, x: Tensor, baseline=None, **settings) -> Tensor:
    return E.explain_with(method, f, x, baseline, **settings).attributions


def close_to(method: str) -> dict[str, float]:
    return CAPTUM_STEPS if method == "integrated_gradients" else F64


# --- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", E.METHODS)
@pytest.mark.parametrize("one_baseline", [True, False], ids=["one baseline", "one an input"])
def test_a_linear_model_owes_each_feature_its_term(method, one_baseline):
    """w_i (x_i - r_i) by every method; 12 features, which shap's own regularisation would cut to ten."""
    model, x = nn.Linear(12, 3).double(), normal(2, 12)
    r = normal(12, seed=2) if one_baseline else normal(2, 12, seed=2)
    weight = model.weight.detach().T
    expected = weight.abs().expand(2, 12, 3) if method == "saliency" else (x - r)[..., None] * weight
    assert_close(attributions(method, model, x, r), expected, **close_to(method))


def test_saliency_with_its_sign():
    model, x = nn.Linear(4, 2).double(), normal(3, 4)
    assert_close(E.saliency(model, x, absolute=False), model.weight.detach().T.expand(3, 4, 2), **F64)


@pytest.mark.parametrize(
    ("method", "shares"),
    [
        ("exact", (1 / 2, 1 / 2)),  # each alone gains nothing
        ("kernel_shap", (1 / 2, 1 / 2)),
        ("integrated_gradients", (2 / 3, 1 / 3)),  # integral of 2 t^2, and of t^2
        ("input_x_gradient", (2, 1)),
    ],
)
def test_shares_of_a_monomial(method, shares):
    """f = a^2 b, from 0."""
    x = normal(3, 2)
    f = lambda z: z[:, 0] ** 2 * z[:, 1]  # noqa: E731
    assert_close(
        attributions(method, f, x), f(x)[:, None] * torch.tensor(shares, dtype=torch.float64), **close_to(method)
    )


def test_gradient_shap_estimates_integrated_gradients():
    """For f = a b a draw gives a b t to both: the mean of uniform t, within 5 of its standard errors."""
    x = normal(20, 2)
    share = attributions("gradient_shap", lambda z: z.prod(1), x, samples=100) / x.prod(1, keepdim=True)
    assert_close(share[:, 0], share[:, 1], **F64)
    error = (1 / 12 / 100) ** 0.5
    assert float((share - 1 / 2).abs().max()) < 5 * error
    assert float(share[:, 0].std()) > error / 2  # inputs have their own draws
    single = attributions("gradient_shap", lambda z: z @ torch.tensor([2.0, 3.0]).double(), x, samples=1)
    assert_close(single, x * torch.tensor([2.0, 3.0]), **F64)  # of a linear function one draw says all


def test_integrated_gradients_close_as_stated():
    smooth, kinked = relu_network(6, 40, 1, activation=nn.Tanh), relu_network(6, 40, 40, 1)
    x, r = normal(30, 6), normal(6, seed=2)
    gap = lambda f, n: float(E.explain_with("integrated_gradients", f, x, r, steps=n).gap().abs().mean())  # noqa: E731
    assert gap(smooth, 50) < 1e-7
    assert 0 < gap(kinked, 400) < gap(kinked, 25) / 4


def test_deeplift_by_hand():
    """y = 2 relu(a + b) - relu(a - 2 b) + 1 at (2, 1), seen from (-2, 1).

    Into the units go 3 and 0 at x, -1 and -4 at r; out come 3 and 0, 0 and 0. Chords: 3/4 and 0. So a, which moved by
    4, is due 2 * 3/4 * 4 = 6, which is y's whole change (7 - 1), and b, which did not move, nothing.
    """
    model = relu_network(2, 2, 1).requires_grad_(False)
    for p, value in zip(model.parameters(), ([[1, 1], [1, -2]], [0, 0], [[2, -1]], [1]), strict=True):
        p.copy_(torch.tensor(value))
    x, r = torch.tensor([[2.0, 1.0]]).double(), torch.tensor([-2.0, 1.0]).double()
    for method in ("deeplift", "deep_shap"):
        assert_close(attributions(method, model, x, r)[..., 0], torch.tensor([[6.0, 0.0]]).double(), **F64)


def rescale_by_loops(model: nn.Sequential, x: Tensor, r: Tensor) -> Tensor:
    """The rescale rule, one input, one unit at a time, from the output down: [features, outputs]."""
    inputs, references = [x], [r]
    for layer in model:
        inputs.append(layer(inputs[-1]))
        references.append(layer(references[-1]))
    multipliers = torch.eye(len(inputs[-1]), dtype=torch.float64)  # [units, outputs]
    for k in reversed(range(len(model))):
        if isinstance(model[k], nn.Linear):
            multipliers = model[k].weight.T @ multipliers
        else:
            chords = [
                (b_out - a_out) / (b_in - a_in)
                for a_in, b_in, a_out, b_out in zip(
                    references[k], inputs[k], references[k + 1], inputs[k + 1], strict=True
                )
            ]
            multipliers = torch.stack(chords)[:, None] * multipliers
    return (x - r)[:, None] * multipliers


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.LeakyReLU, nn.Softplus])
def test_deeplift_and_deep_shap_are_the_rescale_rule(activation):
    """Two packages and a loop agree: with one baseline Deep SHAP is DeepLIFT."""
    model, x, r = relu_network(4, 7, 6, 3, activation=activation), normal(5, 4), normal(5, 4, seed=2)
    with torch.no_grad():
        slow = torch.stack([rescale_by_loops(model, *pair) for pair in zip(x, r, strict=True)])
    assert_close(E.deeplift(model, x, r), slow, **F64)
    assert_close(E.deep_shap(model, x, r), slow, **F64)
    assert float((slow - E.exact(model, x, r)).abs().max()) > 1e-3  # which is not Shapley's value


def test_deeplift_follows_activations_however_they_are_called():
    """A module for several calls, functions, methods, in place or not: as if each were a module."""
    x, r = normal(5, 4), normal(4, seed=2)
    for shared in (False, True):
        called = Called(shared)
        plain = nn.Sequential(called.a, nn.ReLU(), called.b, nn.ReLU(), called.c)
        assert_close(E.deeplift(called, x, r), E.deep_shap(plain, x, r), **F64)
    for function, module in (
        (lambda z: z.relu_(), nn.ReLU()),
        (lambda z: torch.nn.functional.relu(z, True), nn.ReLU()),
        (torch.tanh, nn.Tanh()),
        (lambda z: z.sigmoid(), nn.Sigmoid()),
        (lambda z: torch.nn.functional.leaky_relu(z, 0.3), nn.LeakyReLU(0.3)),
        (lambda z: torch.nn.functional.elu(z, alpha=0.7), nn.ELU(0.7)),
        (lambda z: torch.nn.functional.softplus(z, 2.0), nn.Softplus(2.0)),
    ):
        called = Called(shared=False)
        called.relu = function
        plain = nn.Sequential(called.a, module, called.b, deepcopy(module), called.c)
        assert_close(E.deeplift(called, x, r), E.deep_shap(plain, x, r), **F64)


class InPlace(nn.Module):
    """An activation that writes over what is read again: 2 relu(h)."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.last = nn.Linear(4, 6).double(), nn.ReLU(inplace=True), nn.Linear(6, 2).double()

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z)
        return self.last(self.relu(h) + h)


def test_deeplift_of_activations_in_place():
    model, x, r = InPlace(), normal(5, 4), normal(4, seed=2)
    plain = nn.Sequential(model.first, nn.ReLU(), nn.Linear(6, 2).double())
    plain[2].load_state_dict({"weight": 2 * model.last.weight, "bias": model.last.bias})
    assert_close(E.deeplift(model, x, r), E.deep_shap(plain, x, r), **F64)
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2).double())
    kept = x.clone()
    assert_close(E.deeplift(first, x, r), (x.relu() - r.relu())[..., None] * first[1].weight.detach().T, **F64)
    assert torch.equal(x, kept)


class Beside(nn.Module):
    """A ReLU and a pooling that read the same numbers, each weighted."""

    def __init__(self, relu: float, pool: float):
        super().__init__()
        self.relu, self.pool, self.weights = nn.ReLU(), nn.MaxPool1d(2), (relu, pool)

    def forward(self, z: Tensor) -> Tensor:
        relu, pool = self.weights
        return relu * self.relu(z).flatten(1).sum(1) + pool * self.pool(z).flatten(1).sum(1)


def test_deeplift_of_a_relu_beside_and_after_a_pooling():
    """Beside: DeepLIFT is linear in the outputs. After: windows (3, 1) seen from (-2, -1) and from (-2, 0), by hand.

    From (-2, -1) the largest moves from -1 to 3, and the ReLU from 0 to 3: all 3 are due to the first.
    """
    x, r = normal(5, 1, 6), normal(1, 6, seed=2)
    whole = E.deeplift(Beside(2.0, 3.0), x, r)
    assert_close(whole, E.deeplift(Beside(2.0, 0.0), x, r) + E.deeplift(Beside(0.0, 3.0), x, r), **F64)
    after = nn.Sequential(nn.MaxPool1d(2), nn.ReLU(), nn.Flatten())
    for second in (-1.0, 0.0):
        r = torch.tensor([[-2.0, second]]).double()
        found = E.deeplift(after, torch.tensor([[[3.0, 1.0]]]).double(), r)
        assert_close(found, torch.tensor([[[[3.0], [0.0]]]]).double(), **F64)
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).double()
    assert float(E.explain_with("deeplift", images, normal(4, 1, 6, 6), 0.1).gap().abs().max()) < 1e-12


class Choosing(nn.Module):
    """Rows decide on the activation."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z) if len(z) > 2 else torch.relu(z)


def test_deeplift_refuses_activations_that_rows_decide_on():
    with pytest.raises(ValueError, match="f calls Tanh as its activation number 1, which it did not"):
        E.deeplift(Choosing(), normal(3, 4))


@pytest.mark.parametrize("method", MODULES_ONLY)
def test_models_that_keep_what_they_computed(method):
    """The weight of a pruned layer belongs to a gradient's graph."""
    model, x = relu_network(4, 6, 2), normal(3, 4)
    plain = deepcopy(model)
    prune.l1_unstructured(model[0], "weight", amount=5)
    with torch.no_grad():
        plain[0].weight.copy_(model[0].weight)
    model(x).sum().backward()
    assert_close(attributions(method, model, x), attributions(method, plain, x), **F64)


def test_deeplift_on_images():
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)]
    model, x = nn.Sequential(*layers).double(), normal(2, 2, 6, 6)
    assert_close(E.deeplift(model, x, 0.1), E.deep_shap(model, x, 0.1), **F64)


def test_kernel_shap_is_exact_with_all_coalitions_and_close_with_some():
    model, x, r = network(7, 2), normal(3, 7), normal(7, seed=2)
    expected = model_values(model, x, r).detach()
    assert_close(E.kernel_shap(model, x, r, samples=2**7 - 2), expected, **F64)
    errors = [float((E.kernel_shap(model, x, r, samples=n) - expected).abs().mean()) for n in (30, 100)]
    assert 1e-6 < errors[1] < errors[0] < 0.1 * float(expected.abs().mean())


# --- what holds for all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", E.METHODS)
@pytest.mark.parametrize("outputs", [(), (2,), (2, 3)])
@pytest.mark.parametrize("features", [(1,), (2, 2)])
def test_axes(method, features, outputs):
    """Every output is where it belongs: as if it were explained alone."""
    n = int(np.prod(features))
    model = nn.Sequential(nn.Flatten(), *relu_network(n, 5, int(np.prod(outputs)), activation=nn.Tanh))
    model.append(nn.Flatten(0) if outputs == () else nn.Unflatten(1, outputs))
    x = normal(3, *features)
    values = attributions(method, model, x, 0.5)
    assert values.shape == (3, *features, *outputs) and values.dtype == x.dtype and not values.requires_grad
    flat = values.flatten(len(features) + 1) if outputs else values[..., None]
    if n > 1 and method in WITH_SEED:
        return  # an output alone has the same draws, but a stack of several is what the adapters give
    for output in range(flat.shape[-1]):
        alone = nn.Sequential(*model[:-2], nn.Linear(5, 1).double())
        alone[-1].load_state_dict({k: v[output : output + 1] for k, v in model[-2].state_dict().items()})
        assert_close(flat[..., output], attributions(method, alone, x, 0.5)[..., 0], **F64)


@pytest.mark.parametrize("method", E.METHODS)
def test_efficiency_and_missingness_are_as_stated(method):
    x, r = normal(4, 6), normal(6, seed=2)
    x[0, :3], x[1, 5], x[2] = r[:3], r[5], r
    found = E.explain_with(method, relu_network(6, 9, 9, 2), x, r)
    closes = bool((found.gap()[:2].abs() < 1e-9).all())
    assert closes == (method in EFFICIENT)
    missing = found.attributions[(x == r)]
    assert (float(missing.abs().max()) == 0) == (method != "saliency")
    assert (found.standard_errors is not None) == (method in ("sampling", "regression"))
    statement = " ".join(inspect.getdoc(E.METHODS[method]).split())
    assert "fficien" in statement and "issing" in statement and "Cost ----" in statement


@pytest.mark.parametrize("method", WITH_SEED)
def test_a_seed_and_nothing_else_decides(method):
    model, x = relu_network(12, 9, 1), normal(2, 12)
    settings = {
        "kernel_shap": {"samples": 60},
        "sampling": {"permutations": 6},
        "regression": {"evaluations": 72},
        "gradient_shap": {"samples": 5},
    }[method]
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first, same, other = (attributions(method, model, x, seed=seed, **settings) for seed in (3, 3, 4))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.random.get_rng_state(), before[1])
    with pytest.raises(ZeroDivisionError):
        attributions(method, lambda z: 1 // 0, x, seed=3)
    assert np.array_equal(np.random.get_state()[1], before[0])


def test_cost_in_evaluations():
    """Rows that the model is given, beside those that every method looks at first."""
    rows = []

    def f(z):
        rows.append(len(z))
        return torch.stack([z.prod(1), z.sum(1)], 1)

    x = normal(3, 6)
    look = 1 + 4 * 3
    for method, settings, expected in (
        ("kernel_shap", {"samples": 40}, 3 * (40 + 2) + look),
        ("exact", {}, 3 * (2**6 + 2) + 1),
        ("regression", {"evaluations": 40}, 3 * (40 + 2) + look),
        ("integrated_gradients", {"steps": 20}, 2 * 3 * 20 + look + 1),
        ("gradient_shap", {"samples": 20}, 2 * 3 * 20 + look + 1),
        ("input_x_gradient", {}, 2 * 3 + look + 1),
        ("saliency", {}, 2 * 3 + look + 1),
    ):
        rows.clear()
        E.METHODS[method](f, x, **settings)
        assert sum(rows) == expected, method


@pytest.mark.parametrize("method", [name for name in E.METHODS if name != "kernel_shap"])
def test_no_global_generator_is_set(method, monkeypatch):
    def nobody(*_):
        raise AssertionError("a global generator was set")

    monkeypatch.setattr(np.random, "seed", nobody)
    monkeypatch.setattr(np.random, "set_state", nobody)
    monkeypatch.setattr(torch.random, "set_rng_state", nobody)
    monkeypatch.setattr(torch, "manual_seed", nobody)
    model, x = relu_network(3, 4, 1), normal(2, 3)
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    attributions(method, model, x)
    assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize("method", E.METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions(method, dtype):
    """About what is found in double precision, in the dtype that came."""
    model, x = relu_network(5, 7, 2), normal(3, 5)
    model, x = model.to(dtype), x.to(dtype)
    found = attributions(method, model, x)
    assert found.dtype == dtype
    wide = attributions(method, model.double(), x.double())
    near = float((found.double() - wide).abs().mean() / wide.abs().mean())
    assert near < (0.2 if method == "gradient_shap" else 0.05)  # whose draws fall on coarser places


@pytest.mark.parametrize("method", E.METHODS)
def test_models_may_write_into_what_they_are_given(method):
    """As one that begins with a ReLU in place does."""
    model, x = nn.Sequential(nn.ReLU(inplace=True), *relu_network(3, 4, 2)), normal(2, 3)
    kept, plain = x.clone(), nn.Sequential(nn.ReLU(), *model[1:])
    assert_close(attributions(method, model, x), attributions(method, plain, x), **F64)
    assert torch.equal(x, kept) and model[0].inplace


@pytest.mark.parametrize("method", [name for name in E.METHODS if name not in MODULES_ONLY])
def test_functions_may_answer_in_memory_of_their_own(method):
    answers = torch.empty(3000, dtype=torch.float64)

    def f(z):
        y = z.tanh().prod(1)
        return y if y.requires_grad else answers[: len(z)].copy_(y)

    x = normal(3, 4)
    found, expected = (E.explain_with(method, g, x) for g in (f, lambda z: z.tanh().prod(1)))
    assert_close(found.attributions, expected.attributions, **F64)
    assert_close(found.prediction, expected.prediction, **F64)


@pytest.mark.parametrize("method", E.METHODS)
def test_threads_do_not_disturb_each_other(method):
    model, x = relu_network(14, 9, 1), normal(2, 14)
    settings = {"kernel_shap": {"samples": 60}, "sampling": {"permutations": 6}, "exact": {}}.get(method, {})
    expected = E.METHODS[method](model, x, **settings)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(E.METHODS[method], model, x, **settings) for _ in range(8)]
        for run in runs:
            several = isinstance(expected, tuple)
            pairs = zip(run.result(), expected, strict=True) if several else [(run.result(), expected)]
            for got, wanted in pairs:
                assert torch.equal(got, wanted)


@pytest.mark.parametrize("method", E.METHODS)
def test_inference_mode_and_inputs_with_gradients(method):
    model, x = relu_network(3, 4, 1), normal(2, 3)
    expected = attributions(method, model, x)
    with torch.inference_mode():
        assert_close(attributions(method, model, x.clone()), expected.clone(), **F64)
    leaf = x.clone().requires_grad_()
    assert_close(attributions(method, model, leaf), expected, **F64)
    assert leaf.grad is None and leaf.requires_grad and not x.requires_grad


# --- no trace -----------------------------------------------------------------------------------------------------


class Fragile(nn.Module):
    """Two ReLUs and a switch that makes what comes after the first fail."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = relu_network(3, 4, 4)[0], nn.ReLU(), nn.Linear(4, 2).double()
        self.unused, self.broken = nn.ReLU(), False

    def forward(self, z: Tensor) -> Tensor:
        z = self.second(self.first(z))
        self.unused(z)
        if self.broken and len(z) > 1:
            raise ZeroDivisionError("in the middle of the model")
        return self.last(z)


def state_of(model: nn.Module) -> list:
    """All that a hook or a pass could change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [(set(m.__dict__), [len(getattr(m, h)) for h in hooks], m.training) for m in model.modules()]
    parameters = [(p.requires_grad, p.grad.tolist(), p.tolist()) for p in model.parameters()]
    return [modules, parameters]


@pytest.mark.parametrize("method", E.METHODS)
def test_no_trace_on_the_model_after_success_and_after_error(method):
    model, x = Fragile().train(), normal(2, 3)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    model.first.weight.requires_grad_(False)
    before = state_of(model)
    attributions(method, model, x)
    assert state_of(model) == before
    model.broken = True
    with pytest.raises(ZeroDivisionError):
        attributions(method, model, x)
    assert state_of(model) == before


# --- what is refused ----------------------------------------------------------------------------------------------


class Called(nn.Module):
    """ReLUs that Deep SHAP cannot see: called as a function, or one module for both."""

    def __init__(self, shared: bool):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6).double(), nn.Linear(6, 6).double(), nn.Linear(6, 2).double()
        self.relu = nn.ReLU() if shared else torch.relu

    def forward(self, z: Tensor) -> Tensor:
        return self.c(self.relu(self.b(self.relu(self.a(z)))))


@pytest.mark.parametrize("shared", [False, True])
def test_sums_that_do_not_close_are_raised(shared):
    with pytest.raises(GapError, match=r"called as a function, twice, or is unknown.*the gap is"):
        E.deep_shap(Called(shared), normal(3, 4))
    with pytest.raises(GapError, match=r"follows ReLU, Tanh, .*Another activation escapes.*the gap is"):
        E.deeplift(nn.Sequential(Called(shared), nn.Hardswish()), normal(3, 4))


def test_where_the_two_packages_differ():
    """captum knows no GELU, and its softmax does not close. Overlapping max pooling closes in neither package."""
    x = normal(3, 4)
    for activation in (nn.GELU(), nn.Softmax(-1)):
        model = nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 2)).double()
        assert float(E.explain_with("deep_shap", model, x, 0.3).gap().abs().max()) < 1e-12
        with pytest.raises(GapError):
            E.deeplift(model, x, 0.3)
    pool = [nn.Linear(4, 6), nn.Unflatten(1, (1, 6)), nn.MaxPool1d(3, 1), nn.Flatten(), nn.Linear(4, 2)]
    for method in MODULES_ONLY:
        with pytest.raises(GapError):
            attributions(method, nn.Sequential(*pool).double(), x, 0.3)


@pytest.mark.parametrize("method", E.METHODS)
@pytest.mark.parametrize(
    ("x", "baseline", "says"),
    [
        (normal(3), None, r"x must be \[batch, \*features\]"),
        (torch.full((2, 3), float("nan")).double(), None, "NaN or infinite"),
        (normal(2, 3), normal(4), "does not broadcast"),
    ],
)
def test_bad_input_is_refused_as_everywhere(method, x, baseline, says):
    with pytest.raises(ValueError, match=says):
        attributions(method, relu_network(3, 4, 1), x, baseline)


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (ValueError, "no method 'lime'; choose from exact, sampling", lambda f, x: E.explain_with("lime", f, x)),
        (TypeError, r"must be an nn\.Module.*got function", lambda f, x: E.deeplift(lambda z: f(z), x)),
        (TypeError, r"must be an nn\.Module.*got function", lambda f, x: E.deep_shap(lambda z: f(z), x)),
        (ValueError, "by way of autograd", lambda f, x: E.saliency(lambda z: f(z).detach(), x)),
        (ValueError, "by way of autograd", lambda f, x: E.saliency(lambda z: f(torch.ones_like(z)), x)),
        (
            ValueError,
            "steps must be a whole number, from 1 to 1024; got 0",
            lambda f, x: E.integrated_gradients(f, x, steps=0),
        ),
        (ValueError, "from 1 to 1024; got 1000000000", lambda f, x: E.integrated_gradients(f, x, steps=10**9)),
        (ValueError, "gradient is NaN or infinite", lambda f, x: E.saliency(lambda z: z.clamp(0).sqrt(), 0 * x)),
        (TypeError, "x must be a tensor.*got NoneType", lambda f, x: E.gradient_shap(f, None)),
        (ValueError, "samples must be a whole number", lambda f, x: E.kernel_shap(f, x, samples=True)),
        (ValueError, "samples must be a whole number", lambda f, x: E.gradient_shap(f, x, samples=2.0)),
        (ValueError, "seed must be a whole number from 0", lambda f, x: E.kernel_shap(f, x, seed=-1)),
        (ValueError, "seed must be a whole number from 0", lambda f, x: E.sampling(f, x, seed=None)),
        (ValueError, "in training mode", lambda f, x: E.deeplift(nn.Sequential(nn.Dropout(), f), x)),
    ],
)
def test_refusals(error, says, call):
    with pytest.raises(error, match=says):
        call(relu_network(3, 4, 1), normal(2, 3))


@pytest.mark.parametrize("method", [name for name in E.METHODS if name not in ("exact", "sampling", "regression")])
def test_a_missing_package_names_the_extra(method, monkeypatch):
    for name in ("captum", "captum.attr", "shap"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'package: pip install "shapnotes\[compare\]"'):
        attributions(method, relu_network(3, 4, 1), normal(2, 3))
    assert sn.explainers is E  # the rest of the package does without


def test_a_model_of_another_dtype_is_told_by_name():
    with pytest.raises(ValueError, match=r"f does not take x as it is, torch.float64; give x and f's parameters one"):
        sn.explainers.deeplift(nn.Linear(3, 1), torch.ones(1, 3).double())


def test_tree_shap_with_one_row_as_background_is_exact():
    """As `choose` and chapter 3 promise."""
    shap, ensemble = pytest.importorskip("shap"), pytest.importorskip("sklearn.ensemble")
    x = torch.rand(400, 8, generator=torch.Generator().manual_seed(0)).double() - 0.5
    x = x.float().double()  # shap compares in single precision
    y = x.square().sum(1) + x[:, 0] * x[:, 1]
    trees = ensemble.HistGradientBoostingRegressor(random_state=0).fit(x.numpy(), y.numpy())
    reference = torch.zeros(8, dtype=torch.float64)
    by_tree = torch.as_tensor(shap.TreeExplainer(trees, reference[None].numpy()).shap_values(x[:2].numpy()))
    exact = sn.shapley_values(lambda z: torch.as_tensor(trees.predict(z.numpy())), x[:2], reference)
    assert (by_tree - exact).abs().max() < 1e-5 * exact.abs().mean()
