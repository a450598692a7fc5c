"""Many terms at the price of a few: a neuron's values as a polynomial in the term.

Given the sums of powers of all terms, the approximation of `normal` for player k is a function of a_k alone, and a smooth
one: phi(a) = a p(a). So p is evaluated at a few Chebyshev points between the smallest and the largest term, and its
interpolating polynomial at all n terms: a few multiply-adds per term in place of two normal distribution functions per
term and node of the quadrature. Where the last coefficients are not small a term dominates, and the row is done term by
term.
"""

from functools import lru_cache
from math import pi

import torch
from torch import Tensor

from shapnotes._runtime.chunking import recomputed
from shapnotes.neuron import normal

POINTS = 24
TOLERANCE = 1e-8  # of the largest coefficient, for the last three: what the interpolation misses
NARROW = 1e-3  # of the largest term: terms that are all alike are interpolated over an interval of this width
NEARLY_ZERO = 1e-6  # p(0) is a limit; next to it is near enough


def values(terms: Tensor, offset: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """What `normal.values` answers: terms [rows, n], offset [rows] -> [rows, n].

    Exactly 0 for a term that is 0. Differentiable; every block of rows is computed again in the backward pass.
    Cost per row: 2 nodes POINTS normal distribution functions, and POINTS multiply-adds per term.
    """
    a, b, unit = normal.in_units(terms, offset)
    rows = max(1, normal.BLOCK_NUMBERS // a.shape[1])
    blocks = zip(a.split(rows), b.split(rows), strict=True)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return torch.cat([recomputed(_block, *block, nodes, edgeworth) for block in blocks]) * unit
    return torch.cat([_block(*block, nodes, edgeworth) for block in blocks]).mul_(unit)


def _block(a: Tensor, b: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """Values of terms a [rows, n] with |a| <= 1 and offsets b [rows, 1]."""
    ends = a.detach().aminmax(dim=1, keepdim=True)
    middle, half = (ends.min + ends.max) / 2, (ends.max - ends.min).clamp(min=NARROW) / 2
    t, to_coefficients = (part.to(a.device) for part in _chebyshev(POINTS))
    points = middle.double() + half.double() * t
    points = torch.where(points.abs() < NEARLY_ZERO, NEARLY_ZERO, points)
    slope = normal.marginal(points, normal.power_sums(a), b.double(), nodes, edgeworth) / points
    coefficients = slope @ to_coefficients  # [rows, POINTS]
    size = coefficients.detach().abs()
    dominated = size[:, -3:].amax(1) > TOLERANCE * size.amax(1)
    found = a * _clenshaw(coefficients.to(a.dtype), (a - middle) / half)
    if bool(dominated.any()):
        some = dominated.nonzero()[:, 0]
        found = found.index_copy(0, some, normal.values(a[some], b[some, 0], nodes, edgeworth))
    return found


def _clenshaw(coefficients: Tensor, t: Tensor) -> Tensor:
    """sum_j c_j T_j(t) for coefficients [rows, points] and t [rows, n]."""
    twice = 2 * t
    ahead, two_ahead = torch.zeros_like(t), torch.zeros_like(t)
    for c in coefficients[:, 1:].T.flip(0)[..., None]:
        ahead, two_ahead = torch.addcmul(c - two_ahead, twice, ahead), ahead
    return torch.addcmul(coefficients[:, :1] - two_ahead, t, ahead)


@lru_cache(maxsize=4)
def _chebyshev(count: int) -> tuple[Tensor, Tensor]:
    """Chebyshev points in (-1, 1), [count], and the matrix that takes values there to coefficients, [count, count]."""
    with torch.inference_mode(False):
        angle = pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        matrix = torch.cos(torch.outer(angle, torch.arange(count, dtype=torch.float64))) * (2 / count)
        matrix[:, 0] /= 2
        return angle.cos(), matrix
