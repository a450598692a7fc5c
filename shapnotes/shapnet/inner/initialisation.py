"""How large random weights of an inner perceptron should be, so that Shapley values neither vanish nor explode."""

import torch
from torch import Tensor

from shapnotes.coalitions import marginal_weights


def value_variance(k: int, depth: int = 1, negative_slope: float = 0.0, bias_variance: float = 0.0) -> float:
    r"""The variance of a Shapley value over random weights, for a wide perceptron with unit inputs and readout.

    .. math::
        \mathrm{E}\, \phi_i^2 = m_i^\top K_{\text{depth}}\, m_i, \qquad
        K_0[S, T] = \frac{g\, |S \cap T|}{k} + \beta,

        K_l = g\, A(K_{l-1}) + \beta \quad (0 < l < \text{depth}), \qquad
        K_{\text{depth}} = A(K_{\text{depth} - 1}), \qquad
        g = \frac{2}{1 + \epsilon^2}

    :math:`m_i` is player i's row of the Shapley matrix, :math:`\epsilon` the `negative_slope` and :math:`\beta` the
    `bias_variance`. K[S, T] is the covariance between coalitions S and T of k players of mean square 1: of
    pre-activations, then (A) of activations, E a(u) a(v) for normal u, v. With :math:`\theta` the angle between u and
    v,

    .. math::
        A = \frac{|u|\, |v|}{2} \Big[ (1 + \epsilon^2) \cos\theta
        + \frac{(1 - \epsilon)^2}{\pi} (\sin\theta - \theta \cos\theta) \Big]

    Parameters
    ----------
    k : int
        Players.
    depth : int
        Hidden layers, their weights of variance g / fan-in.
    negative_slope : float
        Of the activation, a leaky ReLU; 0 is ReLU.
    bias_variance : float
        Of the biases of hidden layers.

    Returns
    -------
    float
        In units of the readout's squared norm. For one ReLU layer without bias it is 2 / k times a factor that is 1/2
        for k = 1, 1/2 - 1 / (4 pi) for k = 2, and falls to (2 - log 2) / 4 = 0.327.

    Cost
    ----
    O(k^3).
    """
    # K depends on the sizes of S, T and S & T alone. Count pairs (S, T) of coalitions of the k - 1 others.
    s, t, u = torch.cartesian_prod(*[torch.arange(k, device="cpu")] * 3).T
    possible = (u <= s) & (u <= t) & (s + t - u <= k - 1)
    s, t, u = (size[possible] for size in (s, t, u))
    factorials = torch.lgamma(torch.arange(1, k + 1, dtype=torch.float64, device="cpu"))
    pairs = factorials[k - 1] - factorials[torch.stack([u, s - u, t - u, k - 1 - s - t + u])].sum(0)
    weights = marginal_weights(k)
    weight = pairs.exp() * weights[s] * weights[t]
    # The covariance of two contributions: player i joins S and T, S alone, T alone, or neither.
    change: Tensor | float = 0.0
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
