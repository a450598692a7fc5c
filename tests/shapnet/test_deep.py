"""Deep ShapNets: Theorem 3 and Corollary 4 for any number of features, and the door to the butterfly."""

from itertools import pairwise

import pytest
import torch
from contracts import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import tolerance
from shapnet_contracts import slow_transform
from torch.testing import assert_close

from shapnotes.shapnet import DeepShapNet, ShallowShapNet, butterfly

F64 = tolerance(torch.float64)


def made(*arguments, **settings) -> DeepShapNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DeepShapNet(*arguments, **settings).double()


@settings(max_examples=25)
@given(st.integers(2, 33), st.integers(0, 2**16), st.booleans(), st.data())
def test_theorem_3_and_corollary_4(n, seed, residual, data):
    still = data.draw(st.sets(st.integers(0, n - 1)))
    baseline = normal(n, seed=seed)
    net = made(n, (3, 2), 2, hidden=(4,), baseline=baseline, residual=residual)
    x = normal(3, n, seed=seed + 1)
    x[:, list(still)] = baseline[list(still)]
    with torch.no_grad():
        explanation, layers = net.explain(x), net.layers(x)
    assert len(layers) == (n - 1).bit_length()
    assert [tuple(layer.shape) for layer in layers] == [(3, n, c) for c in [*([3, 2] * 3)[: len(layers) - 1], 2]]
    assert_close(explanation.attributions.sum(1), explanation.prediction, **F64)
    assert float(explanation.gap().abs().max()) == 0
    for layer in layers:
        assert bool((layer[:, list(still)] == 0).all())


def test_missing_somewhere_is_missing_from_there_on():
    """Corollary 4 from a later stage: a representation that was set to zero stays there."""
    net = made(8, 3, 1, hidden=(4,))
    z = net.layers(normal(2, 8))[0].detach().clone()
    z[:, 5] = 0
    for stage in net.stages[1:]:
        z = stage(z)
        assert float(z[:, 5].detach().abs().max()) == 0 and float(z[:, 4].detach().abs().min()) > 0


def test_padding_never_shows():
    """With six features: what the eight of the next power of two give, two of them always at the baseline."""
    eight, six = made(8, 3, 2, hidden=(5,)), made(6, 3, 2, hidden=(5,))
    for ours, padded in zip(six.stages, eight.stages, strict=True):
        together = padded.blocks[0].sets
        for block in ours.blocks:
            for m, players in enumerate(block.sets):
                j = next(j for j, both in enumerate(together) if set(players) <= set(both))
                width = block.first.shape[2]
                for name in ("first", "bias", "last"):
                    weight = getattr(padded.blocks[0], name).data[j]
                    getattr(block, name).data[m] = weight[:, :width] if name == "first" else weight
    x = normal(4, 6)
    padded = eight.explain(torch.cat([x, torch.zeros(4, 2, dtype=x.dtype)], 1)).attributions
    assert_close(six.explain(x).attributions, padded[:, :6], **F64)
    assert float(padded[:, 6:].detach().abs().max()) == 0
    assert len(DeepShapNet(30, 2, 1).stages[0].active_sets) == 15


def test_one_stage_is_a_shallow_network():
    deep, shallow = made(2, 9, 3, hidden=(4,)), ShallowShapNet([(0, 1)], 3, hidden=(4,)).double()
    shallow.load_state_dict(deep.state_dict())
    x = normal(3, 2)
    assert_close(deep.explain(x).attributions, shallow.explain(x).attributions, rtol=0, atol=0)


def test_pairings_of_ones_own():
    sets = [[(0, 3), (1, 2)], [(0, 1, 2)], [(3, 0)]]
    net = made(4, [5, 6], 2, hidden=[(3,), (4, 3)], active_sets=sets, baseline=normal(4))
    assert [stage.active_sets for stage in net.stages] == sets
    assert [block.widths for stage in net.stages for block in stage.blocks] == [(3, 5), (4, 3, 6), (3, 2)]
    x = normal(2, 4, seed=1)
    first = slow_transform(net.stages[0], x[:, :, None], net.baseline[:, None])
    assert_close(net.layers(x)[0], first, **F64)
    assert bool((net.layers(x)[2][:, 1] == 0).all())  # a feature in no set of a stage is dropped by it


def test_channels_are_cycled_or_cut():
    shapes = lambda net: [layer.shape[2] for layer in net.layers(torch.zeros(1, net.n_players))]  # noqa: E731
    assert shapes(DeepShapNet(30, (3, 5), 2)) == [3, 5, 3, 5, 2]
    assert shapes(DeepShapNet(5, (3, 5, 7, 9), 2)) == [3, 5, 2]
    assert shapes(DeepShapNet(9, 4, 2)) == [4, 4, 4, 2]
    assert shapes(DeepShapNet(2, (), 2)) == shapes(DeepShapNet(1, (), 2)) == [2]
    with pytest.raises(ValueError, match="channels is empty; 2 are needed"):
        DeepShapNet(5, (), 1)
    with pytest.raises(ValueError, match="hidden layer"):
        DeepShapNet(5, 2, 1, hidden=())
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match="n must be a whole number, at least 1"):
            butterfly(n)


def test_sizes_last_through_the_stages():
    """With `keep_variance` over five stages; PyTorch's default for linear layers loses them."""
    x = normal(200, 32).float()
    for keep in (True, False):
        net = DeepShapNet(32, 40, 10, hidden=(80,), keep_variance=keep)
        net.reset_parameters(torch.Generator().manual_seed(0))
        with torch.no_grad():
            sizes = [float((z**2).mean()) for z in net.layers(x)]
        if keep:
            assert all(0.7 < size < 1.4 for size in sizes[:-1])
            assert 0.5 < float(net(x).detach().square().mean()) < 2
        else:
            assert all(after < before / 9 for before, after in pairwise(sizes[:-1]))


def test_weights_start_as_in_linear_layers():
    """Uniform within 1 / sqrt(fan-in), biases too, unless the variance is to be kept."""
    net = DeepShapNet(8, (50, 50), 10, hidden=((25,), (100, 100), (150, 150)))
    net.reset_parameters(torch.Generator().manual_seed(0))
    widths = [(2, 25, 50), (100, 100, 100, 50), (100, 150, 150, 10)]
    for (block,), (*fan_ins, _) in zip((stage.blocks for stage in net.stages), widths, strict=True):
        layers = zip(
            fan_ins, [block.first, *block.weights, block.last], [block.bias, *block.biases, block.last], strict=True
        )
        for fan_in, *drawn in layers:
            assert all(0.9 * fan_in**-0.5 < float(t.detach().abs().max()) <= fan_in**-0.5 for t in drawn)
    kept = DeepShapNet(8, (50, 50), 10, hidden=((25,), (100, 100), (150, 150)), keep_variance=True)
    assert float(kept.stages[1].blocks[0].first.detach().abs().max()) > 2 * 100**-0.5
