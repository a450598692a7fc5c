"""The arithmetic of windows as loops over numbers, of which numba makes machine code: for a CPU, in one pass.

The sums of some windows are made, used and forgotten in the cache next to the processor, where tensor operations would
write and read all of them in turn. The code is made when it is first needed, in some seconds, and kept on disk.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numba.core.caching import FunctionCache
from torch import Tensor

from shapnotes.coalitions import value_weights
from shapnotes.shapnet.windows.geometry import Geometry, regions

AT_ONCE = 2**13  # sums of a run of windows, which the cache holds together with what becomes of them
ALONE = 2**17  # sums that take less time than it takes to start a thread


class Kept(FunctionCache):
    """Machine code on disk. A disk that is full, or files that are damaged, are no reason not to compute."""

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unreadable, or cut short: what is in a damaged pickle is anybody's guess
            with suppress(OSError):
                self.flush()
            return None  # it is made anew

    def save_overload(self, sig, data):
        with suppress(Exception):  # likewise: the index is read first
            super().save_overload(sig, data)


def machine_code(function: Callable) -> Callable:
    """What numba makes of a function, kept on disk where that can be written to."""
    made = njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # there is no place for it: it is made anew in each process
        made._cache = Kept(function)
    return made


class Runs(NamedTuple):
    """Windows side by side whose players are side by side too, so that all their numbers are consecutive in memory.

    pixels  : int64 [runs, k], the pixel of each player in the first window of a run; -1 is nobody, and the windows are
              smaller games
    lengths : int64 [runs], windows
    """

    pixels: np.ndarray
    lengths: np.ndarray


def add_values(terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
    """As `batched.add_values`, for float32 and float64 on a CPU."""
    settings, values = _settings(terms, bias, slope), _flat(z)
    runs = _runs(geometry, *z.shape[1:3], _at_once(terms))
    _on_images(lambda _, shift: _add_values(shift, *runs, *settings, values), geometry, z.shape)


def add_kept_values(terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor, rows: Tensor) -> None:
    """The same with terms [k, kept pixels, out] of some pixels only; the others are nobody.

    rows : int64 [pixels of all images], the row of a pixel's terms, -1 if it is not kept
    """
    settings = _runs(geometry, *z.shape[1:3], 1).pixels, _at_once(terms), rows.numpy(), *_settings(terms, bias, slope)
    values = _flat(z)
    _on_images(lambda _, shift: _add_kept_values(shift, *settings, values), geometry, z.shape)


def write_gradients(
    terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, given: Tensor, on_terms: Tensor
) -> Tensor:
    """As `batched.write_gradients`, for float32 and float64 on a CPU."""
    settings, on_bias = _settings(terms, bias, slope), bias.new_zeros(len(given), len(bias))
    runs = _runs(geometry, *given.shape[1:3], _at_once(terms))
    given, onto, sums, shape = _flat(given.contiguous()), _flat(on_terms), on_bias.numpy(), given.shape

    def work(image: int, shift: int) -> None:
        _write_gradients(shift, *runs, *settings, given, onto, on_terms.stride(0), sums[image])

    _on_images(work, geometry, shape)
    return on_bias.sum(0)


def _flat(planes: Tensor) -> np.ndarray:
    """All numbers from the first to the last, and what may be between one plane and the next."""
    return planes.as_strided(((len(planes) - 1) * planes.stride(0) + planes[0].numel(),), (1,)).numpy()


def _settings(terms: Tensor, bias: Tensor, slope: float) -> tuple:
    p = bias.new_tensor((1 + slope) / 2).numpy()[()]
    return _flat(terms), terms.stride(0), bias.numpy(), _weights(len(terms), slope, bias.dtype), p


def _at_once(terms: Tensor) -> int:
    """Windows that are taken together."""
    return max(1, AT_ONCE // (2 ** (len(terms) - 1) * terms.shape[-1]))


def _on_images(work: Callable[[int, int], None], geometry: Geometry, shape: torch.Size) -> None:
    """work(image, its first pixel) for each, in as many threads as PyTorch has, if these are more than two.

    PyTorch's own threads are still spinning for a while where these begin, and share the processors with them: two
    would be no faster than one. So each takes the next image when it is done with one.
    """
    images, height, width, channels = shape
    sums = images * height * width * channels << geometry.kernel[0] * geometry.kernel[1]
    count = min(torch.get_num_threads(), images)
    waiting = SimpleQueue()
    for image in range(images):
        waiting.put(image)

    def some() -> None:
        with suppress(Empty):
            while True:
                image = waiting.get_nowait()
                work(image, image * height * width)

    threads = [Thread(target=some) for _ in range(count - 1 if count > 2 and sums > ALONE else 0)]
    for thread in threads:
        thread.start()
    some()
    for thread in threads:
        thread.join()


@lru_cache(maxsize=256)
def _runs(geometry: Geometry, height: int, width: int, at_once: int) -> Runs:
    """The windows of an image, at most so many at once."""
    k, pixels, lengths = geometry.kernel[0] * geometry.kernel[1], [], []
    at_once = at_once if geometry.stride[1] == 1 else 1
    for region in regions(geometry, height, width):
        (rows, columns), (down, right) = region.size, region.stride
        for row in range(rows):
            for column in range(0, columns, at_once):
                pixels.append([-1] * k)
                for player, (y, x) in zip(region.players, region.corners, strict=True):
                    pixels[-1][player] = (y + down * row) * width + x + right * column
                lengths.append(min(at_once, columns - column))
    return Runs(np.array(pixels, np.int64).reshape(-1, k), np.array(lengths, np.int64))


@lru_cache(maxsize=64)
def _weights(k: int, slope: float, dtype: torch.dtype) -> np.ndarray:
    """[m, s] has the two weights of s of m players, for games of numbers that lose their sign (`value_weights`)."""
    weights = torch.zeros(k + 1, k + 1, 2, dtype=torch.float64)
    for m in range(1, k + 1):
        weights[m, : m + 1] = (1 - slope) / 2 * torch.stack(value_weights(m), 1)
    return weights.to(dtype).numpy()


@machine_code
def _present(pixels, run, who):
    """Writes which positions of a run are inside the image; how many."""
    m = 0
    for j in range(pixels.shape[1]):
        if pixels[run, j] >= 0:
            who[m] = j
            m += 1
    return m


@machine_code
def _size(coalition):
    size = 0
    while coalition:
        size += coalition & 1
        coalition >>= 1
    return size


@machine_code
def _add_up(terms, starts, m, numbers, table):
    """Writes the sums over all coalitions of m players to table, whose first row is there."""
    for i in range(m):
        term = terms[starts[i] : starts[i] + numbers]
        for coalition in range(1 << i):
            before, after = table[coalition], table[coalition + (1 << i)]
            for c in range(numbers):
                after[c] = before[c] + term[c]


@machine_code
def _sum_up(terms, starts, m, numbers, sums, everybody):
    """Writes the sums s_S of all coalitions without the last of m players, and everybody's with the bias twice."""
    _add_up(terms, starts, m - 1, numbers, sums)
    nobody, others = sums[0], sums[((1 << m) >> 1) - 1]
    last = terms[starts[m - 1] : starts[m - 1] + numbers]
    for c in range(numbers):
        everybody[c] = nobody[c] + (others[c] + last[c])


@machine_code
def _weigh(m, numbers, sums, everybody, weights, common):
    """Of D_S = |s_S| - |s of the others| writes sum_S w D_S to common, and a D_S in place of each sum but the bias."""
    nobody, w = sums[0], weights[m, 0, 1]
    for c in range(numbers):
        common[c] = w * (abs(nobody[c]) - abs(everybody[c] - nobody[c]))
    for coalition in range(1, (1 << m) >> 1):
        row, size = sums[coalition], _size(coalition)
        a, w = weights[m, size, 0], weights[m, size, 1]
        for c in range(numbers):
            difference = abs(row[c]) - abs(everybody[c] - row[c])
            common[c] += w * difference
            row[c] = a * difference


@machine_code
def _add_members(rows, i, m, out):
    """Adds the rows of coalitions with player i, but without the last of m, to out; four at a time."""
    count, below = (1 << m) >> 2, (1 << i) - 1
    if i == m - 1:
        return
    for t in range(0, count - 3, 4):
        r0, r1 = rows[(t & ~below) + t + below + 1], rows[((t + 1) & ~below) + t + below + 2]
        r2, r3 = rows[((t + 2) & ~below) + t + below + 3], rows[((t + 3) & ~below) + t + below + 4]
        for c in range(len(out)):
            out[c] += r0[c] + r1[c] + r2[c] + r3[c]
    for t in range(count - count % 4, count):
        row = rows[(t & ~below) + t + below + 1]
        for c in range(len(out)):
            out[c] += row[c]


@machine_code
def _add_values(shift, pixels, lengths, terms, plane, bias, weights, p, z):
    k, channels, widest = pixels.shape[1], len(bias), lengths.max() * len(bias)
    who, starts, sums = np.empty(k, np.int64), np.empty(k, np.int64), np.empty((1 << (k - 1), widest), bias.dtype)
    everybody, common = np.empty(widest, bias.dtype), np.empty(widest, bias.dtype)
    for start in range(0, widest, channels):
        sums[0, start : start + channels] = bias
    for run in range(len(lengths)):
        m, numbers = _present(pixels, run, who), lengths[run] * channels
        for i in range(m):
            starts[i] = who[i] * plane + (shift + pixels[run, who[i]]) * channels
        _sum_up(terms, starts, m, numbers, sums, everybody)
        _weigh(m, numbers, sums, everybody, weights, common)
        for i in range(m):
            start = (shift + pixels[run, who[i]]) * channels
            term, value = terms[starts[i] : starts[i] + numbers], z[start : start + numbers]
            for c in range(numbers):
                value[c] += p * term[c] - common[c]
            _add_members(sums, i, m, value)


@machine_code
def _add_kept_values(shift, pixels, at_once, rows, terms, plane, bias, weights, p, z):
    """Windows wait, with as many players as they have, until there are enough to be taken together."""
    (windows, k), channels, widest = pixels.shape, len(bias), at_once * len(bias)
    starts, sums = np.arange(k) * widest, np.empty((1 << (k - 1), widest), bias.dtype)
    everybody, common = np.empty(widest, bias.dtype), np.empty(widest, bias.dtype)
    for start in range(0, widest, channels):
        sums[0, start : start + channels] = bias
    waiting, given = np.zeros(k + 1, np.int64), np.empty((k + 1, k * widest), bias.dtype)
    who, onto = np.empty(k, np.int64), np.empty((k + 1, k, at_once), np.int64)
    for window in range(windows + k):
        if window < windows:
            m = 0
            for j in range(k):
                if pixels[window, j] >= 0 and rows[shift + pixels[window, j]] >= 0:
                    who[m] = j
                    m += 1
            if m == 0:
                continue
            place = waiting[m]
            for i in range(m):
                pixel = shift + pixels[window, who[i]]
                onto[m, i, place] = pixel * channels
                start, to = who[i] * plane + rows[pixel] * channels, starts[i] + place * channels
                for c in range(channels):
                    given[m, to + c] = terms[start + c]
            waiting[m] = place + 1
            if place + 1 < at_once:
                continue
        else:  # those who are left
            m = window - windows + 1
        numbers, players = waiting[m] * channels, given[m]
        _sum_up(players, starts, m, numbers, sums, everybody)
        _weigh(m, numbers, sums, everybody, weights, common)
        for i in range(m):
            value = players[starts[i] : starts[i] + numbers]
            for c in range(numbers):
                value[c] = p * value[c] - common[c]
            _add_members(sums, i, m, value)
            for place in range(waiting[m]):
                start, to = place * channels, onto[m, i, place]
                for c in range(channels):
                    z[to + c] += value[start + c]
        waiting[m] = 0


@machine_code
def _write_gradients(shift, pixels, lengths, terms, plane, bias, weights, p, given, onto, onto_plane, on_bias):
    k, channels, widest = pixels.shape[1], len(bias), lengths.max() * len(bias)
    who, starts, everybody = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(widest, bias.dtype)
    places, sums = np.empty(k, np.int64), np.empty((1 << (k - 1), widest), bias.dtype)
    on_members, on_sums = np.zeros((1 << (k - 1), widest), bias.dtype), np.empty((1 << k, widest), bias.dtype)
    on_everybody = np.empty(widest, bias.dtype)
    for start in range(0, widest, channels):
        sums[0, start : start + channels] = bias
    for run in range(len(lengths)):
        m, numbers = _present(pixels, run, who), lengths[run] * channels
        for i in range(m):
            places[i] = (shift + pixels[run, who[i]]) * channels
            starts[i] = who[i] * plane + places[i]
        _sum_up(terms, starts, m, numbers, sums, everybody)
        _sum_up(given, places, m, numbers, on_members, on_everybody)  # a value's weights are those of its player
        for coalition in range((1 << m) >> 1):
            size = _size(coalition)
            a, w, members, on_row = weights[m, size, 0], weights[m, size, 1], sums[coalition], on_members[coalition]
            there, others = on_sums[coalition], on_sums[(1 << m) - 1 - coalition]
            for c in range(numbers):
                on_difference = a * on_row[c] - w * on_everybody[c]
                there[c] = on_difference if members[c] > 0 else -on_difference
                others[c] = -on_difference if everybody[c] - members[c] > 0 else on_difference
        for i in range(m - 1, -1, -1):  # what is with player i is its own, and folded onto what is without it
            start = places[i] + who[i] * onto_plane
            on_term, on_value = onto[start : start + numbers], given[places[i] : places[i] + numbers]
            for c in range(numbers):
                on_term[c] = p * on_value[c]
            for coalition in range(1 << i):
                without, with_it = on_sums[coalition], on_sums[coalition + (1 << i)]
                for c in range(numbers):
                    on_term[c] += with_it[c]
                    without[c] += with_it[c]
        for start in range(0, numbers, channels):
            for c in range(channels):
                on_bias[c] += on_sums[0, start + c]
