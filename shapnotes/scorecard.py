"""The scorecard: what of the two papers is derived, what is reproduced, and what is not there yet.

Everything in it comes from two places: the list of claims, and the records of runs. A page cannot say more.
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from shapnotes.experiments import MODULES, experiment
from shapnotes.experiments.record import Record

# Claims about time, and the measurement that belongs to each.
TIMINGS = {"LC-P1": "bench_training.json", "SN-Tab5": "bench_explain.json"}
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
    if identifier in TIMINGS and (timing := results / TIMINGS[identifier]).exists():
        return _cost_row(identifier, claim, json.loads(timing.read_text("utf8")), chapter if written else "")
    kept_in = claim["record"] if isinstance(claim["record"], str) else identifier  # two tables may share their runs
    path = results / f"{kept_in}.jsonl"
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


def _cost_row(identifier: str, claim: dict, record: dict, chapter: str) -> Row:
    """A claim about time, from ratios of times: they were measured on another machine than the paper's."""
    if identifier == "LC-P1":
        found = [f"{row['over_relu']:.2f} ({row['network']})" for row in record["rows"] if row["activation"] == "sa"]
        ours, paper, scale = "a step with SA over one with ReLU", "about 1.2, CIFAR-10", "single steps"
    else:
        rows = [row for row in record["rows"] if row["paper_over_loop"] and row["method"] != "loop"]
        found = [f"{row['over_loop']:.2g} ({row['method']}, {row['model']})" for row in rows]
        ours, scale = "an explanation over the ShapNet's own in a plain loop over modules", "single explanations"
        paper = ", ".join(f"{row['paper_over_loop']:.2g} ({row['method']}, {row['model']})" for row in rows)
    ours = f"{ours}: {', '.join(found)}; {record['device']}"
    return Row(
        identifier,
        claim["what"],
        "not run at full scale" if identifier == "LC-P1" else "measured",
        ours,
        paper,
        scale,
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
