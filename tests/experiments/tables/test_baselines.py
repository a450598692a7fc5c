"""Baselines are what they are called: each is right where its own kind of function is the truth."""

import pytest
import torch

from shapnotes.experiments.tables.baselines import BASELINES, fitted


def data(rows: int, seed: int):
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    return x, x @ torch.tensor([1.0, -2.0, 0.5]), x.square().sum(1), (x[:, 0] * x[:, 1] > 0).long()


def test_numbers():
    """A plane is found by both linear models, a sum of squares by the one with squares only."""
    x, plane, bowl, _ = data(200, 0)
    x_test, plane_test, bowl_test, _ = data(100, 1)

    def error(kind, target, wanted):
        return float((fitted(kind, x, target, 0)(x_test) - wanted).square().mean())

    assert max(error("linear", plane, plane_test), error("squares", plane, plane_test)) < 1e-10
    assert error("squares", bowl, bowl_test) < 1e-10 < 1e-3 < error("linear", bowl, bowl_test)
    assert error("trees", bowl, bowl_test) < 0.5 * float(bowl_test.var())


def test_classes():
    """An interaction is beyond a linear model, and trees find it; a half-space is not."""
    x, plane, _, quadrants = data(600, 0)
    x_test, plane_test, _, quadrants_test = data(300, 1)

    def accuracy(kind, target, wanted):
        answers = fitted(kind, x, target, 0)(x_test)
        assert answers.dtype == torch.int64
        return float((answers == wanted).double().mean())

    assert accuracy("linear", (plane > 0).long(), (plane_test > 0).long()) > 0.95
    assert accuracy("linear", quadrants, quadrants_test) < 0.65 < 0.9 < accuracy("trees", quadrants, quadrants_test)


def test_refusals():
    x, plane, _, quadrants = data(20, 0)
    with pytest.raises(ValueError, match="must be one of linear, squares, trees, squares for real targets only; got"):
        fitted("forest", x, plane, 0)
    with pytest.raises(ValueError, match="got 'squares'"):
        fitted("squares", x, quadrants, 0)
    assert list(BASELINES) == ["linear", "squares", "trees"]
