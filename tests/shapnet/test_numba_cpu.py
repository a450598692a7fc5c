"""Machine code beside tensor operations, in one thread and in several, and where their machine code is kept."""

import errno
import importlib.util
import threading
import uuid

import pytest
import torch
from contracts import normal
from numba.core import config
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.shapnet import ImageTransform
from shapnotes.shapnet.windows import numba_cpu
from shapnotes.shapnet.windows.batched import Batched
from shapnotes.shapnet.windows.numba_cpu import NumbaCPU


def given(dtype=torch.float64, images=5):
    """Terms, bias, slope, geometry and numbers on values, for windows that stick out on all sides."""
    geometry = ImageTransform(1, 1, dilation=2, padding=1).geometry
    return normal(4, images, 6, 7, 3).to(dtype), normal(3).to(dtype), 0.2, geometry, normal(images, 6, 7, 3).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_they_are_what_tensor_operations_are(dtype, threads):
    """Each image once, whoever takes it; the terms may be part of a larger table."""
    terms, bias, slope, geometry, grad_values = given(dtype)
    loops, batched = NumbaCPU(min_sums_to_start_threads=0, threads=threads), Batched()
    part = torch.cat([terms, terms], 1)[:, 2:7]
    for some, others in ((terms, terms), (part, part.clone())):
        values, expected = torch.full_like(grad_values, 9), torch.full_like(grad_values, 7)
        loops.write_values(some, bias, slope, geometry, values)
        batched.write_values(others, bias, slope, geometry, expected)
        assert_close(values, expected, **tolerance(dtype))
        grad_terms, as_expected = torch.zeros_like(terms), torch.zeros_like(terms)
        grad_bias = loops.write_gradients(some, bias, slope, geometry, grad_values, grad_terms)
        grad_bias_expected = batched.write_gradients(others, bias, slope, geometry, grad_values, as_expected)
        assert_close(grad_terms, as_expected, **tolerance(dtype))
        assert_close(grad_bias, grad_bias_expected, **tolerance(dtype))


@pytest.mark.parametrize(("threads", "started"), [(1, 0), (2, 0), (4, 3), (9, 4)])
def test_threads_are_started_where_they_help(threads, started, monkeypatch):
    """Not beside a single one of PyTorch's, which is still spinning, and no more than there are images."""
    made = []
    monkeypatch.setattr(numba_cpu, "Thread", lambda **settings: made.append(1) or threading.Thread(**settings))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    terms, bias, slope, geometry, values = given()
    NumbaCPU().write_values(terms, bias, slope, geometry, values)
    assert not made  # too little to do
    NumbaCPU(min_sums_to_start_threads=0).write_values(terms, bias, slope, geometry, values)
    assert len(made) == started


def test_machine_code_that_can_be_kept_nowhere():
    nowhere = eval("lambda x: x + 1")  # a function without a file has no place beside it
    assert numba_cpu.machine_code(nowhere)(2) == 3


@pytest.fixture
def doubling(tmp_path, monkeypatch):
    """What makes machine code of a function in a file of its own, as a new process does; and its cache's folder."""
    source = tmp_path / "doubling.py"
    source.write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))

    def made():
        name = f"doubling_{uuid.uuid4().hex}"
        spec = importlib.util.spec_from_file_location(name, source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return numba_cpu.machine_code(module.double)

    return made, tmp_path / "cache"


def compiled(function) -> int:
    """How many times machine code was made and not found."""
    assert function(3) == 6
    return sum(function.stats.cache_misses.values())


def test_machine_code_is_kept(doubling):
    made, cache = doubling
    assert compiled(made()) == 1 and sum(made().stats.cache_hits.values()) == 0
    assert compiled(made()) == 0
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".nbi", ".nbc"}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("harm", ["truncate", "empty", "garbage"])
def test_damaged_machine_code_is_made_again(doubling, suffix, harm):
    """At the next call, after which it is whole."""
    made, cache = doubling
    compiled(made())
    (path,) = (path for path in cache.rglob("*") if path.suffix == suffix)
    path.write_bytes({"truncate": path.read_bytes()[:-20], "empty": b"", "garbage": b"\x80\x04garbage" * 9}[harm])
    assert compiled(made()) == 1
    assert compiled(made()) == 0


def test_a_disk_that_is_full_costs_time_only(doubling, monkeypatch):
    made, cache = doubling

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_index", full)
    assert compiled(made()) == 1 and compiled(made()) == 1
    assert not [path for path in cache.rglob("*") if path.is_file()]
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._load_index", full)
    assert compiled(made()) == 1
