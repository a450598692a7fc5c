"""The command line: `shapnotes reproduce ID`, `shapnotes scorecard`, `shapnotes bench exact|explain|shapnet|...`."""

import argparse
import json
import sys
import time
from pathlib import Path

from shapnotes import bench, bench_explain, bench_images, bench_pruning, bench_shapnet
from shapnotes.experiments import IDENTIFIERS, claim, scorecard, study
from shapnotes.experiments._harness.checkpoints import OutOfTime
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.sweep import SCALES, check_device, sweep
from shapnotes.experiments.plan import PAPER_SCALE, paper_scale


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
    timing.add_argument(
        "what",
        choices=list(_BENCHES),
        help="exact: exact values beside the bare model and beside shap; explain: a Deep ShapNet's explanation beside "
        "others'; images: an image ShapNet beside convolutions; pruning: one without its small pixels; shapnet: a Deep "
        "ShapNet beside a plain loop; training: a step with each activation",
    )
    timing.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    timing.add_argument("--out", type=Path, help="write the record to this JSON file as well")
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
        what = Path(read.bench).stem.removeprefix("bench_")
        raise ValueError(
            f"{read.id} is no run but a timing: shapnotes bench {what} --out {options.out / read.bench} makes it"
        )
    stages = {batch.stage for batch in source.batches(options.scale)} if options.stage is None else {options.stage}
    for one in (*([study(source.needs)] if source.needs else []), source):
        record = Record(options.out / f"{one.id}.jsonl")
        count = sweep(one, options.scale, record, stages=stages, **how)
        print(f"{count} runs added to {record.path}, which has {len(record.runs)}")
    summary = read.summary if read else source.summary
    for line in summary(record.select(options.scale)) if summary else ():
        print(line)


def _scorecard(options: argparse.Namespace) -> None:
    text = scorecard.page(options.book / "results")
    (options.book / "scorecard.md").write_text(text, encoding="utf8")
    print(text, end="")


def _bench(options: argparse.Namespace) -> None:
    check_device(options.device)
    measure, table = _BENCHES[options.what]
    record = measure(options.device)
    print(f"{record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, {record['date']}")
    print("\n".join(table(record["rows"])))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def _training_table(rows: list[dict]) -> list[str]:
    lines = [f"{'network':24} {'activation':13} seconds  over ReLU  (range)"]
    for row in rows:
        low, high = row["range"]
        lines.append(
            f"{row['network']:24} {row['activation']:13} {row['seconds']:7.4f} {row['over_relu']:10.2f}  "
            f"({low:.2f} to {high:.2f})"
        )
    return lines


def _exact_table(rows: list[dict]) -> list[str]:
    lines = [
        "network        chunk   bare s  opaque/bare  linear/bare  shap/ours",
    ]
    for row in rows:
        shap = "" if row["shap_over_ours"] is None else f"{row['shap_over_ours']:9.1f}"
        lines.append(
            f"{row['network']:13} {row['chunk_size']:6d} {row['bare_seconds']:8.4f} "
            f"{row['opaque_over_bare']:12.2f} {row['linear_over_bare']:12.2f}  {shap}"
        )
    return lines


def _shapnet_table(rows: list[dict]) -> list[str]:
    lines = [
        "channels batch   loop s   ours s  loop/ours  (range)          ours/plain"
        "  compiled s  loop/compiled  (range)          compiled/plain"
    ]
    for row in rows:
        line = f"{row['channels']:8d} {row['batch']:5d} {row['loop_seconds']:8.5f}"
        for kind, seconds, width in (("ours", "seconds", 10), ("compiled", "compiled_seconds", 14)):
            if seconds in row:
                low, high = row[f"{kind}_range"]
                ratio = f"{row[f'loop_over_{kind}']:{width}.2f}"
                line += f" {row[seconds]:{width - 2}.5f} {ratio}  {f'({low:.2f} to {high:.2f})':16}"
                line += f" {row[f'{kind}_over_plain']:9.2f}"
        lines.append(line.rstrip())
    return lines


def _explain_table(rows: list[dict]) -> list[str]:
    lines = [
        f"{'model':16} {'method':18}   seconds  over ours (range)               over loop (range)               paper"
    ]
    for row in rows:
        line = f"{row['model']:16} {row['method']:18} {row['seconds']:9.6f}"
        for name in ("ours", "loop"):
            low, high = row[f"over_{name}_range"]
            line += f" {row[f'over_{name}']:10.2f} {f'({low:.2f} to {high:.2f})':20}"
        paper = row["paper_over_loop"]
        lines.append(line.rstrip() if paper is None else f"{line} {paper:6.2f}")
    return lines


def _images_table(rows: list[dict]) -> list[str]:
    lines = ["what      CNN s  (usual)  network    seconds  over CNN  (range)"]
    for row in rows:
        if "gib" in row:
            lines.append(f"training with {row['batch']} images takes {row['gib']:.2f} GiB")
            continue
        for name in ("ours", "compiled"):
            if f"{name}_seconds" in row:
                low, high = row[f"{name}_range"]
                lines.append(
                    f"{row['what']:8} {row['cnn_seconds']:6.3f} {row['cnn_usual_seconds']:8.3f}  {name:9} "
                    f"{row[f'{name}_seconds']:8.3f} {row[f'{name}_over_cnn']:9.2f}  ({low:.2f} to {high:.2f})"
                )
    return lines


def _pruning_table(rows: list[dict]) -> list[str]:
    lines = ["channels batch  pruned  whole s  times faster  (range)          activations"]
    for row in rows:
        if row["what"] != "accuracy":
            low, high = row["range"]
            left = f"{row['activations']:10.3f}" if row["what"] == "time" else " none pruned: blank"
            lines.append(
                f"{row['width']:8d} {row['batch']:5d} {row['share']:7.2f} {row['seconds']:8.4f} "
                f"{row['faster']:13.2f}  {f'({low:.2f} to {high:.2f})':17} {left}"
            )
    trained = [row for row in rows if row["what"] == "accuracy"]
    if trained:
        lines.append("network    accuracy  pruned  points lost   times faster (quartiles)       plan")
    for row in trained:
        low, high = row["quartiles"]
        lines.append(
            f"{row['network']:10} {row['accuracy']:8.4f} {row['share']:7.2f} {100 * row['lost']:6.2f} ± "
            f"{100 * row['lost_error']:4.2f} {row['faster']:9.2f} {f'({low:.2f} to {high:.2f})':18}  {row['plan']}"
        )
    return lines


_BENCHES = {
    "exact": (lambda device: bench.exact(device), _exact_table),
    "explain": (lambda device: bench_explain.explain(device), _explain_table),
    "images": (lambda device: bench_images.images(device), _images_table),
    "pruning": (lambda device: bench_pruning.pruning(device), _pruning_table),
    "shapnet": (lambda device: bench_shapnet.shapnet(device), _shapnet_table),
    "training": (lambda device: bench.training(device), _training_table),
}


if __name__ == "__main__":
    sys.exit(main())
