r"""The games of windows as loops over numbers, of which numba makes machine code: for a CPU, in one pass.

The sums of some windows are made, used and forgotten in the cache next to the processor, where tensor operations would
write and read all of them in turn. The code is made when it is first needed, in some seconds, and kept on disk.

A coalition S and its complement have opposite parts in every value. With :math:`a(s) = p s + q |s|` (see `batched`), m
players, the last of them left out of S, and a, w the weights of `coalitions.value_weights`,

.. math::
    \phi_i = p\, t_i + \sum_{S \ni i} a(|S|) D_S - \sum_S w(|S|) D_S, \qquad D_S = q \, (|s_S| - |s_{N \setminus S}|),

where the complement's sum needs no additions of its own: :math:`s_{N \setminus S} = s_N + b - s_S`, b being the bias.

Arrays of the machine code, with the last axis the fast one; "numbers" are the outputs of windows side by side, one
window after the other:

    terms, grad_terms : flat, k planes; the number c of pixel q at position j is at j * plane + q * out + c
    z, grad_z         : flat; the number c of pixel q is at q * out + c
    sums, members     : [2^(k - 1), numbers], a row for each coalition without the last player
    everybody         : [numbers], s_N + b
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from numba.core.caching import FunctionCache
from torch import Tensor

from shapnotes.coalitions import value_weights
from shapnotes.shapnet.windows.geometry import Geometry, regions

MAX_SUMS = 2**13  # of windows that are taken together: the cache holds them with what becomes of them
MIN_SUMS_TO_START_THREADS = 2**17  # fewer take less time than it takes to start a thread

Floats = npt.NDArray[Any]  # float32 or float64
Integers = npt.NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


class CodeOnDisk(FunctionCache):
    """Machine code on disk. A disk that is full, or files that are damaged, are no reason not to compute."""

    def load_overload(self, sig: object, target_context: object) -> object:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # unreadable or truncated: a damaged pickle can raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None  # it is made anew

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(Exception):  # likewise: the index is read first
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def machine_code(function: F) -> F:
    """What numba makes of a function, kept on disk where that can be written to."""
    made = njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # there is no place for it: it is made anew in each process
        made._cache = CodeOnDisk(function)  # type: ignore[no-untyped-call]
    return made  # type: ignore[no-any-return]


class Runs(NamedTuple):
    """Windows side by side whose players are side by side too, so that all their numbers are consecutive in memory.

    Attributes
    ----------
    pixels : array
        int64 [runs, k], the pixel of each player in the first window of a run; -1 is nobody, and the windows are
        smaller games.
    lengths : array
        int64 [runs], windows.
    """

    pixels: Integers
    lengths: Integers


class Neuron(NamedTuple):
    """What all windows share.

    Attributes
    ----------
    bias : array
        [out].
    weights : array
        [k + 1, k + 1, 2]; entry [m, s] has q a(s) and q w(s) for m players.
    p : float
        (1 + slope) / 2.
    """

    bias: Floats
    weights: Floats
    p: float


@dataclass(frozen=True)
class NumbaCPU:
    """The kernels, for float32 and float64.

    Parameters
    ----------
    max_sums : int
        Sums of coalitions of the windows that are taken together.
    min_sums_to_start_threads : int
        Sums of all windows from which threads are started.
    threads : int, optional
        None for as many as PyTorch has.
    """

    max_sums: int = MAX_SUMS
    min_sums_to_start_threads: int = MIN_SUMS_TO_START_THREADS
    threads: int | None = None
    pixel_by_pixel: ClassVar[bool] = False  # the numbers of windows side by side have to be consecutive

    def write_values(self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
        runs = _runs(geometry, *z.shape[1:3], self._windows_at_once(terms))
        neuron, flat_terms, plane, flat_z = _neuron(bias, slope, len(terms)), _flat(terms), terms.stride(0), _flat(z)
        z.zero_()

        def work(image: int, first_pixel: int) -> None:
            _add_values(first_pixel, runs, flat_terms, plane, neuron, flat_z)

        self._for_each_image(work, geometry, z.shape)

    def add_active_values(
        self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor, rows: Tensor
    ) -> None:
        """Adds to z the values for terms [k, active pixels, out] of some pixels only; the others are null players.

        rows : int64 [pixels of all images], the row of a pixel's terms, -1 if it is not active
        """
        pixels, at_once = _runs(geometry, *z.shape[1:3], 1).pixels, self._windows_at_once(terms)
        neuron, flat_terms, plane, flat_z = _neuron(bias, slope, len(terms)), _flat(terms), terms.stride(0), _flat(z)
        row_of_pixel = rows.numpy()

        def work(image: int, first_pixel: int) -> None:
            _add_active_values(first_pixel, pixels, at_once, row_of_pixel, flat_terms, plane, neuron, flat_z)

        self._for_each_image(work, geometry, z.shape)

    def write_gradients(
        self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, grad_z: Tensor, grad_terms: Tensor
    ) -> Tensor:
        runs = _runs(geometry, *grad_z.shape[1:3], self._windows_at_once(terms))
        grad_bias = bias.new_zeros(len(grad_z), len(bias))
        neuron, flat_terms, plane = _neuron(bias, slope, len(terms)), _flat(terms), terms.stride(0)
        flat_grad_z, flat_grad_terms, grad_plane = _flat(grad_z.contiguous()), _flat(grad_terms), grad_terms.stride(0)
        grad_bias_of_images = grad_bias.numpy()

        def work(image: int, first_pixel: int) -> None:
            grads = flat_grad_z, flat_grad_terms, grad_plane, grad_bias_of_images[image]
            _write_gradients(first_pixel, runs, flat_terms, plane, neuron, *grads)

        self._for_each_image(work, geometry, grad_z.shape)
        return grad_bias.sum(0)

    def _windows_at_once(self, terms: Tensor) -> int:
        return max(1, self.max_sums // (terms.shape[-1] << (len(terms) - 1)))

    def _for_each_image(self, work: Callable[[int, int], None], geometry: Geometry, shape: torch.Size) -> None:
        """work(image, its first pixel) for each, in as many threads as PyTorch has, if these are more than two.

        PyTorch's own threads are still spinning for a while where these begin, and share the processors with them: two
        would be no faster than one. So each takes the next image when it is done with one.
        """
        images, height, width, channels = shape
        sums = images * height * width * channels << geometry.n_players
        count = min(self.threads or torch.get_num_threads(), images)
        waiting: SimpleQueue[int] = SimpleQueue()
        for image in range(images):
            waiting.put(image)

        def until_none_is_left() -> None:
            with suppress(Empty):
                while True:
                    image = waiting.get_nowait()
                    work(image, image * height * width)

        started = count - 1 if count > 2 and sums > self.min_sums_to_start_threads else 0
        threads = [Thread(target=until_none_is_left) for _ in range(started)]
        for thread in threads:
            thread.start()
        until_none_is_left()
        for thread in threads:
            thread.join()


def _flat(planes: Tensor) -> Floats:
    """All numbers from the first to the last, and what may be between one plane and the next."""
    flat: Floats = planes.as_strided(((len(planes) - 1) * planes.stride(0) + planes[0].numel(),), (1,)).numpy()
    return flat


def _neuron(bias: Tensor, slope: float, k: int) -> Neuron:
    return Neuron(bias.numpy(), *_constants(k, slope, bias.dtype))


@lru_cache(maxsize=256)
def _runs(geometry: Geometry, height: int, width: int, at_once: int) -> Runs:
    """The windows of an image, at most so many at once."""
    pixels, lengths = [], []
    at_once = at_once if geometry.stride[1] == 1 else 1
    for region in regions(geometry, height, width):
        (rows, columns), (down, right) = region.size, region.stride
        for row in range(rows):
            for column in range(0, columns, at_once):
                pixels.append([-1] * geometry.n_players)
                for player, (y, x) in zip(region.players, region.corners, strict=True):
                    pixels[-1][player] = (y + down * row) * width + x + right * column
                lengths.append(min(at_once, columns - column))
    return Runs(np.array(pixels, np.int64).reshape(-1, geometry.n_players), np.array(lengths, np.int64))


@lru_cache(maxsize=64)
def _constants(k: int, slope: float, dtype: torch.dtype) -> tuple[Floats, float]:
    """`weights` and `p` of a `Neuron`."""
    weights = torch.zeros(k + 1, k + 1, 2, dtype=torch.float64, device="cpu")
    for m in range(1, k + 1):
        weights[m, : m + 1] = (1 - slope) / 2 * torch.stack(value_weights(m), 1)
    p: Any = torch.tensor((1 + slope) / 2, dtype=dtype, device="cpu").numpy()[()]
    return weights.to(dtype).numpy(), p


@machine_code
def _write_players(pixels: Integers, run: int, players: Integers) -> int:
    """Writes which positions of a run are inside the image; returns how many."""
    m = 0
    for j in range(pixels.shape[1]):
        if pixels[run, j] >= 0:
            players[m] = j
            m += 1
    return m


@machine_code
def _count_members(coalition: int) -> int:
    count = 0
    while coalition:
        count += coalition & 1
        coalition >>= 1
    return count


@machine_code
def _write_biases(bias: Floats, sums: Floats) -> None:
    """Writes the sums of the empty coalition, for all windows that can be taken together."""
    for start in range(0, sums.shape[1], len(bias)):
        sums[0, start : start + len(bias)] = bias


@machine_code
def _write_coalition_sums(terms: Floats, starts: Integers, m: int, numbers: int, sums: Floats) -> None:
    """Writes the sums of all coalitions of m players, whose first row is there; player i's term begins at starts[i]."""
    for i in range(m):
        term = terms[starts[i] : starts[i] + numbers]
        for coalition in range(1 << i):
            without, with_it = sums[coalition], sums[coalition + (1 << i)]
            for c in range(numbers):
                with_it[c] = without[c] + term[c]


@machine_code
def _write_sums(terms: Floats, starts: Integers, m: int, numbers: int, sums: Floats, everybody: Floats) -> None:
    """Writes the sums s_S of all coalitions without the last of m players, and s_N + b to everybody."""
    _write_coalition_sums(terms, starts, m - 1, numbers, sums)
    nobody, others = sums[0], sums[((1 << m) >> 1) - 1]
    last = terms[starts[m - 1] : starts[m - 1] + numbers]
    for c in range(numbers):
        everybody[c] = nobody[c] + (others[c] + last[c])


@machine_code
def _weigh_differences(m: int, numbers: int, sums: Floats, everybody: Floats, weights: Floats, common: Floats) -> None:
    """Writes sum_S w D_S to common, and a D_S in place of each sum but the empty coalition's."""
    nobody, w = sums[0], weights[m, 0, 1]
    for c in range(numbers):
        common[c] = w * (abs(nobody[c]) - abs(everybody[c] - nobody[c]))
    for coalition in range(1, (1 << m) >> 1):
        row, members = sums[coalition], _count_members(coalition)
        a, w = weights[m, members, 0], weights[m, members, 1]
        for c in range(numbers):
            difference = abs(row[c]) - abs(everybody[c] - row[c])
            common[c] += w * difference
            row[c] = a * difference


@machine_code
def _add_members(rows: Floats, i: int, m: int, out: Floats) -> None:
    """Adds the rows of coalitions with player i, but without the last of m, to out; four at a time."""
    count, below = (1 << m) >> 2, (1 << i) - 1
    if i == m - 1:
        return
    for t in range(0, count - 3, 4):  # the t-th coalition with player i has t's bits, with a one put in at place i
        r0, r1 = rows[(t & ~below) + t + below + 1], rows[((t + 1) & ~below) + t + below + 2]
        r2, r3 = rows[((t + 2) & ~below) + t + below + 3], rows[((t + 3) & ~below) + t + below + 4]
        for c in range(len(out)):
            out[c] += r0[c] + r1[c] + r2[c] + r3[c]
    for t in range(count - count % 4, count):
        row = rows[(t & ~below) + t + below + 1]
        for c in range(len(out)):
            out[c] += row[c]


@machine_code
def _add_values(first_pixel: int, runs: Runs, terms: Floats, plane: int, neuron: Neuron, z: Floats) -> None:
    """Adds to z the values of all windows of the image that begins at `first_pixel`, run after run."""
    k, channels, widest = runs.pixels.shape[1], len(neuron.bias), runs.lengths.max() * len(neuron.bias)
    dtype = neuron.bias.dtype
    players, starts, sums = np.empty(k, np.int64), np.empty(k, np.int64), np.empty((1 << (k - 1), widest), dtype)
    everybody, common = np.empty(widest, dtype), np.empty(widest, dtype)
    _write_biases(neuron.bias, sums)
    for run in range(len(runs.lengths)):
        m, numbers = _write_players(runs.pixels, run, players), runs.lengths[run] * channels
        for i in range(m):
            starts[i] = players[i] * plane + (first_pixel + runs.pixels[run, players[i]]) * channels
        _write_sums(terms, starts, m, numbers, sums, everybody)
        _weigh_differences(m, numbers, sums, everybody, neuron.weights, common)
        for i in range(m):
            start = (first_pixel + runs.pixels[run, players[i]]) * channels
            term, value = terms[starts[i] : starts[i] + numbers], z[start : start + numbers]
            for c in range(numbers):
                value[c] += neuron.p * term[c] - common[c]
            _add_members(sums, i, m, value)


class Bucket(NamedTuple):
    """Windows that have the same number m of active pixels and are computed together.

    Attributes
    ----------
    terms : array
        [k * numbers], those of the bucket's windows: player i's begin at starts[i], window after window.
    z_at : array
        int64 [k, windows], where in z the values of player i of each window go.
    """

    terms: Floats
    z_at: Integers


@machine_code
def _add_bucket(
    m: int, windows: int, bucket: Bucket, starts: Integers, neuron: Neuron, sums: Floats, work: Floats, z: Floats
) -> None:
    """Adds to z the values of the first `windows` windows of a bucket, whose terms are overwritten.

    work : [2, numbers], for sums of everybody and what all players have in common
    """
    channels, everybody, common = len(neuron.bias), work[0], work[1]
    numbers = windows * channels
    _write_sums(bucket.terms, starts, m, numbers, sums, everybody)
    _weigh_differences(m, numbers, sums, everybody, neuron.weights, common)
    for i in range(m):
        value = bucket.terms[starts[i] : starts[i] + numbers]
        for c in range(numbers):
            value[c] = neuron.p * value[c] - common[c]
        _add_members(sums, i, m, value)
        for window in range(windows):
            start, to = window * channels, bucket.z_at[i, window]
            for c in range(channels):
                z[to + c] += value[start + c]


@machine_code
def _add_active_values(
    first_pixel: int,
    pixels: Integers,
    at_once: int,
    rows: Integers,
    terms: Floats,
    plane: int,
    neuron: Neuron,
    z: Floats,
) -> None:
    """Buckets windows by their number m of active pixels; a bucket is computed when it holds `at_once` windows.

    pixels : int64 [windows, k], the pixel of each position, -1 outside the image. rows : as in `add_active_values`
    """
    (windows, k), channels, widest = pixels.shape, len(neuron.bias), at_once * len(neuron.bias)
    starts, sums = np.arange(k) * widest, np.empty((1 << (k - 1), widest), neuron.bias.dtype)
    _write_biases(neuron.bias, sums)
    work, players, filled = np.empty((2, widest), neuron.bias.dtype), np.empty(k, np.int64), np.zeros(k + 1, np.int64)
    bucket_terms = np.empty((k + 1, k * widest), neuron.bias.dtype)
    z_at = np.empty((k + 1, k, at_once), np.int64)
    for window in range(windows):
        m = 0
        for j in range(k):
            if pixels[window, j] >= 0 and rows[first_pixel + pixels[window, j]] >= 0:
                players[m] = j
                m += 1
        if m == 0:
            continue
        place = filled[m]
        for i in range(m):
            pixel = first_pixel + pixels[window, players[i]]
            z_at[m, i, place] = pixel * channels
            start, to = players[i] * plane + rows[pixel] * channels, starts[i] + place * channels
            for c in range(channels):
                bucket_terms[m, to + c] = terms[start + c]
        filled[m] = place + 1
        if filled[m] == at_once:
            _add_bucket(m, at_once, Bucket(bucket_terms[m], z_at[m]), starts, neuron, sums, work, z)
            filled[m] = 0
    for m in range(1, k + 1):
        if filled[m]:
            _add_bucket(m, filled[m], Bucket(bucket_terms[m], z_at[m]), starts, neuron, sums, work, z)


@machine_code
def _write_gradients(
    first_pixel: int,
    runs: Runs,
    terms: Floats,
    plane: int,
    neuron: Neuron,
    grad_z: Floats,
    grad_terms: Floats,
    grad_plane: int,
    grad_bias: Floats,
) -> None:
    """Writes the gradients on the terms of one image, and adds to those on the bias [out].

    A value is linear in the D_S with the weights that a value's own player has, so the gradient on D_S is made of sums
    of the gradients on values over the members of S, as s_S is made of terms: the same additions, once more. Then each
    sum's gradient is handed to the terms in it, the last player first, by folding the table in half.
    """
    k, channels, widest = runs.pixels.shape[1], len(neuron.bias), runs.lengths.max() * len(neuron.bias)
    dtype = neuron.bias.dtype
    players, starts, everybody = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(widest, dtype)
    z_starts, sums = np.empty(k, np.int64), np.empty((1 << (k - 1), widest), dtype)
    grad_members, grad_sums = np.zeros((1 << (k - 1), widest), dtype), np.empty((1 << k, widest), dtype)
    grad_everybody = np.empty(widest, dtype)
    _write_biases(neuron.bias, sums)
    for run in range(len(runs.lengths)):
        m, numbers = _write_players(runs.pixels, run, players), runs.lengths[run] * channels
        for i in range(m):
            z_starts[i] = (first_pixel + runs.pixels[run, players[i]]) * channels
            starts[i] = players[i] * plane + z_starts[i]
        _write_sums(terms, starts, m, numbers, sums, everybody)
        _write_sums(grad_z, z_starts, m, numbers, grad_members, grad_everybody)
        for coalition in range((1 << m) >> 1):
            members = _count_members(coalition)
            a, w = neuron.weights[m, members, 0], neuron.weights[m, members, 1]
            row, grad_row = sums[coalition], grad_members[coalition]
            grad_subset, grad_complement = grad_sums[coalition], grad_sums[(1 << m) - 1 - coalition]
            for c in range(numbers):
                grad_difference = a * grad_row[c] - w * grad_everybody[c]
                grad_subset[c] = grad_difference if row[c] > 0 else -grad_difference
                grad_complement[c] = -grad_difference if everybody[c] - row[c] > 0 else grad_difference
        for i in range(m - 1, -1, -1):  # what is with player i is its own, and folded onto what is without it
            start = z_starts[i] + players[i] * grad_plane
            grad_term, grad_value = grad_terms[start : start + numbers], grad_z[z_starts[i] : z_starts[i] + numbers]
            for c in range(numbers):
                grad_term[c] = neuron.p * grad_value[c]
            for coalition in range(1 << i):
                without, with_it = grad_sums[coalition], grad_sums[coalition + (1 << i)]
                for c in range(numbers):
                    grad_term[c] += with_it[c]
                    without[c] += with_it[c]
        for start in range(0, numbers, channels):
            for c in range(channels):
                grad_bias[c] += grad_sums[0, start + c]
