"""The axioms as properties of random games, and other things that hold for every game."""

import torch
from contracts import normal
from hypothesis import given
from hypothesis import strategies as st
from oracles import by_dividends, by_permutations, tolerance
from torch.testing import assert_close

import shapnotes as sn

F64 = tolerance(torch.float64)

players = st.integers(1, 6)
seeds = st.integers(0, 10_000)


def game(n: int, seed: int, outputs: int = 2) -> torch.Tensor:
    return normal(2**n, outputs, seed=seed)


@given(players, seeds)
def test_efficiency(n, seed):
    v = game(n, seed)
    assert_close(sn.shapley_from_table(v).sum(0), v[-1] - v[0], **F64)


@given(players, seeds, st.data())
def test_symmetry(n, seed, data):
    """Players whom every coalition values alike get the same."""
    i, j = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    v = game(n, seed)
    swapped = (v + v[exchange(n, i, j)]) / 2
    phi = sn.shapley_from_table(swapped)
    assert_close(phi[i], phi[j], **F64)


@given(players, seeds, st.data())
def test_relabelling(n, seed, data):
    """New names for the players carry their values along."""
    order = data.draw(st.permutations(range(n)))
    v = game(n, seed)
    rows = [sum(1 << order[i] for i in range(n) if row >> i & 1) for row in range(2**n)]
    assert_close(sn.shapley_from_table(v[rows]), sn.shapley_from_table(v)[list(order)], **F64)


@given(players, seeds, st.data())
def test_null_player(n, seed, data):
    """Who never changes anything gets nothing."""
    i = data.draw(st.integers(0, n - 1))
    v = game(n, seed)
    without = v[torch.arange(2**n) & ~(1 << i)]
    assert float(sn.shapley_from_table(without)[i].abs().max()) < 1e-13


@given(players, seeds, st.floats(-3, 3), st.floats(-3, 3))
def test_linearity(n, seed, a, b):
    v, w = game(n, seed), game(n, seed + 1)
    both = sn.shapley_from_table(a * v + b * w)
    assert_close(both, a * sn.shapley_from_table(v) + b * sn.shapley_from_table(w), **F64)


@given(players, seeds, st.data())
def test_strong_monotonicity(n, seed, data):
    """Whoever contributes at least as much everywhere gets at least as much (Young)."""
    i = data.draw(st.integers(0, n - 1))
    v = game(n, seed)
    more = v + torch.where((torch.arange(2**n) >> i & 1)[:, None] == 1, normal(2**n, 2, seed=seed + 1).abs(), 0)
    assert bool((sn.shapley_from_table(more)[i] >= sn.shapley_from_table(v)[i] - 1e-12).all())


@given(st.integers(1, 5), seeds)
def test_both_oracles_agree(n, seed):
    """The oracles are two routes: where they agree, an error would have to be made twice."""
    v = game(n, seed)
    assert_close(by_permutations(v), by_dividends(v), **F64)
    assert_close(sn.shapley_from_table(v), by_dividends(v), **F64)


@given(st.integers(1, 5), seeds, st.integers(1, 40), st.booleans())
def test_streaming_equals_the_table(n, seed, chunk_size, shared):
    """However the coalitions are cut into chunks, whether the first layer is shared or not."""
    weight = normal(3, n, seed=seed)
    layer = torch.nn.Linear(n, 3).double().requires_grad_(False)
    layer.weight.copy_(weight)
    model = torch.nn.Sequential(layer, torch.nn.Tanh())
    x, baseline = normal(2, n, seed=seed + 1), normal(n, seed=seed + 2)
    rows = torch.where(sn.coalitions.masks(n), x[:, None], baseline)
    expected = torch.stack([sn.shapley_from_table(model(one)) for one in rows])
    f = model if shared else lambda z: model(z)
    assert_close(sn.shapley_values(f, x, baseline, chunk_size=chunk_size), expected, **F64)


def test_known_games():
    glove = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])  # players 0 and 1 hold a left glove each, player 2 the right one
    assert_close(
        sn.shapley_from_table(glove),
        torch.tensor([1 / 6, 1 / 6, 2 / 3], dtype=torch.float64),
        **F64,
    )
    majority = (sn.coalitions.sizes(5) >= 3).double()
    assert_close(sn.shapley_from_table(majority), torch.full((5,), 0.2, dtype=torch.float64), **F64)
    additive = sn.coalitions.masks(4).double() @ torch.tensor([1.0, -2.0, 3.0, 0.0], dtype=torch.float64)
    assert_close(
        sn.shapley_from_table(additive),
        torch.tensor([1.0, -2.0, 3.0, 0.0], dtype=torch.float64),
        **F64,
    )


def exchange(n: int, i: int, j: int) -> torch.Tensor:
    """Row numbers after players i and j change places."""
    rows = torch.arange(2**n)
    differ = ((rows >> i) ^ (rows >> j)) & 1
    return rows ^ (differ << i) ^ (differ << j) if i != j else rows
