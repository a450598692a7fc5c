"""A few inputs at a time, so that intermediate results stay in the cache."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_NUMBERS_ON_CPU = 2**19
MAX_NUMBERS_ON_GPU = 2**28


def in_tiles(f: Callable[[Tensor], Tensor], x: Tensor, numbers: int, at_once: int | None = None) -> Tensor:
    """f(x), a tile of inputs (the last axis of x) at a time; all at once where autograd may record a graph.

    numbers : intermediate numbers of f per input
    at_once : how many of these there may be at once; None for what the device suggests
    """
    if at_once is None:
        at_once = MAX_NUMBERS_ON_CPU if x.device.type == "cpu" else MAX_NUMBERS_ON_GPU
    inputs = max(1, at_once // numbers)
    if x.shape[-1] <= inputs or torch.is_grad_enabled():
        return f(x)
    return torch.cat([f(tile) for tile in torch.split(x, inputs, -1)], -1)
