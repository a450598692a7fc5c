"""What is refused of tensors everywhere: those whose numbers cannot be computed with."""

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
