"""A network with one hidden layer, explained without sampling: the values of its neurons, added up."""

import torch
from torch import Tensor, nn

from shapnotes.neuron import dispatch

AT_ONCE = 2**22  # values of neurons held at a time


def hidden_layer_shapley_values(
    model: nn.Module,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    method: str = "edgeworth",
    nodes: int = 16,
    accuracy: float = 1e-6,
    return_missing: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Shapley values of the inputs of V max(W x + b, 0) + c, for any number of inputs, without sampling.

        phi_k = sum over hidden units h of V_h phi_k(h),      phi_k(h) those of the neuron max(W_h x + b_h, 0)

    by linearity: a network with one hidden layer is a Shallow ShapNet whose modules see every feature.

    model    : `nn.Sequential` of a linear layer, a ReLU and a linear layer, after an `nn.Flatten` if x has more axes
    x        : [batch, *features]
    baseline : what stands for "absent": None (0), a number, or a tensor that broadcasts to x
    method   : "edgeworth", "normal", "li-cui", "lattice" or "enumeration"; see `shapnotes.neuron` for errors and costs
    nodes, accuracy : as in `nn.functional.relu_shapley_values`
    return_missing  : also return what the sum over players missed before it was closed

    Returns [batch, *features, outputs], on x's device and in its dtype, summing over features to
    model(x) - model(baseline): what an approximate method misses is shared out unit by unit, in proportion to the
    squares of a unit's terms. With return_missing a pair, the second [batch, outputs].

    Differentiable with "normal", "edgeworth", "li-cui" and "enumeration". Cost: that of the method for batch * hidden
    neurons, and one product [batch, features, hidden] with [hidden, outputs].

    Raises TypeError or ValueError for another model or unusable inputs.

    Source: ours, from Shapley Explanation Networks, Lemma 1, and Li and Cui, equation 1.
    """
    first, last = _layers(model)
    features = x.shape[1:]
    rows = x.flatten(1)
    absent = torch.zeros_like(rows) if baseline is None else torch.as_tensor(baseline).to(x).expand_as(x).flatten(1)
    offset = nn.functional.linear(absent, first.weight, first.bias)  # [batch, hidden]
    hidden_at_once = max(1, AT_ONCE // max(1, rows.numel()))
    found, missing = 0.0, 0.0
    for start in range(0, len(first.weight), hidden_at_once):
        units = slice(start, start + hidden_at_once)
        terms = (rows - absent)[:, None] * first.weight[units]  # [batch, units, features]
        values = dispatch.values(terms, offset[:, units], method, nodes=nodes, accuracy=accuracy)
        values, gap = dispatch.closed(values, terms, offset[:, units])
        found = found + values.transpose(1, 2) @ last.weight[:, units].T
        missing = missing + gap @ last.weight[:, units].T
    found = found.reshape(len(x), *features, -1)
    return (found, missing) if return_missing else found


def _layers(model: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    layers = list(model) if isinstance(model, nn.Sequential) else []
    if layers and isinstance(layers[0], nn.Flatten):
        layers = layers[1:]
    kinds = [type(layer) for layer in layers]
    if kinds != [nn.Linear, nn.ReLU, nn.Linear]:
        shown = ", ".join(kind.__name__ for kind in kinds) or type(model).__name__
        raise TypeError(
            f"model must be nn.Sequential(nn.Linear, nn.ReLU, nn.Linear), with nn.Flatten before it for images; got {shown}"
        )
    return layers[0], layers[2]
