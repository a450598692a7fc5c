"""What is timed computes what it should, counts are counts, and lost accuracy is measured on the same images."""

import pytest
import torch

from shapnotes.benchmarks import pruning
from shapnotes.experiments.images import data, training
from shapnotes.experiments.images import study as images_study
from shapnotes.shapnet import ImageShapNet, Pruning, use_backend
from shapnotes.shapnet.windows import blank_pixels


@pytest.fixture
def net():
    made = ImageShapNet((1, 2, 2, 2, 10), dilations=(1, 3)).requires_grad_(False)
    made.reset_parameters(torch.Generator().manual_seed(0))
    return made


def test_activations_are_counted_window_by_window(net):
    """By a loop over all windows, those that stick out included."""
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    layers = net.layers(x, Pruning(share=0.5, stages=0))
    expected = 0
    for z, stage in zip(layers, net.stages[1:], strict=False):
        d = stage.geometry.dilation[0]
        for image in z:
            for row in range(-(d // 2), 4 - d // 2):
                for column in range(-(d // 2), 4 - d // 2):
                    at = [(row + d * u, column + d * v) for u in (0, 1) for v in (0, 1)]
                    m = sum(bool(image[y, q].any()) for y, q in at if 0 <= y < 4 and 0 <= q < 4)
                    expected += 2**m - 1
    assert pruning.activations(net, layers) == expected
    assert pruning.activations(net, net.layers(x)) > 2 * expected


def test_everything_is_computed_where_it_should_be(net, monkeypatch):
    taken, compute = [], blank_pixels.window_values
    monkeypatch.setattr(blank_pixels, "window_values", lambda *given: taken.append(1) or compute(*given))
    x = torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    rule = Pruning(share=0.9, stages=0)
    with pytest.raises(ZeroDivisionError), use_backend("numba"):
        whole = net.explain(x, rule).attributions
        assert not taken
        _ = 1 / 0
    torch.testing.assert_close(net.explain(x, rule).attributions, whole)
    assert len(taken) == 3


def test_lost_accuracy_is_that_of_the_same_images(net):
    x = data.like_mnist(torch.rand(10, 8, 8, generator=torch.Generator().manual_seed(2)))
    y = net(x).argmax(1)
    y[:3] = (y[:3] + 1) % 10
    rows = pruning.accuracies("a", net, x, y, (0.5, 1.0), 4)
    assert len(rows) == 1 + 2 * len(pruning.PLANS)
    assert (rows[0]["plan"], rows[0]["lost"], rows[0]["accuracy"]) == ("nothing", 0, pytest.approx(0.7))
    for row in rows[1:]:
        assert row["accuracy"] == pytest.approx(0.7)
        shares = pruning.PLANS[row["plan"]][1](row["share"])
        left = net.explain(x, Pruning(share=shares, stages=pruning.PLANS[row["plan"]][0])).prediction.argmax(1)
        assert row["lost"] == pytest.approx(0.7 - float((left == y).double().mean()))
        assert row["quartiles"][0] <= row["faster"] <= row["quartiles"][1]
    gone = [row for row in rows if row["share"] == 1]
    assert len({row["lost"] for row in gone}) == 1  # all logits are zero


def test_networks_are_timed_on_one_thread_and_shown():
    threads = torch.get_num_threads()
    record = pruning.measure(short=True)
    assert torch.get_num_threads() == threads and record["threads"] == 1
    assert [row["what"] for row in record["rows"]] == ["time"] * 2 + ["blank"]
    half, most, blank = record["rows"]
    assert half["activations"] > 2 * most["activations"] > 0 and 0.5 < blank["share"] < 0.95
    assert f"{half['faster']:.2f}" in pruning.table(record)[1]


def test_trained_networks_are_measured_where_they_are(net, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "load", lambda path: net)
    monkeypatch.setattr(data, "test_images", lambda name, count: (torch.ones(3, 1, 32, 32), torch.tensor([1, 2, 3])))
    assert pruning.of_trained(tmp_path) == []
    path = images_study.weights(tmp_path / "image-networks", 16, "mnist-l1", 0, 2)
    path.parent.mkdir(parents=True)
    path.touch()
    rows = pruning.of_trained(tmp_path)
    assert {row["network"] for row in rows} == {"l1"}
    assert len(rows) == 1 + len(pruning.SHARES) * len(pruning.PLANS)
    shown = pruning.table({"rows": rows})
    assert len(shown) == 2 + len(rows) and "after stage 2" in shown[-13] and shown[-1].startswith("l1 ")


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="on a CPU only; got device 'cuda'"):
        pruning.measure("cuda")
