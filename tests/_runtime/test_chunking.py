"""Chunks: how many rows, seen from the largest tensor, the cache and the memory that is free."""

import psutil
import pytest
import torch

from shapnotes._runtime.chunking import check_chunk_size, recomputed, rows_at_once


@pytest.mark.parametrize(
    ("widest", "free", "rows"),
    [
        (4, 2**40, 2**16),  # no more than this
        (2**9, 2**40, 2**13),  # 4 MiB in the cache
        (2**9 + 1, 2**40, 2**12),  # a power of two
        (2**20, 2**40, 2**8),  # no fewer than this
        (2**20, 2**26, 2**2),  # a sixteenth of what is free
        (2**20, 2**20, 1),
    ],
)
def test_rows_at_once(widest, free, rows, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": free}))
    assert rows_at_once(torch.ones(1, 1), widest) == rows
    assert rows_at_once(torch.ones(1, widest // 4), 4) == (rows if widest % 4 == 0 else 2 * rows)


@pytest.mark.parametrize("chunk_size", [0, -1, 2.0, True, "8"])
def test_what_is_no_number_of_rows_is_refused(chunk_size):
    with pytest.raises(ValueError, match=f"at least 1, or None; got {chunk_size!r}"):
        check_chunk_size(chunk_size)
    check_chunk_size(None)
    check_chunk_size(1)


def test_a_chunk_is_evaluated_again_for_its_gradient():
    x, calls = torch.ones(2, requires_grad=True), []

    def evaluate(scale):
        calls.append(scale)
        return (scale * x).square()

    y = recomputed(evaluate, 3)
    assert calls == [3]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert calls == [3, 3] and gradient.tolist() == [18, 18]
