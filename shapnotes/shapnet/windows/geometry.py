"""Where the sliding windows of an image have their pixels, and which windows stick out of it in the same way."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

Pair = tuple[int, int]
Slices = tuple[slice, slice]


class Geometry(NamedTuple):
    """Where windows are: as in a convolution, with rows and columns of padding (before, after) each."""

    kernel: Pair
    dilation: Pair
    stride: Pair
    padding: tuple[Pair, Pair]

    @property
    def n_players(self) -> int:
        """Pixels of a window."""
        return self.kernel[0] * self.kernel[1]


class Region(NamedTuple):
    """Windows with the same positions inside the image.

    Attributes
    ----------
    players : tuple of int
        The positions, counted row by row.
    corners : tuple of pairs of int
        For each position the pixel (row, column) where it is in the first window.
    size : pair of int
        Rows and columns of windows.
    stride : pair of int
        Pixels from one window to the next.
    """

    players: tuple[int, ...]
    corners: tuple[Pair, ...]
    size: Pair
    stride: Pair

    def pixels(self, player: int) -> Slices:
        """Where this player is in all the windows: rows and columns of pixels."""
        (row, column), (rows, columns), (down, right) = self.corners[player], self.size, self.stride
        return slice(row, row + down * (rows - 1) + 1, down), slice(column, column + right * (columns - 1) + 1, right)

    def split(self, rows: int) -> "list[Region]":
        """The same windows in regions of so many rows of windows."""
        (height, width), (down, _) = self.size, self.stride
        return [
            self._replace(
                corners=tuple((row + down * first, column) for row, column in self.corners),
                size=(min(rows, height - first), width),
            )
            for first in range(0, height, rows)
        ]


@lru_cache(maxsize=256)
def regions(geometry: Geometry, height: int, width: int) -> tuple[Region, ...]:
    """The windows of an image, by which of their positions are inside it; windows with none are left out."""
    kernel, _, stride, _ = geometry
    rows_of_windows, columns_of_windows = windows_along(geometry, height, width)
    return tuple(
        Region(
            tuple(kernel[1] * u + v for (u, _), (v, _) in product(rows, columns)),
            tuple((row, column) for (_, row), (_, column) in product(rows, columns)),
            (n_rows, n_columns),
            stride,
        )
        for (rows, n_rows), (columns, n_columns) in product(
            _intervals(rows_of_windows, height), _intervals(columns_of_windows, width)
        )
        if rows and columns
    )


def windows_along(geometry: Geometry, height: int, width: int) -> tuple[list[list[int]], list[list[int]]]:
    """Rows, and columns, where each window has its positions, which may be outside: [windows][positions] each.

    Windows that are in the padding from end to end are left out, however much of it there is.
    """
    rows, columns = (_along_one_axis(*sizes) for sizes in zip((height, width), *geometry, strict=True))
    return rows, columns


def _along_one_axis(size: int, kernel: int, dilation: int, stride: int, padding: Pair) -> list[list[int]]:
    reach = dilation * (kernel - 1)
    first = max(0, -((reach - padding[0]) // stride))  # the window's last position is at 0 or after it
    last = min(size - 1 + padding[0], size + sum(padding) - reach - 1) // stride  # its first one before the end
    return [[stride * window - padding[0] + dilation * u for u in range(kernel)] for window in range(first, last + 1)]


def _intervals(windows: Sequence[Sequence[int]], size: int) -> list[tuple[tuple[Pair, ...], int]]:
    """Along one axis: which positions are inside, with their pixel in the first window, and for how many windows."""
    inside = [tuple((u, pixel) for u, pixel in enumerate(window) if 0 <= pixel < size) for window in windows]
    alike = [list(group) for _, group in groupby(inside, key=lambda members: [u for u, _ in members])]
    return [(group[0], len(group)) for group in alike]
