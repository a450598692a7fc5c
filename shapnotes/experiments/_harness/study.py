"""A study has runs and a record of them; a claim is what a record says of one statement of a paper."""

from collections.abc import Callable
from dataclasses import dataclass

from shapnotes.experiments._harness.finding import Finding
from shapnotes.experiments._harness.record import Run


@dataclass(frozen=True)
class Batch:
    """Repeats of one configuration, to be run together.

    epochs : of a study whose runs grow, how far these are to be brought
    stage  : of a plan over several studies, which part of it
    """

    config: dict
    seeds: tuple[int, ...]
    epochs: int | None = None
    stage: int = 0


@dataclass(frozen=True)
class Study:
    """One kind of run, and its record, which is named by the id.

    batches : the runs of a scale, "paper", "cpu" or "smoke", what matters most first
    run     : of (config, seeds, device) one result per seed, a dict of JSON values. With keeps_files it is also given
              `folder`, which is beside the record and named like it. With resumes it is given `checkpoint`, from which
              it goes on. Where batches name epochs it is given `checkpoint` and `epochs`, and yields such a list after
              every epoch: each result has "epochs", how many are done, and takes the place of the one before
    needs   : the id of the study that trains what this one measures
    summary : what runs say, in lines
    """

    id: str
    title: str
    batches: Callable[[str], list[Batch]]
    run: Callable
    keeps_files: bool = False
    resumes: bool = False
    needs: str | None = None
    summary: Callable[[list[Run]], list[str]] | None = None


@dataclass(frozen=True)
class Claim:
    """One statement, table or figure of a paper, as it is read from a record.

    finding : what runs say of it; of runs and a part where the claim has `parts`, of a benchmark where there is `bench`
    study   : the id of the study whose runs it reads
    bench   : the file of the benchmark that it reads instead
    usable  : whether runs that are not complete yet are enough for the finding; None: it can be read from any
    about   : what the paper leaves open and what was chosen
    """

    id: str
    title: str
    finding: Callable[..., Finding]
    study: str | None = None
    bench: str | None = None
    summary: Callable[[list[Run]], list[str]] | None = None
    usable: Callable[[list[Run]], bool] | None = None
    parts: tuple[str, ...] = ()
    about: str = ""
