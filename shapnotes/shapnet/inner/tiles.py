"""Some inputs at a time, so that what is made on the way stays in the cache."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_NUMBERS_ON_CPU = 2**19
MAX_NUMBERS_ON_GPU = 2**28


def in_tiles(f: Callable[[Tensor], Tensor], x: Tensor, numbers: int, at_once: int | None = None) -> Tensor:
    """f(x) for so many of the inputs, the last axis of x, at a time; for all together where a graph may be recorded.

    numbers : that f makes on the way for one input
    at_once : how many of these may be there together; None for what the device suggests
    """
    if at_once is None:
        at_once = MAX_NUMBERS_ON_CPU if x.device.type == "cpu" else MAX_NUMBERS_ON_GPU
    inputs = max(1, at_once // numbers)
    if x.shape[-1] <= inputs or torch.is_grad_enabled():
        return f(x)
    return torch.cat([f(some) for some in torch.split(x, inputs, -1)], -1)
