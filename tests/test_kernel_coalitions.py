"""Pairs of coalitions: in the kernel's proportions, distinct, and all of a size where there are few."""

from itertools import combinations
from math import comb

import pytest
import torch
from torch.testing import assert_close

from shapnotes._kernel_coalitions import _numbered, kernel_pairs

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kernel(n: int) -> torch.Tensor:
    """The share of the pairs whose smaller half has 1, ..., n / 2 players, from the kernel of single coalitions."""
    of_coalition = [(n - 1) / (comb(n, s) * s * (n - s)) for s in range(1, n)]
    of_size = [comb(n, s) * k for s, k in enumerate(of_coalition, 1)]
    pairs = [of_size[s - 1] + (of_size[n - s - 1] if 2 * s != n else 0) for s in range(1, n // 2 + 1)]
    return torch.tensor(pairs, dtype=torch.float64) / sum(pairs)


@pytest.mark.parametrize(("n", "size"), [(5, 1), (5, 2), (6, 3), (9, 4)])
def test_numbers_are_those_of_all_coalitions_of_a_size(n, size):
    every = torch.arange(comb(n, size))
    got = {tuple(row.nonzero().flatten().tolist()) for row in _numbered(every, torch.full_like(every, size), n)}
    assert got == set(combinations(range(n), size))


@pytest.mark.parametrize(
    ("n", "count"), [(6, 18), (6, 30), (7, 21), (7, 50), (8, 100), (11, 300), (70, 400), (200, 500)]
)
def test_pairs_are_distinct_and_as_many_as_asked_for(n, count):
    for seed in range(3):
        pairs = kernel_pairs(n, count, seeded(seed), CPU)
        assert pairs.present.shape == (count, n)
        coalitions = {tuple(row.tolist()) for row in torch.cat([pairs.present, ~pairs.present])}
        assert len(coalitions) == 2 * count
        size = pairs.present.sum(1)
        assert bool((size >= 1).all()) and bool((size <= n // 2).all()) and bool((size.diff() >= 0).all())


@pytest.mark.parametrize(("n", "count"), [(6, 18), (7, 21), (8, 60), (9, 120), (12, 40), (71, 150)])
def test_weights_add_up_to_the_kernel(n, count):
    """Of each size on average, of sizes that are whole and of all together exactly."""
    total, draws = torch.zeros(n // 2, dtype=torch.float64), 200
    for seed in range(draws):
        pairs = kernel_pairs(n, count, seeded(seed), CPU)
        of_size = torch.zeros(n // 2, dtype=torch.float64).index_add(0, pairs.present.sum(1) - 1, pairs.weight)
        assert_close(of_size.sum(), torch.ones((), dtype=torch.float64))
        whole = torch.zeros(n // 2, dtype=torch.bool).index_fill(0, (pairs.present.sum(1) - 1)[pairs.unseen == 0], True)
        assert_close(of_size[whole], kernel(n)[whole])
        total += of_size
    assert float((total / draws - kernel(n)).abs().max()) < 5 * float(pairs.weight.max()) * 0.5 / draws**0.5


def test_a_size_is_whole_where_its_share_is_as_large():
    """Of 8 players 44 % of the kernel are single ones: 12 pairs leave some out, with 20 pairs all are there."""
    for count, whole in ((12, False), (20, True)):
        pairs = kernel_pairs(8, count, seeded(0), CPU)
        single = pairs.present.sum(1) == 1
        assert bool((pairs.unseen[single] == 0).all()) == whole == (int(single.sum()) == 8)
        assert_close(pairs.unseen[single], 1 - single.sum().double().expand(int(single.sum())) / 8)


def test_every_pair_of_a_size_has_the_same_chance():
    count, draws, seen = 20, 600, torch.zeros(8, 8, dtype=torch.float64)
    for seed in range(draws):
        pairs = kernel_pairs(8, count, seeded(seed), CPU)
        two = pairs.present[pairs.present.sum(1) == 2].double()
        seen += two.T @ two
    chances = (seen / draws)[~torch.eye(8, dtype=torch.bool)]
    expected = 12 * float(kernel(8)[1] / kernel(8)[1:].sum()) / 28
    assert float((chances - expected).abs().max()) < 5 * (expected / draws) ** 0.5


def test_players_have_the_same_chance_in_the_sizes_that_have_no_numbers():
    """Of 200 players there are too many coalitions of most sizes to be numbered."""
    draws = [kernel_pairs(200, 400, seeded(seed), CPU).present for seed in range(20)]
    large = torch.cat([present[present.sum(1) > 12] for present in draws]).double()
    chance = float(large.mean())
    assert float((large.mean(0) - chance).abs().max()) < 5 * (chance * (1 - chance) / len(large)) ** 0.5
