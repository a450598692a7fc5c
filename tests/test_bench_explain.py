"""What is timed explains what it says it does, and the table shows what was measured."""

import json

import numpy as np
import pytest
import torch
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes import bench_explain, cli
from shapnotes.bench_explain import DNNS, FEATURES, PAPER, SAMPLES
from shapnotes.exact import shapley_values
from shapnotes.experiments._models.transparent import Transparent
from shapnotes.shapnet import DeepShapNet

F32 = tolerance(torch.float32)


@pytest.fixture
def network():
    net = DeepShapNet(FEATURES, bench_explain.CHANNELS, 1, hidden=(100,)).requires_grad_(False)
    net.reset_parameters(torch.Generator().manual_seed(0))
    return net


def test_the_models_have_the_paper_s_sizes(network):
    assert sum(len(block.sets) for stage in network.stages for block in stage.blocks) == 32
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    small = bench_explain.perceptron(DNNS["DNN (eq. param.)"], torch.Generator().manual_seed(0))
    assert (count(network), count(small)) == (149_600, 154_735)
    assert [len(widths) for widths in DNNS.values()] == [8, 11] and SAMPLES["Kernel SHAP (def.)"] == 2080
    assert sum(isinstance(layer, nn.ReLU) for layer in small) == 11 and small(torch.zeros(2, 16)).shape == (2, 1)
    assert float(small[2].weight.detach().abs().max()) <= 123**-0.5


def test_shap_explains_these_models(network):
    """Deep SHAP closes; Kernel SHAP of four features, with all their coalitions, has the exact values."""
    x = torch.randn(1, FEATURES, generator=torch.Generator().manual_seed(1))
    values = bench_explain.deep_shap(Transparent(network), x)()
    assert_close(torch.as_tensor(values.sum(), dtype=torch.float32), network(x)[0, 0], **F32)
    small = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).requires_grad_(False)
    found = bench_explain.kernel_shap(small, x[:, :4], 100)()
    assert_close(torch.as_tensor(found).float(), shapley_values(small, x[:, :4])[..., 0], rtol=1e-3, atol=1e-4)


def made(monkeypatch) -> dict:
    """A run with smaller DNNs and few samples, after which numpy's generator is where it was."""
    monkeypatch.setattr(bench_explain, "DNNS", {name: [6, 6] for name in DNNS})
    monkeypatch.setattr(bench_explain, "SAMPLES", {name: 20 for name in SAMPLES})
    state = np.random.get_state()
    found = bench_explain.explain(repeats=2)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))
    return found


def test_it_prints_what_it_measured(monkeypatch, capsys, tmp_path):
    found = made(monkeypatch)
    rows = {(row["model"], row["method"]): row for row in found["rows"]}
    assert len(rows) == 3 + 3 * (1 + len(SAMPLES))
    ours, batch = rows["Deep ShapNet", "ours"], rows["Deep ShapNet", "ours, 64 at once"]
    assert ours["over_ours"] == batch["over_batch"] == 1 and ours["over_batch_range"][0] > 1
    for row in rows.values():
        assert row["over_ours"] == pytest.approx(row["seconds"] / ours["seconds"])
        assert row["over_loop_range"][0] <= row["over_loop_range"][1]
    deep = rows["DNN (eq. comp.)", "Deep SHAP"]
    assert deep["paper_over_loop"] == pytest.approx(83.38 / 20.47) and ours["paper_over_loop"] is None
    assert rows["Deep ShapNet", "loop"]["paper_over_loop"] == 1 and len(PAPER) == 5
    monkeypatch.setattr(bench_explain, "explain", lambda device: found)
    out = tmp_path / "explain.json"
    assert cli.main(["bench", "explain", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"{deep['over_loop']:.2f}" in shown and "4.07" in shown and shown.count("\n") == 2 + len(rows)
    assert json.loads(out.read_text()) == found
