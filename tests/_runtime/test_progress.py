"""Bars: silent for short work, text unless asked for, gone when told."""

from tqdm import std

from shapnotes._runtime import progress
from shapnotes._runtime.progress import progress_bar


def test_a_bar_that_nobody_asked_for_is_not_made_for_short_work(capsys):
    with progress_bar(3, "rows") as bar:
        bar.update(3)
        assert (bar.n, bar.bar) == (3, None)
    assert capsys.readouterr().err == ""


def test_and_then_is_text_and_counts_from_the_beginning(capsys, monkeypatch):
    """A widget would stay in a notebook's file."""
    shown = progress._bar
    monkeypatch.setattr(progress, "_bar", lambda *size: shown(*size, disable=False))  # also under TQDM_DISABLE=1
    with progress_bar(5, "rows") as bar:
        bar.update(2)
        monkeypatch.setattr(progress, "WAIT", 0)
        bar.started -= 20
        bar.update(1)
        assert type(bar.bar) is std.tqdm
        assert (bar.bar.n, bar.bar.total) == (3, 5)
        assert bar.bar.format_dict["elapsed"] > 19
        bar.update(1)
        assert bar.bar.n == 4
    assert "rows" in capsys.readouterr().err


def test_a_bar_can_be_asked_for_and_refused(capsys):
    with progress_bar(3, "rows", True) as bar:
        bar.update(3)
    assert "rows" in capsys.readouterr().err
    with progress_bar(3, "rows", False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
