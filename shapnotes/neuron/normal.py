r"""A normal distribution for every time of arrival q, with or without its third and fourth cumulants (Edgeworth).

Owen's integral (`owen`) needs E max(S_q + c, 0), S_q the sum of independent terms that are present with probability q.
With cumulants K1 to K4 of S_q, s = sqrt(K2) and z = (K1 + c) / s, a normal distribution gives

    E max(S_q + c, 0) = (K1 + c) Phi(z) + s density(z),

and the first two terms of Edgeworth's series add

    s density(z) [ -L3/6 He1(z) + L4/24 He2(z) + L3^2/72 He4(z) ],      L_j = K_j / s^j,

since the integral of (y + z) density(y) He_j(y) over y > -z is density(z) He_{j-2}(-z). A term that is present with
probability q has the cumulants a q, a^2 p, a^3 p (1 - 2q) and a^4 p (1 - 6p) with p = q (1 - q).
"""

from math import pi

import torch
from torch import Tensor

from shapnotes._runtime.chunking import recomputed
from shapnotes.neuron.owen import gain, smooth_nodes

BLOCK_NUMBERS = 2**16  # worked on at once: few enough for the cache
KEPT_NUMBERS = 2**20  # terms times nodes up to which a backward pass keeps what it needs; beyond, it is computed again
STILL = 1e-12  # sum of the other terms' squares, in units of the largest: below, nothing else moves
FARTHEST = 28.0  # exp(-28^2) is 0 in double precision too: times a power of more it could be no number
ROOT = pi**0.5


def values(terms: Tensor, offset: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """Approximate values of max(offset + sum of terms, 0), term by term: terms [rows, n], offset [rows] -> [rows, n].

    Exactly 0 for a term that is 0. Differentiable to any order. Cost: 2 nodes n normal distribution functions per row.
    """
    a, b, unit = in_units(terms, offset)
    numbers = nodes * a.shape[1]
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        if len(a) * numbers <= KEPT_NUMBERS:
            return _block(a, b, nodes, edgeworth) * unit
        rows = max(1, KEPT_NUMBERS // numbers)
        parts = [recomputed(_block, *part, nodes, edgeworth) for part in zip(a.split(rows), b.split(rows), strict=True)]
    else:
        rows = max(1, BLOCK_NUMBERS // numbers)
        parts = [_block(*part, nodes, edgeworth) for part in zip(a.split(rows), b.split(rows), strict=True)]
    return torch.cat(parts) * unit


def in_units(terms: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Terms [rows, n], offset [rows, 1] in units of the largest term per row, and the unit [rows, 1].

    Powers of what is at most 1 neither overflow nor vanish together.
    """
    unit = terms.detach().abs().amax(1, keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    most = torch.finfo(terms.dtype).max ** 0.5  # a neuron so far from its kink is linear
    return terms / unit, (offset[:, None] / unit).clamp(-most, most), unit


def _block(a: Tensor, b: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """The integral over the times of arrival q of all players, terms a [rows, n], offsets b [rows, 1]: [rows, n].

    All is measured in units of the size of the other terms, the root r of the sum of their squares, so that at time q
    their standard deviation is sqrt(q (1 - q)).
    """
    square = a.square()
    # Sums in float64: a large term is taken away from its own again.
    powers = (a, square, square * a, square.square()) if edgeworth else (a, square)
    others = [(x.sum(1, keepdim=True, dtype=torch.float64) - x).to(a.dtype) for x in powers]
    still = others[1] <= STILL
    r = torch.where(still, 1.0, others[1]).sqrt()
    one, total, far = a / r, others[0] / r, b / r
    q, w = (t[:, None, None] for t in smooth_nodes(nodes, a.dtype, a.device))
    s = (2 * q * (1 - q)).sqrt()
    z = torch.addcmul(far / s, total, q / s)  # the standard score over the root of 2 [nodes, rows, n], as all below
    after = z + one / s
    density, density_after = torch.exp(-z.square()), torch.exp(-after.square())
    if edgeworth:
        skew, kurtosis = others[2] / r**3, others[3] / r**4
        third, fourth = skew * ((1 - 2 * q) / s / 18**0.5), kurtosis * ((1 / s**2 - 3) / 12)  # L3 / 6 and L4 / 24
        squared = third.square() / 2
        even = 1 - fourth + 3 * squared, 2 * fourth - 12 * squared, 4 * squared
        density, density_after = (d * _series(x, third, *even) for d, x in ((density, z), (density_after, after)))
    chance_after = torch.erf(after)  # twice the chance that the neuron is on, less 1
    # Terms of the size of the answer, however far the neuron is from its kink.
    change = torch.addcmul(density_after - density, z, chance_after - torch.erf(z), value=ROOT)
    smooth = one * (w / 2 * (1 + chance_after)).sum(0) + (w * s / ROOT / 2 * change).sum(0)
    return torch.where(still, gain(b, a), r * smooth)


def _series(z: Tensor, third: Tensor, c0: Tensor, c2: Tensor, c4: Tensor) -> Tensor:
    """By how much Edgeworth's series multiplies the density in E max."""
    z = z.clamp(-FARTHEST, FARTHEST)
    square = z.square()
    return torch.addcmul(torch.addcmul(c0, torch.addcmul(c2, c4, square), square), third, z, value=-(2**0.5))
