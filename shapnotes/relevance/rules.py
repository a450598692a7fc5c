"""One rule per kind of layer: how the relevance of a layer's output is shared among its inputs."""

import operator
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from shapnotes.explanation import GapError
from shapnotes.relevance.layer import BatchNorm, Layer, Rule, Shares

MIN_RELATIVE_SUM = 1e-12  # of its terms' size: a smaller one has at most four digits left

LinearMap = Callable[[Tensor, Tensor], Tensor]  # of inputs and weights, linear in both


def total(relevance: Tensor) -> Tensor:
    """Summed over all but several and batch: [several, batch, ...] -> [several, batch]."""
    return relevance.reshape(*relevance.shape[:2], -1).sum(2)


def unchanged(layer: Layer, relevance: Tensor, eps: float) -> Shares:
    """One input per output, which gets everything; at most the shape differs."""
    return [relevance.reshape(len(relevance), *layer.reads[0].output.shape)], 0.0


def linear_map(layer: Layer, relevance: Tensor, eps: float) -> Shares:
    """Linear layers and convolutions, with the normalisation that belongs to them."""
    module, x = layer.module, layer.input()
    assert isinstance(module, nn.Linear | nn.Conv2d)
    weight = module.weight.double()
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.double()
    if layer.normalisation is not None and (isinstance(module, nn.Conv2d) or x.dim() == 2):
        scale, shift = _scale_and_shift(layer.normalisation)
        weight, bias = weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), bias * scale + shift
    if isinstance(module, nn.Conv2d):
        convolve = partial(module._conv_forward, bias=None)
        return _share_by_terms(layer, convolve, weight, bias[:, None, None], x, relevance, eps)
    return _share_by_terms(layer, nn.functional.linear, weight, bias, x, relevance, eps)


def _scale_and_shift(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Batch normalisation in evaluation mode is z scale + shift, [channels] each."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def average_pool(layer: Layer, relevance: Tensor, eps: float) -> Shares:
    """Neurons with equal weights and no bias."""
    pool, x = layer.module, layer.input()
    assert isinstance(pool, nn.AvgPool2d | nn.AdaptiveAvgPool2d)

    def apply(z: Tensor, _: Tensor) -> Tensor:
        return pool.forward(z)

    return _share_by_terms(layer, apply, x.new_ones(()), x.new_zeros(()), x, relevance, eps)


def sum_of_two(layer: Layer, relevance: Tensor, eps: float) -> Shares:
    """Neurons with two inputs, weights 1 and no bias."""
    x = torch.stack([read.output.double() for read in layer.reads], 1)

    def apply(z: Tensor, _: Tensor) -> Tensor:
        return z.sum(1)

    shares, absorbed = _share_by_terms(layer, apply, x.new_ones(()), x.new_zeros(()), x, relevance, eps)
    return list(shares[0].unbind(2)), absorbed


def _share_by_terms(
    layer: Layer, apply: LinearMap, weight: Tensor, bias: Tensor, x: Tensor, relevance: Tensor, eps: float
) -> Shares:
    """Equation 2 for the neurons apply(x, weight) + bias."""
    ones = torch.ones_like(weight)
    n = apply(torch.ones_like(x[:1]), ones)  # in an average a multiple of n, and so are the shares 1 below
    s = apply(x, weight) + bias
    size = apply(x.abs(), weight.abs()) + bias.abs()
    empty = (n == 0).expand_as(s)
    sign = torch.where(s < 0, -1.0, 1.0).to(s)
    if eps == 0:
        _refuse_vanishing(layer, relevance, empty | ((s.abs() <= MIN_RELATIVE_SUM * size) & (size > 0)))
    denominator = s + eps * sign
    ratio = torch.where(denominator == 0, 0.0, relevance / torch.where(denominator == 0, 1.0, denominator))
    equal = ratio * bias if eps else torch.where(size == 0, relevance, ratio * bias)
    equal = equal / torch.where(n == 0, 1.0, n)
    share = x * _adjoint(apply, weight, x, ratio)
    if bool(equal.any()):
        share = share + _adjoint(apply, ones, x, equal)
    return [share], total(torch.where(empty, relevance, ratio * (eps * sign)))


def _refuse_vanishing(layer: Layer, relevance: Tensor, vanishing: Tensor) -> None:
    """GapError if relevance arrives at a neuron that has no input to hand it to."""
    stuck = vanishing & (relevance != 0)
    if bool(stuck.any()):
        inputs = torch.nonzero(total(stuck).sum(0)).flatten().tolist()
        raise GapError(
            f"relevance is not conserved in {layer.name!r}: {int(stuck.any(0).sum())} of its neurons, whose terms "
            f"cancel to zero or which see padding only, are due relevance of up to {relevance[stuck].abs().max():.3g} "
            f"({relevance[stuck].abs().sum():.3g} in all) and have nobody to hand it to (inputs {inputs[:10]} of the "
            "batch). Use eps > 0, which absorbs it and says how much"
        )


def _adjoint(apply: LinearMap, weight: Tensor, x: Tensor, ratio: Tensor) -> Tensor:
    """The sum over neurons of weight times ratio, per input: [several, *neurons] -> [several, *x]."""
    with torch.enable_grad():
        z = torch.zeros_like(x, requires_grad=True)
        y = apply(z, weight.detach())
    if torch.is_anomaly_enabled():  # which looks for NaN in each gradient, and cannot where several are one
        return torch.stack([torch.autograd.grad(y, z, one, retain_graph=True)[0] for one in ratio])
    return torch.autograd.grad(y, z, ratio, is_grads_batched=True)[0]


def max_pool(layer: Layer, relevance: Tensor, eps: float) -> Shares:
    """All to the largest entry of a window; ties share equally."""
    x, pool = layer.input(), layer.module
    assert isinstance(pool, nn.MaxPool2d)
    kernel, stride, padding, dilation = map(_pair, (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
    ends = [
        max(p, (out - 1) * s + d * (k - 1) + 1 - length - p)  # rounding up can look beyond the padding
        for out, s, d, k, length, p in zip(
            relevance.shape[-2:], stride, dilation, kernel, x.shape[-2:], padding, strict=True
        )
    ]
    # Where each entry of each window comes from: 1.. are the entries of the image, 0 is padding.
    places = torch.arange(1.0, x[0, 0].numel() + 1, dtype=x.dtype, device=x.device).reshape(1, 1, *x.shape[-2:])
    places = nn.functional.pad(places, (padding[1], ends[1], padding[0], ends[0]))
    places = nn.functional.unfold(places, kernel, dilation, stride=stride)[0].long()
    planes = nn.functional.pad(x.flatten(2), (1, 0), value=-torch.inf)
    windows = planes[:, :, places]
    largest = (windows == windows.amax(2, keepdim=True)).to(x)
    shares = relevance.flatten(3)[:, :, :, None] * (largest / largest.sum(2, keepdim=True))
    result = relevance.new_zeros(*relevance.shape[:3], planes.shape[2])
    result.index_add_(3, places.flatten(), shares.flatten(3))
    return [result[..., 1:].reshape(len(relevance), *x.shape)], 0.0


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """One number per axis of an image."""
    return (size, size) if isinstance(size, int) else tuple(size)


MODULE_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear_map,
    nn.Conv2d: linear_map,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: average_pool,
    nn.AdaptiveAvgPool2d: average_pool,
    nn.BatchNorm1d: unchanged,
    nn.BatchNorm2d: unchanged,
    nn.ReLU: unchanged,
    nn.Flatten: unchanged,
    nn.Identity: unchanged,
    nn.Dropout: unchanged,
    nn.Dropout1d: unchanged,
    nn.Dropout2d: unchanged,
}
# Functions, and methods of tensors by their names.
OPERATION_RULES: dict[object, Rule] = {
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], sum_of_two),
    **dict.fromkeys([torch.relu, nn.functional.relu, "relu", "relu_"], unchanged),
    **dict.fromkeys([torch.flatten, torch.reshape, "flatten", "view", "reshape"], unchanged),
}


def rule_of_module(module: nn.Module) -> Rule | None:
    """The rule of a layer, if its class computes what the rule is for: a subclass with another forward may not."""
    for kind, rule in MODULE_RULES.items():
        if isinstance(module, kind):
            ours = kind in (nn.Linear, nn.Conv2d) and type(module).__module__.startswith("shapnotes.nn.")
            plain = type(module).forward is kind.forward
            return rule if (plain or ours) and not getattr(module, "return_indices", False) else None
    return None
