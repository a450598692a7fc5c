"""Freed memory that stays with the process, to be used again."""

from functools import cache

import torch

KEPT = 2**24  # bytes; tensors of a chunk are smaller, and the C library allows twice as many


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what small tensors free, where it would give it back to the operating system.

    Layer after layer and chunk after chunk, tensors of a few megabytes are made and dropped. The C library of Linux
    takes memory for blocks beyond a threshold from the operating system and gives it back when they are freed; it then
    comes again as pages that must be cleared and mapped one by one, which costs more than the arithmetic of a layer.
    The threshold starts at 128 KiB and rises to the size of each such block that is freed (`mallopt(3)`,
    M_MMAP_THRESHOLD). So one block is taken, not touched, and given back, which costs nothing.

    From then on blocks of up to 16 MiB come from the heap. What is free at its top beyond 32 MiB goes back to the
    operating system. What is free below something still in use stays with the process until that is freed as well, as
    it is with small blocks anyway: there is no bound on that. Other C libraries, and GPUs, are as they were.

    Done once in a process, when the first values are computed or the first Shapley network is made; importing the
    package changes nothing.
    """
    torch.empty(KEPT, dtype=torch.uint8, device="cpu")
