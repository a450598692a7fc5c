"""The Shapley values of a ReLU neuron's inputs, in closed form and exactly."""

import torch
from torch import Tensor

from shapnotes.exact import shapley_values


def relu_shapley_values(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The analytical approximation of the Shapley values of the inputs of y = max(W x + b, 0), for every neuron.

        alpha_k = Phi((mu + b) / sigma) (w_k x_k + b / n)
        mu      = 1/2 sum_i w_i x_i
        sigma^2 = 1/6 sum_i (w_i x_i)^2 + 1/12 (sum_i w_i x_i)^2

    Phi is the standard normal distribution function; mu and sigma are mean and standard deviation of the sum of the
    w_i x_i that come first in a random order, their number uniform on 0..n. "Absent" means x_i = 0. The approximation
    is one of a normal law for that sum; it shares the bias equally among the inputs, so the values of a neuron sum to
    its Shapley Activation Phi((mu + b) / sigma) (W x + b), not to its output. `exact_relu_shapley_values` has the
    exact ones.

    x      : [batch, in]
    weight : [out, in]
    bias   : [out] or None (zero)

    Returns [batch, out, in]. Where sigma is zero (every w_i x_i is), the limit: max(b, 0) / n each. Cost:
    O(batch out in) time and memory.

    Source: Li and Cui, equation 1. Our `weight`, `bias` are their w and b; their y is the output of one neuron.
    """
    _check_layer(x, weight, bias)
    n = weight.shape[1]
    terms = x[:, None, :] * weight
    b = x.new_zeros(()) if bias is None else bias[:, None]
    # Measured in units of the largest term, so that squares neither overflow nor vanish.
    unit = terms.detach().abs().amax(-1, keepdim=True)
    moving = unit > 0
    unit = torch.where(moving, unit, 1.0)
    scaled = terms / unit
    total = scaled.sum(-1, keepdim=True)
    variance = (scaled**2).sum(-1, keepdim=True) / 6 + total**2 / 12
    sigma = torch.where(moving, variance, 1.0).sqrt()
    step = (torch.sign(b.detach()) + 1) / 2  # the limit of Phi as sigma goes to 0; one half is the middle at b = 0
    probability = torch.where(moving, torch.special.ndtr((total / 2 + b / unit) / sigma), step)
    return probability * (terms + b / n)


def exact_relu_shapley_values(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The exact Shapley values of the inputs of y = max(W x + b, 0), for every neuron, by enumerating 2**in coalitions.

    Absent means x_i = 0. The values of a neuron sum to max(W x + b, 0) - max(b, 0).

    x [batch, in], weight [out, in], bias [out] or None; returns [batch, out, in]. Cost: 2**in additions and one maximum
    a neuron; refused where that is hopeless, as in `shapnotes.shapley_values`.

    Source: Shapley (1953); Li and Cui, section 2.1 and Table 1.
    """
    _check_layer(x, weight, bias)
    return shapley_values(lambda rows: torch.relu(torch.nn.functional.linear(rows, weight, bias)), x).movedim(1, -1)


def _check_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor, axes in (
        ("x", x, "[batch, in]"),
        ("weight", weight, "[out, in]"),
        ("bias", bias, "[out]"),
    ):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor {axes}; got {kind}")
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"x [batch, in] and weight [out, in] must agree on in >= 1; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{len(weight)}], one a neuron; got shape {tuple(bias.shape)}")
