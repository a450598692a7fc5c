"""What the package costs, as ratios of times that are taken in turn: `shapnotes bench NAME`.

A benchmark is a file: `measure(device)` makes a record, `table(record)` shows it. Records of other days are in
`book/results/bench_NAME.json`, which chapters and findings read.
"""

import json
from pathlib import Path
from typing import Protocol

from shapnotes.benchmarks import (
    deep_networks,
    exact_values,
    explanations,
    image_networks,
    neuron,
    pruning,
    training_steps,
)
from shapnotes.benchmarks.record import Record


class Benchmark(Protocol):
    """A file of this folder."""

    def measure(self, device: str = "cpu", *, short: bool = False) -> Record:
        """Times on a device, and where they come from; the short form, of small models in two turns, proves nothing."""

    def table(self, record: Record) -> list[str]:
        """The record as lines of text."""


BENCHMARKS: dict[str, Benchmark] = {
    "exact": exact_values,
    "explain": explanations,
    "images": image_networks,
    "neuron": neuron,
    "pruning": pruning,
    "shapnet": deep_networks,
    "training": training_steps,
}


def summaries() -> str:
    """The names, each with the first line of its file."""
    return "; ".join(f"{name}: {_first_line(benchmark)}" for name, benchmark in BENCHMARKS.items())


def report(name: str, device: str = "cpu", *, short: bool = False, out: Path | None = None) -> list[str]:
    """Measure, and return what is printed: a heading, where the record comes from, and its table.

    out : a .json file that the record is written to as well, or a folder for bench_NAME.json
    """
    benchmark = BENCHMARKS[name]
    record = benchmark.measure(device, short=short)
    if out is not None:
        path = out if out.suffix == ".json" else out / f"bench_{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf8")
    source = f"{record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, {record['date']}"
    return [f"{name}: {_first_line(benchmark)}", source, *benchmark.table(record)]


def _first_line(benchmark: Benchmark) -> str:
    return (benchmark.__doc__ or "").partition("\n")[0].rstrip(".")
