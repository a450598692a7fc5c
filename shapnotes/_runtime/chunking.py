"""How many rows a model is given at once, and chunks of rows whose intermediate results are made again."""

from collections.abc import Callable
from numbers import Integral

import psutil
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def rows_at_once(x: Tensor, widest_bytes: int) -> int:
    """How many rows to give a model at once, a power of two; x is [batch, *features].

    `widest_bytes` is the largest tensor made for one row. On a CPU that tensor should stay in the cache (a larger chunk
    is slower); on a GPU it should fill the machine. In neither may a few such tensors exceed a quarter of what is free.
    """
    row = max(widest_bytes, x[0].numel() * x.element_size())
    if x.device.type == "cuda":
        free = torch.cuda.mem_get_info(x.device)[0]
        rows = min(2**20, 2**28 // row)
    else:
        free = psutil.virtual_memory().available
        rows = min(2**16, 2**22 // row)
    rows = max(1, min(max(rows, 2**8), free // (16 * row)))
    return 1 << (rows.bit_length() - 1)


def check_chunk_size(chunk_size: int | None) -> None:
    """Refuse with a ValueError what is no number of rows."""
    if chunk_size is not None and (
        isinstance(chunk_size, bool) or not isinstance(chunk_size, Integral) or chunk_size < 1
    ):
        raise ValueError(f"chunk_size must be a whole number of rows, at least 1, or None; got {chunk_size!r}")


def recomputed(evaluate: Callable[..., Tensor], *chunk: object) -> Tensor:
    """One chunk whose intermediate results are dropped, and made again when gradients are wanted."""
    answer: Tensor = checkpoint(evaluate, *chunk, use_reentrant=False, preserve_rng_state=False)
    return answer
