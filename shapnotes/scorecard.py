"""The scorecard: what of the two papers is derived, what is reproduced, and what is not there yet.

Everything in it comes from two places: the list of claims, and the records of runs. A page cannot say more.
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from shapnotes.experiments import MODULES, experiment
from shapnotes.experiments.record import Record

CLAIMS = tomllib.loads((Path(__file__).parent / "claims.toml").read_text("utf8"))


@dataclass(frozen=True)
class Row:
    """One claim: what stands for it in the book and in the records."""

    id: str
    what: str
    verdict: str
    ours: str = ""
    paper: str = ""
    scale: str = ""
    command: str = ""
    date: str = ""
    chapter: str = ""


def rows(results: Path, chapters: Path) -> list[Row]:
    """One row a claim, from the records in `results` and the chapters (`*.md`) in `chapters`."""
    return [_row(identifier, claim, results, chapters) for identifier, claim in CLAIMS.items()]


def _row(identifier: str, claim: dict, results: Path, chapters: Path) -> Row:
    chapter = claim.get("chapter", "")
    page = chapters / f"{chapter}.md"
    written = bool(chapter) and page.exists()
    if not claim.get("record"):
        return Row(
            identifier,
            claim["what"],
            "derived and checked" if written else "not written yet",
            chapter=chapter if written else "",
        )
    if identifier == "LC-P1" and (timing := results / "bench_training.json").exists():
        return _cost_row(claim, json.loads(timing.read_text("utf8")), chapter if written else "")
    path = results / f"{identifier}.jsonl"
    if identifier not in MODULES or not path.exists():
        return Row(identifier, claim["what"], "no record", chapter=chapter if written else "")
    chosen, record = experiment(identifier), Record(path)
    scale = "paper" if record.select("paper") else "cpu"
    runs = record.select(scale)
    verdict, ours, paper = chosen.verdict(runs)
    return Row(
        identifier,
        claim["what"],
        verdict,
        ours,
        paper,
        scale,
        str(runs[0]["command"]),
        max(str(run["date"]) for run in runs),
        chapter if written else "",
    )


def _cost_row(claim: dict, record: dict, chapter: str) -> Row:
    """LC-P1 from the timing of single steps: it is measured on other networks and machines than the paper's."""
    ratios = [row for row in record["rows"] if row["activation"] == "sa"]
    ours = "a step with SA over one with ReLU: " + ", ".join(f"{r['over_relu']:.2f} ({r['network']})" for r in ratios)
    ours += f"; {record['device']}"
    return Row(
        "LC-P1",
        claim["what"],
        "not run at full scale",
        ours,
        "about 1.2, CIFAR-10",
        "single steps",
        record["command"],
        record["date"],
        chapter,
    )


def page(results: Path, chapters: Path) -> str:
    """The scorecard as a page of the book, in Markdown: a line a claim, then what the records say."""
    lines = [
        "# Scorecard",
        "",
        "What of the two papers stands, by the id of each claim. This page is written by `shapnotes scorecard`",
        "from the list of claims and the records of runs; nothing on it is typed by hand. *Derived and checked*",
        "means: proved in the chapter, and confirmed there by cells that are executed in every test run.",
        "*No record* means that the experiment has not been run here yet.",
    ]
    found = rows(results, chapters)
    for paper, title in (("LC", "Li and Cui"), ("SN", "Shapley Explanation Networks")):
        lines += ["", f"## {title}", "", "| id | claim | verdict | chapter |", "|---|---|---|---|"]
        for row in found:
            if row.id.startswith(paper):
                chapter = f"[{int(row.chapter[:2])}]({row.chapter}.ipynb)" if row.chapter else ""
                lines.append(f"| {row.id} | {row.what} | {row.verdict} | {chapter} |")
    lines += ["", "## What the records say"]
    for row in found:
        if row.command:
            lines += [
                "",
                f"**{row.id}, {row.what[0].lower() + row.what[1:]}: {row.verdict}.**",
                "",
                f"- ours: {row.ours}",
                f"- the paper: {row.paper}",
                f"- made at the scale *{row.scale}* on {row.date}, by `{row.command}`",
            ]
    return "\n".join(lines) + "\n"
