"""The games of windows as programs of `torch.compile`: a window gathers its players' terms, and a pixel its values.

A position outside the image is a null player: its term is zero, and it changes nobody's value. So every window is a
game of k players, and the arithmetic of all windows of some images is one program without a condition, written out
coalition by coalition. Addresses are cached for each geometry and size of image.

A coalition S and its complement enter every value with opposite weights,

    phi_i = sum over S without the last player of M[i, S] D_S,      D_S = a(s_S) - a(s_(N - S)),

with s_S = b + the terms of S and M the Shapley matrix, so that half of its columns are enough. With a(s) = p s + q |s|,
p = (1 + slope) / 2 and q = (1 - slope) / 2, the value of the linear part is p times the term.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from shapnotes.coalitions import shapley_rows
from shapnotes.shapnet.compiled import separate_program
from shapnotes.shapnet.windows.geometry import Geometry, windows_along

MAX_PROGRAM_PLAYERS = 4  # of a window: a program of more would be too long


class Addresses(NamedTuple):
    """Where windows find their players, and pixels their values. After the last window comes one that holds nobody.

    Attributes
    ----------
    pixels : Tensor
        int64 [k, windows + 1], the pixel of each window at position j, -1 outside the image.
    values : Tensor
        int64 [pixels, k], for each pixel the row of its value at position j in a table [k * (windows + 1), out]; that
        of the window that holds nobody if it has that position in no window.
    """

    pixels: Tensor
    values: Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def addresses(geometry: Geometry, height: int, width: int, images: int, device: torch.device) -> Addresses:
    """As `Addresses`, for so many images."""
    with torch.device("cpu"):
        kernel_columns, k = geometry.kernel[1], geometry.n_players
        rows, columns = (
            torch.tensor(axis).T for axis in windows_along(geometry, height, width)
        )  # [positions, windows]
        row = rows[:, None, :, None].expand(-1, kernel_columns, -1, columns.shape[1])
        column = columns[None, :, None, :].expand(len(rows), -1, rows.shape[1], -1)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        in_one_image = torch.where(inside, row * width + column, -1).reshape(k, 1, -1)
        first_pixel = height * width * torch.arange(images)[:, None]
        pixels = torch.where(in_one_image >= 0, in_one_image + first_pixel, -1).flatten(1)  # [k, images * windows]
        n_windows, position = pixels.shape[1], torch.arange(k)[:, None]
        values = torch.full((k, images * height * width + 1), n_windows)  # one pixel more, for positions outside
        values[position, pixels] = torch.arange(n_windows)
        values = (values[:, :-1] + position * (n_windows + 1)).T.contiguous()
        pixels = torch.cat([pixels, torch.full((k, 1), -1)], 1)
    return Addresses(pixels.to(device), values.to(device))


class Inductor:
    """The kernels, with programs that are made when they are first needed: one for each k, dtype and device.

    They serve images of all sizes and layers of all widths.

    Parameters
    ----------
    compiler : callable
        What makes a program of a function, as `torch.compile` does.
    """

    pixel_by_pixel: ClassVar[bool] = True

    def __init__(self, compiler: Callable[..., Callable[..., Any]]):
        self.compiler = compiler
        self.programs: dict[tuple[str, int, torch.dtype, torch.device], Callable[..., Any]] = {}

    def write_values(self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, z: Tensor) -> None:
        at = addresses(geometry, *z.shape[1:3], len(z), z.device)
        program = self._program("values", _values, terms)
        values = program(terms.flatten(1, 3), at.pixels, bias, bias.new_tensor(slope))
        added = embedding_bag(at.values, values.flatten(0, 1), mode="sum")  # gathers and adds in one go
        z.copy_(added.view(z.shape))

    def write_gradients(
        self, terms: Tensor, bias: Tensor, slope: float, geometry: Geometry, grad_z: Tensor, grad_terms: Tensor
    ) -> Tensor:
        at = addresses(geometry, *grad_z.shape[1:3], len(grad_z), grad_z.device)
        program = self._program("gradients", _gradients, terms)
        grads, grad_bias = program(terms.flatten(1, 3), grad_z.flatten(0, 2), at.pixels, bias, bias.new_tensor(slope))
        by_pixel = grad_terms.movedim(0, 3).view(-1, grad_terms.shape[4])  # [pixels * k, out]
        torch.index_select(grads.flatten(0, 1), 0, at.values.flatten(), out=by_pixel)
        return grad_bias  # type: ignore[no-any-return]  # a program answers with anything

    def _program(self, name: str, function: Callable[..., Any], terms: Tensor) -> Callable[..., Any]:
        key = name, len(terms), terms.dtype, terms.device
        if key not in self.programs:
            self.programs[key] = self.compiler(function)
        return self.programs[key]


@lru_cache(maxsize=64)
def _shared(args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]) -> Inductor:
    return _with_settings(args, dict(kwargs))


def _with_settings(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inductor:
    return Inductor(lambda function: separate_program(function, *args, **{"dynamic": True, **kwargs}))


def compiled_kernels(*args: Any, **kwargs: Any) -> Inductor:
    """Kernels with these settings of `torch.compile`; all that ask for the same settings share their programs."""
    try:
        return _shared(args, tuple(sorted(kwargs.items())))
    except TypeError:  # settings that cannot be compared, such as dictionaries
        return _with_settings(args, kwargs)


def _values(terms: Tensor, pixels: Tensor, bias: Tensor, slope: Tensor) -> Tensor:
    """The values of each window's players: terms [k, pixels, out] -> [k, windows + 1, out]."""
    return torch.stack(unrolled_values(_gathered(terms.unbind(), pixels), bias, slope))


def _gradients(terms: Tensor, grad_z: Tensor, pixels: Tensor, bias: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """From gradients on pixels, [pixels, out], to those on windows' terms, [k, windows + 1, out], and on the bias."""
    grad_values = _gathered([grad_z] * len(terms), pixels)
    *grads, grad_sums = unrolled_gradients(_gathered(terms.unbind(), pixels), bias, grad_values, slope)
    return torch.stack(grads), grad_sums.sum(0)


def _gathered(tables: Sequence[Tensor], pixels: Tensor) -> list[Tensor]:
    """For each position the rows of its table that the windows have there, zero outside: [windows + 1, out] each."""
    # A product and no condition, of which the compiler makes gradients that take up to five times as long.
    inside = (pixels >= 0).to(tables[0].dtype)[..., None].unbind()
    at = pixels.clamp(min=0).unbind()
    return [table[rows] * factor for table, rows, factor in zip(tables, at, inside, strict=True)]


def unrolled_values(terms: Sequence[Tensor], bias: Tensor, slope: float | Tensor) -> list[Tensor]:
    """As `reference.neuron_values`, coalition by coalition; a list of k values."""
    with_subset, with_complement = _unrolled_sums(terms, bias)
    differences = [s.abs() - t.abs() for s, t in zip(with_subset, with_complement, strict=True)]
    p, q = (1 + slope) / 2, (1 - slope) / 2
    return [p * term + q * _combined(row, differences) for term, row in zip(terms, _rows(len(terms)), strict=True)]


def unrolled_gradients(
    terms: Sequence[Tensor], bias: Tensor, grad_values: Sequence[Tensor], slope: float | Tensor
) -> list[Tensor]:
    """As `batched.neuron_gradients`, coalition by coalition; a list of k + 1 gradients."""
    k, (with_subset, with_complement) = len(terms), _unrolled_sums(terms, bias)
    grad_differences = [_combined(column, grad_values) for column in zip(*_rows(k), strict=True)]
    grad_subset, grad_complement = (
        [torch.where(s > 0, grad, -grad) for s, grad in zip(sums, grad_differences, strict=True)]
        for sums in (with_subset, with_complement)
    )
    p, q = (1 + slope) / 2, (1 - slope) / 2
    grads: list[Tensor] = []
    for j in range(k):
        inside = [grad_subset[s] for s in range(len(grad_subset)) if s >> j & 1]
        outside = [grad_complement[s] for s in range(len(grad_complement)) if not s >> j & 1]
        grads.append(p * grad_values[j] + q * (sum(inside) - sum(outside)))
    grad_sums: Tensor = q * (sum(grad_subset[1:], grad_subset[0]) - sum(grad_complement))
    return [*grads, grad_sums]


def _unrolled_sums(terms: Sequence[Tensor], bias: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The sums of all coalitions S without the last player, and those of their complements."""
    everybody: Tensor = sum(terms, bias)
    with_subset, with_complement = [bias], [everybody]
    for term in terms[:-1]:
        with_subset += [s + term for s in with_subset]
        with_complement += [s - term for s in with_complement]
    return with_subset, with_complement


def _combined(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    return sum((w * t for w, t in zip(weights[1:], tensors[1:], strict=True)), weights[0] * tensors[0])


def _rows(k: int) -> list[list[float]]:
    """The half of the Shapley matrix that is enough."""
    return [row[: 2 ** (k - 1)] for row in shapley_rows(k)]
