"""Loops beside tensor operations, in one thread and in several, and where their machine code is kept."""

import threading

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.shapnet import ImageTransform, loops, strips


def given(dtype=torch.float64, images=5):
    """Terms, bias, slope, geometry and numbers on values, for windows that stick out on all sides."""
    geometry = ImageTransform(1, 1, dilation=2, padding=1).geometry
    return normal(4, images, 6, 7, 3).to(dtype), normal(3).to(dtype), 0.2, geometry, normal(images, 6, 7, 3).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_they_are_what_strips_are(dtype, threads, monkeypatch):
    """Each image once, whoever takes it; the terms may be part of a larger table."""
    terms, bias, slope, geometry, on_values = given(dtype)
    monkeypatch.setattr(loops, "ALONE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    part = torch.cat([terms, terms], 1)[:, 2:7]
    for some, others in ((terms, terms), (part, part.clone())):
        values, expected = torch.zeros_like(on_values), torch.zeros_like(on_values)
        loops.add_values(some, bias, slope, geometry, values)
        strips.add_values(others, bias, slope, geometry, expected)
        assert_close(values, expected, **tolerance(dtype))
        on_terms, as_expected = torch.zeros_like(terms), torch.zeros_like(terms)
        on_bias = loops.write_gradients(some, bias, slope, geometry, on_values, on_terms)
        on_bias_expected = strips.write_gradients(others, bias, slope, geometry, on_values, as_expected)
        assert_close(on_terms, as_expected, **tolerance(dtype))
        assert_close(on_bias, on_bias_expected, **tolerance(dtype))


@pytest.mark.parametrize(("threads", "started"), [(1, 0), (2, 0), (4, 3), (9, 4)])
def test_threads_are_started_where_they_help(threads, started, monkeypatch):
    """Not beside a single one of PyTorch's, which is still spinning, and no more than there are images."""
    made = []
    monkeypatch.setattr(loops, "Thread", lambda **settings: made.append(1) or threading.Thread(**settings))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    terms, bias, slope, geometry, values = given()
    loops.add_values(terms, bias, slope, geometry, values)
    assert not made  # too little to do
    monkeypatch.setattr(loops, "ALONE", 0)
    loops.add_values(terms, bias, slope, geometry, values)
    assert len(made) == started


def test_machine_code_that_can_be_kept_nowhere():
    nowhere = eval("lambda x: x + 1")  # a function without a file has no place beside it
    assert loops.machine_code(nowhere)(2) == 3
