"""What is timed computes what it should, counts are counts, and lost accuracy is measured on the same images."""

import pytest
import torch

from shapnotes import bench_pruning, cli
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
    assert bench_pruning.activations(net, layers) == expected
    assert bench_pruning.activations(net, net.layers(x)) > 2 * expected


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


def test_lost_accuracy_is_that_of_the_same_images(net, monkeypatch):
    monkeypatch.setattr(bench_pruning, "SHARES", (0.5, 1.0))
    monkeypatch.setattr(bench_pruning, "BATCH", 4)
    x = data.like_mnist(torch.rand(10, 8, 8, generator=torch.Generator().manual_seed(2)))
    y = net(x).argmax(1)
    y[:3] = (y[:3] + 1) % 10
    rows = bench_pruning._accuracies("a", net, x, y)
    assert len(rows) == 1 + 2 * len(bench_pruning.PLANS)
    assert (rows[0]["plan"], rows[0]["lost"], rows[0]["accuracy"]) == ("nothing", 0, pytest.approx(0.7))
    for row in rows[1:]:
        assert row["accuracy"] == pytest.approx(0.7)
        shares = bench_pruning.PLANS[row["plan"]][1](row["share"])
        left = net.explain(x, Pruning(share=shares, stages=bench_pruning.PLANS[row["plan"]][0])).prediction.argmax(1)
        assert row["lost"] == pytest.approx(0.7 - float((left == y).double().mean()))
        assert row["quartiles"][0] <= row["faster"] <= row["quartiles"][1]
    gone = [row for row in rows if row["share"] == 1]
    assert len({row["lost"] for row in gone}) == 1  # all logits are zero


def test_it_prints_what_it_measured(net, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench_pruning, "NETWORKS", ((2, 1),))
    monkeypatch.setattr(bench_pruning, "SHARES", (0.5, 0.9))
    monkeypatch.setattr(bench_pruning, "RESULTS", tmp_path)
    monkeypatch.setattr(training, "load", lambda path: net)

    def test_images(name, count):
        assert name == "mnist"
        return torch.ones(3, 1, 32, 32), torch.tensor([1, 2, 3])

    monkeypatch.setattr(data, "test_images", test_images)
    path = images_study.weights(tmp_path / "image-networks", 16, "mnist-l1", 0, 2)
    path.parent.mkdir(parents=True)
    path.touch()
    threads = torch.get_num_threads()
    made = bench_pruning.pruning(repeats=2)
    assert torch.get_num_threads() == threads and made["threads"] == 1
    assert [row["what"] for row in made["rows"]] == ["time"] * 2 + ["blank"] + ["accuracy"] * (
        1 + 2 * len(bench_pruning.PLANS)
    )
    assert made["rows"][0]["activations"] > 2 * made["rows"][1]["activations"] > 0
    assert 0.5 < made["rows"][2]["share"] < 0.95
    monkeypatch.setattr(bench_pruning, "pruning", lambda device: made)
    assert cli.main(["bench", "pruning"]) == 0
    printed = capsys.readouterr().out
    assert f"{made['rows'][0]['faster']:.2f}" in printed and "after stage 2" in printed and " l1 " not in printed
    assert "\nl1 " in printed


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="on a CPU only; got device 'cuda'"):
        bench_pruning.pruning("cuda")
