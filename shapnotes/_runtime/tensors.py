"""What is refused of tensors everywhere: numbers that cannot be computed with, and those that are not finite."""

from math import isfinite

import torch
from torch import Tensor


def check_dense(x: Tensor, name: str) -> None:
    """Refuse sparse and nested tensors, those without numbers (meta), and floating-point numbers of 8 bits."""
    if x.is_nested or x.layout is not torch.strided:
        what = "a nested one" if x.is_nested else f"the layout {x.layout}"
        raise TypeError(f"{name} must be a dense tensor; got {what} (use .to_dense(), or pad it)")
    if x.device.type == "meta":
        raise ValueError(
            f"{name} is on the meta device, where tensors have a shape and no numbers; give it numbers first"
        )
    if x.is_floating_point() and x.dtype.itemsize == 1:
        raise TypeError(f"{name} is {x.dtype}, in which PyTorch stores numbers and computes none (use {name}.float())")


def check_finite(x: Tensor, name: str = "x") -> None:
    """Refuse NaN and infinity, where numbers may be looked at."""
    if not all_finite(x):
        count = int((~torch.isfinite(x)).sum())
        raise ValueError(f"{name} is NaN or infinite in {count} of its {x.numel()} entries; fill or remove them first")


def all_finite(x: Tensor) -> bool:
    """Whether all of x is finite; True where that cannot be told."""
    if torch.compiler.is_compiling() or is_recording():
        return True
    try:
        total = (x.detach() if x.requires_grad else x).sum()
        return isfinite(total.item()) or bool(torch.isfinite(x).all())  # a sum of large numbers may overflow
    except RuntimeError:  # inside torch.func.vmap, and on the meta device
        return True


def is_recording() -> bool:
    """Whether `torch.jit.trace` records the computation."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]
