"""The loop that a Deep ShapNet is timed against is the same network."""

import pytest
import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.benchmarks import deep_networks
from shapnotes.benchmarks.rivals import Loop, Plain
from shapnotes.shapnet import DeepShapNet


def test_the_loop_is_the_same_network():
    net = DeepShapNet(6, 3, 2, hidden=(5,)).requires_grad_(False)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert_close(Loop(net)(x), net.explain(x).attributions, **tolerance(torch.float32))


def test_the_plain_network_has_the_same_modules():
    """One stage of them adds up to the ShapNet, but for what it says of nobody."""
    net = DeepShapNet(2, 3, 2, hidden=(5,)).requires_grad_(False)
    plain, x = Plain(net), torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert_close(plain(x).sum(1) - plain(0 * x).sum(1), net(x), **tolerance(torch.float32))
    deep = DeepShapNet(6, 3, 2, hidden=(5,)).requires_grad_(False)
    assert Plain(deep)(x.repeat(1, 3)).shape == deep.explain(x.repeat(1, 3)).attributions.shape


def test_ratios_are_those_of_the_times():
    record = deep_networks.measure(short=True)
    assert [(row["channels"], row["batch"]) for row in record["rows"]] == [(1, 2), (20, 2)]
    for row, line in zip(record["rows"], deep_networks.table(record)[1:], strict=True):
        assert row["ours_range"][0] <= row["ours_range"][1]
        assert row["loop_over_ours"] == pytest.approx(row["loop_seconds"] / row["seconds"])
        assert row["ours_over_plain"] == pytest.approx(row["seconds"] / row["plain_seconds"])
        assert f"{row['loop_over_ours']:.2f}" in line
