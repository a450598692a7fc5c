"""A network on digits, explained: every number by another way."""

import pytest
import torch
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes.experiments.pixel_maps.explained import explained, fit, measured_increase
from shapnotes.experiments.pixel_maps.relevance import SMOKE

F64 = tolerance(torch.float64)


@pytest.fixture(scope="module")
def found():
    return explained(SMOKE, 0, "cpu")


def test_the_layers_and_images_are_those_of_the_configuration(found):
    assert [type(layer) for layer in found.model] == [nn.Linear, nn.ReLU, nn.Linear]
    assert found.x.shape == found.others.shape == (60, 64) and found.y.shape == (60,)
    assert not torch.equal(found.x, found.others)
    assert found.start.shape == found.errors.shape == (60, 10, 10)
    assert 0.2 < found.accuracy["test"] <= 1 and found.accuracy["test"] == found.accuracy["train"]  # all digits, both


def test_relevance_is_equation_2_with_eps(found):
    """Term by term for one image and one class, down to the pixels."""
    x, r = found.x[3], found.start[3, :, 7]
    activations = [x, found.model[:2](x)]
    for layer, h in ((found.model[2], activations[1]), (found.model[0], activations[0])):
        terms = layer.weight * h + layer.bias[:, None] / len(h)
        total = layer(h)
        shares = terms / (total + SMOKE["eps"] * total.sign())[:, None]
        r = shares.T @ r
    assert_close(found.relevance[0][3, :, 7], r, **F64)


def test_sums(found):
    p, blank = found.probabilities(found.x), found.probabilities(torch.zeros_like(found.x))
    assert_close(found.start.sum(1), p - 0.1, **F64)
    assert_close(found.shapley.sum(1), (p - blank)[: len(found.shapley)], **F64)


def test_the_increase_is_that_of_the_network(found):
    changes = torch.zeros(2, 10, 64, dtype=torch.float64)
    inked = torch.zeros_like(changes)
    for x in found.x:
        raised = found.probabilities(x + torch.eye(64, dtype=torch.float64)) - found.probabilities(
            x
        )  # [pixels, classes]
        both = torch.stack([raised.clamp(min=0), (-raised).clamp(min=0)]).transpose(1, 2) / len(found.x)
        changes += both
        inked += both * (x > 0)
    assert_close(measured_increase(found), changes, **F64)
    assert_close(measured_increase(found, ink=True), inked, **F64)
    assert float((changes - inked).max()) > 1e-3


def test_training_follows_its_seed_and_ends_at_rate_zero(monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self, *a, **k: (rates.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
    )
    x = torch.rand(250, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    ends = []
    for seed in (1, 1, 2):
        model = nn.Linear(4, 2)
        with torch.no_grad():
            for p in model.parameters():
                p.zero_()
        fit(model, x, y, 2, torch.Generator().manual_seed(seed))
        ends.append(model.weight.detach())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    falling = torch.linspace(1e-3, 0, 7)[:6]  # two epochs of three batches
    assert_close(torch.tensor(rates[:6]), falling)
