"""The scorecard: one row per claim of the two papers and of this book, with its verdict and what the verdict rests on.

Of a claim that is derived the verdict stands in the list of claims, beside the boxes of the book that prove or refute
it; tests hold it to the chapter's check cells and to the errata. Of a claim that is an experiment the verdict follows
from the record of runs (`finding`). Nothing else is written on the page.
"""

import inspect
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from shapnotes.experiments import claim as claim_of
from shapnotes.experiments import recorded
from shapnotes.experiments._harness.finding import Finding, Statement
from shapnotes.experiments._harness.record import told_of
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments._harness.tables import signed

CLAIMS = tomllib.loads((Path(__file__).parent / "claims.toml").read_text("utf8"))
PAPERS = {"LC": "Li and Cui", "SN": "Shapley Explanation Networks", "X": "this book"}

VERDICTS = {
    "holds": "proved in the chapter, or a definition that the chapter restates and builds; checked there by cells that "
    "every test run executes. Small errors in the paper's text, named in the errata, do not change this verdict",
    "holds with a condition": "true if something is added that the paper does not say; the row says what",
    "does not hold": "it is refuted, or a part of it: the row says which part, the erratum by which box or cell",
    "numbers agree": "an experiment: every statement holds, also those about the size of the paper's numbers",
    "directions agree": "an experiment: every statement that is not about the size of the paper's numbers holds, as "
    "who is ahead or what grows; of the statements about sizes some fail, or there is none",
    "disagrees": "an experiment: our runs refute at least one statement that is not about the size of the paper's "
    "numbers; others may hold, and the evidence says which",
    "smaller scale only": "an experiment that was run smaller than the paper's, which confirms and refutes nothing",
    "not comparable": "the paper's numbers cannot be what they are said to be, or their setting cannot be known",
    "open": "an experiment that was not run, or that refutes no such statement and leaves one undecided",
}
# Of the experiments of the papers: what is said of one, and of several.
COUNTED = {
    "numbers agree": ("agrees in all its numbers", "agree in all their numbers"),
    "directions agree": ("agrees in its directions alone", "agree in their directions alone"),
    "disagrees": ("disagrees", "disagree"),
    "smaller scale only": ("was run smaller", "were run smaller"),
    "not comparable": ("cannot be compared", "cannot be compared"),
    "open": ("is open", "are open"),
}
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
DERIVED = {"holds": "holds", "condition": "holds with a condition", "fails": "does not hold"}


@dataclass(frozen=True)
class Row:
    """One claim: its verdict, what was reduced, what decides, and for an experiment its finding and its runs."""

    id: str
    claim: str
    chapter: str
    verdict: str
    scale: str
    decides: str
    errata: tuple[str, ...]
    finding: Finding | None = None
    source: dict | None = None  # of the runs: command, dates, seconds, device
    choices: str = ""
    as_under: str = ""  # the first row of the same study, which has the text about the choices instead
    shown: tuple[str, ...] = ()  # of a derived claim: boxes and sections of the chapter


def rows(results: Path) -> list[Row]:
    """One row per claim, from the list of claims and the records in `results`; each text about choices stands once."""
    found = [_row(identifier, claim, results) for identifier, claim in CLAIMS.items()]
    first: dict[str, str] = {}
    for row in found:
        first.setdefault(row.choices, row.id)
    return [
        replace(row, choices="", as_under=first[row.choices]) if row.choices and first[row.choices] != row.id else row
        for row in found
    ]


def _row(identifier: str, claim: dict, results: Path) -> Row:
    common = (identifier, claim["claim"], claim["chapter"])
    errata = tuple(claim.get("errata", ()))
    if "finding" not in claim:
        return Row(*common, DERIVED[claim["verdict"]], "", "", errata, shown=tuple(claim["shown"]))
    read = claim_of(claim["finding"])
    finding, source = _found(read, claim.get("part"), results)
    if finding is None:
        return Row(*common, "open", "not run", "", errata, choices=_choices(read))
    scale = finding.reduced or ("as planned" if _is_ours(identifier) else "the paper's")
    scale += f", but {finding.fewer}" if finding.fewer else ""
    return Row(*common, finding.verdict, scale, finding.decides, errata, finding, source, _choices(read))


def _found(read: Claim, part: str | None, results: Path) -> tuple[Finding | None, dict]:
    """What a record says of a claim, and where the record comes from; None where there is none."""
    if read.bench is not None:
        path = results / read.bench
        if not path.exists():
            return None, {}
        with told_of(path):
            bench = json.loads(path.read_text("utf8"))
            where = {"commands": [bench["command"]], "dates": [bench["date"]], "devices": [bench["device"]]}
            return read.finding(bench), where
    runs = recorded(read.id, results)
    if not runs:
        return None, {}
    with told_of(results / f"{read.study}.jsonl"):
        return read.finding(runs, *([part] if part else [])), _source(runs, _shares(read))


def _shares(read: Claim) -> bool:
    """Whether a record holds runs that are not of this claim's row: of another claim, or of another row of the same."""
    rows = [name for name, row in CLAIMS.items() if "finding" in row and claim_of(row["finding"]).study == read.study]
    return len(rows) > 1 or read.study != read.id


def _source(runs: list[dict], shared: bool) -> dict:
    def different(key: str) -> list[str]:
        return sorted({str(run[key]) for run in runs if key in run})

    seconds = sum(float(run.get("seconds", 0.0)) for run in runs)
    return {"commands": different("command"), "dates": different("date"), "devices": different("device")} | {
        "runs": len(runs),
        "shared": shared,
        "hours": seconds / 3600,
    }


def _is_ours(identifier: str) -> bool:
    """Whether a claim is this book's own: no paper stands behind it."""
    return identifier.startswith("X")


def _choices(read: Claim) -> str:
    """What the paper leaves open and what was chosen: the text about a claim, without its first line."""
    return inspect.cleandoc(read.about).partition("\n")[2].strip()


# --- the page ------------------------------------------------------------------------------------------------------


INTRODUCTION = """\
What stands of the two papers, and of what this book adds to them. Each row is one claim; those of the book have ids
with an X. Where a claim is derived, its verdict rests on what the row names in its chapter and on the
[errata](errata.ipynb). Where it is an experiment, its verdict follows from the record of its runs. A fold under the row
has what is asked of the record, the answers with their differences, and the numbers beside the paper's. ± is the
half-width of a 95 % interval, as everywhere in this book.
"""
COMMANDS = """\
<details>
<summary><b>The commands behind this page.</b></summary>

`shapnotes scorecard` writes this page from the records. In a copy of the repository
`shapnotes reproduce ID --scale SCALE --budget 0` prints the summary of an experiment whose record is complete, and runs
nothing. ID is the row's id (SN-Tab1 for its three rows, X-W for its four); SCALE stands in the command in the row's
fold. LC-P1 and SN-Tab5 are timings and have no summary. The summary of SN-F4 has more than its row: the intervals over
the images of each network. In a fold, names in code type are options or fields of the record, or names of the package;
paths begin in `shapnotes/experiments`.

`shapnotes reproduce paper-scale` makes the experiments at the papers' own size, the most important first. How long that
takes on a GPU has not been measured.

</details>
"""
READING = """\
An erratum does not enter the verdict of an experiment, except SN-Tab6's, which rests on
[E30](errata.ipynb#e30-two-tables-that-contradict-each-other). An erratum that limits the claim stands under the row.

For the book's own experiments, whose ids have an X, *agree* and *disagree* are with the claim in the row; *as planned*
says that every run is there that the study lists (`batches` in its file).

SN tested over images of one network. We have several: SN-F4, SN-F11 and SN-Tab7 ask over the images of each, as the
paper did, and tell beside it what holds over networks. SN-F3, SN-F5, SN-F6 and SN-F7 ask over trainings.

<details>
<summary><b>How to read a fold.</b></summary>

Before a statement ✓, ✗ and ? say that it holds, that it does not, and that the record does not decide. Where it is
asked on which side of a bound an interval lies, ✗ says that all of it is on the other side, ? that the bound lies
inside. In the tables under the rows ✓ and ✗ answer the question at the head of their column; where there is no sign,
that is undecided, or nothing is compared. *Within $\\sqrt2$ × ±* takes the paper's error, which the papers seldom give,
to be as large as ours. If a single model has fewer runs than in the paper, or ratios of times fewer turns, the line
*scale* says so. Intervals are wider then, and the verdict takes that into account. In rows of the verdict *smaller
scale only* these answers are about our smaller experiment, and not about the paper's.

</details>
"""


def page(results: Path) -> str:
    """The scorecard as a page of the book."""
    all_rows = rows(results)
    entries = _entries(results.parent / "errata.md")
    meanings = (f"<dt>{_pill(verdict)}</dt><dd>{escape(meaning)}</dd>" for verdict, meaning in VERDICTS.items())
    lines = ["# Scorecard", "", INTRODUCTION, _counts(all_rows), "", _experiments(all_rows), ""]
    lines += ['<dl class="verdicts">', *meanings, "</dl>", "", READING, COMMANDS.rstrip()]
    for paper, title in PAPERS.items():
        heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
        lines += ["", f"## {title[0].upper()}{title[1:]}", ""]
        lines += ['<table class="scorecard">', f"<thead><tr>{heads}</tr></thead>"]
        lines += [_html(row, entries) for row in all_rows if row.id.startswith(paper)]
        lines += ["</table>"]
    return "\n".join(lines) + "\n"


HEADS = ("id", "claim", "verdict", "where")


def _counts(all_rows: list[Row]) -> str:
    """How many claims of each paper have which verdict, as a table."""
    counts = {paper: Counter(row.verdict for row in all_rows if row.id.startswith(paper)) for paper in PAPERS}
    lines = ["| verdict | " + " | ".join(PAPERS.values()) + " |", "|---|" + "---:|" * len(PAPERS)]
    lines += [
        f"| {verdict} | " + " | ".join(str(count[verdict]) for count in counts.values()) + " |" for verdict in VERDICTS
    ]
    return "\n".join([*lines, "| all | " + " | ".join(str(count.total()) for count in counts.values()) + " |"])


def _experiments(all_rows: list[Row]) -> str:
    """What the experiments of the papers came to, in a sentence; that their numbers agree first, even if none do."""
    count = Counter(row.verdict for row in all_rows if not row.shown and not _is_ours(row.id))
    said = [
        f"{NUMBERS[n] if n < len(NUMBERS) else n} {COUNTED[verdict][n > 1]}"
        for verdict in COUNTED
        if (n := count[verdict]) or verdict == "numbers agree"
    ]
    if not count["numbers agree"] and not count["directions agree"]:
        said[0] = "none has the verdict *numbers agree* or *directions agree*"
    return f"Of the {count.total()} experiments of the papers {said[0]}" + "".join(f"; {one}" for one in said[1:]) + "."


def _pill(verdict: str) -> str:
    return f'<span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>'


@dataclass(frozen=True)
class Entry:
    """One of the errata: where it stands on that page, its title, what it comes to in one line, and its kind."""

    anchor: str
    title: str
    line: str
    kind: str


def _entries(errata: Path) -> dict[str, Entry]:
    """The entries by their numbers, from the tables that begin the page of errata."""
    if not errata.exists():
        return {}
    columns = r"^\| \[(E\d+)\]\(#([\w-]+)\) \| ([^|]*) \|[^|]*\| (.*) \|[^|]*\| ([a-z ]+) \|$"
    found = re.findall(columns, errata.read_text("utf8"), re.MULTILINE)
    return {number: Entry(*entry) for number, *entry in found}


def _slug(name: str) -> str:
    """The anchor of a heading or a box."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _text(plain: str) -> str:
    """Plain text of a finding as HTML; its arrows are written with two signs there, and a minus with a hyphen."""
    return escape(signed(plain.replace("->", "\u2192")))


def _unbroken(html: str) -> str:
    """The same, with each number and its ± in one line."""
    number = r"[+\u2212]?\d+(?:\.\d+)?(?:e[+-]\d+)?"
    return re.sub(f"{number} ± {number}", r'<span class="number">\g<0></span>', html)


def _link(number: str, entries: dict[str, Entry]) -> str:
    return f'<a href="errata.html#{entries[number].anchor}">{number}</a>' if number in entries else number


def _linked(html: str, entries: dict[str, Entry]) -> str:
    """The same, with every number of an entry as a link; ids of claims, as LC-E1, are none."""
    return re.sub(r"(?<![\w-])E\d+\b", lambda match: _link(match[0], entries), html)


def _html(row: Row, entries: dict[str, Entry]) -> str:
    """A row of the table; under it, in the width of the page, what decides, and folded the evidence."""
    anchor = row.id.lower()
    places = [f'<a href="{row.chapter}.html">chapter&nbsp;{int(row.chapter[:2])}</a>']
    places += [_link(entry, entries) for entry in row.errata]
    cells = (f'<a href="#{anchor}">{row.id}</a>', _formulas(row.claim), _pill(row.verdict), ", ".join(places))
    classes = ("id", "claim", "word", "where")
    lines = [f'<tbody id="{anchor}"><tr>']
    lines += [f'<td class="{kind}">{cell}</td>' for kind, cell in zip(classes, cells, strict=True)]
    lines += [f'</tr><tr class="under"><td colspan="{len(HEADS)}">', *_decides(row, entries)]
    if row.scale:
        lines.append(f'<div class="scale">scale: {_text(row.scale)}</div>')
    lines.append("</td></tr>")
    if row.finding or row.choices or row.as_under:
        lines += [
            f'<tr class="evidence"><td colspan="{len(HEADS)}"><details class="evidence">',
            f"<summary>evidence of {row.id}</summary>",
        ]
        lines += [_linked("\n".join(_evidence(row)), entries), "</details></td></tr>"]
    return "\n".join([*lines, "</tbody>"])


def _decides(row: Row, entries: dict[str, Entry]) -> list[str]:
    """Of an experiment the number that decides, of a derived claim its boxes; and the errata that take from either."""
    told = []
    if row.finding:
        count = f"{row.finding.count}: " if row.finding.comparable else ""
        told = [f"<div>{count}{_linked(_unbroken(_text(row.decides)), entries)}</div>"]
    elif row.shown:
        boxes = (f'<a href="{row.chapter}.html#{_slug(name)}">{name}</a>' for name in row.shown)
        told = [f"<div>shown in {', '.join(boxes)}</div>"]
    lines = [
        f"<li>{_link(number, entries)}, <em>{entry.title}</em>, {kind}: {_formulas(entry.line)}</li>"
        for kind in ("does not hold", "condition")  # refuted parts first
        for number in row.errata
        if (entry := entries.get(number)) and entry.kind == kind
    ]
    return told + (['<ul class="conditions">', *lines, "</ul>"] if lines else [])


def _formulas(line: str) -> str:
    """A line of Markdown without markup but formulas, as HTML that MathJax reads."""
    words, *others = escape(line, quote=False).split("$")
    shown = [rf'<span class="math notranslate nohighlight">\({part}\)</span>' for part in others[::2]]
    return words + "".join(formula + after for formula, after in zip(shown, others[1::2], strict=True))


def _evidence(row: Row) -> list[str]:
    lines = []
    if row.finding:
        lines += [*_statements(row.finding), *_comparison(row.finding)]
        lines.append(f"<p>{_told(row.source or {})}</p>")
    head = "What was measured" if _is_ours(row.id) else "What the paper leaves open, and what we chose"
    if row.as_under:
        lines.append(f'<p><b>{head}</b>: as under <a href="#{_place(row.as_under)}">{row.as_under}</a></p>')
    elif row.choices:
        lines += [f'<p id="{_place(row.id)}"><b>{head}</b></p>', *_prose(row.choices)]
    return lines


def _statements(finding: Finding) -> list[str]:
    """The statements as a list; what several of them ask stands once, above these."""
    lines = ['<ul class="statements">']
    for criterion, alike in finding.by_criterion.items():
        if len(alike) == 1:
            lines.append(_statement(alike[0], f": {_text(criterion)}"))
        else:
            lines.append(f'<li>Asked of each: {_text(criterion)}.<ul class="statements">')
            lines += [*map(_statement, alike), "</ul></li>"]
    return [*lines, "</ul>"] + ([] if finding.comparable else ["<p>The verdict does not rest on these answers.</p>"])


def _statement(one: Statement, asked: str = "") -> str:
    mark = {True: "✓", False: "✗", None: "?"}[one.held]
    answer = {True: "holds", False: "does not hold", None: "undecided"}[one.held]
    found = f": {_unbroken(_text(one.found))}" if one.found else ""
    said = f"{_text(one.claim)}{asked}. <em>{answer}</em>{found}"
    return f'<li><span class="mark" title="{answer}">{mark}</span> {said}</li>'


def _place(identifier: str) -> str:
    """The anchor of a row's text about choices: within its fold, which browsers open for what is in it."""
    return f"{identifier.lower()}-choices"


def _comparison(finding: Finding) -> list[str]:
    if not finding.table:
        return []
    new = [i == 0 or finding.table[i - 1].setting != one.setting for i, one in enumerate(finding.table)]
    grouped = 5 * sum(new) <= 2 * len(new)  # a setting stands once, above its lines
    heads = ["model", "ours"] if grouped else ["setting", "model", "ours"]
    if any(one.paper is not None for one in finding.table):
        heads += ["paper", finding.agreement] if any(one.agree is not None for one in finding.table) else ["paper"]
    caption = f"<caption>{_text(finding.numbers)}</caption>" if finding.numbers else ""
    if grid := _grid(finding):
        (head, *body), mark = grid, ' scope="col"'
        first = _row_of(head, "th", mark)
        lines = [f'<div class="framed"><table class="numbers grid">{caption}<thead>{first}</thead><tbody>']
        return [*lines, *(_row_of(row, "td") for row in body), "</tbody></table></div>"]
    kind, scope = "numbers grid" if grouped else "numbers", ' scope="col"'
    lines = [f'<div class="framed"><table class="{kind}">{caption}<thead>{_row_of(heads, "th", scope)}</thead><tbody>']
    for one, first in zip(finding.table, new, strict=True):
        agree = {True: "✓", False: "✗", None: ""}[one.agree]
        paper = "" if one.paper is None else f"{one.paper:{one.form}}"
        cells = [one.model, one.ours.shown(one.form), paper, agree]
        if grouped and first:
            lines.append(_row_of([f"{one.setting}:"], "td", f' colspan="{len(heads)}"'))
        lines.append(_row_of([*([] if grouped else [one.setting]), *cells][: len(heads)], "td"))
    return [*lines, "</tbody></table></div>"]


FEW = 4  # columns of numbers


def _grid(finding: Finding) -> list[list[str]]:
    """Numbers as a table of settings by models, its head first; empty where one of them has no number.

    The fewer of the two are the columns, models where they are few. The paper's numbers, where nothing is asked of
    each, have a column beside ours.
    """
    settings = dict.fromkeys(one.setting for one in finding.table)
    models = dict.fromkeys(one.model for one in finding.table)
    cells = {(one.setting, one.model): one.ours.shown(one.form) for one in finding.table}
    whole = len(cells) == len(finding.table) == len(settings) * len(models)
    papers = {(one.setting, one.model): f"{one.paper:{one.form}}" for one in finding.table if one.paper is not None}
    if not whole or any(one.agree is not None for one in finding.table):
        return []
    if papers:
        return _beside(list(settings), list(models), cells, papers) if 2 <= len(models) <= FEW < len(settings) else []
    if not 2 <= min(len(settings), len(models)) <= FEW:
        return []
    if len(models) <= FEW:
        return [["", *models], *([setting, *(cells[setting, model] for model in models)] for setting in settings)]
    return [["", *settings], *([model, *(cells[setting, model] for setting in settings)] for model in models)]


def _beside(settings: list[str], models: list[str], ours: dict, papers: dict) -> list[list[str]]:
    """Settings by models, each with the paper's number in the next column."""
    head = ["", *(title for model in models for title in (model, f"{model}, paper"))]
    return [head] + [
        [setting, *(cell for model in models for cell in (ours[setting, model], papers.get((setting, model), "")))]
        for setting in settings
    ]


def _row_of(cells: list[str], tag: str, attributes: str = "") -> str:
    return "<tr>" + "".join(f"<{tag}{attributes}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _told(source: dict) -> str:
    parts = [", ".join(f"<code>{escape(command)}</code>" for command in source.get("commands", ()))]
    if dates := source.get("dates"):
        parts.append(dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}")
    if "runs" in source:
        hours = f"{source['hours']:.1f}" if source["hours"] >= 0.05 else "less than 0.1"
        told = f"{source['runs']} runs, {hours} hours in all"
        parts.append(f"the record has {told}, of which this row reads its part" if source["shared"] else told)
    return "; ".join([*parts, *map(escape, source.get("devices", ()))])


def _prose(text: str) -> list[str]:
    """Paragraphs and lists of a docstring as HTML."""
    lines = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("    "):
            lines.append(f"<pre>{escape(inspect.cleandoc(paragraph))}</pre>")
        elif paragraph.startswith("- "):
            points = re.split(r"\n?^- ", paragraph, flags=re.MULTILINE)[1:]
            lines += ["<ul>", *(f"<li>{_marked(point)}</li>" for point in points), "</ul>"]
        else:
            lines.append(f"<p>{_marked(paragraph)}</p>")
    return lines


ROWS = {"accuracy": "SN-Tab1-synthetic", "four_pairs": "SN-F11", "effect_sizes": "SN-Tab7"}
FILES = {  # what else docstrings name, which a reader of the page cannot see
    "image-networks": "images/study.py",
    "models": "tables/models.py",
    "rivals": "tables/rivals.py",
    "baselines": "tables/baselines.py",
    "splits.shared": "tables/splits.py",
    "optimiser": "_models/dropout_perceptron.py",
    "_models.coalition_tables": "_models/coalition_tables.py",
    "_models.transparent": "_models/transparent.py",
}


def _marked(text: str) -> str:
    """Words of a docstring as HTML: code, bold, links to rows, files, and norms as everywhere in the book."""
    words, *others = escape(" ".join(text.split())).split("`")
    parts = [_norms(words)]
    for i, part in enumerate(others):
        parts.append(_norms(part) if i % 2 else _code(part))
    bold = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", "".join(parts))
    return re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", bold)


def _norms(words: str) -> str:
    return re.sub(r"\bl1\b", "ℓ1", words).replace("l-infinity", "ℓ∞")


def _code(name: str) -> str:
    """A name in backticks: of a study or a finding the row that tells of it, of a module its file."""
    if name in ROWS:
        return f'<a href="#{ROWS[name].lower()}">{ROWS[name]}</a>'
    return f"<code>{FILES.get(name, name)}</code>"
