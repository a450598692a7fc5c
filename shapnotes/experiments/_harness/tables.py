"""Numbers as a table that a notebook shows: HTML, which is as wide as the page lets it be and scrolls inside itself."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from shapnotes.experiments._harness.finding import Finding, Statement

_SIGN = re.compile(r"(?<![\w.)])-(?=\.?\d)")  # not that of 1e-05, of a range, or of a name


@dataclass(frozen=True)
class Table:
    """A table as notebooks show it, and as text where there is no HTML."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def table(head: Sequence[object], rows: Iterable[Sequence[object] | str], caption: str) -> Table:
    """A table whose first column names the rows; as the last line of a cell, or by `display`, a notebook shows it.

    head    : one title per column
    rows    : one entry per column, shown by `str`; what is HTML in it is shown as it is written. A string in place of
              a row is a line across all columns, of what the rows below it have in common
    caption : what the numbers are, and what ± means where it occurs

    >>> table(["", "ReLU", "SA"], [["test", "0.50", "0.55"]], "Accuracy")
    Accuracy
          ReLU  SA
    test  0.50  0.55
    """
    lines = [row if isinstance(row, str) else [str(cell) for cell in row] for row in (head, *rows)]
    cells = [line for line in lines if not isinstance(line, str)]
    for row in cells:
        if len(row) != len(head):
            raise ValueError(f"a row of this table needs {len(head)} cells, as its head has; got {len(row)}: {row}")
    top = _tagged("th", map(_shown, cells[0]), ' scope="col"')
    body = "\n".join(_row(line, len(head)) for line in lines[1:])
    html = (
        '<div style="overflow-x: auto"><table class="numbers">\n'
        f'<caption style="caption-side: top; text-align: left">{escape(caption)}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = (line if isinstance(line, str) else "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return Table(html, "\n".join([caption, *aligned]))


def _row(line: list[str] | str, columns: int) -> str:
    """A row whose first cell names it, or a line across all columns."""
    if isinstance(line, str):
        return f'<tr><td colspan="{columns}"><em>{_shown(line)}</em></td></tr>'
    first, *rest = map(_shown, line)
    return f'<tr><th scope="row">{first}</th>{_tagged("td", rest)}</tr>'


def _shown(text: str) -> str:
    """As it is written, with its minus, and a number and its ± in one line."""
    return signed(escape(text)).replace(" ± ", "\u00a0±\u00a0")


def signed(text: str) -> str:
    """The same with a minus in place of the hyphen before a number.

    >>> signed("-1.5, from 1-3 to -2e-05")
    '−1.5, from 1-3 to −2e-05'
    """
    return _SIGN.sub("\u2212", text)


def _tagged(tag: str, cells: Iterable[str], attributes: str = "") -> str:
    return "".join(f"<{tag}{attributes}>{cell}</{tag}>" for cell in cells)


def statements(finding: Finding, caption: str, whose: str = "the paper", *, stacked: bool = False) -> Table:
    """What a paper says, or we expected, what is asked of the record, whether it holds, and by which numbers.

    Where several ask the same, that stands once, above them; stacked: so it does everywhere, for a narrow screen.
    """
    answers = {True: "holds", False: "does not hold", None: "undecided"}
    numbers = any(one.found for one in finding.statements)
    head = ["answer", "found"] if numbers else ["answer"]

    def answer(one: Statement) -> list[str]:
        return [answers[one.held], one.found] if numbers else [answers[one.held]]

    asked = finding.by_criterion
    if len(asked) == len(finding.statements) and not stacked:
        apart = [[one.claim, one.criterion, *answer(one)] for one in finding.statements]
        return table([whose, "asked of the record", *head], apart, caption)
    rows: list[list[str] | str] = []
    for criterion, alike in asked.items():
        rows += [f"Asked of the record: {criterion}", *([one.claim, *answer(one)] for one in alike)]
    return table([whose, *head], rows, caption)


def comparison(finding: Finding, caption: str) -> Table:
    """Our numbers with their intervals beside the paper's."""
    rows = [
        [one.setting, one.model, one.ours.shown(one.form), "" if one.paper is None else f"{one.paper:{one.form}}"]
        for one in finding.table
    ]
    return table(["setting", "what", "ours", "the paper's"], rows, caption)
