r"""The games of windows in a few tensor operations for many windows at once: for GPUs, and in any precision.

With :math:`a(s) = p s + q |s|`, where :math:`p = (1 + \mathrm{slope}) / 2` and :math:`q = (1 - \mathrm{slope}) / 2`,
the value of the linear part is p times the player's term. The rest is two products with small matrices: one makes the
sums of all coalitions of terms and bias, the other, the Shapley matrix, makes values of their absolute values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shapnotes.coalitions import cached_matrix, masks, shapley_matrix
from shapnotes.shapnet.windows.geometry import Geometry, Pair, Region, regions

MAX_SUMS_ON_CPU = 2**21  # of coalitions at once, which should stay in the cache
MAX_SUMS_ON_GPU = 2**28

Part = tuple[slice, slice, slice]  # images, rows and columns


@dataclass(frozen=True)
class Batched:
    """The kernels. max_sums : sums of coalitions at once, None for what the device suggests."""

    max_sums: int | None = None
    pixel_by_pixel: ClassVar[bool] = False

    def write_values(self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
        z.zero_()
        for players, parts in self._parts(geometry, z):
            values = neuron_values([terms[j][at] for j, at in zip(players, parts, strict=True)], bias, slope)
            for at, value in zip(parts, values, strict=True):
                z[at].add_(value)

    def write_gradients(
        self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, grad_z: Tensor, grad_terms: Tensor
    ) -> Tensor:
        grad_bias = torch.zeros_like(bias)
        for players, parts in self._parts(geometry, grad_z):
            terms_here = [terms[j][at] for j, at in zip(players, parts, strict=True)]
            *grads, grad_sums = neuron_gradients(terms_here, bias, [grad_z[at] for at in parts], slope)
            grad_bias += grad_sums.sum((0, 1, 2))
            for j, at, grad in zip(players, parts, grads, strict=True):
                grad_terms[j][at].copy_(grad)
        return grad_bias

    def _parts(self, geometry: Geometry, images: Tensor) -> Iterator[tuple[tuple[int, ...], list[Part]]]:
        """Players of windows, and for each of them where it is in as many windows as are taken together."""
        for region in regions(geometry, *images.shape[1:3]):
            count, rows = self._at_once(region, images)
            for piece in region.split(rows):
                pixels = [piece.pixels(i) for i in range(len(piece.players))]
                for first in range(0, len(images), count):
                    yield piece.players, [(slice(first, first + count), *at) for at in pixels]

    def _at_once(self, region: Region, images: Tensor) -> Pair:
        """Images, and rows of windows, whose sums are computed together."""
        max_sums = self.max_sums
        if max_sums is None:
            max_sums = MAX_SUMS_ON_CPU if images.device.type == "cpu" else MAX_SUMS_ON_GPU
        height, width = region.size
        rows = max_sums // (2 ** len(region.players) * width * images.shape[3])
        return min(len(images), max(1, rows // height)), min(height, max(1, rows))


def neuron_values(terms: Sequence[Tensor], bias: Tensor, slope: float) -> Tensor:
    """As `reference.neuron_values`, without a graph."""
    k, shape = len(terms), terms[0].shape
    rows = torch.stack([*terms, bias.expand(shape)]).view(k + 1, -1)
    sums = cached_matrix(_members_and_bias, k, bias.dtype, bias.device) @ rows  # [2^k, numbers]
    weights = cached_matrix(shapley_matrix, k, bias.dtype, bias.device) * ((1 - slope) / 2)
    return torch.addmm(rows[:k], weights, sums.abs_(), beta=(1 + slope) / 2).view(k, *shape)


def neuron_gradients(terms: Sequence[Tensor], bias: Tensor, grad_values: Sequence[Tensor], slope: float) -> Tensor:
    """From gradients on the values to those on the terms, and on the bias of each window: [k + 1, *shape]."""
    k, shape = len(terms), terms[0].shape
    rows, grad_rows = torch.stack([*terms, bias.expand(shape)]).view(k + 1, -1), torch.stack([*grad_values]).view(k, -1)
    members = cached_matrix(_members_and_bias, k, bias.dtype, bias.device)
    positive = members @ rows > 0
    weights = cached_matrix(shapley_matrix, k, bias.dtype, bias.device) * ((1 - slope) / 2)
    grad_sums = weights.T @ grad_rows
    grads = members.T @ torch.where(positive, grad_sums, -grad_sums)
    grads[:k].add_(grad_rows, alpha=(1 + slope) / 2)
    return grads.view(k + 1, *shape)


def _members_and_bias(k: int) -> Tensor:
    """Which terms, and the bias, are in the sum of each coalition: bool [2^k, k + 1]."""
    return torch.cat([masks(k), torch.ones(2**k, 1, dtype=torch.bool)], 1)
