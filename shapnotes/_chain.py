"""A Sequential model as a chain of steps that can be followed by other things than numbers: bounds, or moments.

A step is linear but for a bias, changes the shape, is a ReLU (leaky or not), or takes the maxima of windows. Weights
are float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shapnotes._runtime.tracing import as_its_class
from shapnotes.explanation import rounding_tolerance
from shapnotes.game import Game, Probe

BELOW_ALL = -1e30  # stands for minus infinity around an image whose maxima are taken: 0 times it is 0


@dataclass(frozen=True)
class Linear:
    """A layer that is linear but for its bias.

    apply  : its linear part with any weights of its shape: z [rows, *in], weight -> [rows, *out]
    weight : its own
    bias   : what it adds, which broadcasts to [*out], or None
    terms  : how many numbers at most are summed up for one output
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None
    terms: int

    def __call__(self, z: Tensor) -> Tensor:
        """[rows, *in] -> [rows, *out]"""
        return self.with_bias(self.apply(z, self.weight))

    def with_bias(self, z: Tensor) -> Tensor:
        return z if self.bias is None else z + self.bias


@dataclass(frozen=True)
class Reshape:
    """Some axes made one; the first stays that of the rows."""

    start: int
    end: int

    def __call__(self, z: Tensor) -> Tensor:
        return z.flatten(self.start, self.end)


@dataclass(frozen=True)
class Rectifier:
    """max(slope t, t) of every unit, 0 <= slope <= 1."""

    slope: float

    def __call__(self, z: Tensor) -> Tensor:
        return torch.maximum(z, self.slope * z)


@dataclass(frozen=True)
class Maximum:
    """The maxima of windows.

    windows : [rows, *in], and what lies around it -> [rows, *out, size of a window]
    """

    windows: Callable[[Tensor, float], Tensor]

    def __call__(self, z: Tensor) -> Tensor:
        return self.windows(z, BELOW_ALL).amax(-1)


Step = Linear | Reshape | Rectifier | Maximum


def chain_of(game: Game, probe: Probe, *, name: str, maxima: bool) -> list[Step]:
    """The steps of a game's model, or a refusal that says which layer is none.

    name   : of the public function that asks
    maxima : whether there is max pooling among what it can follow
    """
    kinds = [nn.Linear, nn.Conv2d, nn.ReLU, nn.LeakyReLU, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Identity]
    kinds += [nn.MaxPool2d] * maxima
    layers = _layers(game.f, "")
    steps: list[Step] = []
    z = game.x[:1].double()
    for path, layer in layers:
        if type(layer) in _SILENT:
            continue
        where = f"layer {path!r} ({type(layer).__name__})" if path else f"f ({type(layer).__name__})"
        if type(layer) not in kinds or not as_its_class(layer):
            hooked = type(layer) in kinds
            what = "has a hook or another forward, which cannot be followed" if hooked else "cannot be followed"
            raise TypeError(
                f"{where} {what}. {name} takes nn.Sequential models of {', '.join(k.__name__ for k in kinds)} and "
                "Dropout, whose layers are called as they are. Replace the layer, or take sample_shapley_values or, "
                "with few players, shapley_values, which take any function"
            )
        step = _step(layer, z, where)
        with torch.no_grad():
            z = step(z)
        steps.append(step)
    _refuse_another(z, probe, name)
    return steps


_SILENT = (nn.Identity, nn.Dropout, nn.Dropout2d)  # dropout in training mode is refused before


def _layers(module: object, path: str) -> list[tuple[str, nn.Module]]:
    """The layers of Sequential models inside each other, in order, with their paths."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"model must be an nn.Sequential; got {type(module).__name__}")
    if type(module) is nn.Sequential and as_its_class(module):
        inside = [_layers(child, f"{path}.{name}" if path else name) for name, child in module.named_children()]
        return [layer for layers in inside for layer in layers]
    return [(path, module)]


def _refuse_another(found: Tensor, probe: Probe, name: str) -> None:
    """Raise ValueError where the steps do not compute what the model computes."""
    output = probe.output.detach().double()
    if found.shape == output.shape:
        size = float(torch.maximum(found.abs(), output.abs()).max())
        if float((found - output).abs().max()) <= rounding_tolerance(probe.eps, max(size, 1e-300)):
            return
    raise ValueError(
        f"the model's layers, run one by one, do not give the model's output, so that {name} cannot follow it; remove "
        "hooks, and give x and the model enough digits (float32 or float64)"
    )


# --- one step from one layer ------------------------------------------------------------------------------------------


def _step(layer: nn.Module, z: Tensor, where: str) -> Step:
    """The step of a supported layer, which is given z: [1, *in]."""
    match layer:
        case nn.Linear():
            return Linear(F.linear, layer.weight.double(), _double(layer.bias), layer.in_features)
        case nn.Conv2d():
            return _convolution(layer, where)
        case nn.AvgPool2d() | nn.AdaptiveAvgPool2d():
            return _average(layer, z, where)
        case nn.MaxPool2d():
            return _maximum(layer, where)
        case nn.Flatten():
            if layer.start_dim < 1:
                raise ValueError(f"{where} must leave the first axis, that of the rows: start_dim=1 or more")
            return Reshape(layer.start_dim, layer.end_dim)
        case nn.LeakyReLU():
            if not 0 <= layer.negative_slope <= 1:
                raise ValueError(f"{where} must have a negative_slope from 0 to 1; got {layer.negative_slope}")
            return Rectifier(layer.negative_slope)
    return Rectifier(0.0)


def _double(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.double()


def _convolution(layer: nn.Conv2d, where: str) -> Linear:
    if layer.padding_mode != "zeros":
        raise ValueError(f"{where} must have padding_mode='zeros'; got {layer.padding_mode!r}")

    def apply(z: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(z, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)

    bias = None if layer.bias is None else layer.bias.double()[:, None, None]
    return Linear(apply, layer.weight.double(), bias, layer.weight[0].numel())


def _average(layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d, z: Tensor, where: str) -> Linear:
    """A convolution of each channel for itself, with equal weights."""
    if isinstance(layer, nn.AvgPool2d):
        kernel, stride, padding = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)
        if layer.ceil_mode or layer.divisor_override or (any(padding) and not layer.count_include_pad):
            raise ValueError(
                f"{where} must divide every sum by its window's size: ceil_mode=False, divisor_override=None, "
                "and count_include_pad=True where there is padding"
            )
    else:
        given, wanted = z.shape[-2:], layer.output_size
        wanted = wanted if isinstance(wanted, tuple) else (wanted, wanted)
        sizes = [(n, m or n) for n, m in zip(given, wanted, strict=True)]
        if any(n % m for n, m in sizes):
            raise ValueError(f"{where} must divide its input of {tuple(given)} evenly; got output_size {wanted}")
        stride = kernel = (sizes[0][0] // sizes[0][1], sizes[1][0] // sizes[1][1])
        padding = (0, 0)
    count = kernel[0] * kernel[1]

    def apply(z: Tensor, weight: Tensor) -> Tensor:
        each = F.conv2d(z.flatten(0, 1)[:, None], weight, None, stride, padding)
        return each.view(*z.shape[:2], *each.shape[2:])

    return Linear(apply, z.new_full((1, 1, *kernel), 1 / count), None, count)


def _maximum(layer: nn.MaxPool2d, where: str) -> Maximum:
    kernel, stride, padding, dilation = map(_pair, (layer.kernel_size, layer.stride, layer.padding, layer.dilation))
    if layer.ceil_mode or layer.return_indices:
        raise ValueError(f"{where} must have ceil_mode=False and return_indices=False")

    def windows(z: Tensor, around: float) -> Tensor:
        height, width = padding
        z = F.pad(z, (width, width, height, height), value=around)
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        seen = z.unfold(2, spans[0], stride[0]).unfold(3, spans[1], stride[1])
        return seen[..., :: dilation[0], :: dilation[1]].flatten(-2)

    return Maximum(windows)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


# --- up to the first linear layer everything is a sum over players ----------------------------------------------------


def up_to_first_linear(chain: list[Step]) -> tuple[list[Linear | Reshape], list[Step]]:
    """The steps up to and with the first linear layer, if only changes of shape come before it; and the rest."""
    leading: list[Linear | Reshape] = []
    for step in chain:
        if not isinstance(step, Linear | Reshape):
            break
        leading.append(step)
        if isinstance(step, Linear):
            break
    return leading, chain[len(leading) :]


def effects(leading: list[Linear | Reshape], change: Tensor, players: Tensor) -> Tensor:
    """What each of `players`, flat numbers [players], adds to the units behind the leading steps: [players, *units].

    change : [*features], by how much a feature differs from its baseline
    """
    row = torch.arange(len(players), device=change.device)
    z = change.new_zeros(len(players), change.numel()).index_put((row, players), change.flatten()[players])
    z = z.view(-1, *change.shape)
    for step in leading:
        z = step.apply(z, step.weight) if isinstance(step, Linear) else step(z)
    return z
