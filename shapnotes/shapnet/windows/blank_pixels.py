"""Windows of images that are mostly blank: products and coalitions for the active pixels, and for no others.

A pixel is active unless it is zero in all channels. The others are null players in each of their windows, so a window
with m active pixels is a game of m players, with 2^m coalitions in place of 2^k; and a game of none is no work at all.
Which m players they are makes no difference once their terms W_j x_j are there: windows differ in m only.
"""

from functools import lru_cache

import torch
from torch import Tensor

from shapnotes.shapnet.windows.geometry import Geometry, regions


def active_pixels(x: Tensor) -> Tensor:
    """Which pixels of x [batch, height, width, channels] are not zero in all channels: bool [batch, height, width]."""
    return x.abs().sum(3) != 0  # faster than to compare each channel


def window_counts(active: Tensor, geometry: Geometry) -> Tensor:
    """How many windows have 0, 1, ..., k active pixels: active [batch, height, width], bool; int64 [k + 1].

    Their games take the sum over m of counts[m] (2^m - 1) activations per output, and one for the empty coalition.
    """
    rows = active.flatten().nonzero()[:, 0]
    window, count = _windows_of(rows, geometry, *active.shape)
    active_in_window = torch.bincount(window.flatten(), minlength=len(active) * count).view(len(active), count)
    return torch.bincount(active_in_window[:, :-1].flatten(), minlength=window.shape[1] + 1)


def window_values(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, negative_slope: float) -> Tensor:
    """As `reference.window_values`, on a CPU and without a gradient, at the cost of the active pixels.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].

    Cost
    ----
    For n active pixels one product of n rows, and for each window of m of them a game of m players. If each pixel is
    active with probability p, independently, that is (1 + p)^k - 1 activations per window in expectation, of 2^k - 1.
    """
    from shapnotes.shapnet.windows.numba_cpu import NumbaCPU  # numba is optional, and takes long to import

    (batch, height, width, _), (_, k, channels) = x.shape, weight.shape
    z, active = x.new_zeros(batch, height, width, channels), active_pixels(x).flatten()
    vectors = x.reshape(len(active), -1).index_select(0, active.nonzero()[:, 0])  # [active pixels, in]
    if len(vectors):
        terms = torch.bmm(vectors.expand(k, -1, -1), weight.transpose(0, 1))
        rows = torch.where(active, active.cumsum(0) - 1, -1)
        NumbaCPU().add_active_values(terms, bias.detach(), negative_slope, geometry, z, rows)
    return z


def _windows_of(rows: Tensor, geometry: Geometry, batch: int, height: int, width: int) -> tuple[Tensor, int]:
    """The window in which each row's pixel has each position, [rows, k]; and how many windows an image has.

    One of them, the last of each image, is none: it is for pixels that do not have that position in any window.
    """
    table, count = _windows_of_one_image(geometry, height, width)
    image = rows.div(height * width, rounding_mode="floor")
    return table.index_select(0, rows - image * (height * width)) + count * image[:, None], count


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _windows_of_one_image(geometry: Geometry, height: int, width: int) -> tuple[Tensor, int]:
    """As `_windows_of` for one image and all of its pixels, [height * width, k]."""
    all_regions = regions(geometry, height, width)
    count = sum(region.size[0] * region.size[1] for region in all_regions)
    table, first = torch.full((height, width, geometry.n_players), count, device="cpu"), 0
    for region in all_regions:
        windows = torch.arange(first, first + region.size[0] * region.size[1], device="cpu").view(region.size)
        for i, position in enumerate(region.players):
            table[..., position][region.pixels(i)] = windows
        first += windows.numel()
    return table.flatten(0, 1), count + 1
