"""The numbers of the errata: wherever the book names one, it means an entry that exists, and the one that was meant.

In text a number is a link to its entry. In code, where there are no links, words of the entry's heading stand behind it
in brackets, as in ``# of E10 (relevance rule)``: after a renumbering they would belong to another entry.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docutils.nodes import make_id

BOOK = Path(__file__).resolve().parents[1] / "book"
PAGES = sorted(BOOK.glob("*.md"))
HEADING = re.compile(r"^### E(?P<number>\d+)\. (?P<title>.+)$", re.M)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\[E(?P<number>\d+)\]\((?P<page>[\w.]*)#(?P<anchor>[\w-]+)\)")
IN_HTML = re.compile(r'<a href="errata\.html#(?P<anchor>[\w-]+)">E(?P<number>\d+)</a>')
MENTION = re.compile(r"(?<![\w-])E(?P<number>\d+)\b")  # not LC-E1, which is a claim
IN_CODE = re.compile(r"(?<![\w-])E(?P<number>\d+)\b(?: \((?P<words>[^)]+)\))?")


def entries(errata: str) -> dict[int, str]:
    """The headings of the page, by number."""
    return {int(found["number"]): found["title"] for found in HEADING.finditer(errata)}


def anchor(number: int, title: str) -> str:
    """The address of an entry's heading on its page."""
    return re.sub(r"[^\w-]", "", f"E{number}. {title}".lower().replace(" ", "-"))


def built(number: int, title: str) -> str:
    """The address of the same heading on the built page."""
    return make_id(f"E{number}. {title}")


def problems(text: str, known: dict[int, str]) -> Iterator[str]:
    """What is wrong with the numbers of a page, one sentence each."""
    code = "\n".join(FENCE.findall(text))
    prose = HEADING.sub("", FENCE.sub("", text))
    for found in LINK.finditer(prose):
        number = int(found["number"])
        if found["page"] not in ("", "errata.ipynb") or number not in known:
            yield f"{found[0]} leads to no entry"
        elif found["anchor"] != anchor(number, known[number]):
            yield f"{found[0]} does not lead to E{number}. {known[number]}"
    for found in IN_HTML.finditer(prose):
        number = int(found["number"])
        if number not in known or found["anchor"] != built(number, known[number]):
            yield f"{found[0]} does not lead to E{number}"
    rest = IN_HTML.sub("", LINK.sub("", prose))
    yield from (f"{found[0]} is no link" for found in MENTION.finditer(rest))
    for found in IN_CODE.finditer(code):
        title = known.get(int(found["number"]))
        if title is None or not found["words"] or found["words"].lower() not in title.lower():
            yield f"{found[0]} in code: want words of its heading behind it, in brackets; the heading is {title!r}"


KNOWN = entries((BOOK / "errata.md").read_text("utf8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_number_means_an_entry(page):
    assert list(problems(page.read_text("utf8"), KNOWN)) == []


def test_numbers_are_used_once_and_none_is_left_out():
    numbers = [int(found["number"]) for found in HEADING.finditer((BOOK / "errata.md").read_text("utf8"))]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def tables(errata: str) -> dict[str, list[tuple[str, str, str, str]]]:
    """The rows of each paper's table: number, address, title, and the place in the paper."""
    parts = re.split(r"^### .+ \((LC|SN)\)$", errata.partition("## All entries")[2], flags=re.M)[1:]
    row = re.compile(r"^\| \[E(\d+)\]\(#([\w-]+)\) \| ([^|]+) \| ([^|]+) \|", re.M)
    return {paper: row.findall(text) for paper, text in zip(parts[::2], parts[1::2], strict=True)}


def test_the_tables_have_every_entry_once_in_order_under_its_title():
    rows = tables((BOOK / "errata.md").read_text("utf8"))
    assert list(rows) == ["LC", "SN"]
    for paper, of_one in rows.items():
        numbers = [int(number) for number, *_ in of_one]
        assert numbers == sorted(numbers)
        assert all(place.startswith(paper) for *_, place in of_one)
    found = sorted((int(number), address, title) for of_one in rows.values() for number, address, title, _ in of_one)
    assert found == [(n, anchor(n, KNOWN[n]), KNOWN[n]) for n in sorted(KNOWN)]


def by_kind(table: str) -> dict[str, list[int]]:
    """The entries of each kind, by the rows of the table."""
    kinds: dict[str, list[int]] = {}
    for number, kind in re.findall(r"^\| \[E(\d+)\]\(.*\| ([a-z ]+) \|$", table, re.M):
        kinds.setdefault(kind, []).append(int(number))
    return kinds


def kinds_told(introduction: str) -> dict[str, int]:
    """How many entries of each kind the introduction says there are."""
    return {kind: int(count) for kind, count in re.findall(r"^- \*([a-z ]+)\* \((\d+)\):", introduction, re.M)}


def test_the_introduction_counts_the_entries():
    introduction, _, table = (BOOK / "errata.md").read_text("utf8").partition("## All entries")
    kinds = by_kind(table)
    assert kinds_told(introduction) == {kind: len(numbers) for kind, numbers in kinds.items()}
    (told,) = re.findall(r"There are (\d+) entries", introduction)
    assert int(told) == len(KNOWN) == sum(map(len, kinds.values()))
    assert [int(found["number"]) for found in LINK.finditer(introduction)] == kinds["does not hold"]


# --- the test can fail ----------------------------------------------------------------------------

SMALL = {9: "The values sum to y, or not?", 10: "Where the relevance rule comes from"}


@pytest.mark.parametrize(
    "text",
    [
        "See [E9](#e9-the-values-sum-to-y-or-not) and claim LC-E3.\n",
        "See [E10](errata.ipynb#e10-where-the-relevance-rule-comes-from).\n",
        "### E9. The values sum to y, or not?\n\nText.\n",
        "```{code-cell} ipython3\nx = 1e-12  # of E10 (relevance rule)\n```\n",
        '<td><a href="errata.html#e9-the-values-sum-to-y-or-not">E9</a></td>\n',
    ],
)
def test_a_number_that_leads_somewhere_is_accepted(text):
    assert list(problems(text, SMALL)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Which fails by E9.\n", "E9 is no link"),
        ("[E8](#e8-whatever)\n", "leads to no entry"),
        ("[E9](04_neuron.ipynb#e9-the-values-sum-to-y-or-not)\n", "leads to no entry"),
        ("[E9](#e10-where-the-relevance-rule-comes-from)\n", "does not lead to E9"),
        ('<a href="errata.html#e9">E9</a>\n', "does not lead to E9"),
        ("```{code-cell} ipython3\nx = 1  # of E8\n```\n", "E8 in code"),
        ("```{code-cell} ipython3\nx = 1  # of E10\n```\n", "E10 in code"),
        ("```{code-cell} ipython3\nx = 1  # of E9 (relevance rule)\n```\n", "E9 (relevance rule) in code"),
    ],
)
def test_a_number_that_leads_nowhere_is_found(text, complaint):
    assert complaint in " ".join(problems(text, SMALL))


def test_a_wrong_count_is_found():
    rows = "| [E1](#e1-a) | A | LC | Line. | – | slip |\n| [E2](#e2-b) | B | LC | Line. | – | slip |\n"
    assert by_kind(rows) == {"slip": [1, 2]}
    assert kinds_told("- *slip* (2): a misprint;\n- *does not hold* (0): false;\n") == {"slip": 2, "does not hold": 0}
