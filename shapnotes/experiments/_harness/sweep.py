"""Do the runs of an experiment that its record does not have yet."""

import json
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

from shapnotes._runtime.devices import check_device
from shapnotes._runtime.extras import extra
from shapnotes._runtime.progress import progress_bar
from shapnotes._runtime.timing import provenance
from shapnotes.experiments._harness.checkpoints import Checkpoint, OutOfTime
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.study import Batch, Study

SCALES = ("paper", "cpu", "smoke")


def sweep(
    study: Study,
    scale: str,
    record: Record,
    *,
    device: str = "cpu",
    jobs: int = 1,
    scheduler: str | None = None,
    deadline: float | None = None,
    stages: Container[int] | None = None,
) -> int:
    """Run what is missing of a study and record each run as it finishes; returns how many runs were added to.

    scale      : "paper" (the paper's own), "cpu" (the largest part that two cores finish in an hour) or "smoke"
    jobs       : processes of this machine; scheduler: the address of a Dask scheduler to use instead
    deadline   : `time.monotonic()` at which to stop, with all that was done on disk; raises `OutOfTime`
    stages     : only the batches of these stages

    Stop it and start it again as often as you like: a run in the record is not done again, and training goes on from
    its last checkpoint, in the folder `.unfinished` beside the record.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
    check_device(device)
    with record.alone():
        batches = study.batches(scale)
        _tidy(study, scale, record, batches)
        chosen = [batch for batch in batches if stages is None or batch.stage in stages]
        missing = [part for batch in chosen for part in _missing(study, scale, record, batch)]
        start = partial(_start, study, scale, record.path, device, deadline)
        command = f"shapnotes reproduce {study.id} --scale {scale}"
        added = set()
        with progress_bar(sum(len(batch.seeds) for batch in missing), "runs", True) as bar:
            for batch, results, seconds in _results(start, missing, jobs, scheduler):
                for seed, result in zip(batch.seeds, results, strict=True):
                    run = {"experiment": study.id, "scale": scale, "config": batch.config, "seed": seed}
                    if _epochs(record.get(*run.values())) < result.get("epochs", 1):
                        own = result.get("epoch_seconds")
                        taken = {"seconds": sum(own) if own else seconds / len(batch.seeds), "result": result}
                        record.put(provenance(command, device) | run | taken)
                        added.add((json.dumps(batch.config, sort_keys=True), seed))
                if batch.epochs is None or results[0]["epochs"] >= batch.epochs:
                    bar.update(len(batch.seeds))
                    if not any(_continues(other, batch) for other in batches):
                        _checkpoint(study, scale, record.path, batch).remove()
                if deadline is not None and time.monotonic() > deadline:
                    raise OutOfTime(f"out of time; what had finished is in {record.path}")
    return len(added)


def _missing(study: Study, scale: str, record: Record, batch: Batch) -> Iterator[Batch]:
    """What of a batch is to be done: its seeds that the record lacks, together; of runs that grow, all or none."""
    done = {seed: _epochs(record.get(study.id, scale, batch.config, seed)) for seed in batch.seeds}
    lacking = tuple(seed for seed, epochs in done.items() if epochs < (batch.epochs or 1))
    if lacking:
        yield Batch(batch.config, lacking if batch.epochs is None else batch.seeds, batch.epochs, batch.stage)


def _epochs(run: dict | None) -> int:
    """How far a run is: 1 where it does not grow, 0 where there is none."""
    return 0 if run is None else run["result"].get("epochs", 1)


def _continues(other: Batch, batch: Batch) -> bool:
    return (other.config, other.seeds) == (batch.config, batch.seeds) and (other.epochs or 0) > (batch.epochs or 0)


def _checkpoint(study: Study, scale: str, path: Path, batch: Batch, deadline: float | None = None) -> Checkpoint:
    settings = {"experiment": study.id, "scale": scale, "config": batch.config, "seeds": list(batch.seeds)}
    name = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return Checkpoint(path.parent / ".unfinished" / f"{study.id}-{name}.pt", settings, deadline)


def _start(
    study: Study, scale: str, path: Path, device: str, deadline: float | None, batch: Batch
) -> Iterator[list[dict]]:
    """The results of a batch, as often as there are new ones."""
    run = study.run
    if study.keeps_files:
        run = partial(run, folder=path.with_suffix(""))
    if batch.epochs is not None or study.resumes:
        run = partial(run, checkpoint=_checkpoint(study, scale, path, batch, deadline))
    if batch.epochs is None:
        yield run(batch.config, batch.seeds, device)
    else:
        yield from run(batch.config, batch.seeds, device, epochs=batch.epochs)


def _tidy(study: Study, scale: str, record: Record, batches: list[Batch]) -> None:
    """Remove what kills have left: files that were being written, and states of runs that the record has.

    The record is ours alone, so that nobody is writing these files now.
    """
    folder, weights = record.path.parent, record.path.with_suffix("")
    parts = [*folder.glob(f"{record.path.name}.*.part"), *weights.rglob("*.part")]
    for part in [*parts, *(folder / ".unfinished").glob(f"{study.id}-{'[0-9a-f]' * 16}.pt.*.part")]:
        part.unlink(missing_ok=True)
    for batch in batches:
        ended = batch.epochs is not None and not any(_missing(study, scale, record, batch))
        if ended and not any(_continues(other, batch) for other in batches):
            _checkpoint(study, scale, record.path, batch).remove()


Results = Iterator[tuple[Batch, list[dict], float]]


def _results(
    start: Callable[[Batch], Iterator[list[dict]]], batches: list[Batch], jobs: int, scheduler: str | None
) -> Results:
    """Results of the batches, in whatever order, with the seconds that they took."""
    if jobs == 1 and scheduler is None:
        for batch in batches:
            yield from _timed(start, batch)
        return
    with extra("reproduce"):
        import joblib
    with _backend(jobs, scheduler):
        work = joblib.Parallel(return_as="generator_unordered")
        yield from work(joblib.delayed(_last)(start, batch) for batch in batches)


def _timed(start: Callable[[Batch], Iterator[list[dict]]], batch: Batch) -> Results:
    begun = time.perf_counter()
    for results in start(batch):
        yield batch, results, time.perf_counter() - begun


def _last(start: Callable[[Batch], Iterator[list[dict]]], batch: Batch) -> tuple[Batch, list[dict], float]:
    """In another process, to which the record does not belong, so that only the last results come back."""
    *_, last = _timed(start, batch)
    return last


@contextmanager
def _backend(jobs: int, scheduler: str | None) -> Iterator[None]:
    """Where joblib sends the batches: other processes of this machine, or a cluster."""
    with extra("reproduce"):
        import joblib
    if scheduler is None:
        with joblib.parallel_config(n_jobs=jobs):
            yield
        return
    with extra("sweeps"):
        from dask.distributed import Client
    with Client(scheduler) as client, joblib.parallel_config("dask", client=client):
        yield
