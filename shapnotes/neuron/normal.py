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
from torch.special import ndtr

from shapnotes._runtime.chunking import recomputed
from shapnotes.neuron.owen import gain, smooth_nodes

BLOCK_NUMBERS = 2**16  # worked on at once: few enough for the cache
KEPT_NUMBERS = 2**20  # terms times nodes up to which a backward pass keeps what it needs; beyond, it is computed again
STILL = 1e-12  # sum of the other terms' squares, in units of the largest: below, nothing else moves
ROOT = (2 * pi) ** 0.5

Sums = tuple[Tensor, ...]  # of the first four powers of terms


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


def power_sums(a: Tensor) -> Sums:
    """Sums of the first four powers, [rows, 1] each, added in float64: a large term is taken away from them again."""
    square = a.square()
    return tuple(power.sum(1, keepdim=True, dtype=torch.float64) for power in (a, square, square * a, square.square()))


def marginal(one: Tensor, sums: Sums, b: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """phi of players with the terms `one` [rows, players] among terms with these sums [rows, 1]; b [rows, 1]."""
    dtype, square = one.dtype, one.square()
    own = one, square, square * one, square.square()
    first, second, third, fourth = ((total - power).to(dtype) for total, power in zip(sums, own, strict=True))
    still = second <= STILL
    second = torch.where(still, 1.0, second)
    q, w = (t[:, None, None] for t in smooth_nodes(nodes, dtype, one.device))
    p = q * (1 - q)
    s = (p * second).sqrt()  # [nodes, rows, players], as all that follows
    before = b + q * first
    z, z_after = before / s, (before + one) / s
    below, below_after = ndtr(z), ndtr(z_after)
    density, density_after = torch.exp(z.square() / -2) / ROOT, torch.exp(z_after.square() / -2) / ROOT
    if edgeworth:
        skew = p * (1 - 2 * q) * third / s**3
        shape = skew / 6, p * (1 - 6 * p) * fourth / s**4 / 24, skew.square() / 72
        density, density_after = density * _series(z, shape), density_after * _series(z_after, shape)
    # Terms of the size of the answer, however far the neuron is from its kink.
    change = one * below_after + before * (below_after - below) + s * (density_after - density)
    return (w * torch.where(still, gain(before, one), change)).sum(0)


def _series(z: Tensor, shape: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """By how much Edgeworth's series multiplies the density in E max."""
    third, fourth, squared = shape
    square = z.square()
    return 1 - third * z + fourth * (square - 1) + squared * (square * (square - 6) + 3)


def _block(a: Tensor, b: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    return marginal(a, power_sums(a), b, nodes, edgeworth)
