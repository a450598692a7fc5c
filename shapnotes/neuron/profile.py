"""Many terms at the price of a few: a neuron's values as a polynomial in the term.

Given the sums of powers of all terms, the approximation of `normal` for player k is a function of a_k alone, and a smooth
one: phi(a) = a p(a). So p is evaluated at a few Chebyshev points between the smallest and the largest term, and its
interpolating polynomial at all n terms, a multiply-add per degree in place of two normal distribution functions per node
of the quadrature. Where the last coefficients are not small enough, a term dominates, and the caller is told.
"""

from functools import lru_cache
from math import pi

import torch
from torch import Tensor

from shapnotes.neuron import normal
from shapnotes.neuron.owen import smooth_nodes

POINTS = 24
TOLERANCE = 1e-7  # of the largest coefficient, for the last three


def values(terms: Tensor, offset: Tensor, nodes: int, edgeworth: bool = False) -> Tensor:
    """What `normal.values` answers, without gradients: terms [rows, n], offset [rows] -> [rows, n].

    Exactly 0 for a term that is 0. Cost per row: nodes * POINTS normal distribution functions, and POINTS multiply-adds
    per term; rows in which a term dominates are done term by term.
    """
    unit = terms.abs().amax(1, keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    a, b = terms / unit, offset[:, None] / unit
    at_once, parts = max(1, normal.BLOCK // a.shape[1]), []
    for start in range(0, len(a), at_once):
        part = slice(start, start + at_once)
        found, good = _interpolated(a[part], b[part], nodes, edgeworth)
        if not bool(good.all()):
            found[~good] = normal.values(a[part][~good], b[part][~good, 0], nodes, edgeworth)
        parts.append(found)
    return torch.cat(parts).mul_(unit)


def _interpolated(a: Tensor, b: Tensor, nodes: int, edgeworth: bool) -> tuple[Tensor, Tensor]:
    """Values of terms a [rows, n] with |a| <= 1 and offsets b [rows, 1], and which rows are good: [rows]."""
    low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)
    flat = high - low < 1e-3
    middle, half = (low + high) / 2, torch.where(flat, 1e-3, high - low) / 2
    t, to_coefficients = (part.to(a.device) for part in _chebyshev(POINTS))
    wide, sums = a.double(), b.double()
    points = middle.double() + half.double() * t
    points = torch.where(points.abs() < 1e-6, 1e-6, points)  # p(0) is a limit; next to it is near enough
    q, w = smooth_nodes(nodes, torch.float64, a.device)
    slope = sum(w[j] * normal.marginal(points, wide, sums, q[j], edgeworth) for j in range(nodes)) / points
    coefficients = slope @ to_coefficients  # [rows, POINTS]
    tail = coefficients[:, -3:].abs().amax(1)
    good = tail <= TOLERANCE * coefficients.abs().amax(1)
    return _clenshaw(coefficients.to(a.dtype), (a - middle) / half).mul_(a), good


def _clenshaw(coefficients: Tensor, t: Tensor) -> Tensor:
    """sum_j c_j T_j(t) for [rows, points] and [rows, n]."""
    twice = 2 * t
    ahead, two_ahead = torch.zeros_like(t), torch.zeros_like(t)
    for j in range(coefficients.shape[1] - 1, 0, -1):
        two_ahead.neg_().addcmul_(twice, ahead).add_(coefficients[:, j, None])
        ahead, two_ahead = two_ahead, ahead
    return two_ahead.neg_().addcmul_(t, ahead).add_(coefficients[:, 0, None])


@lru_cache(maxsize=4)
def _chebyshev(count: int) -> tuple[Tensor, Tensor]:
    """Chebyshev points in (-1, 1), [count], and the matrix that takes values there to coefficients, [count, count]."""
    with torch.inference_mode(False):
        angle = pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        matrix = torch.cos(torch.outer(angle, torch.arange(count, dtype=torch.float64))) * (2 / count)
        matrix[:, 0] /= 2
        return angle.cos(), matrix
