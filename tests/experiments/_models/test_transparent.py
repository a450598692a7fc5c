"""A ShapNet evaluated in other ways is the same function, and Deep SHAP sees through one of them."""

import pytest
import torch
from oracles import tolerance

from shapnotes import GapError
from shapnotes.coalitions import masks
from shapnotes.experiments._models import coalition_tables
from shapnotes.experiments._models.coalition_tables import coalition_values
from shapnotes.experiments._models.transparent import Transparent
from shapnotes.explainers import deep_shap
from shapnotes.shapnet import DeepShapNet, ShallowShapNet, all_pairs, singletons

BASELINE = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.25, -0.5])


def networks(baseline=None) -> dict:
    """Networks of six features, whose weights a seed draws."""
    built = {
        "deep": DeepShapNet(6, (3, 5), 2, ((4,), (6, 7), (5,)), baseline=baseline),
        "pairs": ShallowShapNet(all_pairs(6), 3, (8, 4), baseline=baseline),
        "singletons": ShallowShapNet(singletons(6), 1, baseline=baseline),
    }
    for net in built.values():
        net.reset_parameters(torch.Generator().manual_seed(4))
    return {name: net.double() for name, net in built.items()}


def inputs(rows: int) -> torch.Tensor:
    return torch.randn(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ["deep", "pairs", "singletons"])
@pytest.mark.parametrize("baseline", [None, BASELINE], ids=["zero", "other"])
@pytest.mark.parametrize("kept", [2**16, 0], ids=["kept", "anew"])
def test_all_coalitions(name, baseline, kept, monkeypatch):
    """Those of an input, one of whose features is at the baseline, by tables alone and with the last stage anew."""
    monkeypatch.setattr(coalition_tables, "TABULATED", kept)
    monkeypatch.setattr(coalition_tables, "ROWS_AT_ONCE", 4)
    net, x = networks(baseline)[name], inputs(1)[0]
    reference = net.baseline.double()
    x[2] = reference[2]
    coalitions = masks(6)
    with torch.no_grad():
        wanted = net(torch.where(coalitions, x, reference))
    torch.testing.assert_close(coalition_values(net, x)(coalitions), wanted, **tolerance(torch.float64))


@pytest.mark.parametrize("name", ["deep", "pairs", "singletons"])
@pytest.mark.parametrize("baseline", [None, BASELINE], ids=["zero", "other"])
def test_transparent(name, baseline):
    net, x = networks(baseline)[name], inputs(4).requires_grad_()
    same = Transparent(net)
    torch.testing.assert_close(same(x), net(x), **tolerance(torch.float64))
    slopes = [torch.autograd.grad(f(x).sum(), x)[0] for f in (same, net)]
    torch.testing.assert_close(*slopes, **tolerance(torch.float64))


def test_deep_shap_follows_it():
    """For one hidden layer the rescale rule is V_h [relu(s) - relu(b)] / (s - b) W_hi x_i, with s = W x + b.

    Only the full coalition counts: what others contribute to the values cancels in their sum.
    """
    net, x = ShallowShapNet(all_pairs(6), 2, (9,)).double(), inputs(3)
    net.reset_parameters(torch.Generator().manual_seed(6))
    wanted = torch.zeros(3, 6, 2, dtype=torch.float64)
    (block,) = net.stages[0].blocks
    with torch.no_grad():
        for m, pair in enumerate(block.sets):
            terms = x[:, pair, None] * block.first[m].T  # [batch, players, hidden]
            bias = block.bias[m, :, 0]
            chord = ((terms.sum(1) + bias).relu() - bias.relu()) / terms.sum(1)
            wanted[:, pair] += (terms * chord[:, None]) @ block.last[m].T
    torch.testing.assert_close(deep_shap(Transparent(net), x), wanted, **tolerance(torch.float64))
    with pytest.raises(GapError):  # the network itself calls no activation that is a module
        deep_shap(net, x)


def test_refusals():
    residual, leaky = DeepShapNet(4, 3, 1, residual=True), DeepShapNet(4, 3, 1, negative_slope=0.1)
    for net in (residual, leaky, ShallowShapNet([(0, 1)], 1, inner=torch.sin)):
        for way in (Transparent, lambda net: coalition_values(net, torch.ones(4))):
            with pytest.raises(ValueError, match="perceptrons with ReLU"):
                way(net)
    with pytest.raises(ValueError, match="one of 3"):
        coalition_values(ShallowShapNet([(0, 1, 2)], 1), torch.ones(3))
    crossing = DeepShapNet(3, 2, 1, active_sets=[[(0, 1), (2,)], [(0, 1), (2,)], [(0, 2), (1,)]])
    with pytest.raises(ValueError, match="depend on different features"):
        coalition_values(crossing, torch.ones(3))
