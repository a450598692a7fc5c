"""A normal distribution for every time of arrival q, with or without its third and fourth cumulants (Edgeworth).

Owen's integral (`owen`) needs E max(S_q + c, 0), S_q the sum of independent terms that are present with probability q.
With cumulants K1 to K4 of S_q, s = sqrt(K2) and t = -(K1 + c) / s, a normal distribution gives

    E max(S_q + c, 0) = s (density(t) - t Phi(-t))

and the first two terms of Edgeworth's series add

    s density(t) [ L3/6 He1(t) + L4/24 He2(t) + L3^2/72 He4(t) ],      L_j = K_j / s^j,

since the integral of (z - t) density(z) He_j(z) over z > t is density(t) He_{j-2}(t). A term that is present with
probability q has the cumulants a q, a^2 p, a^3 p (1 - 2q) and a^4 p (1 - 6p) with p = q (1 - q).

For n terms of one size L3 and L4 fall like 1/sqrt(n) and 1/n: relative to the values `normal` errs by the order of 1/n,
`edgeworth` by that of 1/n^2 where no single term dominates.
"""

from math import pi

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from shapnotes.neuron.owen import smooth_nodes

ROOT = (2 * pi) ** 0.5
BLOCK = 2**16  # numbers worked on at once without gradients: few enough for the cache


def values(terms: Tensor, offset: Tensor, nodes: int, edgeworth: bool = False) -> Tensor:
    """Approximate values of max(offset + sum of terms, 0): terms [rows, n], offset [rows] -> [rows, n].

    Exactly 0 for a term that is 0. Differentiable to any order; every node is evaluated again in the backward pass.
    Cost: O(nodes n) normal distribution functions per row.
    """
    # Measured in units of the largest term: powers neither overflow nor vanish.
    unit = terms.detach().abs().amax(1, keepdim=True)
    unit = torch.where(unit > 0, unit, 1.0)
    a, b = terms / unit, offset[:, None] / unit
    q, w = smooth_nodes(nodes, a.dtype, a.device)
    if torch.is_grad_enabled() and (terms.requires_grad or offset.requires_grad):
        total = sum(w[j] * checkpoint(marginal, a, a, b, q[j], edgeworth, use_reentrant=False) for j in range(nodes))
        return total * unit
    rows = max(1, BLOCK // a.shape[1])
    found = torch.zeros_like(a)
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        for j in range(nodes):
            found[part] += w[j] * marginal(a[part], a[part], b[part], q[j], edgeworth)
    return found * unit


def marginal(one: Tensor, a: Tensor, b: Tensor, q: Tensor, edgeworth: bool) -> Tensor:
    """D_k(q) for players with the terms `one` [rows, players], beside all terms a [rows, n] but their own; b [rows, 1]."""
    p = q * (1 - q)
    square, square_one = a.square(), one.square()
    s = (p * (square.sum(1, keepdim=True) - square_one).clamp(min=0)).sqrt()
    still = s <= 1e-6  # of the largest term: nothing else moves
    s = torch.where(still, 1.0, s)
    middle = b + q * (a.sum(1, keepdim=True) - one)
    shape = None
    if edgeworth:
        third = p * (1 - 2 * q) * ((square * a).sum(1, keepdim=True) - square_one * one) / s**3
        fourth = p * (1 - 6 * p) * (square.square().sum(1, keepdim=True) - square_one.square()) / s**4
        shape = third / 6, fourth / 24, third.square() / 72
    smooth = expected(middle + one, s, shape) - expected(middle, s, shape)
    return torch.where(still, torch.relu(middle + one) - torch.relu(middle), smooth)


def expected(mean: Tensor, s: Tensor, shape: tuple[Tensor, Tensor, Tensor] | None) -> Tensor:
    """E max(X, 0) for X of this mean and standard deviation, normal or with L3/6, L4/24 and L3^2/72."""
    z = mean / s  # -t
    density = torch.exp(-z.square() / 2) / ROOT
    found = mean * torch.special.ndtr(z) + s * density
    if shape is None:
        return found
    third, fourth, squared = shape
    square = z.square()
    correction = -third * z + fourth * (square - 1) + squared * (square * (square - 6) + 3)
    return found + s * density * correction
