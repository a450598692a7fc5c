"""Numbers as a table that a notebook shows: HTML, which is as wide as the page lets it be and scrolls inside itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from shapnotes.experiments._harness.finding import Finding


@dataclass(frozen=True)
class Table:
    """A table as notebooks show it, and as text where there is no HTML."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str) -> Table:
    """A table whose first column names the rows; as the last line of a cell, or by `display`, a notebook shows it.

    head    : one title per column
    rows    : one entry per column, shown by `str`; what is HTML in it is shown as it is written
    caption : what the numbers are, and what ± means where it occurs

    >>> table(["", "ReLU", "SA"], [["test", "0.50", "0.55"]], "Accuracy")
    Accuracy
          ReLU  SA
    test  0.50  0.55
    """
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    for row in cells:
        if len(row) != len(head):
            raise ValueError(f"a row of this table needs {len(head)} cells, as its head has; got {len(row)}: {row}")
    titles, *lines = ([_unbroken(escape(cell)) for cell in row] for row in cells)
    top = _tagged("th", titles, ' scope="col"')
    body = "\n".join(f'<tr><th scope="row">{first}</th>{_tagged("td", rest)}</tr>' for first, *rest in lines)
    html = (
        '<div style="overflow-x: auto"><table class="numbers">\n'
        f'<caption style="caption-side: top; text-align: left">{escape(caption)}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return Table(html, "\n".join([caption, *aligned]))


def _unbroken(text: str) -> str:
    """The same with a number and its ± in one line."""
    return text.replace(" ± ", "\u00a0±\u00a0")


def _tagged(tag: str, cells: Iterable[str], attributes: str = "") -> str:
    return "".join(f"<{tag}{attributes}>{cell}</{tag}>" for cell in cells)


def statements(finding: Finding, caption: str, whose: str = "the paper") -> Table:
    """What a paper says, or we expected, what is asked of the record, and whether it holds."""
    answers = {True: "holds", False: "does not hold", None: "undecided"}
    rows = [[one.claim, one.criterion, answers[one.held]] for one in finding.statements]
    return table([whose, "asked of the record", ""], rows, caption)


def comparison(finding: Finding, caption: str) -> Table:
    """Our numbers with their intervals beside the paper's."""
    rows = [
        [one.setting, one.model, one.ours.shown(one.form), "" if one.paper is None else f"{one.paper:{one.form}}"]
        for one in finding.table
    ]
    return table(["", "", "ours", "the paper's"], rows, caption)
