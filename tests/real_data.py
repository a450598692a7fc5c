"""Marks for tests that need data which is not part of the repository."""

import os
from pathlib import Path

import pytest

YEAST = "uci/yeast/yeast.data"
needs_yeast = pytest.mark.skipif(
    not (Path(os.environ.get("SHAPNOTES_DATA") or "/nowhere") / YEAST).is_file(),
    reason=f"set SHAPNOTES_DATA to a folder with {YEAST}",
)
