"""The loop that a Deep ShapNet is timed against is the same network."""

import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes import bench_shapnet, cli
from shapnotes.shapnet import DeepShapNet


def test_the_loop_is_the_same_network():
    net = DeepShapNet(6, 3, 2, hidden=(5,)).requires_grad_(False)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert_close(bench_shapnet.Loop(net)(x), net.explain(x).attributions, **tolerance(torch.float32))


def test_the_plain_network_has_the_same_modules():
    """One stage of them adds up to the ShapNet, but for what it says of nobody."""
    net = DeepShapNet(2, 3, 2, hidden=(5,)).requires_grad_(False)
    plain, x = bench_shapnet.Plain(net), torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert_close(plain(x).sum(1) - plain(0 * x).sum(1), net(x), **tolerance(torch.float32))
    deep = DeepShapNet(6, 3, 2, hidden=(5,)).requires_grad_(False)
    assert bench_shapnet.Plain(deep)(x.repeat(1, 3)).shape == deep.explain(x.repeat(1, 3)).attributions.shape


def test_it_prints_what_it_measured(monkeypatch, capsys):
    monkeypatch.setattr(bench_shapnet, "CALLS", {2: 1})
    monkeypatch.setattr(bench_shapnet, "COMPILER", None)
    made = bench_shapnet.shapnet(repeats=2)
    assert [(row["channels"], row["batch"]) for row in made["rows"]] == [(1, 2), (20, 2)]
    assert all(row["ours_range"][0] <= row["ours_range"][1] for row in made["rows"])
    monkeypatch.setattr(bench_shapnet, "shapnet", lambda device: made)
    assert cli.main(["bench", "shapnet"]) == 0
    assert f"{made['rows'][0]['loop_over_ours']:.2f}" in capsys.readouterr().out
