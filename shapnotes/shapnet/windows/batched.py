"""The arithmetic of windows in tensor operations, on strips of windows: for GPUs, and in any precision."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from shapnotes.coalitions import cached_matrix, masks, shapley_matrix
from shapnotes.shapnet.windows.geometry import Geometry, Pair, Region, regions

SUMS = 2**21  # at once on a CPU, whose cache should hold them
SUMS_ELSEWHERE = 2**28


def add_values(terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
    """Add to z [batch, height, width, out] the values of each window's players, of terms [k, *z.shape]."""
    for players, pixels in _strips(geometry, z):
        values = table_values([terms[j][at] for j, at in zip(players, pixels, strict=True)], bias, slope)
        for at, value in zip(pixels, values, strict=True):
            z[at].add_(value)


def write_gradients(
    terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, given: Tensor, on_terms: Tensor
) -> Tensor:
    """From gradients on values to those on terms, which are written, and on the bias, which is returned.

    What belongs to players that are in no window is left as it is.
    """
    on_bias = torch.zeros_like(bias)
    for players, pixels in _strips(geometry, given):
        ours = [terms[j][at] for j, at in zip(players, pixels, strict=True)]
        *found, on_sums = table_gradients(ours, bias, [given[at] for at in pixels], slope)
        on_bias += on_sums.sum((0, 1, 2))
        for j, at, value in zip(players, pixels, found, strict=True):
            on_terms[j][at].copy_(value)
    return on_bias


def table_values(terms: Sequence[Tensor], bias: Tensor, slope: float) -> Tensor:
    """The values of k players, [k, *shape], of terms of that shape each.

    With a(s) = p s + q |s| the first half is p times the term. The rest is two products with small matrices: terms and
    bias make the sums of all coalitions, which lose their signs, and the Shapley matrix makes values of these.
    """
    k, shape = len(terms), terms[0].shape
    rows = torch.stack([*terms, bias.expand(shape)]).view(k + 1, -1)
    sums = cached_matrix(_members, k, bias.dtype, bias.device) @ rows
    weights = cached_matrix(shapley_matrix, k, bias.dtype, bias.device) * ((1 - slope) / 2)
    return torch.addmm(rows[:k], weights, sums.abs_(), beta=(1 + slope) / 2).view(k, *shape)


def table_gradients(terms: Sequence[Tensor], bias: Tensor, given: Sequence[Tensor], slope: float) -> Tensor:
    """From gradients of the values to those of the terms, and of the bias window by window: [k + 1, *shape]."""
    k, shape = len(terms), terms[0].shape
    rows, given = torch.stack([*terms, bias.expand(shape)]).view(k + 1, -1), torch.stack(list(given)).view(k, -1)
    members = cached_matrix(_members, k, bias.dtype, bias.device)
    positive = members @ rows > 0
    weights = cached_matrix(shapley_matrix, k, bias.dtype, bias.device) * ((1 - slope) / 2)
    on_sizes = weights.T @ given
    found = members.T @ torch.where(positive, on_sizes, -on_sizes)
    found[:k].add_(given, alpha=(1 + slope) / 2)
    return found.view(k + 1, *shape)


def _at_once(region: Region, images: Tensor) -> Pair:
    """Images, and rows of windows, whose sums fit into the cache together."""
    (height, width), at_once = region.size, SUMS if images.device.type == "cpu" else SUMS_ELSEWHERE
    rows = at_once // (2 ** len(region.players) * width * images.shape[3])
    return min(len(images), max(1, rows // height)), min(height, max(1, rows))


def _strips(geometry: Geometry, images: Tensor) -> Iterator[tuple[tuple[int, ...], list[tuple[slice, ...]]]]:
    """Players of windows, and for each the images, rows and columns where it stands, as many windows as fit."""
    for region in regions(geometry, *images.shape[1:3]):
        count, rows = _at_once(region, images)
        for strip in region.strips(rows):
            pixels = [strip.pixels(i) for i in range(len(strip.players))]
            for first in range(0, len(images), count):
                yield strip.players, [(slice(first, first + count), *at) for at in pixels]


def _members(k: int) -> Tensor:
    """Which terms, and the bias, are in the sum of each coalition."""
    return torch.cat([masks(k), torch.ones(2**k, 1, dtype=torch.bool)], 1)
