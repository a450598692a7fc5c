"""Which backend computes the values of windows: what each can do, where it is fastest, and nothing else."""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes.shapnet.backends import TOLERANCES, Operation, Tolerance
from shapnotes.shapnet.traced import is_traced
from shapnotes.shapnet.windows import blank_pixels, op, reference
from shapnotes.shapnet.windows.batched import Batched
from shapnotes.shapnet.windows.geometry import Geometry
from shapnotes.shapnet.windows.inductor import MAX_PROGRAM_PLAYERS, Inductor, compiled_kernels

DENSE_ABOVE_ACTIVE_SHARE = 0.55  # of the pixels: above it the whole image is faster (measured)
MIN_NUMBERS_TO_LOOK_FOR_BLANKS = 2**10  # pixels times channels: fewer are computed faster than they are looked at

ON_CPU: Mapping[torch.dtype, Tolerance] = {dtype: TOLERANCES[dtype] for dtype in (torch.float64, torch.float32)}


class Call(NamedTuple):
    """What the values of windows are asked for.

    Attributes
    ----------
    x : Tensor
        [batch, height, width, in].
    weight, bias : Tensor
        [in, k, out] and [out].
    geometry : Geometry
        Where the windows are.
    negative_slope : float
        Of the leaky ReLU.
    compiled : Inductor or None
        The kernels that `ImageTransform.compile` asks for, None without it.
    needs_gradient, traced : bool
        Whether autograd records the call, and whether control flow must not depend on the numbers.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    geometry: Geometry
    negative_slope: float
    compiled: Inductor | None
    needs_gradient: bool
    traced: bool


def window_values(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    geometry: Geometry,
    negative_slope: float,
    compiled: Inductor | None = None,
) -> Tensor:
    """Each pixel's Shapley values in the windows that hold it, added up; exactly zero where the pixel is zero.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].
    """
    needs_gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad)
    traced = is_traced(x, weight, bias)
    return WINDOW_VALUES(Call(x, weight, bias, geometry, negative_slope, compiled, needs_gradient, traced))


@cache
def numba_kernels() -> op.Kernels:
    """Kernels of machine code; numba is first imported here, since that takes long."""
    from shapnotes.shapnet.windows.numba_cpu import NumbaCPU

    return NumbaCPU()


@cache
def numba_is_missing() -> str | None:
    """Why there is no machine code, None if there is."""
    try:
        numba_kernels()
    except ImportError as error:
        return f"numba cannot be imported ({error}); pip install 'shapnotes[fast]'"
    return None


def _not_for_machine_code(call: Call) -> str | None:
    if call.traced:
        return "somebody traces or transforms the computation, and machine code cannot be"
    if call.x.device.type != "cpu":
        return f"x is on {call.x.device}, and machine code runs on a CPU"
    if not call.x.dtype == call.weight.dtype == call.bias.dtype or call.x.dtype not in ON_CPU:
        return f"x is {call.x.dtype}, and machine code takes float32 and float64"
    return numba_is_missing()


class BlankPixels:
    """Leaves out pixels that are zero: on a CPU, without gradients."""

    name, tolerances = "blank-pixels", ON_CPU

    def unsupported(self, call: Call) -> str | None:
        if call.needs_gradient:
            return "gradients are needed, also on pixels that are zero"
        return _not_for_machine_code(call)

    def is_fastest(self, call: Call) -> bool:
        if call.needs_gradient or call.traced or call.x.device.type != "cpu":
            return False
        pixels = call.x[..., 0].numel()
        if pixels * len(call.bias) < MIN_NUMBERS_TO_LOOK_FOR_BLANKS:
            return False
        active = (call.x[..., 0] != 0).sum()  # pixels with only their first channel zero are rare
        return int(active) <= DENSE_ABOVE_ACTIVE_SHARE * pixels

    def compute(self, call: Call) -> Tensor:
        return blank_pixels.window_values(*call[:5])


class Compiled:
    """One program of all windows of some images, from `torch.compile`: after `compile()`, on any device."""

    name, tolerances = "inductor", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        if call.traced:
            return "somebody traces or transforms the computation, and programs are for plain tensors"
        if call.geometry.n_players > MAX_PROGRAM_PLAYERS:
            return f"a program for windows of more than {MAX_PROGRAM_PLAYERS} pixels would be too long"
        return None

    def is_fastest(self, call: Call) -> bool:
        return call.compiled is not None

    def compute(self, call: Call) -> Tensor:
        return op.window_values(*call[:5], compiled_kernels() if call.compiled is None else call.compiled)


class Numba:
    """Loops that numba compiles: on a CPU, float32 and float64."""

    name, tolerances = "numba", ON_CPU

    def unsupported(self, call: Call) -> str | None:
        return _not_for_machine_code(call)

    def is_fastest(self, call: Call) -> bool:
        return call.x.device.type == "cpu"

    def compute(self, call: Call) -> Tensor:
        return op.window_values(*call[:5], numba_kernels())


class TensorOperations:
    """Few tensor operations for many windows at once: on any device, in any precision."""

    name, tolerances = "batched", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        if call.traced:
            return "somebody traces or transforms the computation, and numbers are written in place"
        return None

    def is_fastest(self, call: Call) -> bool:
        return True

    def compute(self, call: Call) -> Tensor:
        return op.window_values(*call[:5], Batched())


class Reference:
    """The definition: everywhere, also where the computation is traced, mapped, or differentiated twice."""

    name, tolerances = "reference", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        return None

    def is_fastest(self, call: Call) -> bool:
        return True

    def compute(self, call: Call) -> Tensor:
        return reference.window_values(*call[:5])


WINDOW_VALUES: Operation[Call, Tensor] = Operation(
    "the values of windows", (BlankPixels(), Compiled(), Numba(), TensorOperations(), Reference())
)
