"""Training that is stopped after so many steps, as a kill stops it, and goes on from its checkpoint."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shapnotes.experiments._harness.checkpoints import Checkpoint


class Stopping(Checkpoint):
    """A checkpoint that saves the state after every other step, and stops the training after `stop_after` steps."""

    def __init__(self, path: Path, stop_after: int | None = None):
        super().__init__(path, {"run": "x"})
        self.stop_after, self.steps = stop_after, 0

    def tick(self, state):
        self.steps += 1
        self._saved = time.monotonic() - (1e9 if self.steps % 2 else 0.0)
        super().tick(state)
        if self.steps == self.stop_after:
            raise KeyboardInterrupt


def stopped_and_gone_on(run: Callable[[Checkpoint], Iterator], path: Path, *moments: int) -> tuple[object, int]:
    """The last results of a run that is stopped after so many steps, again and again; and how many steps it took."""
    taken = 0
    for moment in moments:
        one = Stopping(path, moment)
        with pytest.raises(KeyboardInterrupt):
            list(run(one))
        taken += one.steps
    last = Stopping(path)
    *_, results = run(last)
    return results, taken + last.steps
