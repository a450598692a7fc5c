"""Where the sliding windows of an image have their pixels, and which windows stick out of it in the same way."""

from functools import lru_cache
from itertools import groupby, product
from typing import NamedTuple

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
    """Rows and columns where each window has its positions, which may be outside: [windows][positions] each.

    Windows that are in the padding from end to end are left out, however much of it there is.
    """
    axes = []
    for size, kernel, dilation, stride, padding in zip((height, width), *geometry, strict=True):
        spread = dilation * (kernel - 1)
        first = max(0, -((spread - padding[0]) // stride))  # the window's last position is at 0 or after it
        last = min(size - 1 + padding[0], size + sum(padding) - spread - 1) // stride  # its first one before the end
        axes.append(
            [[stride * window - padding[0] + dilation * u for u in range(kernel)] for window in range(first, last + 1)]
        )
    return axes


def _intervals(places: list[list[int]], size: int) -> list[tuple[tuple[Pair, ...], int]]:
    """Along one axis: which positions are inside, with their pixel in the first window, and for how many windows."""
    inside = [tuple((u, pixel) for u, pixel in enumerate(window) if 0 <= pixel < size) for window in places]
    alike = [list(group) for _, group in groupby(inside, key=lambda here: [u for u, _ in here])]
    return [(group[0], len(group)) for group in alike]
