"""Windows of images that are mostly blank: products and coalitions for the pixels that are not, and for no others.

A pixel that is zero in all channels is a null player in each of its windows, so a window with m other pixels is a game
of m players, with 2^m coalitions in place of 2^k; and a game of none is no work at all. Who the m players are makes no
difference once their terms W_j x_j are there: windows are told apart by m only.
"""

from functools import lru_cache

import torch
from torch import Tensor

from shapnotes._runtime.extras import installed
from shapnotes.shapnet.tracing import opaque
from shapnotes.shapnet.windows.geometry import Geometry, regions

WORTHWHILE = 0.55  # of the pixels: with more than that to do, all of the image takes less time
LEAST = 2**10  # pixels times channels: with fewer, it takes longer to find out who is there than to do it all


def mostly_blank(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether `kept_values` of these may be asked for, and is worth while: no gradient, few pixels, enough to do."""
    graph = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    if graph or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or opaque(x, weight, bias):
        return False
    if not installed("numba"):
        return False
    pixels = x[..., 0].numel()
    if pixels * len(bias) < LEAST:
        return False
    return int((x[..., 0] != 0).sum()) <= WORTHWHILE * pixels  # pixels with only their first channel zero are rare


def kept_pixels(x: Tensor) -> Tensor:
    """Which pixels of x [batch, height, width, channels] are not zero in all channels: [batch, height, width], bool."""
    return x.abs().sum(3) != 0  # faster than to compare each channel


def window_counts(kept: Tensor, geometry: Geometry) -> Tensor:
    """How many windows have 0, 1, ..., k players: kept [batch, height, width], bool; int64 [k + 1].

    Their games take the sum over m of counts[m] (2^m - 1) activations an output, and one for the empty coalition.
    """
    rows = kept.flatten().nonzero()[:, 0]
    at, count = _memberships(rows, geometry, *kept.shape)
    size = torch.bincount(at.flatten(), minlength=len(kept) * count).view(len(kept), count)
    return torch.bincount(size[:, :-1].flatten(), minlength=at.shape[1] + 1)


def kept_values(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, negative_slope: float) -> Tensor:
    """The numbers of `windows.window_values`, without a gradient, at the cost of the pixels that are not zero.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].

    Cost: for n kept pixels one product of n rows, and for each window of m of them a game of m players. If each pixel
    is kept with chance p, independently, that is (1 + p)^k - 1 activations a window in expectation, of 2^k - 1.
    """
    from shapnotes.shapnet.windows import numba_cpu  # numba takes long to import

    (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
    z, kept = x.new_zeros(batch, height, width, channels), kept_pixels(x).flatten()
    given = x.reshape(len(kept), -1).index_select(0, kept.nonzero()[:, 0])
    if len(given):
        terms = torch.bmm(given.expand(k, -1, -1), weight.transpose(0, 1))
        rows = torch.where(kept, kept.cumsum(0) - 1, -1)
        numba_cpu.add_kept_values(terms, bias, negative_slope, geometry, z, rows)
    return z


def _memberships(rows: Tensor, geometry: Geometry, batch: int, height: int, width: int) -> tuple[Tensor, int]:
    """The window in which each row's pixel stands at each position, [rows, k]; and how many there are in an image.

    One of them, the last of each image, is none: it is for pixels that do not stand at that position.
    """
    table, count = _windows(geometry, height, width)
    image = rows.div(height * width, rounding_mode="floor")
    return table.index_select(0, rows - image * (height * width)) + count * image[:, None], count


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _windows(geometry: Geometry, height: int, width: int) -> tuple[Tensor, int]:
    """As `_memberships` for one image and all of its pixels, [height * width, k]."""
    here, (kernel_height, kernel_width) = regions(geometry, height, width), geometry.kernel
    count = sum(region.size[0] * region.size[1] for region in here)
    table, first = torch.full((height, width, kernel_height * kernel_width), count), 0
    for region in here:
        windows = torch.arange(first, first + region.size[0] * region.size[1]).view(region.size)
        for i, position in enumerate(region.players):
            table[..., position][region.pixels(i)] = windows
        first += windows.numel()
    return table.flatten(0, 1), count + 1
