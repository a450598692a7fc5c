"""Sampling: its errors cover, its pairs pay, its cost is as stated."""

import gc
import platform
import subprocess
import sys
from functools import partial

import pytest
import torch
from contracts import network, normal
from oracles import tolerance
from scipy.stats import binom, t
from torch import nn
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
    assert sum(rows) == 3 * (10 * 6 + 2) + 1 + 4 * 3  # and one row alone, three games' ends twice
    assert max(rows) <= 50
    for chunk_size in (1, 2, 5, 6, 7, 12):
        rows.clear()
        sn.sample_shapley_values(f, normal(3, 7), permutations=10, generator=seeded(0), chunk_size=chunk_size)
        assert sum(rows) == 3 * (10 * 6 + 2) + 1 + 4 * 3 and max(rows) <= chunk_size


def test_look_costs_no_more_in_a_large_batch():
    rows = []
    f = lambda z: rows.append(len(z)) or z.prod(1)  # noqa: E731
    sn.sample_shapley_values(f, normal(30, 7), permutations=4, generator=seeded(0))
    assert sum(rows) == 30 * (4 * 6 + 2) + 1 + 16


def test_memory_is_that_of_a_chunk():
    """A mask a place would be 2000 x 2000 for each order; answers of 4 x 1999 rows are kept, and nothing else."""
    alive = []

    def f(z):
        alive.append(sum(t.numel() for t in gc.get_objects() if issubclass(type(t), torch.Tensor)))
        return z.sum(1)

    gc.freeze()
    try:
        sn.sample_shapley_values(f, torch.ones(1, 2000), permutations=4, chunk_size=16, generator=seeded(0))
    finally:
        gc.unfreeze()
    assert max(alive) - alive[0] < 6 * 16 * 2000 + 10 * 4 * 2000


PEAK = """
import resource
import torch
import shapnotes as sn

def grown_by(features):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sn.sample_shapley_values(
        lambda z: z.sum(1), torch.ones(1, features), permutations=4, chunk_size=64, progress=False,
        generator=torch.Generator().manual_seed(0),
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

torch.set_num_threads(1)
grown_by(50)
print(grown_by(20_000) / 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other heaps")
def test_the_process_keeps_no_memory_of_rows_that_are_gone():
    """A chunk has 64 x 20,000 numbers, 5 MB. It was up to 1.2 GB, in about half of the processes."""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
        assert float(done.stdout) < 128, f"{done.stdout} MiB"


ESTIMATORS = {  # with 900 evaluations or so of ten players, and with few
    "orders": (partial(sn.sample_shapley_values, permutations=100), partial(sn.sample_shapley_values, permutations=4)),
    "regression": (
        partial(sn.regression_shapley_values, evaluations=900),
        partial(sn.regression_shapley_values, evaluations=36),
    ),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_saved_for_backward_is_little_more_than_the_answers(estimator):
    """Also where nobody wants a gradient, and parameters require one as they usually do."""
    estimate, _ = ESTIMATORS[estimator]
    saved = []
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))
    x = torch.ones(1, 10)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        values, _ = estimate(model, x, generator=seeded(0), chunk_size=90)
    assert sum(saved) < 900 * 64  # one hidden layer over all rows would be more
    values.square().sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    values, _ = estimate(model, x, generator=seeded(0), chunk_size=10**4)
    values.square().sum().backward()
    for one, other in zip(got, model.parameters(), strict=True):
        assert_close(one, other.grad, **tolerance(torch.float32))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_graph_is_kept_when_none_is_wanted(estimator):
    _, estimate = ESTIMATORS[estimator]
    model = network(6, 1)
    with torch.no_grad():
        values, errors = estimate(model, normal(1, 6))
    assert not values.requires_grad and not errors.requires_grad
    frozen = network(6, 1).requires_grad_(False)
    assert not estimate(frozen, normal(1, 6))[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_have_the_inputs_dtype(dtype):
    """Whatever f answers in."""
    x = normal(2, 4, dtype=dtype)
    for f in (lambda z: z.double().prod(1), lambda z: z.float().prod(1)):
        for part in sn.sample_shapley_values(f, x, permutations=6):
            assert part.dtype == dtype


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
