"""A chapter's switch: read the book's records, or train at the papers' size first and read what came of it.

Runs of one's own are kept in a folder of their own, apart from the book's. A chapter draws from them as soon as there
are enough, and from the book's record until then; so every table and figure has something to show at any time.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from shapnotes.experiments import claim, record_of, recorded, study
from shapnotes.experiments._harness.checkpoints import OutOfTime
from shapnotes.experiments._harness.record import Run
from shapnotes.experiments._harness.study import Study
from shapnotes.experiments._harness.sweep import sweep

BOOK = Path("results")  # of the book's records, seen from a chapter
OWN = Path("paper-size")  # of one's own


@dataclass(frozen=True)
class Records:
    """Where a chapter reads its runs.

    book  : the folder of the book's records
    own   : that of one's own; None where the switch is off
    scale : of one's own runs
    """

    book: Path = BOOK
    own: Path | None = None
    scale: str = "paper"

    def runs(self, identifier: str) -> list[Run]:
        """The runs that a claim or a study is read from: one's own where there are enough, else the book's."""
        own = self._own(identifier)
        return own if own and self._enough(identifier, own) else recorded(identifier, self.book)

    def folder(self, identifier: str) -> Path:
        """The folder with the record of these runs, and with the weights that they have kept."""
        own = self._own(identifier)
        return self.own if own and self._enough(identifier, own) else self.book

    def said(self, identifier: str) -> str:
        """A line: what is read, and how many runs of one's own there are."""
        if self.own is None:
            return f"{identifier}: the book's runs"
        own = self._own(identifier)
        if own and self._enough(identifier, own):
            return f"{identifier}: {len(own)} runs of your own, in {self.own}"
        return f"{identifier}: the book's runs; of your own there are too few, {len(own)}"

    def _own(self, identifier: str) -> list[Run]:
        return [] if self.own is None else record_of(study(identifier), self.own).select(self.scale)

    @staticmethod
    def _enough(identifier: str, runs: list[Run]) -> bool:
        """Whether the claim can use them; where it does not say how many it needs: a run of every configuration.

        That is of every one at the paper's scale: a chapter reads them all, and a rehearsal has others.
        """
        read = claim(identifier)
        if read and read.usable:
            return read.usable(runs)
        there = {_name(run["config"]) for run in runs}
        return all(_name(batch.config) in there for batch in study(identifier).batches("paper"))


def _name(config: dict) -> str:
    return json.dumps(config, sort_keys=True)


def records(
    *identifiers: str,
    anew: bool,
    device: torch.device | str = "cpu",
    hours: float | None = None,
    scale: str = "paper",
    own: Path | str = OWN,
    book: Path | str = BOOK,
) -> Records:
    """The records of a chapter; with `anew` its runs are done first, as far as the time allows.

    identifiers : the claims or studies that it reads
    device      : where to train
    hours       : after which to stop; None: never. Training stops between two steps, with its state on disk
    scale       : "paper"; "smoke" is a rehearsal of a minute, of networks that learn nothing
    own         : the folder of one's own runs, which has to outlive the session where training is to go on in another.
                  The same call goes on from what is there, also after an interruption

    Of all studies the first stage is done first, then the second, and so on, each after what it needs. Prints what is
    read from where, and what lacks a package or data here and is passed over. Raises ValueError as `sweep` does.
    """
    if hours is not None and not hours > 0:
        raise ValueError(f"hours must be above 0, or None for no limit; got {hours!r}")
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    chosen = Records(Path(book), Path(own), scale) if anew else Records(Path(book))
    if anew:
        try:
            with _single_precision():
                _train([study(one) for one in identifiers], chosen, str(device), deadline)
        except (OutOfTime, KeyboardInterrupt):
            print("stopped; run the cell again, and it goes on from there")
    for identifier in identifiers:
        print(chosen.said(identifier))
    return chosen


def _train(studies: list[Study], chosen: Records, device: str, deadline: float | None) -> None:
    stages = {one.id: {batch.stage for batch in one.batches(chosen.scale)} for one in studies}
    for stage in sorted(set().union(*stages.values())):
        for one in studies:
            needed = [study(one.needs)] if one.needs else []
            for part in (*needed, one) if stage in stages[one.id] else ():
                record = record_of(part, chosen.own)
                try:
                    sweep(part, chosen.scale, record, device=device, deadline=deadline, stages={stage})
                except (ImportError, OSError) as error:  # a package or data that this machine has not
                    print(f"{part.id}, stage {stage}: passed over, {error}")


@contextmanager
def _single_precision() -> Iterator[None]:
    """Runs are in float32, as on the command line, also in a chapter whose own numbers are in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
