"""Bars: silent for short work, text unless asked for, gone when told."""

from tqdm import std

from shapnotes.progress import progress_bar


def test_a_bar_that_nobody_asked_for_is_text_and_waits(capsys):
    """A widget would stay in a notebook's file although it was never shown."""
    with progress_bar(3, "rows") as bar:
        assert type(bar) is std.tqdm
        assert bar.disable or bar.delay == 10  # disabled where TQDM_DISABLE=1 is set
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_bar_can_be_asked_for_and_refused(capsys):
    with progress_bar(3, "rows", True) as bar:
        bar.update(3)
    assert "rows" in capsys.readouterr().err
    with progress_bar(3, "rows", False) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
