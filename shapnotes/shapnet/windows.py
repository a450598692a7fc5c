"""Shapley values of the sliding windows of an image: one product for all, then additions and the activation 2^k times.

The players of a window are its k pixels, and its function is one linear map and a leaky ReLU,

    f(x_1, ..., x_k) = a(b + sum_j W_j x_j),      a(s) = max(s, 0) + slope min(s, 0),

whose masked inputs share the terms W_j x_j, and whose terms all windows share: pixel q has one W_j x_q for each
position j at which it stands in some window. A coalition S and its complement enter every value with opposite weights,

    phi_i = sum over S without the last player of M[i, S] D_S,      D_S = a(s_S) - a(s_(N - S)),

with s_S = b + the terms of S and M the Shapley matrix, so that half of its columns are enough. Positions outside the
image are nobody's: a window that sticks out is a smaller game, and windows that stick out in the same way form a
`Region`, a rectangle.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from shapnotes.coalitions import kept, masks, shapley_matrix, shapley_rows

CELLS = 2**21  # worths at once on a CPU, which should stay in its cache
CELLS_ELSEWHERE = 2**28

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """Where windows are: as in a convolution, with rows and columns of padding (before, after) each."""

    kernel: Pair
    dilation: Pair
    stride: Pair
    padding: tuple[Pair, Pair]


class Region(NamedTuple):
    """Windows with the same positions inside the image.

    players : the positions, counted row by row
    corners : for each the pixel (row, column) where it stands in the first window
    size    : rows and columns of windows
    stride  : pixels from one window to the next
    """

    players: tuple[int, ...]
    corners: tuple[Pair, ...]
    size: Pair
    stride: Pair

    def pixels(self, player: int) -> tuple[slice, slice]:
        """Where this player stands in all the windows: rows and columns of pixels."""
        return tuple(
            slice(first, first + stride * (count - 1) + 1, stride)
            for first, count, stride in zip(self.corners[player], self.size, self.stride, strict=True)
        )

    def strips(self, rows: int) -> "list[Region]":
        """The same windows in pieces of so many rows."""
        (height, width), (stride, _) = self.size, self.stride
        return [
            self._replace(
                corners=tuple((row + stride * first, column) for row, column in self.corners),
                size=(min(rows, height - first), width),
            )
            for first in range(0, height, rows)
        ]


@lru_cache(maxsize=256)
def regions(geometry: Geometry, height: int, width: int) -> tuple[Region, ...]:
    """The windows of an image, parted by which of their positions are inside it; those with none are left out."""
    kernel, _, stride, _ = geometry
    axes = map(_intervals, windows_along(geometry, height, width), (height, width))
    return tuple(
        Region(
            tuple(kernel[1] * u + v for (u, _), (v, _) in product(rows, columns)),
            tuple((row, column) for (_, row), (_, column) in product(rows, columns)),
            (n_rows, n_columns),
            stride,
        )
        for (rows, n_rows), (columns, n_columns) in product(*axes)
        if rows and columns
    )


def windows_along(geometry: Geometry, height: int, width: int) -> list[list[list[int]]]:
    """Rows and columns where each window has its positions, which may be outside: [windows][positions] each."""
    return [
        [
            [stride * window - padding[0] + dilation * u for u in range(kernel)]
            for window in range((size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1)
        ]
        for size, kernel, dilation, stride, padding in zip((height, width), *geometry, strict=True)
    ]


def _intervals(places: list[list[int]], size: int) -> list[tuple[tuple[Pair, ...], int]]:
    """Along one axis: which positions are inside, with their pixel in the first window, and for how many windows."""
    inside = [tuple((u, pixel) for u, pixel in enumerate(window) if 0 <= pixel < size) for window in places]
    alike = [list(group) for _, group in groupby(inside, key=lambda here: [u for u, _ in here])]
    return [(group[0], len(group)) for group in alike]


def opaque(*tensors: Tensor) -> bool:
    """Whether they are traced or mapped, so that nothing may depend on what is in them."""
    return torch.compiler.is_compiling() or any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors))


def window_values(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, negative_slope: float) -> Tensor:
    """Each pixel's Shapley values in the windows that hold it, added up; exactly zero where the pixel is zero.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].
    """
    if opaque(x, weight, bias):
        return _with_a_graph(x, weight, bias, geometry, negative_slope)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    return _WindowValues.apply(x, weight, bias, geometry, negative_slope, keep)


def _with_a_graph(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, slope: float) -> Tensor:
    """The same from operations that can be differentiated again, mapped and compiled as part of a larger program."""
    height, width = x.shape[1:3]
    terms = (x @ weight.flatten(1)).unflatten(3, weight.shape[1:]).unbind(3)
    z = torch.zeros_like(terms[0])
    for region in regions(geometry, height, width):
        here = [(slice(None), *region.pixels(i)) for i in range(len(region.players))]
        values = listed_values([terms[j][at] for j, at in zip(region.players, here, strict=True)], bias, slope)
        for at, value in zip(here, values, strict=True):
            z[at] += value
    return torch.where((x != 0).any(-1, keepdim=True), z, z - z.detach())


def differentiated_again(
    x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, slope: float, gradient: Tensor, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients on x, weight and bias where they are needed, which can be differentiated once more."""
    wanted = [t for t, each in zip((x, weight, bias), needed, strict=False) if each]
    z = _with_a_graph(x, weight, bias, geometry, slope)
    found = iter(torch.autograd.grad(z, wanted, gradient, create_graph=True))
    return [next(found) if each else None for each in needed[:3]]


def zero_where_blank(z: Tensor, x: Tensor) -> Tensor:
    """z, in place, exactly zero at pixels whose channels in x are; the gradient stays that of the value."""
    zero = (x[..., 0] == 0).nonzero(as_tuple=True)  # mostly few: sooner than to look at all channels of all pixels
    z[zero] *= (x[zero] != 0).any(-1, keepdim=True)
    return z


class _WindowValues(Function):
    """A tile of images at a time. For the gradient the terms are kept, k numbers a pixel and channel, not the sums."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry, slope, keep):
        (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
        given, x = x, x.contiguous()
        here, images = regions(geometry, height, width), _images_at_once(x, weight)
        z = x.new_zeros(batch, height, width, channels)
        kept = x.new_empty(k, batch if keep else min(batch, images), height, width, channels)
        table = _table(here, z[:images])
        for first in range(0, batch, images):
            some, onto = x[first : first + images], z[first : first + images]
            terms = kept[:, first : first + images] if keep else kept[:, : len(some)]
            for j, term in enumerate(terms):
                torch.mm(some.flatten(0, 2), weight[:, j], out=term.view(-1, channels))
            for players, pixels in _strips(here, onto):
                ours = [terms[j][at] for j, at in zip(players, pixels, strict=True)]
                values = table_values(ours, bias, slope, table)
                for at, value in zip(pixels, values, strict=True):
                    onto[at].add_(value)
        zero_where_blank(z, x)
        ctx.save_for_backward(given, weight, bias, *[kept] * keep)
        ctx.settings = geometry, slope
        return z

    @staticmethod
    def backward(ctx, gradient):
        (x, weight, bias, *kept), (geometry, slope) = ctx.saved_tensors, ctx.settings
        if torch.is_grad_enabled():  # to be differentiated once more
            found = differentiated_again(x, weight, bias, geometry, slope, gradient, ctx.needs_input_grad)
            return *found, None, None, None
        (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
        x, here, images = x.contiguous(), regions(geometry, height, width), _images_at_once(x, weight)
        on_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        on_weight, on_bias = weight.new_zeros(weight.shape), torch.zeros_like(bias)
        on_kept = x.new_zeros(k, min(batch, images), height, width, channels)  # what is in no window stays zero
        table = _table(here, gradient[:images])
        for first in range(0, batch, images):
            some, onto = x[first : first + images], gradient[first : first + images]
            terms, on_terms = kept[0][:, first : first + images], on_kept[:, : len(some)]
            for players, pixels in _strips(here, onto):
                ours = [terms[j][at] for j, at in zip(players, pixels, strict=True)]
                given = [onto[at] for at in pixels]
                *found, on_sums = _table_gradients(ours, bias, given, slope, table)
                on_bias += on_sums.sum((0, 1, 2))
                for j, at, value in zip(players, pixels, found, strict=True):
                    on_terms[j][at].copy_(value)
            for j, on_term in enumerate(on_terms.flatten(1, 3)):
                on_weight[:, j].addmm_(some.flatten(0, 2).T, on_term)
                if on_x is not None:
                    on_pixels = on_x[first : first + images].view(len(on_term), -1)
                    torch.addmm(on_pixels, on_term, weight[:, j].T, beta=min(j, 1), out=on_pixels)
        return on_x, on_weight, on_bias, None, None, None


def _images_at_once(x: Tensor, weight: Tensor) -> int:
    """Images whose terms are computed together."""
    return max(1, 2 * cells_at_once(x.device) // (x[0, ..., 0].numel() * weight[0].numel()))


def cells_at_once(device: torch.device) -> int:
    return CELLS if device.type == "cpu" else CELLS_ELSEWHERE


def _table(here: Sequence[Region], images: Tensor) -> Tensor:
    """Memory for 2^k sums and what becomes of them, for as many windows as are taken at once."""
    cells = 0
    for region in here:
        k, (_, width), (count, rows) = len(region.players), region.size, _at_once(region, images)
        cells = max(cells, (3 * 2 ** (k - 1) + 2 * k + 1) * count * rows * width * images.shape[3])
    return images.new_empty(cells)


def _at_once(region: Region, images: Tensor) -> Pair:
    """Images, and rows of windows, whose sums fit into the cache together."""
    height, width = region.size
    rows = cells_at_once(images.device) // (2 ** len(region.players) * width * images.shape[3])
    return min(len(images), max(1, rows // height)), min(height, max(1, rows))


def _strips(here: Sequence[Region], images: Tensor) -> Iterator[tuple[tuple[int, ...], list[tuple[slice, ...]]]]:
    """Players of windows, and for each the images, rows and columns where it stands, as many windows as fit."""
    for region in here:
        count, rows = _at_once(region, images)
        for strip in region.strips(rows):
            pixels = [strip.pixels(i) for i in range(len(strip.players))]
            for first in range(0, len(images), count):
                yield strip.players, [(slice(first, first + count), *at) for at in pixels]


def _sums(terms: Sequence[Tensor], bias: Tensor, table: Tensor) -> Tensor:
    """All sums s_S, in memory that is there: first those without the last player, then those of the complements."""
    half = 2 ** (len(terms) - 1)
    sums = table[: 2 * half * terms[0].numel()].view(2 * half, *terms[0].shape)
    some, others = sums[:half], sums[half:]
    some[0] = bias
    for j, term in enumerate(terms[:-1]):
        torch.add(some[: 1 << j], term, out=some[1 << j : 2 << j])
    torch.add(some[-1], terms[-1], out=others[0])
    for j, term in enumerate(terms[:-1]):
        torch.sub(others[: 1 << j], term, out=others[1 << j : 2 << j])
    return sums


def table_values(terms: Sequence[Tensor], bias: Tensor, slope: float, table: Tensor) -> Tensor:
    """The values of k players, [k, *shape], of terms of that shape each, in memory that is there.

    With a(s) = p s + q |s| the first half is p times the term. In the other D_S = |s| - |c - s|, where the sums of a
    coalition and its complement add up to c = 2 b + all terms; this is sign(c) clamp(2 s - c, -|c|, |c|), and 2 s - c
    is the sum of the members' terms minus that of the others'. So no complement is made, and each sum is bounded once.
    """
    k, half, shape, size = len(terms), 2 ** (len(terms) - 1), terms[0].shape, terms[0].numel()
    parts = table[: (half + k + 3) * size].split([half * size, k * size, *[size] * 3])
    signed, values, (total, bound, least) = parts[0].view(half, *shape), parts[1].view(k, *shape), parts[2:]
    total, bound, least = total.view(shape), bound.view(shape), least.view(shape)
    total.copy_(terms[0])
    for term in terms[1:]:
        total.add_(term)
    torch.neg(total, out=signed[0])
    for j, term in enumerate(terms[:-1]):
        torch.add(signed[: 1 << j], term, alpha=2, out=signed[1 << j : 2 << j])
    total.add_(bias, alpha=2)
    torch.neg(torch.abs(total, out=bound), out=least)
    torch.clamp(signed, least, bound, out=signed)
    weights = kept(_weights, k, bias.dtype, bias.device)
    torch.mm(weights, signed.view(half, -1), out=values.view(k, -1))
    values.mul_(total.sign_().mul_((1 - slope) / 2))
    for value, term in zip(values, terms, strict=True):
        value.add_(term, alpha=(1 + slope) / 2)
    return values


def _table_gradients(
    terms: Sequence[Tensor], bias: Tensor, given: Sequence[Tensor], slope: float, table: Tensor
) -> tuple[Tensor, ...]:
    """From gradients of the values to those of the terms, and of the sums all together."""
    sums, k, shape = _sums(terms, bias, table), len(terms), terms[0].shape
    half, size = len(sums) // 2, terms[0].numel()
    on_values, on_differences, found = table[sums.numel() : sums.numel() + (2 * k + 1 + half) * size].split(
        [k * size, half * size, (k + 1) * size]
    )
    torch.stack(list(given), out=on_values.view(k, *shape))
    weights = kept(_weights, k, bias.dtype, bias.device)
    torch.mm(weights.T, on_values.view(k, -1), out=on_differences.view(half, -1))
    for part in sums[:half], sums[half:]:
        gradient = on_differences.view(part.shape)
        torch.ops.aten.leaky_relu_backward.grad_input(gradient, part, slope, False, grad_input=part)
    members = kept(_members, k, bias.dtype, bias.device)
    return torch.mm(members, sums.flatten(1), out=found.view(k + 1, -1)).view(-1, *shape).unbind()


def listed_values(terms: Sequence[Tensor], bias: Tensor, slope: float | Tensor) -> list[Tensor]:
    """The values of each of k players, coalition by coalition, in operations that differentiate and compile.

    With a(s) = p s + q |s|, p = (1 + slope) / 2 and q = (1 - slope) / 2: the value of the linear part is p times the
    term, so that the slope is multiplied by k times, not 2^k.
    """
    some, others = _listed_sums(terms, bias)
    differences = [_size(s) - _size(t) for s, t in zip(some, others, strict=True)]
    p, q = (1 + slope) / 2, (1 - slope) / 2
    return [p * term + q * _combined(row, differences) for term, row in zip(terms, _rows(len(terms)), strict=True)]


def listed_gradients(
    terms: Sequence[Tensor], bias: Tensor, given: Sequence[Tensor], slope: float | Tensor
) -> list[Tensor]:
    """As `_table_gradients`, coalition by coalition."""
    k, (some, others) = len(terms), _listed_sums(terms, bias)
    on_differences = [_combined(column, given) for column in zip(*_rows(k), strict=True)]
    on_some, on_others = (
        [torch.where(s > 0, d, -d) for s, d in zip(sums, on_differences, strict=True)] for sums in (some, others)
    )
    p, q, found = (1 + slope) / 2, (1 - slope) / 2, []
    for j in range(k):
        inside = [on_some[s] for s in range(len(some)) if s >> j & 1]
        through = sum(inside) - sum(on_others[s] for s in range(len(others)) if not s >> j & 1)
        found.append(p * given[j] + q * through)
    return [*found, q * (sum(on_some) - sum(on_others))]


def _listed_sums(terms: Sequence[Tensor], bias: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    some, others = [bias], [sum(terms, bias)]
    for term in terms[:-1]:
        some += [s + term for s in some]
        others += [s - term for s in others]
    return some, others


def _size(s: Tensor) -> Tensor:
    """|s|, with the derivative -1 at zero, as a leaky ReLU has its slope there."""
    return torch.where(s > 0, s, -s) if torch.is_grad_enabled() else s.abs()


def _combined(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    return sum(w * t for w, t in zip(weights, tensors, strict=True))


def _rows(k: int) -> list[list[float]]:
    """The half of the Shapley matrix that is enough."""
    return [row[: 2 ** (k - 1)] for row in shapley_rows(k)]


def _weights(k: int) -> Tensor:
    return shapley_matrix(k)[:, : 2 ** (k - 1)]


def _members(k: int) -> Tensor:
    """Who is in which coalition, with the sign of its worth; and all coalitions."""
    here = torch.cat([masks(k), torch.ones(2**k, 1, dtype=torch.bool)], 1).double()
    return torch.cat([here[: 2 ** (k - 1)], -here[2 ** (k - 1) :].flip(0)]).T
