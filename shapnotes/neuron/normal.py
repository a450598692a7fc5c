r"""A normal distribution for every rate q, with or without its third and fourth cumulants (Edgeworth).

Owen's integral (`owen`) needs E max(S_q + c, 0), S_q the sum of independent terms that are present with probability q.
With cumulants K1 to K4 of S_q, s = sqrt(K2) and z = (K1 + c) / s, a normal distribution gives

    E max(S_q + c, 0) = (K1 + c) Phi(z) + s density(z),

and the first two terms of Edgeworth's series add

    s density(z) [ -L3/6 He1(z) + L4/24 He2(z) + L3^2/72 He4(z) ],      L_j = K_j / s^j,

since the integral of (y + z) density(y) He_j(y) over y > -z is density(z) He_{j-2}(-z). A term that is present with
probability q has the cumulants a q, a^2 p, a^3 p (1 - 2q) and a^4 p (1 - 6p) with p = q (1 - q).
"""

from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes._runtime.chunking import recomputed
from shapnotes.coalitions import cached_tensors
from shapnotes.neuron.owen import gain, smooth_nodes

BLOCK_NUMBERS = 2**16  # worked on at once: few enough for the cache
KEPT_NUMBERS = 2**20  # terms times nodes up to which a backward pass keeps what it needs; beyond, it is computed again
STILL = 1e-12  # sum of the other terms' squares, in units of the largest: below, nothing else moves
ROOT = pi**0.5


def values(terms: Tensor, offset: Tensor, nodes: int, edgeworth: bool) -> Tensor:
    """Approximate values of max(offset + sum of terms, 0), term by term: terms [rows, n], offset [rows] -> [rows, n].

    Exactly 0 for a term that is 0. Differentiable to any order. Cost: 2 nodes n normal distribution functions per row.
    """
    a, b, unit = in_units(terms, offset)
    n, rates = a.shape[1], Rates.of(nodes, a.dtype, a.device)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        if a.numel() * nodes <= KEPT_NUMBERS:
            return _block(a, b, rates, edgeworth) * unit
        rows = max(1, KEPT_NUMBERS // (nodes * n))
        parts = [recomputed(_block, *part, rates, edgeworth) for part in zip(a.split(rows), b.split(rows), strict=True)]
    else:
        rows = max(1, BLOCK_NUMBERS // n)
        parts = [_block(*part, rates, edgeworth) for part in zip(a.split(rows), b.split(rows), strict=True)]
    return torch.cat(parts) * unit


def in_units(terms: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Terms [rows, n], offset [rows, 1] in units of the largest term per row, and the unit [rows, 1].

    Powers of what is at most 1 neither overflow nor vanish together.
    """
    unit = terms.detach().abs().amax(1, keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    most = torch.finfo(terms.dtype).max ** 0.5  # a neuron so far from its kink is linear
    return terms / unit, (offset[:, None] / unit).clamp(-most, most), unit


def _block(a: Tensor, b: Tensor, rates: "Rates", edgeworth: bool) -> Tensor:
    """The integral over the rates q of all players, terms a [rows, n], offsets b [rows, 1]: [rows, n].

    All is measured in units of the size of the other terms, the root r of the sum of their squares, so that at rate q
    their standard deviation is sqrt(q (1 - q)).
    """
    square = a.square()
    total, squares = _of_others(a), _of_others(square)
    still = squares <= STILL
    r = torch.where(still, 1.0, squares).sqrt()
    scaled = [a / r, total / r, b / r]
    if edgeworth:
        skew = _of_others(square * a) / r**3
        scaled += [skew, skew.square(), _of_others(square.square()) / r**4]
    rows = max(1, BLOCK_NUMBERS // (len(rates.q_s) * a.shape[1]))
    if a.requires_grad or b.requires_grad or rows >= len(a):
        smooth = _integral(rates, *scaled)
    else:
        smooth = torch.cat([_integral(rates, *part) for part in zip(*(t.split(rows) for t in scaled), strict=True)])
    return torch.where(still, gain(b, a), r * smooth)


def _of_others(x: Tensor) -> Tensor:
    """The sum over all other players [rows, n], also of one whose own is most of the sum of all."""
    total = x.sum(1, keepdim=True, dtype=torch.float64)
    rounded = total.to(x.dtype)
    return rounded - x + (total - rounded).to(x.dtype)


class Rates(NamedTuple):
    """What depends on the rates q alone, each [nodes, 1, 1].

    Attributes
    ----------
    chance, density : Tensor
        Weights of the two parts of the integral.
    q_s, inverse : Tensor
        q / s and 1 / s with s = sqrt(2 q (1 - q)).
    odd, square, peak : Tensor
        What makes, of the skewness of the other terms, its square, and their kurtosis, L3 / 6 times the root of 2,
        L3^2 / 18 and L4 / 24.
    """

    chance: Tensor
    density: Tensor
    q_s: Tensor
    inverse: Tensor
    odd: Tensor
    square: Tensor
    peak: Tensor

    @classmethod
    def of(cls, nodes: int, dtype: torch.dtype, device: torch.device) -> "Rates":
        """Of the nodes of a quadrature."""
        return cls(*_constants(nodes, dtype, device).unbind(0))


@cached_tensors
def _constants(nodes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The fields of `Rates`, [7, nodes, 1, 1]."""
    q, w = smooth_nodes(nodes, torch.float64, torch.device("cpu"))
    s = (2 * q * (1 - q)).sqrt()
    third, fourth = (1 - 2 * q) / s / 18**0.5, (1 / s.square() - 3) / 12
    fields = [w / 2, w * s / (2 * ROOT), q / s, 1 / s, 2**0.5 * third, 2 * third.square(), fourth]
    return torch.stack(fields)[..., None, None].to(device, dtype)


def _integral(rates: Rates, one: Tensor, total: Tensor, far: Tensor, *cumulants: Tensor) -> Tensor:
    """Of a player's contributions over the rates: [rows, n], as all that is given.

    one       : the player's term
    total     : the sum of the others' terms
    far       : the offset
    cumulants : nothing, or sums of the others' third powers, its square, and of their fourth powers
    """
    z = torch.addcmul(far * rates.inverse, total, rates.q_s)  # the standard score over the root of 2 [nodes, rows, n]
    after = torch.addcmul(z, one, rates.inverse)
    on_after = torch.erf(after)
    on = on_after - torch.erf(z)  # twice the chance that the player turns the neuron on
    density, density_after = _densities(rates, z, after, *cumulants)
    # Terms of the size of the answer, however far the neuron is from its kink.
    change = torch.addcmul(density_after - density, z, on, value=ROOT)
    chance_after = on_after.add_(1).mul_(rates.chance).sum(0)
    return torch.addcmul(change.mul_(rates.density).sum(0), one, chance_after)


def _densities(rates: Rates, z: Tensor, after: Tensor, *cumulants: Tensor) -> tuple[Tensor, Tensor]:
    """exp(-z^2), before and after the player has come, times what Edgeworth's series makes of it in E max."""
    scores = [z, after]
    if cumulants or not z.requires_grad:  # without a series its backward pass would cost more than it saves
        # Beyond that they are no normal numbers, on which arithmetic is many times slower; and powers of z stay finite.
        limits = torch.finfo(z.dtype)
        farthest = log(limits.eps / limits.tiny) ** 0.5
        scores = [x.clamp(-farthest, farthest) for x in scores]
    squares = [x.square() for x in scores]
    densities = [x.neg().exp_() for x in squares]
    if cumulants:
        skew, skew_squared, kurtosis = cumulants
        odd, squared, peak = skew * rates.odd, skew_squared * rates.square, kurtosis * rates.peak
        c0, c2 = torch.add(1 - peak, squared, alpha=0.75), torch.add(2 * peak, squared, alpha=-3)
        for i, (x, square) in enumerate(zip(scores, squares, strict=True)):
            series = torch.addcmul(torch.addcmul(c0, torch.addcmul(c2, squared, square), square), odd, x, value=-1)
            densities[i] = densities[i] * series
    return densities[0], densities[1]
