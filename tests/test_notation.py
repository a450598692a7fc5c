"""The notation page: its names exist, every public name has a row, and so has every symbol of a chapter."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from api_pages import ALIASES, public_names

import shapnotes as sn

PAGE = Path(__file__).resolve().parents[1] / "book" / "notation.md"
HEADING = "name in code"
CODE = re.compile(r"`([^`]+)`")
WITH_MEMBER = re.compile(r"`((?:sn|F)[.\w]*)`\s+`(\.\w+)`")  # `sn.module` `.name`
WITH_ARGUMENT = re.compile(r"`((?:sn|F)[.\w]+)`\s+`(\w+=)`")  # `sn.function` `argument=`
NAME = re.compile(r"(?P<path>(?:sn|F)(?:\.\w+)+)(?:\((?P<argument>\w+)=\))?")


def joined(text: str) -> str:
    """The page with names written as one, that it writes in two parts so that lines can break."""
    return WITH_ARGUMENT.sub(r"`\1(\2)`", WITH_MEMBER.sub(r"`\1\2`", text))


def cells(row: str) -> list[str]:
    """The cells of a row of a pipe table; ``|`` inside mathematics is written ``\\vert``."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def code_columns(text: str) -> list[str]:
    """All names in the columns that are headed "name in code", in order."""
    names, column = [], None
    for line in joined(text).splitlines():
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = cells(line).index(HEADING) if HEADING in cells(line) else -1
        elif column >= 0:
            names += CODE.findall(cells(line)[column])
    return names


def names_on_the_page(text: str) -> list[str]:
    """All code on the page, in tables or not, that is written like a name of the package."""
    return [code for code in CODE.findall(joined(text)) if NAME.fullmatch(code)]


def resolve(name: str) -> object:
    """The object that a name stands for; raises LookupError with the part that does not exist."""
    match = NAME.fullmatch(name)
    if match is None:
        raise LookupError(f"{name!r} is not sn.name, F.name, or one of them and `argument=`")
    alias, *attributes = match["path"].split(".")
    found: object = importlib.import_module(ALIASES[alias])
    for attribute in attributes:
        found = member(found, attribute, name)
    argument = match["argument"]
    if argument and argument not in inspect.signature(found).parameters:
        raise LookupError(f"{name}: {match['path']} has no argument {argument!r}")
    return found


def member(owner: object, attribute: str, name: str) -> object:
    """An attribute that its owner offers; a field of a dataclass counts even without a default."""
    if dataclasses.is_dataclass(owner):
        fields = {field.name: field for field in dataclasses.fields(owner)}
        if attribute in fields:
            return fields[attribute]
    offered = not isinstance(owner, ModuleType) or attribute in public_names(owner)
    if not offered or not hasattr(owner, attribute):
        raise LookupError(f"{name}: no {attribute!r} in {owner!r}")
    return getattr(owner, attribute)


@pytest.mark.parametrize("name", sorted(set(code_columns(PAGE.read_text("utf8")))))
def test_every_name_in_the_code_columns_exists(name):
    resolve(name)


@pytest.mark.parametrize("name", sorted(set(names_on_the_page(PAGE.read_text("utf8")))))
def test_every_name_anywhere_on_the_page_exists(name):
    resolve(name)


def test_the_tables_are_found():
    """The parametrised tests above would pass on an empty page."""
    assert len(set(code_columns(PAGE.read_text("utf8")))) >= 25


def described() -> list[object]:
    """The objects behind all names of the page, modules included on the way."""
    found = []
    for name in names_on_the_page(PAGE.read_text("utf8")):
        alias, *attributes = NAME.fullmatch(name)["path"].split(".")
        owner: object = importlib.import_module(ALIASES[alias])
        for attribute in attributes:
            owner = member(owner, attribute, name)
            found.append(owner)
    return found


@pytest.mark.parametrize(
    "module",
    [
        sn,
        sn.coalitions,
        sn.datasets,
        sn.estimators,
        sn.explainers,
        sn.metrics,
        sn.nn,
        sn.nn.functional,
        sn.plots,
        sn.relevance,
        sn.shapnet,
    ],
    ids=lambda module: module.__name__,
)
def test_every_public_name_is_on_the_page(module):
    objects = described()
    missing = [
        name for name in sorted(public_names(module)) if not any(getattr(module, name) is found for found in objects)
    ]
    assert missing == []


# --- symbols --------------------------------------------------------------------------------------

BOOK = PAGE.parent
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]_*.md"))
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.S)
WORDS = re.compile(r"\\(?:text|operatorname|mathrm|tag|begin|end)\s*\{[^{}]*\}")
LETTER = r"(\\[A-Za-z]+|[A-Za-z])"
MARKED = re.compile(rf"\\(hat|bar|mathcal)(?:\s*\{{\s*{LETTER}\s*\}}|\s+{LETTER}|(\\[A-Za-z]+))")
GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi varphi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell"
).split()
EVERYWHERE = ("Numbers and sets", "Games", "Models")


def symbols(text: str) -> set[str]:
    """The letters in the formulas of a text, each with its hat, bar or script; names such as SA are none."""
    found = set()
    for formula in (a or b for a, b in MATH.findall(text)):
        formula = WORDS.sub(" ", formula)
        found |= {f"{mark} {a or b or c}" for mark, a, b, c in MARKED.findall(formula)}
        formula = MARKED.sub(" ", formula)
        found |= {rf"\{name}" for name in re.findall(r"\\([A-Za-z]+)", formula) if name in GREEK}
        found |= set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", formula)))
    return found


def prose(chapter: str) -> str:
    """A chapter without its cells and without the marks of its boxes, which run through the formulas in them."""
    return re.sub(r"^> ?", "", FENCE.sub("", chapter), flags=re.M)


def explained(page: str, chapter: int) -> set[str]:
    """The symbols that the notation page has for a chapter: everybody's, its part's, and its own."""
    sections = dict(section.partition("\n")[::2] for section in re.split(r"^## ", page, flags=re.M)[1:])
    neuron, networks = "One neuron", "Shapley networks"
    part = () if chapter <= 3 else (neuron,) if chapter <= 8 else (networks,) if chapter <= 16 else (neuron, networks)
    own = re.findall(rf"^\| \[{chapter}\]\(.*$", sections["Used in one chapter"], re.M)
    return symbols("\n".join([*(sections[name] for name in (*EVERYWHERE, *part)), *own]))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_every_symbol_of_a_chapter_is_on_the_page(chapter):
    known = explained(PAGE.read_text("utf8"), int(chapter.stem[:2]))
    assert symbols(prose(chapter.read_text("utf8"))) - known == set()


# --- the test can fail ----------------------------------------------------------------------------


def test_symbols_are_read_with_their_marks_and_without_words():
    text = r"$\hat\alpha_k = \Phi(z)$, $$\mathcal{A}_j \subset \text{all} \tag{1.2}$$, $\bar v \mathrm{SA} \hat{\phi}$"
    assert symbols(text) == {r"hat \alpha", "k", r"\Phi", "z", "mathcal A", "j", "bar v", r"hat \phi"}


def test_boxes_are_read_and_code_is_not():
    chapter = "Text $a$.\n\n> **Lemma 1.1.** $b$\n>\n> $$\n> c\n> $$\n\n```\nx = '$d$'\n```\n"
    assert symbols(prose(chapter)) == {"a", "b", "c"}


def test_a_symbol_of_another_chapter_explains_nothing():
    page = "".join(f"## {name}\n\n" for name in EVERYWHERE) + (
        "## One neuron\n\n| $\\mu$ | mean |\n\n## Shapley networks\n\n"
        "## Used in one chapter\n\n| [4](04.ipynb) | $e$ an error |\n| [5](05.ipynb) | $c$ a class |\n"
    )
    assert explained(page, 4) == {r"\mu", "e"}
    assert explained(page, 5) == {r"\mu", "c"}
    assert explained(page, 9) == set()


@pytest.mark.parametrize(
    "name",
    [
        "sn.shapely_values",
        "sn.shapley_values(base_line=)",
        "sn.Explanation.attribution",
        "F.shapley_values",
        "sn.nn.functional.no_such_formula",
        "shapley_values",
        "sn",
        "sn.shapley_values(baseline)",
        "baseline=",
        ".prediction",
    ],
)
def test_a_wrong_name_is_refused(name):
    with pytest.raises(LookupError):
        resolve(name)


def test_the_parser_reads_the_code_column_wherever_it_stands_and_no_other():
    page = (
        "| symbol | meaning | name in code |\n|---|---|---|\n"
        "| $\\vert S \\vert$ | not `here` | `sn.a`, `sn.b` `.e` |\n\n"
        "| name in code | what |\n|---|---|\n| `sn.c` `d=` | text |\n\n"
        "| what | shape |\n|---|---|\n| table | `[2**n]` |\n"
    )
    assert code_columns(page) == ["sn.a", "sn.b.e", "sn.c(d=)"]
    assert names_on_the_page(page) == ["sn.a", "sn.b.e", "sn.c(d=)"]


def test_a_wrong_row_on_the_page_would_be_found():
    page = PAGE.read_text("utf8").replace("`groups=`", "`g=`")
    with pytest.raises(LookupError, match="no argument 'g'"):
        for name in code_columns(page):
            resolve(name)
