r"""Shapley values of the sliding windows of an image as one operation of autograd, whatever computes the windows.

The players of a window are its k pixels, and its function is one linear map and a leaky ReLU,

.. math::
    f(x_1, \ldots, x_k) = a\Big(b + \sum_j W_j x_j\Big), \qquad a(s) = \max(s, 0) + \mathrm{slope} \cdot \min(s, 0),

whose masked inputs share the terms :math:`W_j x_j`. All windows share them too: pixel q has one :math:`W_j x_q` for
each position j that it has in some window. So the work is a product, then for each window a game of k players with
known terms, and a sum over windows. The products and the sums over images are here; the games are a backend's kernels.
Positions outside the image are null players.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from shapnotes.shapnet.windows import reference
from shapnotes.shapnet.windows.geometry import Geometry

MAX_TERMS_ON_CPU = 2**21  # numbers that are computed at once, for a few images: few enough for the cache
MAX_TERMS_ON_GPU = 2**28


class Kernels(Protocol):
    """The games of all windows of some images, from their terms [k, images, height, width, out].

    Attributes
    ----------
    pixel_by_pixel : bool
        How terms and gradients on them are in memory: as [images, height, width, k, out], so that they are one product,
        or as their shape says, k products.
    """

    pixel_by_pixel: ClassVar[bool]

    def write_values(self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
        """Write to z [images, height, width, out] the values of each window's players, added up per pixel."""

    def write_gradients(
        self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, grad_z: Tensor, grad_terms: Tensor
    ) -> Tensor:
        """From gradients on z to those on terms, which are written, and on the bias, which is returned: [out].

        Entries of `grad_terms` for positions that a pixel has in no window are not written, or written as zero; the
        caller passes zeros there.
        """


def window_values(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    geometry: Geometry,
    negative_slope: float,
    kernels: Kernels,
    max_terms: int | None = None,
) -> Tensor:
    """As `reference.window_values`, with the games computed by `kernels`; second derivatives are the reference's.

    For the gradient the terms are saved, k numbers per pixel and output, not the sums of coalitions.

    max_terms : numbers of terms that are computed at once; None for what the device's cache or memory suggests
    """
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    if max_terms is None:
        max_terms = MAX_TERMS_ON_CPU if x.device.type == "cpu" else MAX_TERMS_ON_GPU
    images = max(1, max_terms // (x[0, ..., 0].numel() * weight[0].numel()))
    apply: Callable[..., Tensor] = _WindowValues.apply
    return apply(x, weight, bias, geometry, negative_slope, kernels, images, save)


class _WindowValues(Function):
    """Some images at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        slope: float,
        kernels: Kernels,
        images: int,
        save: bool,
    ) -> Tensor:
        (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
        pixels, z = x.contiguous(), x.new_empty(batch, height, width, channels)
        all_terms = _new_terms(x, k, batch if save else min(batch, images), channels, kernels.pixel_by_pixel)
        plain_bias = bias.detach()  # no parameter, for which a compiler would make a program of its own
        for first in range(0, batch, images):
            x_part, z_part = pixels[first : first + images], z[first : first + images]
            terms = all_terms[:, first : first + images] if save else all_terms[:, : len(x_part)]
            _write_terms(x_part, weight, terms, kernels.pixel_by_pixel)
            kernels.write_values(terms, plain_bias, slope, geometry, z_part)
        zero_where_blank(z, pixels)
        ctx.save_for_backward(x, weight, bias, *[all_terms] * save)
        ctx.settings = geometry, slope, kernels, images
        return z

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return (*_differentiable_gradients(ctx, grad_z), *[None] * 5)
        x, weight, bias, all_terms = ctx.saved_tensors
        geometry, slope, kernels, images = ctx.settings
        batch, (_, k, channels) = len(x), weight.shape
        x, plain_bias = x.contiguous(), bias.detach()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight, grad_bias = weight.new_zeros(weight.shape), torch.zeros_like(plain_bias)
        buffer = _new_terms(x, k, min(batch, images), channels, kernels.pixel_by_pixel).zero_()
        for first in range(0, batch, images):
            x_part, grad_z_part = x[first : first + images], grad_z[first : first + images]
            terms, grad_terms = all_terms[:, first : first + images], buffer[:, : len(x_part)]
            grad_bias += kernels.write_gradients(terms, plain_bias, slope, geometry, grad_z_part, grad_terms)
            grad_x_part = None if grad_x is None else grad_x[first : first + images]
            _add_gradients(x_part, weight, grad_terms, grad_weight, grad_x_part, kernels.pixel_by_pixel)
        return grad_x, grad_weight, grad_bias, *[None] * 5


def _new_terms(x: Tensor, k: int, images: int, channels: int, pixel_by_pixel: bool) -> Tensor:
    """Room for terms, [k, images, height, width, out], for images as large as those of x."""
    size = images, *x.shape[1:3]
    if pixel_by_pixel:
        return x.new_empty(*size, k, channels).movedim(3, 0)
    return x.new_empty(k, *size, channels)


def _write_terms(x: Tensor, weight: Tensor, terms: Tensor, pixel_by_pixel: bool) -> None:
    """Writes W_j x: x [images, height, width, in], weight [in, k, out], terms [k, images, height, width, out]."""
    rows = x.flatten(0, 2)  # [pixels, in]
    if pixel_by_pixel:
        torch.mm(rows, weight.flatten(1), out=terms.movedim(0, 3).view(len(rows), -1))
    else:
        torch.bmm(rows.expand(weight.shape[1], -1, -1), weight.transpose(0, 1), out=terms.flatten(1, 3))


def _add_gradients(
    x: Tensor, weight: Tensor, grad_terms: Tensor, grad_weight: Tensor, grad_x: Tensor | None, pixel_by_pixel: bool
) -> None:
    """Adds to the gradient on the weight and writes that on x, where there is one; shapes as in `_write_terms`."""
    rows = x.flatten(0, 2)
    grad_rows = None if grad_x is None else grad_x.view(rows.shape)
    if pixel_by_pixel:
        grad_products = grad_terms.movedim(0, 3).view(len(rows), -1)  # [pixels, k * out]
        grad_weight.flatten(1).addmm_(rows.T, grad_products)
        if grad_rows is not None:
            torch.mm(grad_products, weight.flatten(1).T, out=grad_rows)
        return
    for j, grad_term in enumerate(grad_terms.flatten(1, 3)):  # [pixels, out]
        grad_weight[:, j].addmm_(rows.T, grad_term)
        if grad_rows is not None:
            torch.addmm(grad_rows, grad_term, weight[:, j].T, beta=min(j, 1), out=grad_rows)


def _differentiable_gradients(ctx: Any, grad_z: Tensor) -> list[Tensor | None]:
    """Gradients on x, weight and bias, where they are needed, that can be differentiated once more."""
    (x, weight, bias, *_), (geometry, slope, *_) = ctx.saved_tensors, ctx.settings
    z = reference.window_values(x, weight, bias, geometry, slope)
    wanted = [t for t, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
    gradients = iter(torch.autograd.grad(z, wanted, grad_z, create_graph=True))
    return [next(gradients) if needed else None for needed in ctx.needs_input_grad[:3]]


def zero_where_blank(z: Tensor, x: Tensor) -> None:
    """Set z, in place, to exactly zero at pixels whose channels in x are all zero; the gradient stays the value's."""
    zero = (x[..., 0] == 0).nonzero(as_tuple=True)  # usually few: cheaper than testing every channel of every pixel
    z[zero] *= (x[zero] != 0).any(-1, keepdim=True)
