"""Regression on pairs: the definition's numbers, errors that cover, and a cost as stated."""

import gc
from math import comb

import pytest
import torch
from contracts import masks_of, network, normal
from oracles import by_permutations, by_regression, table_of, tolerance
from scipy.stats import binom
from torch.testing import assert_close

import shapnotes as sn
from shapnotes._kernel_coalitions import kernel_pairs
from shapnotes._runtime.progress import progress_bar
from shapnotes.game import Game
from shapnotes.regression import _Coalitions, _estimated, _Wanted

F64 = tolerance(torch.float64)
CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cubic(z: torch.Tensor) -> torch.Tensor:
    """Interactions of three players."""
    return (z @ normal(z.shape[1], 3, seed=5)).prod(1)


def table_at(f, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    return table_of(f, x, baseline, list(range(x.numel()))).reshape(2 ** x.numel(), -1)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_the_regression_on_all_coalitions_is_the_shapley_value(n):
    """The slow reference against the definition by orders."""
    table = normal(2**n, 2)
    rows = masks_of(n)[1:-1]
    weight = [(n - 1) / (comb(n, s) * s * (n - s)) for s in rows.sum(1).tolist()]
    got = by_regression(rows, torch.tensor(weight, dtype=torch.float64), table[1:-1] - table[0], table[-1] - table[0])
    assert_close(got, by_permutations(table), **F64)


@pytest.mark.parametrize(("n", "evaluations"), [(6, 36), (6, 60), (7, 60), (8, 48), (9, 200)])
def test_values_are_those_of_weighted_least_squares_on_both_halves_of_each_pair(n, evaluations):
    model, x, baseline = network(n, 2).requires_grad_(False), normal(2, n), normal(n, seed=2)
    values, _ = sn.regression_shapley_values(model, x, baseline, evaluations=evaluations, generator=seeded(3))
    generator = seeded(3)
    for one, got in zip(x, values, strict=True):
        pairs = kernel_pairs(n, evaluations // 2, generator, CPU)
        rows = torch.cat([pairs.present, ~pairs.present])
        worths, (empty, full) = model(torch.where(rows, one, baseline)), model(torch.stack([baseline, one]))
        assert_close(got, by_regression(rows, pairs.weight.repeat(2), worths - empty, full - empty), **F64)


@pytest.mark.parametrize(("n", "evaluations"), [(6, 36), (8, 60)])
def test_standard_errors_are_those_of_leaving_one_pair_out(n, evaluations):
    """What a pair moves the values by, but for the finite share of its size: each from a regression of its own."""
    model, x = network(n, 2).requires_grad_(False), normal(1, n)
    values, errors = sn.regression_shapley_values(model, x, evaluations=evaluations, generator=seeded(3))
    pairs = kernel_pairs(n, evaluations // 2, seeded(3), CPU)
    empty, full = model(torch.stack([0 * x[0], x[0]]))
    variance = torch.zeros(n, 2, dtype=torch.float64)
    for left_out in range(len(pairs.present)):
        others = torch.arange(len(pairs.present)) != left_out
        rows = torch.cat([pairs.present[others], ~pairs.present[others]])
        worths = model(torch.where(rows, x, 0.0)) - empty
        without = by_regression(rows, pairs.weight[others].repeat(2), worths, full - empty)
        variance += pairs.unseen[left_out] * (values[0] - without) ** 2
    assert_close(errors[0], variance.sqrt(), **F64)


def test_additive_games_and_those_of_two_players_are_exact():
    """From the fewest evaluations; and those of three players are not."""
    x, baseline, a = normal(3, 9), normal(9, seed=2), normal(9, 9, seed=3)
    additive = lambda z: torch.stack([z.sin().sum(1), z @ a[0]], 1)  # noqa: E731
    pairwise = lambda z: torch.einsum("bi,ij,bj->b", z, a, z) + z.exp().sum(1)  # noqa: E731
    for f in (additive, pairwise):
        values, errors = sn.regression_shapley_values(f, x, baseline, evaluations=54, generator=seeded(0))
        assert_close(values, sn.shapley_values(f, x, baseline), rtol=1e-10, atol=1e-11)
        assert float(errors.max()) < 1e-10
    values, errors = sn.regression_shapley_values(cubic, x, baseline, evaluations=54, generator=seeded(0))
    off = (values - sn.shapley_values(cubic, x, baseline)).abs()
    assert float(off.min()) > 1e-6 and float(errors.min()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("evaluations", [72, 400])
def test_values_sum_to_the_change_of_the_prediction(dtype, evaluations):
    model, x, baseline = network(12, 3).to(dtype), normal(4, 12, dtype=dtype), normal(12, seed=2, dtype=dtype)
    with torch.no_grad():
        values, _ = sn.regression_shapley_values(model, x, baseline, evaluations=evaluations, generator=seeded(0))
        change = model(x) - model(baseline)
    size = float(values.abs().sum(1).max())
    assert values.dtype == dtype
    assert float((values.sum(1) - change).abs().max()) < 20 * torch.finfo(dtype).eps * size


def test_players_at_the_baseline_take_no_part():
    """Their value is exactly zero, and the others have the numbers of a game without them."""
    x = normal(1, 12)
    x[0, [2, 7, 11]] = 0.0
    values, errors = sn.regression_shapley_values(cubic, x, evaluations=60, generator=seeded(0))
    others = [i for i in range(12) if i not in (2, 7, 11)]
    fewer = lambda z: cubic(torch.zeros(len(z), 12, dtype=z.dtype).index_copy(1, torch.tensor(others), z))  # noqa: E731
    expected = sn.regression_shapley_values(fewer, x[:, others], evaluations=60, generator=seeded(0))
    for got, wanted in zip((values, errors), expected, strict=True):
        assert bool((got[0, [2, 7, 11]] == 0).all())
        assert_close(got[:, others], wanted, **F64)


def test_a_null_player_is_zero_within_its_standard_error():
    """It is estimated as any other, and not zero without error."""
    f = lambda z: cubic(z[:, 1:])  # noqa: E731
    values, errors = sn.regression_shapley_values(f, normal(1, 12).expand(50, 12), evaluations=100, generator=seeded(0))
    z = values[:, 0] / errors[:, 0]
    assert bool((z != 0).all()) and float(z.abs().max()) < 5 and float((z**2).mean()) < 1.5


# --- standard errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "evaluations"), [(8, 120), (12, 400)])
def test_intervals_cover(n, evaluations):
    """1.96 standard errors hold the exact value in 95 % of 200 draws, for every player, within binomial chance."""
    model, one = network(n, 1).requires_grad_(False), 2 * normal(1, n)
    draws = 200
    x = one.expand(draws, n)  # each input has its own pairs: one call is 200 independent experiments
    values, errors = sn.regression_shapley_values(model, x, evaluations=evaluations, generator=seeded(1))
    inside = ((values - sn.shapley_values(model, one)).abs() <= 1.96 * errors).sum(0).flatten()
    low, high = binom.ppf([1e-4, 1 - 1e-4], draws, 0.95)
    assert bool((inside >= low).all()) and bool((inside <= high).all()), inside.tolist()


def test_intervals_of_the_fewest_evaluations_cover_at_least():
    model, one = network(10, 1).requires_grad_(False), 2 * normal(1, 10)
    values, errors = sn.regression_shapley_values(model, one.expand(200, 10), evaluations=60, generator=seeded(1))
    inside = ((values - sn.shapley_values(model, one)).abs() <= 1.96 * errors).sum(0).flatten()
    assert bool((inside >= binom.ppf(1e-4, 200, 0.95)).all()), inside.tolist()


def test_errors_shrink_with_the_square_root():
    """Of 30 players no size but the first is ever whole here, which would make it faster."""
    model, x = network(30, 1).requires_grad_(False), normal(4, 30)
    few, many = (sn.regression_shapley_values(model, x, evaluations=m, generator=seeded(0))[1] for m in (400, 6400))
    assert 3.4 < float(few.norm() / many.norm()) < 5.3


def test_more_evaluations_than_are_held_are_several_regressions():
    """Their average has the mean and the errors of one regression on all."""
    n, model, x = 10, network(10, 2).requires_grad_(False), 2 * normal(1, 10)
    game = Game(model, x)
    exact = sn.shapley_values(model, x)[0]
    rows, found = [], []
    for seed in range(100):
        coalitions = _Coalitions(game, 0, torch.arange(n), 64, progress_bar(1, "", False))
        coalitions.bar.update = rows.append
        found.append(_estimated(coalitions, _Wanted(360, None), seeded(seed), held_bytes=60 * (n + 24 * 2)))
    assert sum(rows) == 100 * 360 and max(rows) == 60
    values, errors = (torch.stack(part) for part in zip(*found, strict=True))
    spread = values.std(0)
    assert bool(((values.mean(0) - exact).abs() < 5 * spread / 10).all())
    ratio = spread / errors.square().mean(0).sqrt()
    assert 0.7 < float(ratio.min()) and float(ratio.max()) < 1.3
    assert_close(values.sum(1), (model(x) - model(0 * x)).expand(100, 2), **F64)


# --- how many evaluations ---------------------------------------------------------------------------------------------


def counted(rows: list[int]):
    return lambda z: rows.append(len(z)) or cubic(z)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 7, 50])
def test_cost(chunk_size):
    rows: list[int] = []
    sn.regression_shapley_values(
        counted(rows), normal(3, 7), evaluations=60, generator=seeded(0), chunk_size=chunk_size
    )
    assert sum(rows) == 3 * (60 + 2) + 1 + 4 * 3  # and one row alone, three games' ends twice
    assert max(rows) <= (chunk_size or 60)


@pytest.mark.parametrize("evaluations", [126, 128, 10_000, None])
def test_all_coalitions_are_exact(evaluations):
    rows: list[int] = []
    x = normal(3, 7)
    values, errors = sn.regression_shapley_values(counted(rows), x, evaluations=evaluations)
    assert_close(values, sn.shapley_values(cubic, x), **F64)
    assert not errors.any()
    assert sum(rows) < 3 * (128 + 2) + 20


def test_inputs_with_few_players_are_exact_among_others():
    x = normal(3, 12)
    x[1, 4:] = 0
    values, errors = sn.regression_shapley_values(cubic, x, evaluations=72, generator=seeded(0))
    assert_close(values[1], sn.shapley_values(cubic, x[1:2])[0], **F64)
    assert not errors[1].any() and bool((errors[[0, 2]] > 0).all())
    assert not sn.regression_shapley_values(cubic, 0 * x)[0].any()


@pytest.mark.parametrize("n", [12, 20])
def test_a_tolerance_is_reached(n):
    x, model = normal(2, n), network(n, 2).requires_grad_(False)
    rows: list[int] = []
    f = lambda z: rows.append(len(z)) or model(z)  # noqa: E731
    first = sn.regression_shapley_values(f, x, generator=seeded(0))
    usual, error = sum(rows), float(first[1].max())
    for wanted in (1.01 * error, 0.7 * error, 0.3 * error):
        rows.clear()
        values, errors = sn.regression_shapley_values(f, x, tolerance=wanted, generator=seeded(0))
        assert float(errors.max()) <= wanted
        assert (sum(rows) > usual) == (wanted < error)
        if wanted > error:
            assert torch.equal(values, first[0])
        if n == 12:
            assert float((values - sn.shapley_values(model, x)).abs().max()) <= 5 * wanted


def test_a_tolerance_stops_at_the_evaluations():
    model, x = network(20, 1).requires_grad_(False), normal(2, 20)
    rows: list[int] = []
    f = lambda z: rows.append(len(z)) or model(z)  # noqa: E731
    _, errors = sn.regression_shapley_values(f, x, tolerance=1e-9, evaluations=9000, generator=seeded(0))
    assert float(errors.max()) > 1e-9
    assert 2 * (9000 - 120) <= sum(rows) - 2 * 2 - 1 - 4 * 2 <= 2 * 9000


def test_a_tolerance_that_takes_all_coalitions_is_exact():
    model, x = network(13, 1).requires_grad_(False), normal(1, 13)
    values, errors = sn.regression_shapley_values(model, x, tolerance=1e-9, generator=seeded(0))
    assert_close(values, sn.shapley_values(model, x), **F64)
    assert not errors.any()
    _, errors = sn.regression_shapley_values(model, x, tolerance=1e-9, evaluations=4000, generator=seeded(0))
    assert float(errors.max()) > 1e-9


def test_averages_of_regressions_that_a_tolerance_takes_cover():
    model, one = network(12, 1).requires_grad_(False), 2 * normal(1, 12)
    values, errors = sn.regression_shapley_values(
        model, one.expand(200, 12), tolerance=0.045, evaluations=1500, generator=seeded(2)
    )
    inside = ((values - sn.shapley_values(model, one)).abs() <= 1.96 * errors).sum(0).flatten()
    assert bool((inside >= binom.ppf(1e-4, 200, 0.95)).all()), inside.tolist()


# --- as the other estimates -------------------------------------------------------------------------------------------


def test_memory_is_that_of_a_chunk():
    """Rows of all pairs would have 1000 x 200 numbers; matrices [200, 200] come after the rows."""
    alive = []

    def f(z):
        alive.append(sum(t.numel() for t in gc.get_objects() if issubclass(type(t), torch.Tensor)))
        return z.sum(1)

    gc.freeze()
    try:
        sn.regression_shapley_values(f, torch.ones(1, 200), evaluations=2000, chunk_size=16, generator=seeded(0))
    finally:
        gc.unfreeze()
    assert (
        len(alive) > 120 and max(alive) - alive[0] < 1000 * 200 + 6 * 16 * 200 + 10 * 2000
    )  # one byte each, the first


def test_groups_and_gradients():
    """Of a game of two players at a time, whose values are exact, and so are their gradients; a player at zero, too."""
    x, baseline, a = normal(2, 9), normal(9, seed=4), normal(9, 9, seed=3).requires_grad_()
    x[0, 3] = baseline[3]
    x.requires_grad_()
    groups = [[0, 1], [2, 3, 4], [5], [6], [7], [8]]
    f = lambda z: torch.einsum("bi,ij,bj->b", z, a, z)  # noqa: E731
    for chosen, evaluations in ((None, 54), (groups, 36), (groups, 62)):
        runs = (
            sn.regression_shapley_values(
                f, x, baseline, groups=chosen, evaluations=evaluations, generator=seeded(0), chunk_size=10
            )[0],
            sn.shapley_values(f, x, baseline, groups=chosen),
        )
        assert_close(*runs, rtol=1e-10, atol=1e-11)
        for got, wanted in zip(*(torch.autograd.grad(v.sin().sum(), [x, a]) for v in runs), strict=True):
            assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_same_seed_same_estimate_and_batch_has_its_own_pairs():
    model, x = network(9, 2), normal(1, 9).expand(2, 9)
    with torch.no_grad():
        a, b = (sn.regression_shapley_values(model, x, evaluations=60, generator=seeded(9))[0] for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a[0], a[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_have_the_inputs_dtype(dtype):
    """Whatever f answers in, drawn or exact."""
    x = normal(2, 6, dtype=dtype)
    for f in (lambda z: z.double().prod(1), lambda z: z.float().prod(1)):
        for evaluations in (36, None):
            for part in sn.regression_shapley_values(f, x, evaluations=evaluations):
                assert part.dtype == dtype


@pytest.mark.parametrize("features", [(1,), (2, 3), (8,)])
@pytest.mark.parametrize("outputs", [(), (2, 3)])
def test_axes(features, outputs):
    x = normal(2, *features)
    weight = normal(x[0].numel(), *outputs, seed=2)
    f = lambda z: torch.tensordot(z.flatten(1), weight, 1).tanh()  # noqa: E731
    for part in sn.regression_shapley_values(f, x, evaluations=48, generator=seeded(0)):
        assert part.shape == (2, *features, *outputs)


def test_values_of_many_outputs_are_those_of_each():
    model, x = network(9, 3).requires_grad_(False), normal(2, 9)
    for part, one in zip(
        sn.regression_shapley_values(model, x, evaluations=60, generator=seeded(0)),
        sn.regression_shapley_values(lambda z: model(z)[:, 1], x, evaluations=60, generator=seeded(0)),
        strict=True,
    ):
        assert_close(part[..., 1], one, **F64)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluations", [0, -2, 7, 40.0, True, "40"])
def test_evaluations_come_in_pairs(evaluations):
    with pytest.raises(ValueError, match="evaluations must be an even whole number"):
        sn.regression_shapley_values(cubic, normal(1, 5), evaluations=evaluations)


@pytest.mark.parametrize(
    ("n", "evaluations", "says"),
    [(9, 52, "too few for 9 players.*takes 54 at least, 6 per player"), (4, 12, "takes 14 at least, all coalitions")],
)
def test_too_few_evaluations(n, evaluations, says):
    with pytest.raises(ValueError, match=says):
        sn.regression_shapley_values(cubic, normal(2, n), evaluations=evaluations)
    x = normal(2, n)
    x[:, 2:] = 0  # two players
    sn.regression_shapley_values(cubic, x, evaluations=evaluations)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "0.1"])
def test_a_tolerance_is_a_positive_number(value):
    with pytest.raises(ValueError, match="tolerance must be a positive number"):
        sn.regression_shapley_values(cubic, normal(1, 5), tolerance=value)


def test_a_hopeless_tolerance():
    with pytest.raises(ValueError, match=r"standard error of 1e-12 would take about .* evaluations.*evaluations="):
        sn.regression_shapley_values(cubic, normal(1, 60), tolerance=1e-12, generator=seeded(0))


def test_generator_is_a_generator():
    with pytest.raises(TypeError, match=r"must be a torch\.Generator.*got int"):
        sn.regression_shapley_values(cubic, normal(1, 6), evaluations=36, generator=0)
