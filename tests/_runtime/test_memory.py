"""Freed memory is used again: what has run once takes few new pages from the operating system."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
import shapnotes as sn

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

layers = [torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)]
model = torch.nn.Sequential(*layers).requires_grad_(False)
for _ in range(3):
    before = pages()
    sn.shapley_values(lambda z: model(z), torch.ones(1, 16), chunk_size=2**13)
print(pages() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are as they were")
def test_a_second_run_takes_few_new_pages():
    """In a process of its own, since a large tensor that anybody has freed before has the same effect."""
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 5 * 2**9  # what one chunk takes: 5 tensors of 2**9 pages; there are 8 chunks
