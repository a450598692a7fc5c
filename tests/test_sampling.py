"""Sampling: its errors cover, its pairs pay, its cost is as stated."""

import pytest
import torch
from contracts import network, normal
from oracles import tolerance
from scipy.stats import binom, t
from torch.testing import assert_close

import shapnotes as sn


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_intervals_cover():
    """Student's interval from 50 pairs holds the exact value in 95 % of inputs and players, within binomial chance."""
    model = network(5, 1).requires_grad_(False)
    one = normal(1, 5)
    repeats = 400
    x = one.expand(repeats, 5)  # each input has its own orders: one call is 400 independent experiments
    values, errors = sn.sample_shapley_values(model, x, permutations=100, generator=seeded(3))
    exact = sn.shapley_values(model, one)
    inside = ((values - exact).abs() <= t.ppf(0.975, df=49) * errors).sum(0).flatten()
    low, high = binom.ppf([1e-4, 1 - 1e-4], repeats, 0.95)
    assert bool((inside >= low).all()) and bool((inside <= high).all()), inside.tolist()


def test_errors_shrink_with_the_square_root():
    model, x = network(6, 1).requires_grad_(False), normal(4, 6)
    few, many = (sn.sample_shapley_values(model, x, permutations=p, generator=seeded(0))[1] for p in (100, 1600))
    assert 3 < float(few.norm() / many.norm()) < 5.3


def test_same_seed_same_estimate_and_batch_has_its_own_orders():
    model, x = network(5, 2).requires_grad_(False), normal(1, 5).expand(2, 5)
    a, b = (sn.sample_shapley_values(model, x, permutations=6, generator=seeded(9))[0] for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a[0], a[1])


def test_cost():
    rows = []
    f = lambda z: rows.append(len(z)) or z.prod(1)  # noqa: E731
    sn.sample_shapley_values(f, normal(3, 7), permutations=10, generator=seeded(0), chunk_size=50)
    assert sum(rows) == 3 * (10 * 6 + 2) + 1  # and one probe
    assert max(rows) <= 50


@pytest.mark.parametrize("features", [(1,), (2, 2)])
@pytest.mark.parametrize("outputs", [(), (2, 3)])
def test_axes(features, outputs):
    x = normal(2, *features)
    weight = normal(x[0].numel(), *outputs, seed=2)
    f = lambda z: torch.tensordot(z.flatten(1), weight, 1).tanh()  # noqa: E731
    for part in sn.sample_shapley_values(f, x, permutations=4, generator=seeded(0)):
        assert part.shape == (2, *features, *outputs)


def test_one_player_is_exact():
    values, errors = sn.sample_shapley_values(lambda z: z[:, 0] ** 2, normal(2, 1), permutations=4)
    assert_close(values, normal(2, 1) ** 2, **tolerance(torch.float64))
    assert float(errors.abs().max()) == 0


def test_groups_and_gradients():
    model = network(4, 1)
    x = normal(1, 4).requires_grad_()
    values, _ = sn.sample_shapley_values(model, x, groups=[[0, 1], [2, 3]], permutations=4, generator=seeded(0))
    exact = sn.shapley_values(model, x, groups=[[0, 1], [2, 3]])  # two players: a pair of orders is all orders
    assert_close(values, exact, **tolerance(torch.float64))
    for got, expected in zip(
        torch.autograd.grad(values.square().sum(), [x, *model.parameters()]),
        torch.autograd.grad(exact.square().sum(), [x, *model.parameters()]),
        strict=True,
    ):
        assert_close(got, expected, **tolerance(torch.float64))


@pytest.mark.parametrize("permutations", [0, 1, 2, 5, 4.0, True])
def test_orders_come_in_pairs(permutations):
    with pytest.raises(ValueError, match="even whole number, at least 4"):
        sn.sample_shapley_values(lambda z: z.sum(1), normal(1, 3), permutations=permutations)


def test_generator_is_a_generator():
    with pytest.raises(TypeError, match=r"must be a torch\.Generator.*got int"):
        sn.sample_shapley_values(lambda z: z.sum(1), normal(1, 3), permutations=4, generator=0)
