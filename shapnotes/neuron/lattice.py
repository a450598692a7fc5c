"""Numerically exact values: terms on a grid, distributions by products of Fourier transforms, and a bound on the error.

Each term a is put on the two neighbouring points of a grid of step h, h m and h (m + 1), with weights that keep its mean.
The sum S' of the terms that are present is then on the grid, and the transform of its distribution is the product of

    F_i(w) = 1 + q (E_i(w) - 1),      E_i(w) = e^{-iw m_i} ((1 - f_i) + f_i e^{-iw}),      f_i = a_i / h - m_i

over the terms. Without player k it is the product over F_k, so that Owen's integrand of every player is a sum over the
frequencies of one product with (E_k - 1) / F_k: O(n) per frequency for all players together, and no coalition is ever
looked at. Exact values of a ReLU neuron count the solutions of knapsack problems, which is hard; on a grid that takes a
time proportional to the number of its points (pseudo-polynomial).

**Bound.** S' = S + x, where x has mean 0 given who is present, and a variance of at most t^2 = h^2 sum f_i (1 - f_i). As
max(s, 0) is convex and E|s + x| <= sqrt(s^2 + t^2),

    0 <= E max(s + x, 0) - max(s, 0) <= u(s) = (sqrt(s^2 + t^2) - |s|) / 2.

S is not known, but P(|x| <= 2t) >= 3/4 (Chebyshev), hence E u(S) <= E U(S') with U(s) = 4/3 max of u over [s - 2t, s + 2t].
With player k present, and without, the expectation is at most 1/q and 1/(1 - q) times that of all players. So

    |error of phi_k| <= integral of E U(S'_q) / min(q, 1 - q)  +  the quadrature's error (`owen`).
"""

from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from shapnotes.neuron.owen import nodes as quadrature_nodes
from shapnotes.neuron.owen import nodes_for, quadrature_error

MOST_POINTS = 2**24  # of a grid
BYTES = 2**27  # of the transforms of all terms at a time


@dataclass(frozen=True)
class Exact:
    """Values [n] of one neuron, and a bound on the error of each."""

    values: Tensor
    bound: float


def values(terms: Tensor, offset: Tensor, accuracy: float) -> Tensor:
    """Values of max(offset + sum of terms, 0), each within accuracy * (mean size of the values) of the exact one.

    terms [rows, n], offset [rows] -> [rows, n]; float64 inside, no gradients. Cost per row: O(nodes n points), points about
    sum |a| / h with h proportional to sqrt(accuracy). Raises ValueError where that is more than can be done.
    """
    found = [row(a, float(b), accuracy).values for a, b in zip(terms.detach().double(), offset.detach().double(), strict=True)]
    return torch.stack(found).to(terms.dtype)


def row(a: Tensor, b: float, accuracy: float) -> Exact:
    """The values of one neuron, terms a [n]: the step is halved until the bound is small enough."""
    found = torch.zeros_like(a)
    moving = a.nonzero()[:, 0]
    a = a[moving]
    if not len(a) or b + float(a.clamp(max=0).sum()) >= 0:  # nothing moves, or always on
        return Exact(found.index_copy(0, moving, a), 0.0)
    if b + float(a.clamp(min=0).sum()) <= 0:  # never on
        return Exact(found, 0.0)
    spread = float(a.square().sum().sqrt())
    step = spread * accuracy**0.5
    while True:
        one = on_grid(a, b, step, nodes_for(len(a), accuracy / 100))
        size = float(one.values.abs().mean())
        if one.bound <= accuracy * size:
            return Exact(found.index_copy(0, moving, one.values), one.bound)
        step /= 2
        points = _points(a, step)
        if points > MOST_POINTS:
            raise ValueError(
                f"an accuracy of {accuracy:g} takes a grid of {points:.2g} points for these {len(a)} terms, more than "
                f"{MOST_POINTS:.2g}; ask for less, or take method='edgeworth'"
            )


def on_grid(a: Tensor, b: float, step: float, nodes: int) -> Exact:
    """Values and bound for a given step, terms a [n] none of which is zero."""
    m = torch.floor(a / step)
    f = a / step - m
    first = int(m.clamp(max=0).sum())  # the lowest sum there can be
    points = _points(a, step)
    at = torch.arange(points, device=a.device, dtype=torch.float64) + first
    sums = at * step + b
    noise = step * float((f * (1 - f)).sum().sqrt())
    near = (sums.abs() - 2 * noise).clamp(min=0)
    doubt = 2 / 3 * ((near.square() + noise**2).sqrt() - near)
    # Of real functions half of the frequencies tell all. Position 0 of the transform is the sum `first`.
    gain, doubt = (torch.fft.rfft(g) / points for g in (torch.relu(sums), doubt))
    weight = torch.full((len(gain),), 2.0, dtype=torch.float64, device=a.device)
    weight[0] = 1.0
    if points % 2 == 0:
        weight[-1] = 1.0
    q, w = quadrature_nodes(nodes, torch.float64, a.device)
    found, risk = torch.zeros_like(a), 0.0
    at_once = max(1, BYTES // (16 * len(a)))
    for start in range(0, len(gain), at_once):
        part = slice(start, start + at_once)
        frequency = torch.arange(len(gain), device=a.device, dtype=torch.float64)[part] * (2 * torch.pi / points)
        shift = torch.exp(1j * first * frequency)
        turn = torch.exp(-1j * torch.outer(m, frequency))
        change = turn * (1 + f[:, None] * torch.expm1(-1j * frequency)) - 1  # E - 1 [n, frequencies]
        for j in range(nodes):
            factors = 1 + q[j] * change
            whole = factors.prod(0) * shift.conj().conj()
            against = whole * weight[part]
            found += w[j] * (((change / factors) @ (against * gain[part].conj())).real)
            risk += float(w[j] / min(q[j], 1 - q[j]) * (against * doubt[part].conj()).sum().real)
    return Exact(found, max(risk, 0.0) + quadrature_error(len(a), nodes) * float(a.abs().max()))


def _points(a: Tensor, step: float) -> int:
    """How many grid points hold all sums, a power of two."""
    width = float((a.abs() / step).ceil().sum()) + len(a) + 1
    return 2 ** ceil(log2(width))
