"""The Shapley transform of images: a convolution whose windows hand out Shapley values to their pixels."""

from typing import Any

import torch
from torch import Tensor, nn

from shapnotes._runtime.tensors import check_finite
from shapnotes.shapnet.base import Stage
from shapnotes.shapnet.door import check_fits, check_tensor, is_several, is_whole, real_number, whole
from shapnotes.shapnet.windows.dispatch import window_values
from shapnotes.shapnet.windows.geometry import Geometry, Pair, regions
from shapnotes.shapnet.windows.inductor import Inductor, compiled_kernels

MAX_WINDOW_PIXELS = 9  # 512 coalitions

Size = int | tuple[int, int]


class ImageTransform(Stage):
    r"""The Shapley transform on sliding windows of an image; the reference is zero.

    .. math::
        Z_q = \sum_{t \ni q} \phi_q(f, x_t),

        f(x_t) = a\Big(b + \sum_j W_j x_{tj}\Big)

    The sum is over windows t that hold pixel q. One f serves all windows, with as many outputs as channels:
    :math:`W_j` belongs to position j of a window, a is a leaky ReLU. By linearity Z is the Shapley value of the sum
    over windows, so that :math:`\sum_q Z_q = \sum_t [f(x_t) - f(0)]`, which is a convolution and its activation, summed
    over the image. What a window sees of the padding is nobody's and gets nothing; pixels that are in no window have
    the value zero.

    Parameters
    ----------
    in_channels, out_channels : int
        As of `nn.Conv2d`.
    kernel_size : int or pair of int
        Rows and columns of a window, up to 9 pixels together: 2, (1, 3), 3, ...
    dilation : int or pair of int
        Pixels from one position of a window to the next.
    stride : int or pair of int
        Pixels from one window to the next. The result has as many pixels as x all the same.
    padding : "same", int or pair of int
        "same", as many windows as pixels at stride 1; or rows and columns on each side, 0 for none.
    negative_slope : float
        Of the leaky ReLU; 0 is ReLU.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Attributes
    ----------
    weight, bias : Parameter
        [out, in, *kernel_size] and [out], which start as those of `nn.Conv2d`.

    Raises
    ------
    ValueError, TypeError
        For sizes that make no sense; and where it is called, for what does not fit, NaN and infinity. As a stage of a
        network, which looks at its images itself, it does not look again (`checks`).

    Notes
    -----
    Called with x [batch, height, width, in_channels] it returns Z [batch, height, width, out_channels]. A pixel whose
    channels are all zero has the value zero, exactly and in every precision; gradients are those of the value.

    Cost
    ----
    The products of the convolution, 2 k in_channels operations for a window of k pixels and an output; beyond these
    :math:`4 \cdot 2^k + (k - 1)\, 2^{k - 2} + 3 k` for sums, their differences and values: 88 for 2 x 2 windows, 45 for
    1 x 3, 3099 for 3 x 3. By that count 3 x 3 windows of 128 channels cost 2.3 convolutions; expect more by the clock,
    since processors are fastest at products. The gradient saves k numbers per pixel and channel. The first call on a
    CPU takes some seconds more, in which numba compiles; without numba calls take two to three times as long. Without a
    gradient, on a CPU, pixels that are zero are left out where they are most of an image, with what they would have
    cost.

    Source
    ------
    Shapley Explanation Networks, section 2.3 and appendix I.3.1.
    """

    out_channels: int

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
        if kernel[0] * kernel[1] > MAX_WINDOW_PIXELS:
            raise ValueError(
                f"a window of {kernel[0]} x {kernel[1]} pixels has 2**{kernel[0] * kernel[1]} coalitions; "
                f"{MAX_WINDOW_PIXELS} pixels are the most: use smaller windows, dilated, and more stages"
            )
        dilation, stride = _pair(dilation, "dilation", 1), _pair(stride, "stride", 1)
        self.geometry = Geometry(kernel, dilation, stride, _sides(padding, kernel, dilation))
        self._compiled: Inductor | None = None
        self.weight = nn.Parameter(torch.empty(self.out_channels, self.in_channels, *kernel))
        self.bias = nn.Parameter(torch.empty(self.out_channels))
        self.reset_parameters(generator)

    def a_weight(self) -> Tensor:
        return self.weight

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        bound = self.weight[0].numel() ** -0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        self.bias.uniform_(-bound, bound, generator=generator)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have windows of up to four pixels computed by programs of `torch.compile`; in place.

        Transforms that ask for the same arguments share the programs, whatever their sizes. A copy of the transform is
        not compiled.

        Parameters
        ----------
        *args, **kwargs : optional
            For `torch.compile`.
        """
        self._compiled = compiled_kernels(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_compiled": None}

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
        weight, bias = self.weight.flatten(2).permute(1, 2, 0).contiguous(), self.bias  # [in, k, out], [out]
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            return window_values(
                x.to(dtype), weight.to(dtype), bias.to(dtype), self.geometry, self.negative_slope, self._compiled
            )
        return window_values(x, weight, bias, self.geometry, self.negative_slope, self._compiled)

    def extra_repr(self) -> str:
        kernel, dilation, stride, padding = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={kernel}, dilation={dilation}, stride={stride}, "
            f"padding={padding}, negative_slope={self.negative_slope}"
        )


def _sides(padding: Size | str, kernel: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Rows before and after an image, and columns."""
    if isinstance(padding, str) and padding == "same":
        down, right = (d * (size - 1) for d, size in zip(dilation, kernel, strict=True))
        return (down // 2, down - down // 2), (right // 2, right - right // 2)
    rows, columns = _pair(padding, "padding", 0)
    return (rows, rows), (columns, columns)


def _pair(size: object, name: str, least: int) -> Pair:
    """A number or a pair as (rows, columns)."""
    pair: tuple[Any, ...] = (size, size) if is_whole(size) else ()
    if is_several(size):
        pair = tuple(size)
    if len(pair) != 2 or not all(is_whole(n) and n >= least for n in pair):
        raise ValueError(f"{name} must be a whole number or two of them, at least {least}; got {size!r}")
    return int(pair[0]), int(pair[1])
