"""Penalties: their gradients, what they do to an explanation, and what they refuse."""

from collections.abc import Callable

import pytest
import torch
from contracts import normal
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.shapnet import DeepShapNet, ShallowShapNet, ShapNet, WideShapNet, l1_penalty, linf_penalty

NETWORKS: dict[str, Callable[[], ShapNet]] = {
    "shallow": lambda: ShallowShapNet([(0, 1), (1, 2)], 2, hidden=(8,)),
    "deep": lambda: DeepShapNet(3, 4, 2, hidden=(8,)),
    "wide": lambda: WideShapNet(3, (8, 6), 2),
    "wide, edgeworth": lambda: WideShapNet(3, (8, 6), 2, method="edgeworth"),
}


def test_gradients():
    z = normal(2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(l1_penalty, (z,)) and torch.autograd.gradcheck(linf_penalty, (z,))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("penalty", [l1_penalty, linf_penalty])
def test_a_step_against_it_makes_it_smaller(penalty, kind):
    net = NETWORKS[kind]().double()
    net.reset_parameters(torch.Generator().manual_seed(0))
    x = normal(20, 3)
    before = penalty(net.layers(x))
    before.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 1e-3 * parameter.grad
        assert float(penalty(net.layers(x))) < float(before)


@pytest.mark.parametrize("kind", ["deep", "wide"])
def test_training_with_it_makes_explanations_sparse(kind):
    """Two features of eight matter: the others are given less, and more of them next to nothing, at hardly any cost."""
    x = normal(150, 8)
    truth = torch.relu(x[:, 0] + x[:, 1]) + 0.5 * x[:, 0]
    found = []
    for strength in (0.0, 0.03):
        net = (DeepShapNet(8, 4, 1, hidden=(8,)) if kind == "deep" else WideShapNet(8, (12, 12), 1)).double()
        net.reset_parameters(torch.Generator().manual_seed(0))
        optimiser = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(150):
            h = net.explain(x)
            loss = (h.prediction[:, 0] - truth).square().mean()
            optimiser.zero_grad()
            (loss + strength * l1_penalty(h.attributions)).backward()
            optimiser.step()
        with torch.no_grad():
            h = net.explain(x)
        assert float(h.gap().abs().max()) < 1e-12
        assert float((h.prediction[:, 0] - truth).square().mean()) < 0.01 * float(truth.var())
        size = h.attributions.abs().sum(1, keepdim=True)
        share = h.attributions / size
        sparsity = float(sn.metrics.sparsity(share, 0.01).mean())
        found.append((float(size.mean()), float(share[:, 2:].abs().sum(1).mean()), sparsity))
    (size, rest, sparsity), (held_size, held_rest, held_sparsity) = found
    assert held_size < 0.95 * size and held_rest < 0.85 * rest and held_sparsity > sparsity + 0.05


def test_scale():
    z = normal(2, 3, 2)
    for penalty in (l1_penalty, linf_penalty):
        assert_close(penalty(-3 * z), 3 * penalty(z))
    assert float(linf_penalty(z)) < float(l1_penalty(z)) < 3 * float(linf_penalty(z))


@pytest.mark.parametrize("penalty", [l1_penalty, linf_penalty])
def test_other_shapes_are_refused(penalty):
    for wrong in ([], normal(2, 3), [normal(2, 3, 1), normal(2, 3)]):
        with pytest.raises(ValueError, match=r"\[batch, \*players, channels\]"):
            penalty(wrong)


@pytest.mark.parametrize("penalty", [l1_penalty, linf_penalty])
def test_nothing_has_no_mean(penalty):
    for shape in ((0, 3, 1), (2, 0, 1), (2, 3, 0), (2, 0, 4, 1)):
        for wrong in (normal(*shape), [normal(2, 3, 1), normal(*shape)]):
            with pytest.raises(ValueError, match="none of them empty; got shapes"):
                penalty(wrong)
    for wrong, got in ((None, "NoneType"), ([None], "NoneType"), (normal(2, 3, 1).numpy(), "ndarray"), ("ab", "str")):
        with pytest.raises(TypeError, match=f"a representation must be a tensor; got {got}"):
            penalty(wrong)
    with pytest.raises(TypeError, match=r"floating point and dense; got torch.int64"):
        penalty(normal(2, 3, 1).long())
