"""Bounds hold, always; they meet where they must; what they cost is what they say."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from bound_networks import exact_values, random_network
from contracts import normal
from torch import nn
from torch.testing import assert_close

import shapnotes as sn


def network(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (into, out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(into, out, dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(normal(out, into, seed=seed + 2 * i) / into**0.5)
            layer.bias.copy_(normal(out, seed=seed + 2 * i + 1) / 2)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)


def contained(bounds: sn.ShapleyBounds, i: int, exact: np.ndarray) -> bool:
    """Whether the values [n, outputs] of input i are between the bounds, without any tolerance."""
    lower, upper = (t[i].flatten(1).double().numpy() for t in bounds[:2])
    if exact.dtype == object:
        pairs = zip(lower.flat, exact.flat, upper.flat, strict=True)
        return all(Fraction(float(low)) <= value <= Fraction(float(high)) for low, value, high in pairs)
    return bool(((lower.astype(exact.dtype) <= exact) & (exact <= upper.astype(exact.dtype))).all())


@pytest.mark.parametrize("seed", range(12))
def test_no_bound_is_ever_wrong(seed):
    """Two thousand inputs of random networks, any budget, with numbers on the kink and numbers of any size."""
    rng = np.random.default_rng(seed)
    for case in range(56):
        n = int(rng.integers(1, 7))
        dtype = torch.float32 if rng.integers(3) == 0 else torch.float64
        model = random_network(rng, n, dtype).requires_grad_(False)
        x, baseline = (torch.as_tensor(rng.normal(size=(3, n)) * 10 ** rng.uniform(-2, 2), dtype=dtype) for _ in "xr")
        if rng.integers(2):
            x, baseline = x.round(), baseline.round()  # players at their baseline, too
        bounds = sn.shapley_bounds(model, x, baseline, budget=int(n + rng.integers(0, 2 ** rng.integers(1, 9))))
        for i in range(3):
            exact = exact_values(model, x[i], baseline[i], np.longdouble)
            assert contained(bounds, i, exact), f"case {case}, input {i} of seed {seed}: {model}"


def test_bounds_hold_for_rational_numbers():
    """The same in exact arithmetic, in which nothing is rounded anywhere."""
    rng = np.random.default_rng(99)
    for case in range(30):
        n = int(rng.integers(1, 4))
        model = random_network(rng, n, torch.float64).requires_grad_(False)
        x, baseline = (torch.as_tensor(rng.normal(size=(1, n))) for _ in "xr")
        bounds = sn.shapley_bounds(model, x, baseline)
        assert bool(bounds.met.all())
        assert contained(bounds, 0, exact_values(model, x[0], baseline[0], Fraction)), case


@pytest.mark.parametrize("sizes", [(1, 4, 1), (4, 8, 2), (6, 8, 8, 1), (10, 12, 1), (7, 6, 6, 6, 2)])
def test_bounds_meet_at_the_exact_values(sizes):
    model, x, baseline = network(*sizes), normal(2, sizes[0]), normal(2, sizes[0], seed=5)
    bounds = sn.shapley_bounds(model, x, baseline)
    exact = sn.shapley_values(model, x, baseline)
    assert bool(bounds.met.all())
    assert bool((bounds.evaluations <= sizes[0] * (2 ** sizes[0] - 1)).all())
    size = float(exact.abs().max())
    assert float((bounds.upper - bounds.lower).max()) < 1e-9 * size
    assert_close((bounds.upper + bounds.lower) / 2, exact, rtol=0, atol=1e-9 * size)


def test_budgets_are_kept_and_buy_width():
    model, x = network(12, 16, 16, 1), normal(2, 12)
    widths = []
    for budget in (12, 50, 400, 3000):
        bounds = sn.shapley_bounds(model, x, budget=budget)
        assert bool((bounds.evaluations <= budget).all()) and bool((bounds.evaluations >= min(budget - 1, 12)).all())
        assert not bool(bounds.met.any())
        widths.append(float((bounds.upper - bounds.lower).mean()))
    assert all(wide > 1.2 * narrow for wide, narrow in pairwise(widths)), widths


def test_many_players_are_bounded():
    """One hidden layer with 40 inputs: too many to enumerate, and the values to rounding by other means are inside."""
    model, x = network(40, 10, 1), normal(1, 40)
    bounds = sn.shapley_bounds(model, x, budget=2000)
    values, errors = sn.sample_shapley_values(model, x, permutations=4000, generator=torch.Generator().manual_seed(0))
    assert bool((bounds.lower <= values + 5 * errors).all()) and bool((values - 5 * errors <= bounds.upper).all())


def test_efficiency_tightens_two_players():
    """What one player is due at most leaves the other its least: widths of two players are equal."""
    model, x = network(2, 6, 6, 1), normal(1, 2)
    bounds = sn.shapley_bounds(model, x, budget=2)
    width = (bounds.upper - bounds.lower)[0, :, 0]
    assert float(width[0]) > 0
    assert_close(width[0], width[1], rtol=1e-9, atol=0)


def test_linear_models_and_players_at_the_baseline_take_nothing():
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)).double().requires_grad_(False)
    x, baseline = normal(2, 5), normal(5, seed=3)
    x[0, 2] = baseline[2]
    x[1] = baseline
    bounds = sn.shapley_bounds(model, x, baseline)
    assert bounds.evaluations.tolist() == [4, 0] and bounds.met.tolist() == [True, True]
    assert_close(bounds.lower, sn.shapley_values(model, x, baseline), rtol=1e-11, atol=1e-12)
    for bound in bounds[:2]:
        assert float(bound[0, 2].abs().max()) == 0 and float(bound[1].abs().max()) == 0


def test_images_with_convolutions_and_pooling():
    model = nn.Sequential(
        *(nn.Conv2d(1, 2, 2, padding=1), nn.ReLU(), nn.AvgPool2d(2, padding=1), nn.Conv2d(2, 2, 2, stride=2, groups=2)),
        *(nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(2, 3)),
    )
    model = model.double().eval().requires_grad_(False)
    with torch.no_grad():
        for seed, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=seed))
    x = normal(2, 1, 3, 3)
    x[0, 0, 0] = 0
    bounds, exact = sn.shapley_bounds(model, x), sn.shapley_values(model, x)
    assert bounds.lower.shape == exact.shape == (2, 1, 3, 3, 3)
    assert bool(bounds.met.all())
    assert bool((bounds.lower <= exact + 1e-13).all()) and bool((exact <= bounds.upper + 1e-13).all())
    assert float((bounds.upper - bounds.lower).max()) < 1e-10 * float(exact.abs().max())
    few = sn.shapley_bounds(model, x, budget=30)
    assert bool((few.lower <= exact).all()) and bool((exact <= few.upper).all())


def test_a_model_may_begin_with_a_relu_and_answer_one_number():
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 1), nn.ReLU(), nn.Flatten(0 + 1)).double().requires_grad_(False)
    x = normal(2, 3)
    bounds, exact = sn.shapley_bounds(model, x), sn.shapley_values(model, x)
    assert_close(bounds.lower, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bounds_are_rounded_outward(dtype):
    """Those of a float64 model with the same numbers are inside, however coarse the answer."""
    model, x = network(4, 5, 2).to(dtype), normal(3, 4).to(dtype)
    bounds, fine = sn.shapley_bounds(model, x), sn.shapley_bounds(model.double(), x.double())
    assert bounds.lower.dtype == bounds.upper.dtype == dtype
    assert bool((bounds.lower.double() <= fine.lower).all()) and bool((fine.upper <= bounds.upper.double()).all())
    assert float((bounds.upper - bounds.lower).double().max()) < 4 * torch.finfo(dtype).eps * float(
        fine.upper.abs().max()
    )


def test_inputs_are_bounded_each_by_itself_and_without_a_graph():
    model, x = network(5, 6, 1).requires_grad_(True), normal(3, 5)
    together = sn.shapley_bounds(model, x, budget=40)
    for i in range(3):
        alone = sn.shapley_bounds(model, x[i : i + 1], budget=40)
        assert torch.equal(alone.lower[0], together.lower[i]) and torch.equal(alone.upper[0], together.upper[i])
    assert not together.lower.requires_grad


@pytest.mark.parametrize(
    ("model", "budget", "error", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), 100, TypeError, r"layer '1' \(Tanh\) cannot be followed.*takes"),
        (nn.Sequential(nn.Linear(3, 2)), 2, ValueError, "budget must be at least 3.*got 2"),
        (nn.Sequential(nn.Linear(3, 2)), 2.5, TypeError, "budget must be a whole number.*got 2.5"),
        (nn.Sequential(nn.Linear(3, 2)), True, TypeError, "budget must be a whole number.*got True"),
        (lambda z: z, 100, TypeError, "model must be an nn.Sequential; got function"),
    ],
)
def test_refusals(model, budget, error, message):
    with pytest.raises(error, match=message):
        sn.shapley_bounds(model, torch.ones(1, 3), budget=budget)


def test_bounds_that_float64_cannot_hold_are_refused():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double() * 1e200)
        model[2].weight.copy_(torch.tensor([[1.0, -1.0]]).double() * 1e200)
    with pytest.raises(ValueError, match="cannot hold"):
        sn.shapley_bounds(model.requires_grad_(False), torch.ones(1, 2).double(), budget=2)
