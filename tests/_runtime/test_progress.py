"""Bars: silent for short work, text unless asked for, gone when told."""

import os
import subprocess
import sys

from shapnotes._runtime import progress
from shapnotes._runtime.progress import progress_bar


def shown_by(lines: str, **environment: str) -> str:
    """What lines of code print to stderr in a process of their own: tqdm reads its environment when it is imported."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    code = f"import runpy; progress_bar = runpy.run_path({progress.__file__!r})['progress_bar']\n{lines}"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=usual | environment, capture_output=True, text=True, check=True).stderr


def test_a_bar_that_nobody_asked_for_is_not_shown_for_short_work():
    """And it starts no thread."""
    lines = "import threading\nwith progress_bar(3, 'rows') as bar:\n bar.update(3)\n"
    assert shown_by(lines + "assert bar.n == 3 and threading.active_count() == 1") == ""


LONG = """
from tqdm import std
with progress_bar(5, "rows", delay=20) as bar:
    assert type(bar).__mro__[1] is std.tqdm  # text: a widget would stay in a notebook's file
    bar.update(2)
    bar.start_t -= 21
    bar.last_print_t -= 21
    bar.update(1)
"""


def test_and_then_is_text_and_counts_from_the_beginning():
    assert "3.00/5.00 [00:2" in shown_by(LONG)


def test_the_environment_keeps_away_what_nobody_asked_for():
    lines = "with progress_bar(2, 'rows', delay=0) as bar:\n bar.update(2)"
    assert "rows" in shown_by(lines) and shown_by(lines, TQDM_DISABLE="1") == ""


def test_a_bar_can_be_asked_for_and_refused(capsys):
    with progress_bar(3, "rows", True) as bar:
        bar.update(3)
    assert "rows" in capsys.readouterr().err
    with progress_bar(3, "rows", False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
