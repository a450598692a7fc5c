"""Moments behind a layer, by numerical integration and by many draws."""

import numpy as np
import pytest
import torch
from contracts import normal
from scipy.stats import multivariate_normal
from torch.testing import assert_close

from shapnotes._chain import Rectifier
from shapnotes.moments.layers import Moments, _largest, after, larger


def grid(mean: float, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate over a normal distribution."""
    points = np.linspace(-9, 9, 20_001)
    density = np.exp(-(points**2) / 2)
    return mean + deviation * points, density / density.sum()


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("mean", [-20.0, -1.0, 0.0, 0.3, 5.0, 1e6])
def test_a_rectifier_by_integration(mean, slope):
    found = after(Rectifier(slope), Moments(torch.tensor([[mean]]).double(), torch.tensor([[4.0]]).double()))
    points, weights = grid(mean, 2.0)
    out = np.maximum(points, slope * points)
    first = (weights * out).sum()
    second = (weights * (out - first) ** 2).sum()
    assert float(found.mean) == pytest.approx(first, rel=1e-6, abs=1e-9)
    assert float(found.variance) == pytest.approx(second, rel=1e-6, abs=1e-6)


def test_the_larger_of_two_by_integration():
    for case in range(5):
        m, deviation = normal(2, seed=case).tolist(), normal(2, seed=9 + case).abs().tolist()
        one, other = (
            Moments(torch.tensor(a).double(), torch.tensor(b**2).double()) for a, b in zip(m, deviation, strict=True)
        )
        found = larger(one, other, one.variance + other.variance)
        points = [grid(a, b) for a, b in zip(m, deviation, strict=True)]
        (x, p), (y, q) = ((a[::20], b[::20] * 20) for a, b in points)
        out, weights = np.maximum(x[:, None], y), p[:, None] * q
        weights = weights / weights.sum()
        first = (weights * out).sum()
        assert float(found.mean) == pytest.approx(first, rel=1e-4, abs=1e-5)
        assert float(found.variance) == pytest.approx((weights * (out - first) ** 2).sum(), rel=1e-3)


def test_the_largest_of_a_window_is_near_that_of_many_draws():
    """Not equal: the larger of two is taken to be normal in turn. For alike units within 2 %, variances 20 %."""
    mean, variance = normal(9) / 4, torch.ones(9).double()
    found = _largest(Moments(mean, variance))
    draws = multivariate_normal(mean.numpy(), np.diag(variance.numpy()), seed=0).rvs(200_000).max(1)
    assert float(found.mean) == pytest.approx(draws.mean(), rel=0.02)
    assert float(found.variance) == pytest.approx(draws.var(), rel=0.2)


def test_what_does_not_move_is_known_exactly():
    still = torch.zeros(3, dtype=torch.float64)
    mean = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    found = after(Rectifier(0.5), Moments(mean, still))
    assert found.mean.tolist() == [-0.5, 0.0, 2.0] and found.variance.tolist() == [0.0] * 3
    best = _largest(Moments(torch.tensor([-1e30, 3.0, -1e30]).double(), torch.tensor([0.0, 2.0, 0.0]).double()))
    assert_close(best.mean, torch.tensor(3.0).double()), assert_close(best.variance, torch.tensor(2.0).double())
