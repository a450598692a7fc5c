"""Theorem 2: what a Shallow ShapNet shows is its exact Shapley value."""

import torch
from contracts import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import model_values
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.shapnet import ShallowShapNet, all_pairs, singletons

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def made(*arguments, **settings) -> ShallowShapNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ShallowShapNet(*arguments, **settings).double()


sets = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), min_size=1, max_size=6)


@settings(max_examples=25)
@given(sets, st.integers(0, 2**16), st.sampled_from([1, 3]))
def test_theorem_2(active_sets, seed, channels):
    """By all 120 orders of the five features of the whole network, the channels of a feature being one player."""
    shape = (5,) if channels == 1 else (5, channels)
    net = made(active_sets, 2, (5,), channels, n_features=5, baseline=normal(*shape, seed=seed + 1))
    x = normal(1, *shape, seed=seed)
    labels = [feature // channels for feature in range(5 * channels)]
    with torch.no_grad():
        expected = model_values(net, x, net.baseline, labels)
        assert_close(net.explain(x).attributions, expected, **EXACT)
        assert_close(net(x), expected.sum(1), **EXACT)


def test_the_constant_that_the_paper_leaves_out():
    """The values sum to f(x) - f(r), not to f(x); the network is that difference, so its values are those of f."""
    functions = [lambda rows: rows.prod(1, keepdim=True) + 7, lambda rows: rows.cos().sum(1, keepdim=True)]
    baseline = normal(3, seed=9)
    net = ShallowShapNet([(0, 1), (1, 2)], 1, inner=functions, baseline=baseline)
    f = lambda rows: functions[0](rows[:, :2]) + functions[1](rows[:, 1:])  # noqa: E731
    x = normal(4, 3)
    assert_close(net.explain(x).attributions, model_values(f, x, baseline), **EXACT)
    assert_close(net(x), f(x) - f(baseline[None]), **EXACT)
    assert float((net(x) - f(x)).abs().min()) > 1


def test_a_generalised_additive_model_shows_its_functions():
    functions = [torch.sin, torch.exp, torch.square]
    net = ShallowShapNet(singletons(3), 1, inner=functions)
    x = normal(5, 3)
    curves = torch.stack([f(x[:, i]) - f(torch.zeros(())) for i, f in enumerate(functions)], 1)
    assert_close(net.explain(x).attributions[..., 0], curves, **EXACT)


def test_more_features_than_can_be_enumerated():
    net = made(all_pairs(40), 1, hidden=(8,))
    x = normal(2, 40)
    with torch.no_grad():
        values, errors = sn.sample_shapley_values(net, x, permutations=4)
        assert float(errors.max()) < 1e-10  # pairs of orders are exact where no more than two features interact
        assert_close(net.explain(x).attributions, values, rtol=1e-9, atol=1e-10)


def test_features_are_counted_from_the_sets():
    net = ShallowShapNet(iter([(0, 4), (2, 1)]), 3)
    assert net.n_players == 5 and net.baseline.shape == (5,) and net(torch.zeros(2, 5)).shape == (2, 3)
    assert ShallowShapNet([(0, 1)], 1, n_features=4).baseline.shape == (4,)
    assert len(all_pairs(7)) == 21 and singletons(2) == [(0,), (1,)]
