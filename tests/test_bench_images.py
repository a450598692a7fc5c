"""The convolutional network that an image ShapNet is timed against is a comparable one."""

import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes import bench_images, cli
from shapnotes.experiments._models import comparable_cnn
from shapnotes.shapnet import ImageShapNet


def test_one_stage_of_both_agrees_in_sum():
    """A transform's values add up to the convolution's activations beyond those of a black image."""
    net = ImageShapNet(bench_images.CHANNELS)
    other = comparable_cnn.ComparableNetwork(net).convolutions[0]
    x = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a = torch.nn.functional.leaky_relu
        padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
        beyond = a(other(padded), net.stages[0].negative_slope) - a(other(0 * padded), net.stages[0].negative_slope)
        assert_close(net.stages[0](x.permute(0, 2, 3, 1)).sum((1, 2)), beyond.sum((2, 3)), **tolerance(torch.float32))


def test_it_prints_what_it_measured(monkeypatch, capsys):
    monkeypatch.setattr(bench_images, "CHANNELS", (1, 2, 2, 2, 2, 2, 2, 2))
    monkeypatch.setattr(bench_images, "COMPILER", None)
    monkeypatch.setattr(bench_images, "_memory", lambda: 1.25)
    made = bench_images.images(repeats=2)
    assert [row["what"] for row in made["rows"]] == ["explain", "train", "memory"]
    assert all(row["ours_range"][0] <= row["ours_range"][1] for row in made["rows"][:2])
    monkeypatch.setattr(bench_images, "images", lambda device: made)
    assert cli.main(["bench", "images"]) == 0
    printed = capsys.readouterr().out
    assert f"{made['rows'][0]['ours_over_cnn']:.2f}" in printed and "1.25 GiB" in printed
    assert bench_images.trained(2) > 0.05
