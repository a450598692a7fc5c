r"""Numerically exact values: a sum over a lattice of frequencies, with a bound on its error that is computed beside it.

Let the neuron be given normal noise e Z, of mean 0 and a small standard deviation e, beside its terms. Its output is
then E max(s + e Z, 0), smooth in s, and its second derivative is the density of e Z. Repeated with a period P this is a
Fourier series, and the output itself, wherever P is larger than |s|, is but for a constant

    s / 2 + s^2 / 2P - sum over frequencies w = 2 pi j / P, j = 1, 2, ...  of  2 / (P w^2) exp(-(e w)^2 / 2) cos(w s).

What Owen's integrand (`owen`) needs is the expectation of this at s = S_q + c, and that of exp(iw S_q) is the product
over the terms of

    F_i(w) = 1 + q (exp(iw a_i) - 1).

Without player k it is the product over F_k, so that a frequency costs O(n) for all players together; no coalition is
ever looked at. Exact values of a ReLU neuron count the solutions of knapsack problems, which is hard; P / e frequencies
take a time that grows with the size of the terms in units of the accuracy (pseudo-polynomial).

**Bound.** The noise adds u(s) = E max(s + e Z, 0) - max(s, 0), and 0 <= u(s) <= d(s), which is e^2 times the density of
e Z at s. So half of d, which the same sum gives with e^2 in place of 1 / w^2, is taken away again: what is left of an
expectation's error is at most half of E d(S_q + c), and phi_k has at most that of its two expectations together, with
player k and without. That is e^2 times a density at the kink, second order in e, unless coalitions end exactly there,
where it is first order. Those that always can, the empty and the full one, are put right exactly. (As u and d / 2 have
one integral, the error itself is of fourth order where the sums have a smooth density.) Where the neuron's terms have
no common measure most frequencies say nothing: |F_i|^2 = 1 - 2 q (1 - q) (1 - cos w a_i), hence

    |product of all F_i but one| <= exp(1/2 - q (1 - q) G(w)),      G(w) = sum_i (1 - cos w a_i),

and what is left out is bounded by that. The quadrature's error is bounded in `owen`.
"""

from dataclasses import dataclass
from math import ceil, erfc, exp, pi, sqrt

import torch
from torch import Tensor

from shapnotes.neuron.owen import nodes as quadrature_nodes
from shapnotes.neuron.owen import nodes_for, quadrature_error

MAX_PRODUCTS = 1e11  # terms times frequencies times nodes per neuron, of which most are left out: some minutes
BLOCK_NUMBERS = 2**17  # complex ones, worked on at once
FARTHEST = 8.0  # standard deviations of the noise's spectrum: beyond, exp(-32) is left
CLEARANCE = 9.0  # standard deviations of the noise between the sums and the next period's kink


@dataclass(frozen=True)
class Exact:
    """Values [n] of one neuron, and a bound on the error of each."""

    values: Tensor
    bound: float


def values(terms: Tensor, offset: Tensor, accuracy: float) -> Tensor:
    """Values of max(offset + sum of terms, 0), terms [rows, n], offset [rows] -> [rows, n]; no gradients.

    Each is within accuracy * unit of the exact one, computed in float64; `row` says what the unit is. Cost per row:
    O(nodes n frequencies). Raises ValueError where that is more than can be done, or rounding is larger than asked.
    """
    rows = zip(terms.detach().double(), offset.detach().double(), strict=True)
    return torch.stack([row(a, float(b), accuracy).values for a, b in rows]).to(terms.dtype)


def row(a: Tensor, b: float, accuracy: float) -> Exact:
    """The values of one neuron, terms a [n]: with less noise until the bound is small enough. Raises as `values` does.

    The unit of accuracy is the mean size of the values of the terms that are not zero, and a thousandth of the mean
    size of those terms where that is more: the neuron is hardly ever on.
    """
    found = torch.zeros_like(a)
    moving = a.nonzero()[:, 0]
    a = a[moving]
    if not len(a) or b + float(a.clamp(max=0).sum()) >= 0:  # nothing moves, or always on
        return Exact(found.index_copy(0, moving, a), 0.0)
    if b + float(a.clamp(min=0).sum()) <= 0:  # never on
        return Exact(found, 0.0)
    mean, largest = float(a.abs().mean()), float(a.abs().max())
    noise, wanted = float(a.square().sum().sqrt()) * sqrt(accuracy), accuracy * mean / 2
    nodes, so_far, last = nodes_for(len(a), wanted / largest / 8), "", None
    most = accuracy * mean  # of the error that may be left, since |phi_k| <= |a_k|
    while True:
        cost = float(len(a)) * nodes * _frequencies(a, b, noise)[1]
        negligible = wanted / 8
        stands = last is not None and last[:2] == (noise, nodes) and negligible > last[2] * (1 - 1e-9)
        if stands or _rounding(len(a), _reach(a, b)) > most:
            raise ValueError(
                f"an accuracy of {accuracy:g} is finer than float64 allows for a neuron of these {len(a)} terms"
                f"{so_far}. Ask for less"
            )
        if cost > MAX_PRODUCTS:
            raise ValueError(
                f"an accuracy of {accuracy:g} takes up to {cost:.1e} products for a neuron of these {len(a)} terms, "
                f"more than {MAX_PRODUCTS:.0e}{so_far}. Ask for less, or take method='edgeworth'"
            )
        last = noise, nodes, negligible
        one, of_noise = with_noise(a, b, noise, nodes, negligible)
        wanted = most = accuracy * max(float(one.values.abs().mean()), mean / 1000)
        if one.bound <= wanted:
            return Exact(found.index_copy(0, moving, one.values), one.bound)
        so_far = f"; so far the error is at most {one.bound / wanted * accuracy:.1e}"
        if of_noise > wanted / 2:
            noise *= min(0.7, 0.8 * sqrt(wanted / of_noise))
        nodes = nodes_for(len(a), wanted / largest / 8)


def with_noise(a: Tensor, b: float, noise: float, nodes: int, negligible: float) -> tuple[Exact, float]:
    """Values and bound for noise of a given standard deviation, and the noise's part of it; terms a [n], none zero.

    Frequencies that change no value by more than `negligible`, all of them together, are left out.
    """
    n, total = len(a), float(a.sum())
    period, count = _frequencies(a, b, noise)
    q, weight = quadrature_nodes(nodes, torch.float64, a.device)
    p = q * (1 - q)
    change, absent, present = (torch.zeros_like(a) for _ in range(3))  # of the values; the densities
    left_out = 0.0
    width = max(16, min(count, BLOCK_NUMBERS // n))
    for start in range(0, count, width):
        numbers = torch.arange(start + 1, min(start + width, count) + 1, dtype=torch.float64, device=a.device)
        w = numbers * (2 * pi / period)
        spectrum = torch.exp((noise * w).square() / -2) * (2 / period)
        turn = torch.polar(torch.ones(()).to(a), torch.outer(a, w)) - 1  # [n, frequencies]
        decay = torch.exp(0.5 + torch.outer(p, turn.real.sum(0)))  # [nodes, frequencies]
        most = weight * (decay @ (2 * spectrum * (1 / w.square() + noise**2)))
        needed = most > negligible / count * len(w) * weight
        left_out += float(most[~needed].sum())
        at_offset = torch.polar(spectrum, b * w)
        forms = torch.stack([at_offset / w.square(), at_offset * noise**2], 1)
        some = max(1, BLOCK_NUMBERS // (n * len(w)))
        for j in needed.nonzero()[:, 0].split(some):
            factors = 1 + q[j, None, None] * turn  # [nodes, n, frequencies]
            whole = factors.prod(1)[..., None] * forms  # [nodes, frequencies, 2]
            without = (factors.reciprocal_() @ whole).real  # [nodes, n, 2]
            # with - without, as (exp(iwa) - 1) / F = (1 - 1 / F) / q
            differ = (whole.sum(1).real[:, None] - without) / q[j, None, None]
            change += weight[j] @ differ[..., 0]
            absent += weight[j] @ without[..., 1]
            present += weight[j] @ (without + differ)[..., 1]
    uniform = noise**2 / period  # of both densities, at frequency 0
    found = a / 2 + (a.square() + a * (total - a) + 2 * a * b) / (2 * period) - change - (present - absent) / 2
    empty, full = (_lift(s, noise) for s in (b, b + total))
    found += (empty[0] - empty[1] / 2 - full[0] + full[1] / 2) / n
    of_noise = (float((absent + present).max()) - (empty[1] + full[1]) / n) / 2 + uniform
    rounding = 1e-14 * noise + _rounding(n, period)
    quadrature = quadrature_error(n, nodes) * (float(a.abs().max()) + 2 * noise)
    return Exact(found, max(of_noise, 0.0) + left_out + rounding + quadrature), of_noise


def _frequencies(a: Tensor, b: float, noise: float) -> tuple[float, int]:
    """The period, and how many frequencies there are below those that the noise cuts off."""
    period = _reach(a, b) + CLEARANCE * noise
    return period, ceil(FARTHEST * period / (2 * pi * noise))


def _reach(a: Tensor, b: float) -> float:
    """The largest size of a coalition's sum."""
    return max(b + float(a.clamp(min=0).sum()), -b - float(a.clamp(max=0).sum()))


def _rounding(n: int, period: float) -> float:
    """What float64 leaves of an error, of sums over products of n factors; an allowance, not proved."""
    return 1e-15 * n * period


def _lift(s: float, noise: float) -> tuple[float, float]:
    """u(s), by how much the noise lifts the output at s, and the e^2 times a density that bounds it."""
    z = abs(s) / noise
    most = noise * exp(-z * z / 2) / sqrt(2 * pi)
    return most - noise * z * erfc(z / sqrt(2)) / 2, most
