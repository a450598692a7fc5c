"""Bars: silent for short work, text unless asked for, gone when told."""

import threading

import pytest
from tqdm import std

from shapnotes._runtime.progress import progress_bar


@pytest.fixture(autouse=True)
def bars_are_allowed(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def test_a_bar_that_nobody_asked_for_is_not_shown_for_short_work(capsys):
    before = threading.active_count()
    with progress_bar(3, "rows") as bar:
        bar.update(3)
        assert bar.n == 3
    assert capsys.readouterr().err == "" and threading.active_count() == before


def test_and_then_is_text_and_counts_from_the_beginning(capsys):
    """A widget would stay in a notebook's file."""
    with progress_bar(5, "rows", delay=20) as bar:
        assert isinstance(bar, std.tqdm) and type(bar).__mro__[1] is std.tqdm
        bar.update(2)
        bar.start_t -= 21
        bar.last_print_t -= 21
        bar.update(1)
        assert (bar.n, bar.total) == (3, 5) and bar.format_dict["elapsed"] > 20
    assert "3.00/5.00 [00:2" in capsys.readouterr().err


def test_a_bar_can_be_asked_for_and_refused(capsys):
    with progress_bar(3, "rows", True) as bar:
        bar.update(3)
    assert "rows" in capsys.readouterr().err
    with progress_bar(3, "rows", False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
