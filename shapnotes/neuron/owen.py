"""Owen's multilinear extension: a Shapley value as an integral over the chance q of being present.

A neuron's game with terms a_i and offset b is v(S) = max(b + sum_{i in S} a_i, 0). Let every other player be present
with probability q, the rate, independently, and S_q be the sum of their terms. Then (Owen, 1972)

    phi_k = integral over q in (0, 1) of D_k(q),      D_k(q) = E[max(S_q + a_k + b, 0) - max(S_q + b, 0)],

because a player who arrives at a uniformly random time q finds each of the others there with probability q. D_k is a
polynomial of degree n - 1 in q, so that Gauss-Legendre quadrature with n/2 nodes is exact. Far fewer are enough, by

    Proposition. With m nodes the error is at most 64/15 |a_k| / 2 * ((r + 1/r) / 2)^(n - 1) r^(-2m) / (1 - r^-2)
    for every r > 1.

    Proof. For complex q the weights q and 1 - q of a player have sizes whose sum is |q| + |1 - q|, so the expectation
    of something of size at most |a_k| is at most |a_k| (|q| + |1 - q|)^(n - 1). On the ellipse with foci 0 and 1 that
    is the image of the circle of radius r that sum is (r + 1/r) / 2 throughout. A function analytic inside the ellipse
    and bounded on it by M has a Gauss-Legendre error of at most 64/15 M r^(-2m) / (1 - r^-2) on an interval of length 2
    (Trefethen, Approximation Theory and Approximation Practice, theorem 19.3), half of that on (0, 1).

With r = 1 + 2m/n the bound is about |a_k| n / (2m) exp(-2 m^2 / n). So an error of e |a_k| takes somewhat more than
sqrt(n/2 log(1/e)) nodes.
"""

from functools import lru_cache
from math import ceil, exp, log, pi

import torch
from torch import Tensor

FEWEST_NODES = 16
MOST_BELLS_PER_NODE = 0.4
MOST_DOUBLINGS = 6  # 1024 nodes


def gain(before: Tensor, term: Tensor) -> Tensor:
    """max(before + term, 0) - max(before, 0), without the rounding of a difference of large numbers."""
    return torch.where(before > 0, torch.maximum(term, -before), torch.relu(before + term))


def nodes(count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes in (0, 1), [count], and weights that sum to 1, [count]."""
    with torch.inference_mode(False):  # a tensor made in inference mode could never take part in a gradient
        q, w = _constant_nodes(count)
        return q.to(device, dtype), w.to(device, dtype)


def _constant_nodes(count: int) -> tuple[Tensor, Tensor]:
    return _nodes(count)


# No compiler needs to look into the solver. This is `torch.compiler.assume_constant_result`, without importing one.
_constant_nodes._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
def _nodes(count: int) -> tuple[Tensor, Tensor]:
    """By the eigenvalues of the Jacobi matrix (Golub and Welsch, 1969)."""
    with torch.inference_mode(False):
        k = torch.arange(1, count, dtype=torch.float64, device="cpu")
        beside = k / (4 * k * k - 1).sqrt()
        values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
        return (values + 1) / 2, vectors[0].square()


def smooth_nodes(count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes q in (0, 1), [count], and weights, [count], for functions of sqrt(q (1 - q)), as standard deviations are.

    Gauss-Legendre in u with q = (1 - cos(pi u)) / 2: sqrt(q (1 - q)) = sin(pi u) / 2 is smooth in u, where in q it has
    vertical slopes at both ends, at which a polynomial in q converges slowly.
    """
    u, w = nodes(count, torch.float64, torch.device("cpu"))
    q, w = (1 - torch.cos(pi * u)) / 2, w * (pi / 2) * torch.sin(pi * u)
    return q.to(device, dtype), (w / w.sum()).to(device, dtype)


def enough_nodes(terms: Tensor) -> Tensor:
    """How many of `smooth_nodes` a normal distribution per rate asks for, a power of two: terms [rows, n] -> [rows].

    In the rate the bell of S_q passes over the kink within a share of about sqrt(sum a^2) / |sum a| of all
    rates: more of its widths there are where terms pull one way. Up to MOST_BELLS_PER_NODE of them per node leave an
    error below two thousandths (measured).
    """
    terms = terms.detach()
    spread = torch.linalg.vector_norm(terms, dim=1)
    bells = terms.sum(1).abs() / torch.where(spread > 0, spread, 1.0)
    doublings = (bells.nan_to_num(0.0) / (MOST_BELLS_PER_NODE * FEWEST_NODES)).clamp(min=1.0).log2().ceil()
    return FEWEST_NODES * 2 ** doublings.clamp(max=MOST_DOUBLINGS).long()


def quadrature_error(n: int, count: int) -> float:
    """A bound on the error of `count` nodes for n players, in units of |a_k|: the proposition at the best r of some."""
    if 2 * count >= n:
        return 0.0  # exact: a polynomial of degree n - 1 <= 2 count - 1

    def at(r: float) -> float:
        return (n - 1) * log((r + 1 / r) / 2) - 2 * count * log(r) - log(1 - r**-2)

    least = min(at(1 + 2 * count / n * factor / 8) for factor in range(2, 17))
    return min(2.0, 64 / 30 * exp(min(least, 50.0)))


def nodes_for(n: int, error: float) -> int:
    """The smallest even number of nodes whose bound is below `error`, in units of |a_k|."""
    count = 2
    while quadrature_error(n, count) > error:
        count += 2
    return min(count, 2 * ceil(n / 4))
