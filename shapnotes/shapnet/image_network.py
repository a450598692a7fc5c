"""Shapley networks for images: convolutions whose windows hand out Shapley values to their pixels."""

from collections.abc import Sequence
from itertools import cycle, pairwise

import torch
from torch import Tensor, nn

from shapnotes._runtime.memory import keep_freed_memory
from shapnotes.explanation import Explanation
from shapnotes.shapnet.door import (
    check_finite,
    check_fits,
    check_tensor,
    flag,
    is_several,
    is_whole,
    real_number,
    whole,
    whole_numbers,
)
from shapnotes.shapnet.pruning import Prunable, Pruning, checked_rule
from shapnotes.shapnet.tracing import opaque
from shapnotes.shapnet.windows.blank_pixels import kept_values, mostly_blank
from shapnotes.shapnet.windows.geometry import Geometry, regions
from shapnotes.shapnet.windows.inductor import PROGRAMMED, gathered_values
from shapnotes.shapnet.windows.op import window_values

LARGEST = 9  # pixels of a window: 512 coalitions
DILATIONS = (1, 3, 5, 7, 9, 11, 13)  # the paper's

Size = int | tuple[int, int]


class ImageTransform(nn.Module):
    """The Shapley transform on sliding windows of an image; the reference is zero.

        Z_q = sum over windows t with q in t of phi_q(f, x_t),      f(x_t) = a(b + sum_j W_j x_tj)

    One f for all windows, with as many outputs as channels: W_j belongs to position j of a window, a is a leaky ReLU.
    By linearity Z is the Shapley value of the sum over windows, so that sum_q Z_q = sum_t [f(x_t) - f(0)], which is a
    convolution and its activation, summed over the image. What a window sees of the padding is nobody's and gets
    nothing; pixels that are in no window have the value zero.

    in_channels, out_channels : as of `nn.Conv2d`
    kernel_size    : rows and columns of a window, up to 9 pixels together: 2, (1, 3), 3, ...
    dilation       : pixels from one position of a window to the next
    stride         : pixels from one window to the next. The result has as many pixels as x all the same
    padding        : "same", as many windows as pixels at stride 1; or rows and columns on each side, 0 for none
    negative_slope : of the leaky ReLU; 0 is ReLU
    generator      : draws the weights; None is PyTorch's global one

    Parameters `weight` [out, in, *kernel_size] and `bias` [out], which start as those of `nn.Conv2d`.

    Called with x [batch, height, width, in_channels] it returns Z [batch, height, width, out_channels]. A pixel whose
    channels are all zero has the value zero, exactly and in every precision; gradients are those of the value. What
    does not fit, NaN and infinity are refused, with a ValueError or TypeError; as a stage of a network, which looks at
    its images itself, it does not look again (`checks`).
    `compile()` has windows of up to four pixels computed by programs that all transforms share (see `gathered`).

    Cost: the products of the convolution, 2 k in_channels operations for a window of k pixels and an output; beyond
    these 4 2^k + (k - 1) 2^(k - 2) + 3 k for sums, their differences and values (see `loops`): 88 for 2 x 2 windows, 45
    for 1 x 3, 3099 for 3 x 3. By that count 3 x 3 windows of 128 channels cost between two and three convolutions;
    processors are fastest at products, so expect some twenty. The gradient keeps k numbers for a pixel and channel.
    The first call on a CPU takes some seconds more, in which numba compiles.
    Without a gradient, on a CPU, pixels that are zero are left out where they are most of an image, with what they
    would have cost (see `sparse`).

    Source: Shapley Explanation Networks, section 2.3 and appendix I.3.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 2,
        *,
        dilation: Size = 1,
        stride: Size = 1,
        padding: Size | str = "same",
        negative_slope: float = 0.01,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_channels, self.out_channels = whole(in_channels, "in_channels"), whole(out_channels, "out_channels")
        self.negative_slope = real_number(negative_slope, "negative_slope")
        kernel = _pair(kernel_size, "kernel_size", 1)
        if kernel[0] * kernel[1] > LARGEST:
            raise ValueError(
                f"a window of {kernel[0]} x {kernel[1]} pixels has 2**{kernel[0] * kernel[1]} coalitions; {LARGEST} "
                "pixels are the most: use smaller windows, dilated, and more stages"
            )
        dilation, stride = _pair(dilation, "dilation", 1), _pair(stride, "stride", 1)
        if isinstance(padding, str) and padding == "same":
            spread = [d * (size - 1) for d, size in zip(dilation, kernel, strict=True)]
            sides = tuple((width // 2, width - width // 2) for width in spread)
        else:
            sides = tuple((width, width) for width in _pair(padding, "padding", 0))
        self.geometry = Geometry(kernel, dilation, stride, sides)
        self.compiled, self.checks = False, True
        self.weight = nn.Parameter(torch.empty(self.out_channels, self.in_channels, *kernel))
        self.bias = nn.Parameter(torch.empty(self.out_channels))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        bound = self.weight[0].numel() ** -0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        self.bias.uniform_(-bound, bound, generator=generator)

    def compile(self) -> None:
        self.compiled = True

    def forward(self, x: Tensor) -> Tensor:
        if self.checks:
            check_tensor(x)
        if x.dim() != 4 or x.shape[3] != self.in_channels:
            raise ValueError(
                f"a transform of {self.in_channels} channels takes [batch, height, width, {self.in_channels}]; got "
                f"shape {tuple(x.shape)}"
            )
        if self.checks:
            if not x.numel():
                raise ValueError(f"x must hold at least one image of at least one pixel; got shape {tuple(x.shape)}")
            check_fits(x, self.weight, "transform")
            check_finite(x)
        if not regions(self.geometry, *map(int, x.shape[1:3])):
            kernel, dilation, _, padding = self.geometry
            raise ValueError(
                f"an image of {x.shape[1]} x {x.shape[2]} pixels has no window of {kernel} at dilation {dilation} and "
                f"padding {padding}; take larger images, a smaller dilation, or more padding"
            )
        tensors = x, self.weight.flatten(2).permute(1, 2, 0).contiguous(), self.bias
        if torch.is_autocast_enabled(x.device.type):
            tensors = tuple(tensor.to(torch.get_autocast_dtype(x.device.type)) for tensor in tensors)
        if mostly_blank(*tensors):
            return kept_values(*tensors, self.geometry, self.negative_slope)
        if self.compiled and self.weight[0, 0].numel() <= PROGRAMMED and not opaque(*tensors):
            return gathered_values(*tensors, self.geometry, self.negative_slope)
        return window_values(*tensors, self.geometry, self.negative_slope)

    def extra_repr(self) -> str:
        kernel, dilation, stride, padding = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={kernel}, dilation={dilation}, stride={stride}, "
            f"padding={padding}, negative_slope={self.negative_slope}"
        )


class ImageShapNet(Prunable, nn.Module):
    """A Deep ShapNet for images, whose players are pixels: Shapley transforms on windows, dilated more and more.

        H(x) = sum over pixels of h(x),      h = T_L o ... o T_1

    The reference is zero. h keeps local accuracy and missingness (Theorem 3 and Corollary 4): a pixel that is zero in
    all channels is given exactly nothing, at every stage.

    channels       : of the images, between the stages, and outputs: L + 1 numbers. The paper's are 1 (or 3), six times
                     128, and 10
    kernel_size    : rows and columns of the windows, up to 9 pixels together
    dilations      : of each stage; repeated or cut to L
    negative_slope : of the leaky ReLUs
    padding        : of every stage, as in `ImageTransform`
    coupling       : where a stage has as many channels before and after it, let it take half of them and add the values
                     it finds to the other half; from one such stage to the next the halves exchange their roles. It
                     takes a quarter of the products and half of the rest
    generator      : draws the weights; None is PyTorch's global one

    Called with x [batch, channels, height, width], of any height and width, it returns H(x) [batch, outputs].
    `explain(x)` has h(x) [batch, height, width, outputs], `layers(x)` the representation of every stage [batch, height,
    width, channels], and `baseline` [channels, 1, 1] is the reference, zero. `compile()` has `torch.compile` make one
    program of the arithmetic of windows, the same for all stages and image sizes: the same numbers, faster. `pruning`
    is the rule of the `pruned` context that one is in.

    Raises ValueError or TypeError for inputs of another shape or dtype, with NaN, or on the wrong device.

    Cost: as in `ImageTransform`; the convolutional network with the same weights takes the same products.

    Source: Shapley Explanation Networks, section 2.3 and appendix I.3.1. The paper says of channels only that a subset
    of them may be the input, as in coupling layers; `coupling` is the additive one of Dinh et al. It says nothing of
    padding.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernel_size: Size = 2,
        dilations: Sequence[Size] = DILATIONS,
        negative_slope: float = 0.01,
        *,
        padding: Size | str = "same",
        coupling: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        keep_freed_memory()
        self.channels = whole_numbers(channels, "channels")
        if len(self.channels) < 2:
            raise ValueError(
                f"channels are those of the images, between stages, and outputs: at least two numbers; got {channels}"
            )
        steps = list(dilations) if is_several(dilations) else []
        if not steps:
            raise ValueError(
                f"dilations must be a sequence, one for each stage, and one is enough to be repeated; got {dilations!r}"
            )
        self.seen: list[slice | None] = []  # the channels that a stage takes; None for all of them
        self.stages = nn.ModuleList()
        coupling, coupled = flag(coupling, "coupling"), 0
        for (before, after), dilation in zip(pairwise(self.channels), cycle(steps), strict=False):
            seen = None
            if coupling and before == after > 1:
                seen = slice(before // 2, before) if coupled % 2 else slice(0, before // 2)
                before = seen.stop - seen.start
                after -= before
                coupled += 1
            self.seen.append(seen)
            self.stages.append(
                ImageTransform(
                    before,
                    after,
                    kernel_size,
                    dilation=dilation,
                    padding=padding,
                    negative_slope=negative_slope,
                    generator=generator,
                )
            )
            self.stages[-1].checks = False  # the network looks at its images
        self.register_buffer("baseline", torch.zeros(self.channels[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[-1].sum((1, 2))

    def explain(self, x: Tensor, pruning: Pruning | None = None) -> Explanation:
        """The prediction and what it is the sum of: attributions [batch, height, width, outputs]."""
        h = self.layers(x, pruning)[-1]
        return Explanation(h, h.sum((1, 2)), inputs=x)

    def layers(self, x: Tensor, pruning: Pruning | None = None) -> list[Tensor]:
        """The representation after each stage, [batch, height, width, channels]; the last is the explanation."""
        z, representations, rule = self._opened(x), [], checked_rule(pruning) or self.pruning
        for number, (stage, seen) in enumerate(zip(self.stages, self.seen, strict=True)):
            if seen is None:
                z = stage(z)
            else:
                values = stage(z[..., seen])
                halves = (
                    (z[..., seen], z[..., seen.stop :] + values)
                    if seen.start == 0
                    else (
                        z[..., : seen.start] + values,
                        z[..., seen],
                    )
                )
                z = torch.cat(halves, 3)
            if rule is not None:
                z = rule.after(number, z, len(self.stages))
            representations.append(z)
        return representations

    def compile(self) -> None:
        for stage in self.stages:
            stage.compile()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew; of `generator` where one is given."""
        for stage in self.stages:
            stage.reset_parameters(generator)

    def _opened(self, x: Tensor) -> Tensor:
        """x as [batch, height, width, channels], or a refusal."""
        check_tensor(x)
        if x.dim() != 4 or x.shape[1] != self.channels[0] or not x.numel():
            raise ValueError(
                f"x must be [batch, {self.channels[0]}, height, width], at least one image of at least one pixel; got "
                f"shape {tuple(x.shape)}"
            )
        check_fits(x, self.stages[0].weight, "network")
        check_finite(x)
        return x.permute(0, 2, 3, 1)


def _pair(size: Size, name: str, least: int) -> tuple[int, int]:
    """A number or a pair as (rows, columns)."""
    pair = (size, size) if is_whole(size) else tuple(size) if is_several(size) else ()
    if len(pair) != 2 or not all(is_whole(n) and n >= least for n in pair):
        raise ValueError(f"{name} must be a whole number or two of them, at least {least}; got {size!r}")
    return int(pair[0]), int(pair[1])
