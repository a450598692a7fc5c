"""Windows as rows of tables, for a compiler: a window gathers its players' terms, and a pixel its values.

A position outside the image is a null player: its term is zero, and it changes nobody's value. So every window is a
game of k players, and the arithmetic of all windows of an image is one program without a condition. Addresses are kept
for each geometry and size of image.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import embedding_bag

from shapnotes.shapnet.tracing import own_program
from shapnotes.shapnet.windows.geometry import Geometry, windows_along
from shapnotes.shapnet.windows.op import differentiated_again, listed_gradients, listed_values, zero_where_blank

PROGRAMMED = 4  # players of the largest windows that get a program: of more it would be too long
TERMS = 2**21  # numbers at once on a CPU: few enough for its cache, many enough to hide the cost of a call
TERMS_ELSEWHERE = 2**28


class Places(NamedTuple):
    """Where windows find their players, and pixels their values, as rows of tables. One window more holds nobody.

    terms  : [k, windows + 1] row q k + j of the table of terms for pixel q at position j; its last row is zero
    pixels : [k, windows + 1] row q of the table of gradients on pixels; its last row is zero
    values : [pixels, k] row of the table of values; the window that holds nobody where a pixel is in no window
    """

    terms: Tensor
    pixels: Tensor
    values: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def places(geometry: Geometry, height: int, width: int, images: int, device: torch.device) -> Places:
    """As `Places`, for so many images."""
    (kernel_rows, kernel_columns), *_ = geometry
    rows, columns = (torch.tensor(axis).T for axis in windows_along(geometry, height, width))  # [positions, windows]
    row = rows[:, None, :, None].expand(-1, kernel_columns, -1, columns.shape[1])
    column = columns[None, :, None, :].expand(kernel_rows, -1, rows.shape[1], -1)
    k, inside = kernel_rows * kernel_columns, (row >= 0) & (row < height) & (column >= 0) & (column < width)
    count = images * height * width
    first = height * width * torch.arange(images)[:, None]
    pixel = torch.where(inside, row * width + column, count).reshape(k, 1, -1)
    pixel = torch.where(pixel < count, pixel + first, count).flatten(1)  # [k, images * windows]
    windows, position = pixel.shape[1], torch.arange(k)[:, None]
    values = torch.full((count + 1, k), windows)
    values[pixel, position] = position * (windows + 1) + torch.arange(windows)
    pixel = torch.cat([pixel, torch.full((k, 1), count)], 1)
    terms = torch.where(pixel < count, pixel * k + position, count * k)
    return Places(*(rows.to(device) for rows in (terms, pixel, values[:-1].contiguous())))


def gathered_values(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, negative_slope: float) -> Tensor:
    """The numbers of `windows.window_values` from programs that `torch.compile` makes when they are first needed.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].
    """
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    return _GatheredValues.apply(x, weight, bias, geometry, negative_slope, keep)


class _GatheredValues(Function):
    """Some images at a time. For the gradient the terms are kept, k numbers a pixel and channel."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry, slope, keep):
        (_, height, width, _), (_, k, channels) = x.shape, weight.shape
        images, slope, kept, table = _images_at_once(x, weight), bias.new_tensor(slope), [], None
        z = x.new_empty(*x.shape[:3], channels)
        for some, onto in zip(x.contiguous().split(images), z.split(images), strict=True):
            here, pixels = places(geometry, height, width, len(some), x.device), some[..., 0].numel()
            if keep or table is None or len(table) != pixels * k + 1:
                table = x.new_empty(pixels * k + 1, channels)
                table[-1] = 0
            torch.mm(some.flatten(0, 2), weight.flatten(1), out=table[:-1].view(pixels, -1))
            values = _program(_values, k, x.dtype, x.device)(table, here.terms, bias.detach(), slope)
            added = embedding_bag(here.values, values.view(-1, channels), mode="sum")  # gathers and adds in one go
            onto.copy_(added.view(onto.shape))
            kept += [table] * keep
        zero_where_blank(z, x)
        ctx.save_for_backward(x, weight, bias, *kept)
        ctx.settings = geometry, slope
        return z

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            return differentiated_again(ctx, gradient)
        (x, weight, bias, *kept), (geometry, slope) = ctx.saved_tensors, ctx.settings
        (_, height, width, _), (_, k, channels) = x.shape, weight.shape
        images = _images_at_once(x, weight)
        on_x, on_weight, on_bias = [], weight.new_zeros(weight.shape), torch.zeros_like(bias)
        parts = (t.contiguous().split(images) for t in (x, gradient))
        for some, onto, table in zip(*parts, kept, strict=True):
            here = places(geometry, height, width, len(some), x.device)
            onto = torch.cat([onto.flatten(0, 2), onto.new_zeros(1, channels)])
            found, on_sums = _program(_gradients, k, x.dtype, x.device)(
                table, onto, here.terms, here.pixels, bias.detach(), slope
            )
            products = found.view(-1, channels).index_select(0, here.values.flatten()).view(-1, k * channels)
            on_weight.flatten(1).addmm_(some.flatten(0, 2).T, products)
            on_bias += on_sums
            if ctx.needs_input_grad[0]:
                on_x.append(products.mm(weight.flatten(1).T).view(some.shape))
        return torch.cat(on_x) if on_x else None, on_weight, on_bias, None, None, None


def _images_at_once(x: Tensor, weight: Tensor) -> int:
    at_once = TERMS if x.device.type == "cpu" else TERMS_ELSEWHERE
    return max(1, at_once // (x[0, ..., 0].numel() * weight[0].numel()))


def _values(table: Tensor, terms: Tensor, bias: Tensor, slope: Tensor) -> Tensor:
    """The values of each window's players, [k, windows + 1, channels]."""
    return torch.stack(listed_values([table[rows] for rows in terms.unbind()], bias, slope))


def _gradients(
    table: Tensor, onto: Tensor, terms: Tensor, pixels: Tensor, bias: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """From gradients on pixels to those on each window's terms, [k, windows + 1, channels], and on the bias."""
    ours, given = [table[rows] for rows in terms.unbind()], [onto[rows] for rows in pixels.unbind()]
    *found, on_sums = listed_gradients(ours, bias, given, slope)
    return torch.stack(found), on_sums.sum(0)


@cache
def _program(function: Callable, k: int, dtype: torch.dtype, device: torch.device) -> Callable:
    """One for all sizes, as long as no argument is a parameter: those are taken to be of one size for ever."""
    return own_program(function, dynamic=True)
