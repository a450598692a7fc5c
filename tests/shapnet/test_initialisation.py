"""The variance of Shapley values of random perceptrons: limits, and a simulation."""

from math import log, pi

import pytest
import torch
from oracles import by_permutations

from shapnotes.shapnet.inner.initialisation import value_variance


def test_known_values():
    assert abs(value_variance(1) - 1) < 1e-12
    assert abs(value_variance(2) - (1 / 2 - 1 / (4 * pi))) < 1e-12
    shares = [value_variance(k) * k / 2 for k in (1, 2, 4, 8, 16)]
    assert shares == sorted(shares, reverse=True) and shares[-1] > (2 - log(2)) / 4
    assert abs(value_variance(60) * 30 - (2 - log(2)) / 4) < 0.005
    # Behind a large bias no unit changes sign: half of them are linear, and linear values are the terms.
    assert abs(value_variance(3, bias_variance=1e4) - 1 / 3) < 0.01
    assert abs(value_variance(5, 3, negative_slope=1.0) - 1 / 5) < 1e-12  # linear at every depth


@pytest.mark.parametrize(("k", "depth", "slope", "bias"), [(2, 1, 0.0, 0.5), (3, 2, 0.1, 0.2), (4, 1, 0.3, 0.0)])
def test_a_simulation_agrees(k, depth, slope, bias):
    """Mean square over networks of 200 units; the stated number lies within four standard errors and two per cent."""
    generator = torch.Generator().manual_seed(k)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    gain, width, squares = 2 / (1 + slope**2), 200, []
    here = torch.tensor([[float(row >> i & 1) for i in range(k)] for row in range(2**k)], dtype=torch.float64)
    for _ in range(60):
        h, fan_in = here, k  # every player carries 1
        for _ in range(depth):
            s = h @ (normal(fan_in, width) * (gain / fan_in) ** 0.5) + normal(width) * bias**0.5
            h, fan_in = torch.where(s > 0, s, slope * s), width
        squares.append((by_permutations(h) ** 2).mean())
    squares = torch.stack(squares)
    error = float(squares.std()) / 60**0.5
    stated = value_variance(k, depth, slope, bias)
    assert error < 0.02 * stated * 4
    assert abs(float(squares.mean()) - stated) < 4 * error + 0.02 * stated
