"""Propagated values: exact where they must be, near where they are measured, and with sums that close."""

from itertools import pairwise

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch import Tensor, nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.neuron.owen import smooth_nodes

F64 = tolerance(torch.float64)


def network(*sizes: int, seed: int = 0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (into, out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(into, out).double()
        with torch.no_grad():
            layer.weight.copy_(normal(out, into, seed=seed + 2 * i) * (2 / into) ** 0.5)
            layer.bias.copy_(normal(out, seed=seed + 2 * i + 1) / 4)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)


def images(*, pool: nn.Module) -> nn.Sequential:
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(4, 4, 2), nn.LeakyReLU(0.1)),
        *(nn.Flatten(), nn.Linear(4, 2)),
    ).double()
    with torch.no_grad():
        for seed, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=seed) / 2)
    return model.requires_grad_(False)


def error(values: Tensor, exact: Tensor) -> float:
    return float((values - exact).abs().mean() / exact.abs().mean())


def raw(model: nn.Module, x: Tensor, baseline: Tensor, nodes: int = 8) -> Tensor:
    """Values of one hidden layer before the sum is closed, straight from Owen's integral: [batch, n, outputs]."""
    first, _, last = model
    q, w = smooth_nodes(nodes, x.dtype, x.device)
    standard = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())

    def expected(mean: Tensor, deviation: Tensor) -> Tensor:
        z = mean / deviation
        return mean * standard.cdf(z) + deviation * standard.log_prob(z).exp()

    found = torch.zeros(*x.shape, len(last.weight), dtype=x.dtype)
    for b, one in enumerate(x):
        a = first.weight * (one - baseline)  # [hidden, n]
        offset = first(baseline)
        for k in range(x.shape[1]):
            others = [i for i in range(x.shape[1]) if i != k]
            for node, weight in zip(q, w, strict=True):
                mean = offset + node * a[:, others].sum(1)
                deviation = (node * (1 - node) * a[:, others].square().sum(1)).sqrt()
                found[b, k] += weight * last.weight @ (expected(mean + a[:, k], deviation) - expected(mean, deviation))
    return found


def test_one_hidden_layer_is_the_normal_approximation_of_its_neurons():
    model, x, baseline = network(5, 7, 2), normal(3, 5), normal(5, seed=3)
    values, missing = sn.propagated_shapley_values(model, x, baseline, return_missing=True)
    expected = raw(model, x, baseline)
    assert_close(missing, model(x) - model(baseline) - expected.sum(1), **F64)
    share = expected.abs() / expected.abs().sum(1, keepdim=True)
    assert_close(values, expected + missing[:, None] * share, **F64)


def test_linear_models_are_exact():
    model = (
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.LeakyReLU(1.0), nn.Linear(4, 2)).double().requires_grad_(False)
    )
    x, baseline = normal(2, 2, 3), normal(2, 3, seed=3)
    values, missing = sn.propagated_shapley_values(model, x, baseline, return_missing=True)
    assert_close(values, sn.shapley_values(model, x, baseline), **F64)
    assert float(missing.abs().max()) < 1e-12


@pytest.mark.parametrize("n", [1, 6])
def test_players_alone_are_exact(n):
    """One player that differs from the baseline: nothing else moves."""
    model, x = network(n, 8, 8, 2), torch.zeros(1, n, dtype=torch.float64)
    x[0, n - 1] = 1.5
    assert_close(sn.propagated_shapley_values(model, x), sn.shapley_values(model, x), **F64)


@pytest.mark.parametrize(("sizes", "most"), [((10, 40, 1), 0.1), ((10, 40, 40, 1), 0.2), ((10, 40, 40, 40, 1), 0.25)])
def test_the_error_against_exact_values_is_stated(sizes, most):
    """In units of the mean size of a value; larger than nothing, or the values would be exact."""
    model, x = network(*sizes), normal(8, sizes[0])
    found = error(sn.propagated_shapley_values(model, x), sn.shapley_values(model, x))
    assert most / 20 < found < most


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2, stride=1), nn.AvgPool2d(2, stride=1)])
def test_images_are_near(pool):
    model, x = images(pool=pool), normal(2, 1, 3, 3)
    values, exact = sn.propagated_shapley_values(model, x), sn.shapley_values(model, x)
    assert values.shape == exact.shape == (2, 1, 3, 3, 2)
    assert error(values, exact) < 0.25


def test_sums_close_and_absent_players_get_nothing():
    model, x, baseline = network(6, 9, 9, 3), normal(4, 6), normal(6, seed=4)
    x[0, 2], x[1], x[2, :5] = baseline[2], baseline, baseline[:5]
    values = sn.propagated_shapley_values(model, x, baseline)
    assert_close(values.sum(1), model(x) - model(baseline), **F64)
    assert float(values[0, 2].abs().max()) == 0 and float(values[1].abs().max()) == 0
    assert float(values[2, :5].abs().max()) == 0


def test_values_do_not_depend_on_how_they_are_chunked(monkeypatch):
    """Passes of one player and one node at a time give the same."""
    from shapnotes.moments import propagated

    model, x = network(5, 6, 6, 2), normal(2, 5)
    whole = sn.propagated_shapley_values(model, x)
    for rows in (1, 4, 7):
        monkeypatch.setattr(propagated, "rows_at_once", lambda *_, rows=rows: rows)
        assert_close(sn.propagated_shapley_values(model, x), whole, **F64)


def test_passes_are_two_per_player_and_node(monkeypatch):
    from shapnotes.moments import propagated

    rows = []
    kept = propagated.after
    monkeypatch.setattr(propagated, "after", lambda step, given: rows.append(len(given.mean)) or kept(step, given))
    x = normal(2, 7)
    x[0, 3] = 0
    sn.propagated_shapley_values(network(7, 3, 2), x, nodes=5)
    assert sum(rows) == 2 * 5 + 2 * (2 * 5 * (6 + 7))  # the first layer once per node; the rest, two steps, per player


def test_gradients_are_those_of_differences():
    model, baseline = network(3, 4, 4, 1).requires_grad_(True), normal(3, seed=3)
    x = normal(2, 3)
    x[0, 1] = baseline[1]  # a value of zero there, but not a gradient of zero

    def values(x: Tensor, *parameters: Tensor) -> Tensor:
        names = [name for name, _ in model.named_parameters()]
        with torch.no_grad():
            for name, p in zip(names, parameters, strict=True):
                model.get_parameter(name).copy_(p)
        return sn.propagated_shapley_values(model, x, baseline)[1]

    parameters = [p.detach().clone() for p in model.parameters()]
    x.requires_grad_()
    found = torch.autograd.grad(values(x, *parameters).sin().sum(), [x, *model.parameters()])
    step = 1e-6
    for leaf, gradient in zip([x.detach(), *parameters], found, strict=True):
        for at in list(torch.cartesian_prod(*map(torch.arange, leaf.shape)).view(-1, leaf.dim()))[:6]:
            ends = []
            for way in (step, -step):
                leaf[tuple(at)] += way
                with torch.no_grad():
                    ends.append(float(values(x.detach(), *parameters).sin().sum()))
                leaf[tuple(at)] -= way
            assert float(gradient[tuple(at)]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)


def test_no_graph_without_a_gradient():
    model, x = network(4, 5, 5, 1).requires_grad_(True), normal(2, 4)
    assert sn.propagated_shapley_values(model, x).requires_grad
    with torch.no_grad():
        assert not sn.propagated_shapley_values(model, x).requires_grad
    assert not sn.propagated_shapley_values(model.requires_grad_(False), x).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_have_the_inputs_dtype(dtype):
    model, x = network(4, 5, 5, 2).to(dtype), normal(2, 4).to(dtype)
    values, missing = sn.propagated_shapley_values(model, x, return_missing=True)
    assert values.dtype == missing.dtype == dtype
    fine = sn.propagated_shapley_values(model.double(), x.double())
    assert_close(values.double(), fine, **tolerance(dtype))


@pytest.mark.parametrize("nodes", [0, -1, 2.5, True])
def test_nodes_are_counted(nodes):
    with pytest.raises(ValueError, match="nodes must be a whole number, at least 1"):
        sn.propagated_shapley_values(network(2, 2, 1), normal(1, 2), nodes=nodes)


def test_other_layers_are_refused():
    with pytest.raises(
        TypeError, match=r"layer '1' \(Tanh\) cannot be followed. propagated_shapley_values takes.*MaxPool"
    ):
        sn.propagated_shapley_values(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.ones(1, 2))
