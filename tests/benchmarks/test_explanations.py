"""What is timed explains what it says it does, and the table shows what was measured."""

import numpy as np
import pytest
import torch
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes.benchmarks import explanations
from shapnotes.benchmarks.explanations import FEATURES, HIDDEN, PAPER, SAMPLES
from shapnotes.benchmarks.rivals import deep_shap, kernel_shap
from shapnotes.exact import shapley_values
from shapnotes.experiments._models.transparent import Transparent
from shapnotes.shapnet import DeepShapNet

F32 = tolerance(torch.float32)


@pytest.fixture
def network():
    net = DeepShapNet(FEATURES, explanations.CHANNELS, 1, hidden=(100,)).requires_grad_(False)
    net.reset_parameters(torch.Generator().manual_seed(0))
    return net


def test_the_models_have_the_paper_s_sizes(network):
    assert sum(len(block.sets) for stage in network.stages for block in stage.blocks) == 32
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    small = explanations.perceptron(HIDDEN["DNN (eq. param.)"], torch.Generator().manual_seed(0))
    assert (count(network), count(small)) == (149_600, 154_735)
    assert [len(widths) for widths in HIDDEN.values()] == [8, 11] and SAMPLES["Kernel SHAP (def.)"] == 2080
    assert sum(isinstance(layer, nn.ReLU) for layer in small) == 11 and small(torch.zeros(2, 16)).shape == (2, 1)
    assert float(small[2].weight.detach().abs().max()) <= 123**-0.5


def test_shap_explains_these_models(network):
    """Deep SHAP closes; Kernel SHAP of four features, with all their coalitions, has the exact values."""
    x = torch.randn(1, FEATURES, generator=torch.Generator().manual_seed(1))
    values = deep_shap(Transparent(network), x)()
    assert_close(torch.as_tensor(values.sum(), dtype=torch.float32), network(x)[0, 0], **F32)
    small = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).requires_grad_(False)
    found = kernel_shap(small, x[:, :4], 100)()
    assert_close(torch.as_tensor(found).float(), shapley_values(small, x[:, :4])[..., 0], rtol=1e-3, atol=1e-4)


def test_ratios_are_those_of_the_times():
    """And numpy's generator, from which shap draws, is where it was."""
    state = np.random.get_state()
    record = explanations.measure(short=True)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))
    rows = {(row["model"], row["method"]): row for row in record["rows"]}
    assert len(rows) == 3 + 3 * (1 + len(SAMPLES))
    ours, batch = rows["Deep ShapNet", "ours"], rows["Deep ShapNet", "ours, 64 at once"]
    assert ours["over_ours"] == batch["over_batch"] == 1 and ours["over_batch_range"][0] > 1
    for row in rows.values():
        assert row["over_ours"] == pytest.approx(row["seconds"] / ours["seconds"])
        assert row["over_loop_range"][0] <= row["over_loop_range"][1]
    deep = rows["DNN (eq. comp.)", "Deep SHAP"]
    assert deep["paper_over_loop"] == pytest.approx(83.38 / 20.47) and ours["paper_over_loop"] is None
    assert rows["Deep ShapNet", "loop"]["paper_over_loop"] == 1 and len(PAPER) == 5
    shown = "\n".join(explanations.table(record))
    assert f"{deep['over_loop']:.2f}" in shown and "4.07" in shown
