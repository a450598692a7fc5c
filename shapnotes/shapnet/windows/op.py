"""Shapley values of the sliding windows of an image: one product for all, then additions and the activation 2^k times.

The players of a window are its k pixels, and its function is one linear map and a leaky ReLU,

    f(x_1, ..., x_k) = a(b + sum_j W_j x_j),      a(s) = max(s, 0) + slope min(s, 0),

whose masked inputs share the terms W_j x_j, and whose terms all windows share: pixel q has one W_j x_q for each
position j at which it stands in some window. A coalition S and its complement enter every value with opposite weights,

    phi_i = sum over S without the last player of M[i, S] D_S,      D_S = a(s_S) - a(s_(N - S)),

with s_S = b + the terms of S and M the Shapley matrix, so that half of its columns are enough. With
a(s) = p s + q |s| the linear half of the value is p times the term, whatever the coalition. Positions outside the image
are nobody's: a window that sticks out is a smaller game.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd import Function

from shapnotes._runtime.extras import installed
from shapnotes.coalitions import shapley_rows
from shapnotes.shapnet.tracing import opaque
from shapnotes.shapnet.windows import batched
from shapnotes.shapnet.windows.geometry import Geometry, regions

TERMS = 2**21  # numbers at once on a CPU
TERMS_ELSEWHERE = 2**28


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
    height, width = map(int, x.shape[1:3])
    terms = (x @ weight.flatten(1)).unflatten(3, weight.shape[1:]).unbind(3)
    z = torch.zeros_like(terms[0])
    for region in regions(geometry, height, width):
        here = [(slice(None), *region.pixels(i)) for i in range(len(region.players))]
        values = listed_values([terms[j][at] for j, at in zip(region.players, here, strict=True)], bias, slope)
        for at, value in zip(here, values, strict=True):
            z[at] += value
    return torch.where((x != 0).any(-1, keepdim=True), z, z - z.detach())


def differentiated_again(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """A backward pass that can be differentiated once more: gradients on x, weight and bias where they are needed."""
    (*tensors, geometry, slope), needed = (*ctx.saved_tensors[:3], *ctx.settings), ctx.needs_input_grad[:3]
    z = _with_a_graph(*tensors, geometry, float(slope))
    wanted = [t for t, each in zip(tensors, needed, strict=True) if each]
    found = iter(torch.autograd.grad(z, wanted, gradient, create_graph=True))
    return *(next(found) if each else None for each in needed), None, None, None


def zero_where_blank(z: Tensor, x: Tensor) -> Tensor:
    """z, in place, exactly zero at pixels whose channels in x are; the gradient stays that of the value."""
    zero = (x[..., 0] == 0).nonzero(as_tuple=True)  # mostly few: faster than to look at all channels of all pixels
    z[zero] *= (x[zero] != 0).any(-1, keepdim=True)
    return z


def arithmetic(x: Tensor) -> ModuleType:
    """What adds up values: numba_cpu, which numba compiles where it is installed, for ordinary numbers on a CPU."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and installed("numba"):
        from shapnotes.shapnet.windows import numba_cpu  # numba takes long to import

        return numba_cpu
    return batched


class _WindowValues(Function):
    """A tile of images at a time. For the gradient the terms are kept, k numbers a pixel and channel, not the sums."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry, slope, keep):
        (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
        images, given, x = _images_at_once(x, weight), x, x.contiguous()
        z, by_position = x.new_zeros(batch, height, width, channels), weight.transpose(0, 1)
        kept = x.new_empty(k, batch if keep else min(batch, images), height, width, channels)
        for first in range(0, batch, images):
            some, onto = x[first : first + images], z[first : first + images]
            terms = kept[:, first : first + images] if keep else kept[:, : len(some)]
            torch.bmm(some.flatten(0, 2).expand(k, -1, -1), by_position, out=terms.flatten(1, 3))
            arithmetic(x).add_values(terms, bias, slope, geometry, onto)
        zero_where_blank(z, x)
        ctx.save_for_backward(given, weight, bias, *[kept] * keep)
        ctx.settings = geometry, slope
        return z

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            return differentiated_again(ctx, gradient)
        (x, weight, bias, *kept), (geometry, slope) = ctx.saved_tensors, ctx.settings
        (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
        images, x = _images_at_once(x, weight), x.contiguous()
        on_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        on_weight, on_bias = weight.new_zeros(weight.shape), torch.zeros_like(bias)
        on_kept = x.new_zeros(k, min(batch, images), height, width, channels)  # what is in no window stays zero
        for first in range(0, batch, images):
            some, given = x[first : first + images], gradient[first : first + images]
            terms, on_terms = kept[0][:, first : first + images], on_kept[:, : len(some)]
            on_bias += arithmetic(x).write_gradients(terms, bias, slope, geometry, given, on_terms)
            for j, on_term in enumerate(on_terms.flatten(1, 3)):
                on_weight[:, j].addmm_(some.flatten(0, 2).T, on_term)
                if on_x is not None:
                    on_pixels = on_x[first : first + images].view(len(on_term), -1)
                    torch.addmm(on_pixels, on_term, weight[:, j].T, beta=min(j, 1), out=on_pixels)
        return on_x, on_weight, on_bias, None, None, None


def _images_at_once(x: Tensor, weight: Tensor) -> int:
    """Images whose terms are computed together."""
    at_once = TERMS if x.device.type == "cpu" else TERMS_ELSEWHERE
    return max(1, at_once // (x[0, ..., 0].numel() * weight[0].numel()))


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
    """As `batched.table_gradients`, coalition by coalition."""
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
    return torch.where(s > 0, s, -s) if torch.is_grad_enabled() or torch.jit.is_tracing() else s.abs()


def _combined(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    return sum(w * t for w, t in zip(weights, tensors, strict=True))


def _rows(k: int) -> list[list[float]]:
    """The half of the Shapley matrix that is enough."""
    return [row[: 2 ** (k - 1)] for row in shapley_rows(k)]
