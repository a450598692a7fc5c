"""What networks are built from and given, or a refusal that says what came, what was expected and what to do."""

import sys
from collections.abc import Iterable, Mapping
from numbers import Real
from operator import index
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

LARGEST_FLOAT = sys.float_info.max


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether this is a whole number, of Python, NumPy or PyTorch; True and False are none."""
    if isinstance(value, bool):
        return False
    try:
        index(value)
    except TypeError:
        return False
    return True


def whole(value: object, name: str, least: int = 1) -> int:
    """A whole number as Python's."""
    if is_whole(value) and index(value) >= least:
        return index(value)
    raise ValueError(f"{name} must be a whole number, at least {least}; got {value!r}")


def is_several(values: object) -> TypeGuard[Iterable[Any]]:
    """Whether these are any number of values and not one; text is one."""
    return isinstance(values, Iterable) and not isinstance(values, str | bytes) and getattr(values, "ndim", 1) > 0


def whole_numbers(values: object, name: str, least: int = 1) -> tuple[int, ...]:
    if is_several(values):
        return tuple(whole(value, name, least) for value in values)
    raise ValueError(f"{name} must be a sequence of whole numbers, at least {least} each; got {values!r}")


def stage_number(stage: object, n_stages: int) -> int:
    if is_whole(stage) and 0 <= index(stage) < n_stages:
        return index(stage)
    raise ValueError(f"stage={stage!r}: the network has {n_stages}, counted 0 to {n_stages - 1}")


def real_number(value: object, name: str, least: float = 0.0, most: float = LARGEST_FLOAT) -> float:
    """A number within these bounds; never NaN, and infinite only where `most` is."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not least <= float(value) <= most:
        bounds = f"at least {least:g}" if most >= LARGEST_FLOAT else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be a number, {bounds}; got {value!r}")
    return float(value)


def flag(value: object, name: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def check_tensor(x: object, name: str = "x") -> None:
    """Refuse what is no tensor of floating-point numbers, with a way to make one of it."""
    if not isinstance(x, Tensor):
        hint = "torch.as_tensor makes one"
        if isinstance(x, Mapping):
            hint = "of columns, torch.stack(list(columns.values()), 1) makes one"
        elif hasattr(x, "to_numpy"):
            hint = "torch.tensor(table.to_numpy(), dtype=torch.float32) makes one"
        elif isinstance(x, tuple | list) and any(isinstance(part, Tensor) for part in x):
            hint = "torch.stack makes one of several"
        raise TypeError(f"{name} must be a tensor; got {type(x).__name__} ({hint})")
    if x.dtype.itemsize == 1 and x.is_floating_point():
        raise TypeError(f"{name} is {x.dtype}, in which PyTorch stores numbers and computes none (use .float())")
    if not x.is_floating_point() or x.layout is not torch.strided:
        what = x.dtype if x.layout is torch.strided else x.layout
        raise TypeError(f"{name} must be floating point and dense; got {what} (use .float() or .to_dense())")


def check_fits(x: Tensor, weight: Tensor, whose: str, name: str = "x") -> None:
    """Refuse numbers of another device than the weights, or of another precision unless PyTorch converts them."""
    if x.device != weight.device:
        raise ValueError(f"{name} is on {x.device} and the {whose} on {weight.device}; move one of them")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"{name} is {x.dtype} and the {whose}'s weights are {weight.dtype}; convert one, for instance by "
            f"{name}.to({weight.dtype})"
        )
