"""The command line: `shapnotes reproduce ID`, `shapnotes scorecard`, `shapnotes bench NAME`."""

import argparse
import sys
import time
from pathlib import Path

from shapnotes._runtime.devices import check_device
from shapnotes.benchmarks import BENCHMARKS, report, summaries
from shapnotes.experiments import IDENTIFIERS, claim, record_of, scorecard, study
from shapnotes.experiments._harness.checkpoints import OutOfTime
from shapnotes.experiments._harness.record import told_of
from shapnotes.experiments._harness.sweep import SCALES, sweep
from shapnotes.experiments.plan import PAPER_SCALE, paper_scale

EVERY = "all"  # benchmarks, one after the other


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("stopped; what had finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except OutOfTime as stop:
        print(f"{stop}; the same command goes on from there", file=sys.stderr)
        return 0
    except (ValueError, ImportError, OSError) as error:
        print(f"shapnotes: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shapnotes", description="Shapley values inside neural networks.")
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser("reproduce", help="run an experiment of the papers and record it")
    run.add_argument(
        "id",
        help=f"the experiment or claim: {', '.join(IDENTIFIERS)}; or {PAPER_SCALE}, all of them, most important first",
    )
    run.add_argument(
        "--scale", choices=SCALES, default="paper", help="the paper's own, two cores for an hour, or a try"
    )
    run.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    run.add_argument("--jobs", type=int, default=1, help="processes on this machine (default: 1)")
    run.add_argument("--scheduler", help="address of a Dask scheduler to spread the runs over")
    run.add_argument(
        "--budget", type=float, help="seconds after which to stop, with everything on disk (default: none)"
    )
    run.add_argument("--stage", type=int, help="only this stage of the experiment (default: all)")
    run.add_argument(
        "--out", type=Path, default=Path("book/results"), help="folder of the record (default: book/results)"
    )
    run.set_defaults(run=_reproduce)

    card = commands.add_parser("scorecard", help="write the book's scorecard from the records")
    card.add_argument("--book", type=Path, default=Path("book"), help="folder of the chapters (default: book)")
    card.set_defaults(run=_scorecard)

    timing = commands.add_parser("bench", help="measure cost as ratios of times taken in turn")
    timing.add_argument("name", choices=[*BENCHMARKS, EVERY], help=f"{summaries()}; {EVERY}: one after the other")
    timing.add_argument("--short", action="store_true", help="small models in two turns: to see that it runs")
    timing.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    timing.add_argument(
        "--out", type=Path, help="write the record to this .json file as well, or to bench_NAME.json in this folder"
    )
    timing.set_defaults(run=_bench)
    return parser


def _reproduce(options: argparse.Namespace) -> None:
    how = {"device": options.device, "jobs": options.jobs, "scheduler": options.scheduler}
    how["deadline"] = None if options.budget is None else time.monotonic() + options.budget
    if options.id == PAPER_SCALE:
        for line in paper_scale(options.out, options.scale, **how):
            print(line, flush=True)
        return
    read, source = claim(options.id), study(options.id)
    if source is None:
        assert read and read.bench, "a claim without a study reads a benchmark"
        what = Path(read.bench).stem.removeprefix("bench_")
        raise ValueError(
            f"{read.id} is no run but a timing: shapnotes bench {what} --out {options.out / read.bench} makes it"
        )
    stages = {batch.stage for batch in source.batches(options.scale)} if options.stage is None else {options.stage}
    before = study(source.needs) if source.needs else None
    for one in filter(None, (before, source)):
        record = record_of(one, options.out)
        count = sweep(one, options.scale, record, stages=stages, **how)
        print(f"{count} runs added to {record.path}, which has {len(record.runs)}")
    summary = read.summary if read else source.summary
    with told_of(record.path):
        lines = summary(record.select(options.scale)) if summary else []
    for line in lines:
        print(line)


def _scorecard(options: argparse.Namespace) -> None:
    text = scorecard.page(options.book / "results")
    (options.book / "scorecard.md").write_text(text, encoding="utf8")
    print(text, end="")


def _bench(options: argparse.Namespace) -> None:
    check_device(options.device)
    every = options.name == EVERY
    if every and options.out is not None and options.out.suffix:
        raise ValueError(f"--out of {EVERY} benchmarks is a folder; got {options.out}")
    for name in BENCHMARKS if every else (options.name,):
        try:
            print("\n".join(report(name, options.device, short=options.short, out=options.out)), flush=True)
        except (ValueError, ImportError) as error:
            if not every:
                raise
            print(f"{name}: passed over, {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
