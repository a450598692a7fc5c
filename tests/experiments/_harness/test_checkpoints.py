"""Checkpoints are whole or not there, belong to one run, and stop training when the time is up."""

import time

import pytest
import torch

from shapnotes.experiments._harness import checkpoints as module
from shapnotes.experiments._harness.checkpoints import Checkpoint, Clock, OutOfTime, atomic


def test_what_was_saved_is_loaded(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "x.pt", {"rate": 0.1})
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.arange(3.0), "epochs": 2})
    found = Checkpoint(checkpoint.path, {"rate": 0.1}).load()
    assert torch.equal(found["weights"], torch.arange(3.0)) and found["epochs"] == 2
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["x.pt"]
    checkpoint.remove()
    assert checkpoint.load() is None
    Checkpoint(None, {}).save({})  # keeps nothing
    assert Checkpoint(None, {}).load() is None


def test_another_runs_state_is_refused_by_name(tmp_path):
    Checkpoint(tmp_path / "x.pt", {"rate": 0.1}).save({"epochs": 2})
    with pytest.raises(
        ValueError, match=r'x\.pt is the unfinished state of another run: {"rate": 0.1}; wanted .*0.003'
    ):
        Checkpoint(tmp_path / "x.pt", {"rate": 0.003}).load()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_state_is_named(tmp_path, content):
    path = tmp_path / "x.pt"
    Checkpoint(path, {}).save({"weights": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(ValueError, match=r"x\.pt is no checkpoint or is damaged .*; remove it to start anew"):
        Checkpoint(path, {}).load()


def test_states_are_saved_now_and_then_and_when_the_time_is_up(tmp_path, monkeypatch):
    made = []
    state = lambda: made.append(1) or {"step": len(made)}  # noqa: E731
    checkpoint = Checkpoint(tmp_path / "x.pt", {})
    checkpoint.tick(state)
    assert not made and checkpoint.load() is None
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    checkpoint.tick(state)
    assert checkpoint.load() == {"step": 1}
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 1e9)
    late = Checkpoint(tmp_path / "x.pt", {}, deadline=time.monotonic() - 1)
    with pytest.raises(OutOfTime, match=r"the state of the run is in .*x\.pt"):
        late.tick(state)
    assert checkpoint.load() == {"step": 2}


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(KeyError), atomic(path) as new:
        new.write_text("half")
        raise KeyError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with atomic(path) as new:
        new.write_text("after")
    assert path.read_text() == "after" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 5440 vs 5368")])
def test_a_full_disk_is_told_with_the_file(tmp_path, error):
    with (
        pytest.raises(OSError, match=r"x could not be written: (No space left|unexpected pos)"),
        atomic(tmp_path / "x") as new,
    ):
        new.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_clock_goes_on_from_before():
    now = iter([10.0, 12.5])
    assert Clock(3.0, lambda: next(now)).seconds() == 5.5
