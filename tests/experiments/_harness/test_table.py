"""A table shows what it was given, and nothing of it as HTML."""

from html.parser import HTMLParser

import pytest

from shapnotes.experiments._harness.finding import Finding, Statement
from shapnotes.experiments._harness.tables import statements, table


class Cells(HTMLParser):
    """The cells of a table, row by row, with their tags."""

    def __init__(self, html: str):
        super().__init__()
        self.rows, self.caption, self._tag = [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append([tag, dict(attrs).get("scope"), ""])

    def handle_data(self, data):
        if self._tag in ("th", "td"):
            self.rows[-1][-1][2] += data
        elif self._tag == "caption":
            self.caption += data.strip()

    def handle_endtag(self, tag):
        self._tag = ""


def test_cells_are_where_they_belong():
    made = table(["", "a", "b"], [["one", 1, 2.5], ["two", "3 ± 4", ""]], "Numbers, ± a 95 % interval")
    found = Cells(made._repr_html_())
    assert found.rows == [
        [["th", "col", ""], ["th", "col", "a"], ["th", "col", "b"]],
        [["th", "row", "one"], ["td", None, "1"], ["td", None, "2.5"]],
        [["th", "row", "two"], ["td", None, "3\u00a0±\u00a04"], ["td", None, ""]],
    ]
    assert found.caption == "Numbers, ± a 95 % interval"
    assert repr(made).splitlines() == ["Numbers, ± a 95 % interval", "     a      b", "one  1      2.5", "two  3 ± 4"]


@pytest.mark.parametrize("where", ["head", "first", "cell", "caption"])
def test_what_is_html_is_shown_as_written(where):
    bad = '<img src=x onerror="alert(1)"> & more'
    words = {"head": "a", "first": "b", "cell": "c", "caption": "d", where: bad}
    html = table(["", words["head"]], [[words["first"], words["cell"]]], words["caption"])._repr_html_()
    assert "<img" not in html and "&lt;img" in html and "&amp; more" in html
    shown = Cells(html)
    assert bad in [shown.caption, *(cell for row in shown.rows for _, _, cell in row)]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"needs 3 cells, as its head has; got 2: \['one', '1'\]"):
        table(["", "a", "b"], [["one", 1]], "Numbers")


def test_a_line_across_all_columns_is_a_row_of_its_own():
    made = table(["", "a"], ["first & last:", ["one", 1], "and then:", ["two", 2]], "Numbers")
    shown = [[cell for _, _, cell in row] for row in Cells(made._repr_html_()).rows]
    assert shown[1:] == [[""], ["one", "1"], [""], ["two", "2"]]  # the words are within the cell's <em>
    assert made._repr_html_().count('<td colspan="2"><em>') == 2 and "<em>first &amp; last:</em>" in made._repr_html_()
    assert repr(made).splitlines() == ["Numbers", "     a", "first & last:", "one  1", "and then:", "two  2"]


def test_what_several_statements_ask_stands_once_above_them():
    def lines(*asked: str) -> list[str]:
        said = tuple(Statement(f"claim {n}", criterion, n == 0) for n, criterion in enumerate(asked))
        return repr(statements(Finding(said, (), ""), "Claims")).splitlines()

    assert lines("above 0", "near 1", "above 0")[2:] == [
        "Asked of the record: above 0",
        "claim 0    holds",
        "claim 2    does not hold",
        "Asked of the record: near 1",
        "claim 1    does not hold",
    ]
    found = Finding((Statement("one", "above 0", True, found="+0.2 ± 0.1"), Statement("two", "near 1", None)), (), "")
    assert repr(statements(found, "Claims")).splitlines()[1:] == [
        "the paper  asked of the record  answer     found",
        "one        above 0              holds      +0.2 ± 0.1",
        "two        near 1               undecided",
    ]
    assert lines("above 0", "near 1")[2:] == [
        "claim 0    above 0              holds",
        "claim 1    near 1               does not hold",
    ]


def test_a_number_has_a_minus_and_a_name_keeps_its_hyphen():
    cells = ["-1.5 ± 2", "(-3e-05, .5)", "-.5 to -0.1", "1-3", "SN-4", "x -> y"]
    shown = table([""] * 6, [cells], "Numbers")
    minus = ["\u22121.5\u00a0±\u00a02", "(\u22123e-05, .5)", "\u2212.5 to \u22120.1", "1-3", "SN-4", "x -> y"]
    assert [cell[2] for cell in Cells(shown._repr_html_()).rows[1]] == minus
    assert all(cell in repr(shown) for cell in cells)  # text that may be copied into code keeps it
