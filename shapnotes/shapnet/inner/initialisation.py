"""How large random weights of an inner perceptron should be, so that Shapley values neither vanish nor explode."""

import torch
from torch import Tensor

from shapnotes.coalitions import marginal_weights


def value_variance(k: int, depth: int = 1, negative_slope: float = 0.0, bias_variance: float = 0.0) -> float:
    """The variance of a Shapley value over random weights, for a wide perceptron with unit inputs and readout.

        E phi_i^2 = m' K_depth m,      K_0[S, T] = g |S & T| / k + bias_variance,
        K_l = A(K_(l-1)) g + bias_variance below the last layer, A(K) in it,      g = 2 / (1 + slope^2)

    m is player i's row of the Shapley matrix and K[S, T] the covariance between coalitions S and T of k players of
    mean square 1: of pre-activations, then (A) of activations, E a(u) a(v) for normal u, v. With t the angle between u
    and v, A = |u| |v| [(1 + slope^2) cos t + (1 - slope)^2 (sin t - t cos t) / pi] / 2.

    k              : players
    depth          : hidden layers, their weights of variance g / fan-in
    negative_slope : of the activation
    bias_variance  : of the biases

    Returns a number, in units of the readout's squared norm. For one ReLU layer without bias it is 2/k times 1/2,
    1/2 - 1/(4 pi), ... for k = 1, 2, ..., the factor falling to (2 - log 2) / 4 = 0.327. Cost: O(k^3).
    """
    # K depends on the sizes of S, T and S & T alone. Count pairs (S, T) of coalitions of the k - 1 others.
    s, t, u = torch.cartesian_prod(*[torch.arange(k, device="cpu")] * 3).T
    possible = (u <= s) & (u <= t) & (s + t - u <= k - 1)
    s, t, u = (size[possible] for size in (s, t, u))
    factorials = torch.lgamma(torch.arange(1, k + 1, dtype=torch.float64, device="cpu"))
    pairs = factorials[k - 1] - factorials[torch.stack([u, s - u, t - u, k - 1 - s - t + u])].sum(0)
    weights = marginal_weights(k)
    weight = pairs.exp() * weights[s] * weights[t]
    change: Tensor | float = (
        0.0  # the covariance of two contributions: player i joins S and T, S alone, T alone, or neither
    )
    for a, b in ((1, 1), (1, 0), (0, 1), (0, 0)):
        sign = 1 if a == b else -1
        change = change + sign * _covariance(s + a, t + b, u + a * b, k, depth, negative_slope, bias_variance)
    return float(weight @ change)


def _covariance(
    s: Tensor, t: Tensor, both: Tensor, k: int, depth: int, negative_slope: float, bias_variance: float
) -> Tensor:
    """Covariance of a last hidden unit between coalitions of sizes s and t that share `both` players."""
    gain = 2 / (1 + negative_slope**2)
    uu, vv, uv = (gain * size.double() / k + bias_variance for size in (s, t, both))
    for layer in range(depth):
        lengths = (uu * vv).sqrt()
        cos = torch.where(lengths > 0, uv / lengths, 1.0).clamp(-1, 1)
        angle = cos.acos()
        curved = (1 - negative_slope) ** 2 * (angle.sin() - angle * cos) / torch.pi
        uv = lengths * ((1 + negative_slope**2) * cos + curved) / 2
        uu, vv = uu / gain, vv / gain
        if layer < depth - 1:
            uu, vv, uv = (gain * covariance + bias_variance for covariance in (uu, vv, uv))
    return uv
