"""What sub-cubes weigh, and how often a free player is there, by enumeration."""

from itertools import product
from math import factorial

import pytest
import torch

from shapnotes.bounds.cubes import Cubes, all_coalitions, joined


def weight(n: int, size: int) -> float:
    return factorial(size) * factorial(n - 1 - size) / factorial(n)


def all_cubes(n: int) -> Cubes:
    """Every sub-cube of the coalitions that player 0 can join."""
    states = torch.tensor([[2, *state] for state in product((0, 1, 2), repeat=n - 1)])  # 0 absent, 1 present, 2 free
    free = states == 2
    free[:, 0] = False
    return Cubes(torch.zeros(len(states), dtype=torch.int64), free, states == 1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_weights_and_chances_are_those_of_the_coalitions(n):
    cubes = all_cubes(n)
    weights, chances = cubes.weights(), cubes.chance()
    for i in range(len(cubes.player)):
        free = torch.nonzero(cubes.free[i]).flatten().tolist()
        total, with_first = 0.0, 0.0
        for choice in product((0, 1), repeat=len(free)):
            one = weight(n, int(cubes.present[i].sum()) + sum(choice))
            total += one
            with_first += one * (choice[0] if choice else 0)
        assert float(weights[i]) == pytest.approx(total, rel=1e-14)
        if free:
            assert float(chances[i]) == pytest.approx(with_first / total, rel=1e-14)


def test_halves_are_the_whole():
    whole = all_coalitions(4, torch.device("cpu"))
    assert whole.weights().tolist() == [1.0] * 4
    halves = whole.split(torch.tensor([1, 0, 3, 2]))
    assert torch.equal(halves.player, torch.tensor([0, 1, 2, 3] * 2))
    assert (halves.weights()[:4] + halves.weights()[4:]).tolist() == pytest.approx([1.0] * 4)
    assert int(halves.present.sum()) == 4 and int(halves.free.sum()) == 16
    assert halves.counts()[1].tolist() == [0] * 4 + [1] * 4
    again = joined([halves.part(slice(0, 3)), halves.part(slice(3, 8))])
    assert torch.equal(again.free, halves.free) and torch.equal(again.present, halves.present)
