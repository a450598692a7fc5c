"""Penalties: their gradients, what they do to an explanation, and what they refuse."""

import pytest
import torch
from contracts import normal
from torch.testing import assert_close

from shapnotes.shapnet import ShallowShapNet, l1_penalty, linf_penalty


def test_gradients():
    z = normal(2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(l1_penalty, (z,)) and torch.autograd.gradcheck(linf_penalty, (z,))


@pytest.mark.parametrize("penalty", [l1_penalty, linf_penalty])
def test_a_step_against_it_makes_it_smaller(penalty):
    net = ShallowShapNet([(0, 1), (1, 2)], 2, hidden=(8,)).double()
    net.reset_parameters(torch.Generator().manual_seed(0))
    x = normal(20, 3)
    before = penalty(net.layers(x))
    before.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 1e-3 * parameter.grad
        assert float(penalty(net.layers(x))) < float(before)


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
