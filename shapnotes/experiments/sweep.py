"""Do the runs of an experiment that its record does not have yet."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import joblib

from shapnotes.bench import provenance
from shapnotes.experiments.record import Record
from shapnotes.progress import progress_bar

SCALES = ("paper", "cpu", "smoke")

Run = Callable[[dict, tuple[int, ...], str], list[dict]]


@dataclass(frozen=True)
class Batch:
    """Repeats of one configuration, to be run together."""

    config: dict
    seeds: tuple[int, ...]


def sweep(
    experiment: ModuleType,
    scale: str,
    record: Record,
    *,
    device: str = "cpu",
    jobs: int = 1,
    scheduler: str | None = None,
) -> int:
    """Run what is missing of an experiment and append each run to the record as it finishes; returns how many.

    experiment : a module with `ID`, `batches(scale)` -> list of Batch, and `run(config, seeds, device)` -> one result
                 (a dict of JSON values) a seed. Where it sets `CHECKPOINTS`, `run` is also given `folder`, which
                 is beside the record and named like it, for files that stay
    scale      : "paper" (the paper's own), "cpu" (the largest part that two cores finish in an hour) or "smoke"
    jobs       : processes of this machine; scheduler: the address of a Dask scheduler to use instead

    Stop it and start it again as often as you like: a run in the record is not done again.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
    missing = [
        Batch(batch.config, seeds)
        for batch in experiment.batches(scale)
        if (seeds := tuple(s for s in batch.seeds if not record.has(experiment.ID, scale, batch.config, s)))
    ]
    count = 0
    command = f"shapnotes reproduce {experiment.ID} --scale {scale}"
    with progress_bar(sum(len(batch.seeds) for batch in missing), "runs", True) as bar, _backend(jobs, scheduler):
        run = experiment.run
        if getattr(experiment, "CHECKPOINTS", False):
            run = partial(run, folder=record.path.with_suffix(""))
        for batch, results, seconds in _results(run, missing, device):
            for seed, result in zip(batch.seeds, results, strict=True):
                record.append(
                    provenance(command, device)
                    | {"experiment": experiment.ID, "scale": scale, "config": batch.config, "seed": seed}
                    | {"result": result, "seconds": seconds / len(batch.seeds)}
                )
                count += 1
                bar.update()
    return count


def _results(run: Run, batches: list[Batch], device: str) -> Iterator[tuple[Batch, list[dict], float]]:
    """The batches as they finish, in whatever order."""
    work = joblib.Parallel(return_as="generator_unordered")
    yield from work(joblib.delayed(_run)(run, batch, device) for batch in batches)


def _run(run: Run, batch: Batch, device: str) -> tuple[Batch, list[dict], float]:
    start = time.perf_counter()
    return batch, run(batch.config, batch.seeds, device), time.perf_counter() - start


@contextmanager
def _backend(jobs: int, scheduler: str | None) -> Iterator[None]:
    """Where joblib sends the batches: this process, others of this machine, or a cluster."""
    if scheduler is None:
        with joblib.parallel_config(n_jobs=jobs):
            yield
        return
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError('--scheduler needs Dask: pip install "shapnotes[sweeps]"') from error
    with Client(scheduler) as client, joblib.parallel_config("dask", client=client):
        yield
