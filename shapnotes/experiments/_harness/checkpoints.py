"""Training that is stopped at any moment and goes on from there.

A checkpoint is one file with all that a training needs to go on: parameters, optimiser, generators, how far it is and
what it has measured. The settings of the run are in it too, so that one run never goes on from another's state.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import torch

State = dict[str, object]

SECONDS_BETWEEN_SAVES = 300.0  # of the state inside an epoch


class OutOfTime(Exception):
    """The time that was given has passed; the state of the run is on disk."""


class Clock:
    """Seconds since it was made, on top of those that went before; of the wall, or of the processors."""

    def __init__(self, before: float = 0.0, now: Callable[[], float] = time.perf_counter):
        self._now, self._start = now, now() - before

    def seconds(self) -> float:
        return round(self._now() - self._start, 3)


class Checkpoint:
    """The state of one unfinished run, in a file.

    path     : where the file is, or will be; None keeps nothing
    settings : what the run is, JSON values; a file with other settings is refused
    deadline : `time.monotonic()` at which to stop; None: never
    """

    def __init__(self, path: Path | None, settings: dict, deadline: float | None = None):
        self.path = path
        self.deadline = deadline
        self._settings = json.dumps(settings, sort_keys=True)
        self._saved = time.monotonic()

    def load(self) -> State | None:
        """What was saved last, on the CPU; None where nothing was."""
        if self.path is None or not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            settings, state = content["settings"], content["state"]
        except Exception as error:  # torch.load raises many kinds for a damaged file
            kind = type(error).__name__
            raise ValueError(f"{self.path} is no checkpoint or is damaged ({kind}); remove it to start anew") from error
        if settings != self._settings:
            raise ValueError(
                f"{self.path} is the unfinished state of another run: {settings}; wanted {self._settings}. Move it "
                "away, or give another folder by --out"
            )
        return state

    def save(self, state: State) -> None:
        """Write the state, whole or not at all."""
        self._saved = time.monotonic()
        if self.path is not None:
            with atomic(self.path) as new:
                torch.save({"settings": self._settings, "state": state}, new)

    def tick(self, state: Callable[[], State]) -> None:
        """Between two steps: save the state where the last time is long ago, and stop when the time is up."""
        now = time.monotonic()
        late = self.deadline is not None and now > self.deadline
        if late or now - self._saved > SECONDS_BETWEEN_SAVES:
            self.save(state())
        if late:
            raise OutOfTime(f"out of time; the state of the run is in {self.path}")

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to; when all went well the file takes the place of `path`, else it is removed.

    On disk when this returns. An error of the file system names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.chmod(0o644)  # safetensors lets nobody else read
        os.replace(new, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error
    except RuntimeError as error:  # torch.save and safetensors on a full disk
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        new.unlink(missing_ok=True)
