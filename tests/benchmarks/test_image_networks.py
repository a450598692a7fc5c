"""The convolutional network that an image ShapNet is timed against is a comparable one."""

import pytest
import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.benchmarks import image_networks
from shapnotes.experiments._models import comparable_cnn
from shapnotes.shapnet import ImageShapNet


def test_one_stage_of_both_agrees_in_sum():
    """A transform's values add up to the convolution's activations beyond those of a black image."""
    net = ImageShapNet(image_networks.CHANNELS)
    other = comparable_cnn.ComparableNetwork(net).convolutions[0]
    x = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a = torch.nn.functional.leaky_relu
        padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
        beyond = a(other(padded), net.stages[0].negative_slope) - a(other(0 * padded), net.stages[0].negative_slope)
        assert_close(net.stages[0](x.permute(0, 2, 3, 1)).sum((1, 2)), beyond.sum((2, 3)), **tolerance(torch.float32))


def test_times_and_memory_are_shown():
    record = image_networks.measure(short=True)
    assert [row["what"] for row in record["rows"]] == ["explain", "train", "memory"]
    explained, trained, memory = record["rows"]
    for row in (explained, trained):
        assert row["ours_range"][0] <= row["ours_range"][1]
        assert row["ours_over_cnn"] == pytest.approx(row["ours_seconds"] / row["cnn_seconds"])
    assert 0.05 < memory["gib"] < 20
    shown = "\n".join(image_networks.table(record))
    assert f"{explained['ours_over_cnn']:.2f}" in shown and f"{memory['gib']:.2f} GiB" in shown
