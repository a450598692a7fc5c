"""README.md and CONTRIBUTING.md: the code runs and prints what is shown; what they name exists."""

import contextlib
import io
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

import shapnotes as sn

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf8")
PATHS = (ROOT / "book" / "paths.md").read_text("utf8")
TOUR, CHAPTERS = ROOT / "book" / "intro.md", sorted((ROOT / "book").glob("[0-9][0-9]_*.md"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown(block: str) -> list[str]:
    """The output that a block shows: the lines that are nothing but a comment."""
    return [line[2:] for line in block.splitlines() if line.startswith("# ")]


def printed(block: str, names: dict) -> list[str]:
    """What a block prints when it is run with these names defined, which it may add to."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), torch.random.fork_rng():
        exec(compile(block, "README.md", "exec"), names)
    return output.getvalue().splitlines()


def test_the_python_blocks_print_what_the_readme_shows():
    """In one session from top to bottom, as a reader would paste them."""
    names: dict = {}
    python = blocks(README, "python")
    assert len(python) >= 2 and all(shown(block) for block in python), "a block shows no output"
    for block in python:
        assert printed(block, names) == shown(block)


def test_a_wrong_output_would_be_noticed():
    block = blocks(README, "python")[0]
    wrong = block.replace("3., 3., 4.", "3., 3., 5.")
    assert wrong != block
    assert printed(wrong, {}) != shown(wrong)


def linked(text: str) -> set[str]:
    """The local targets of the links in running text, not in code."""
    prose = re.sub(r"^(`{3,}).*?^\1$|`[^`]+`", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"\]\(([^):]+)\)", prose))


@pytest.mark.parametrize("target", sorted(linked(README) | linked(CONTRIBUTING)))
def test_local_links_lead_somewhere(target):
    file, _, section = target.partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text("utf8"), re.MULTILINE) if section else []
    assert (ROOT / file).exists()
    assert not section or section in {heading.lower().replace(" ", "-") for heading in headings}


def make_commands(text: str) -> set[str]:
    """The targets in `make target` and in the lines of shell blocks."""
    in_text = re.findall(r"`g?make (?:[A-Z_]+=\S+ )?([a-z]+)", text)
    shell = "".join(blocks(text, "bash"))
    return {*in_text, *re.findall(r"^make (?:[A-Z_]+=\S+ )?([a-z]+)", shell, re.MULTILINE)}


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_the_commands_are_targets_of_the_makefile(text):
    makefile = (ROOT / "Makefile").read_text("utf8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"book", "test"} <= make_commands(text) <= targets


@pytest.mark.parametrize("text", [README, PATHS, TOUR.read_text("utf8")], ids=["README", "paths", "tour"])
def test_the_hours_are_those_of_the_chapters(text):
    told = int(re.search(r"about\s(\d+)\s+hours", text)[1])
    assert abs(sum(map(minutes, (TOUR, *CHAPTERS))) / 60 - told) < 0.5


def minutes(page: Path) -> float:
    """At 200 words and two cells a minute, with folded proofs, without the exercises and their solutions."""
    text = re.sub(r"^## Exercises?$.*?(?=^## |\Z)", "", page.read_text("utf8"), flags=re.M | re.S)
    cells = re.findall(r"^```\{code-cell.*?^```", text, re.M | re.S)
    return len(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).split()) / 200 + len(cells) / 2


def test_the_exercises_are_not_counted(tmp_path):
    text, cell = "word " * 400, "```{code-cell} ipython3\n1\n```\n"
    page = tmp_path / "page.md"
    page.write_text(f"{text}\n{cell}{cell}\n## Exercises\n\n{text}\n{cell}\n## Further reading\n\n{text}", "utf8")
    assert abs(minutes(page) - 5) < 0.1  # 400 + 400 words, two cells


def stated(page: Path) -> int:
    """The minutes that a page says of itself."""
    (told,) = re.findall(r"(?:\*\*Reading time\.\*\* About|tour of) (\w+)\sminutes", page.read_text("utf8"))
    return 20 if told == "twenty" else int(told)


@pytest.mark.parametrize("page", (TOUR, *CHAPTERS), ids=lambda page: page.stem)
def test_each_page_takes_what_it_says(page):
    assert abs(stated(page) - minutes(page)) <= 5


@pytest.mark.parametrize(
    ("who", "numbers"),
    [
        ("a student", [1, 2, 3, 4, 9, 10, 11]),
        ("an engineer", [0, 2, 3, 14]),
        ("a builder", [0, 9, 10, 11, 12, 13, 16]),
    ],
)
def test_each_way_through_the_book_takes_what_it_says(who, numbers):
    """The tour counts as chapter 0; a chapter may have several pages, which begin with its number."""
    row = next(line for line in PATHS.splitlines() if line.startswith(f"| [{who}]"))
    told = float(re.search(r"(\d+½?) hours?[^|]*\|$", row)[1].replace("½", ".5"))
    pages = [page for page in CHAPTERS if int(page.stem[:2]) in numbers] + [TOUR] * (0 in numbers)
    assert len(pages) >= len(numbers)
    assert abs(sum(map(minutes, pages)) / 60 - told) < 0.4


def test_scorecard_and_errata_take_what_the_fourth_way_says():
    """With the folds of evidence, and without them."""
    row = next(line for line in PATHS.splitlines() if line.startswith("| [a reader of the papers]"))
    told = re.search(r"(\d+) hours \((\d+) with the folds closed\)", row)
    scorecard, errata = (ROOT / "book" / f"{page}.md" for page in ("scorecard", "errata"))
    evidence = re.findall(r"<details.*?</details>", scorecard.read_text("utf8"), re.DOTALL)
    both, folded = minutes(scorecard) + minutes(errata), sum(len(fold.split()) for fold in evidence) / 200
    assert len(evidence) >= 20
    assert [round(both / 60), round((both - folded) / 60)] == [int(told[1]), int(told[2])]


def test_the_implemented_names_exist():
    section = README.split("## What is implemented")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("|")][2:]
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(named) >= 8
    for name in named:
        found = sn
        for part in name.split("."):
            found = getattr(found, part)


def test_versions_and_requirements_are_those_of_pyproject():
    citation = blocks(README, "bibtex")[0]
    assert f"version = {{{PROJECT['version']}}}" in citation
    assert PROJECT["urls"]["Repository"] in citation
    python = PROJECT["requires-python"].removeprefix(">=")
    assert set(re.findall(r"Python (\d+\.\d+) or newer", README)) == {python}
    installed = re.findall(r'pip install "shapnotes(?:\[(\w+)\])? @\s+git\+([^\s"]+)"', README)
    extras = {*re.findall(r"shapnotes\[(\w+)\]", README), *(extra for extra, _ in installed if extra)}
    assert extras <= set(PROJECT["optional-dependencies"])
    assert {address for _, address in installed} == {PROJECT["urls"]["Repository"]}


def test_the_citation_for_programs_is_that_of_pyproject():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    assert citation["version"] == PROJECT["version"] and PROJECT["license"] == " AND ".join(citation["license"])
    assert citation["url"] == citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_claims_are_counted_as_on_the_scorecard():
    head = "| verdict | Li and Cui | Shapley Explanation Networks | this book |"
    counts = [
        text.split(head)[1].split("\n\n")[0] for text in (README, (ROOT / "book" / "scorecard.md").read_text("utf8"))
    ]
    assert counts[0] == counts[1] and "| all |" in counts[0]


# --- CONTRIBUTING.md: the house -------------------------------------------------------------------


def rows(table_after: str) -> list[list[str]]:
    """The rows of the first table after a piece of text in CONTRIBUTING.md, cell by cell."""
    after = CONTRIBUTING.split(table_after)[1]
    lines = after[after.index("\n|") + 1 :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named(table_after: str) -> list[str]:
    """What the first column of a table names."""
    return [name for where, *_ in rows(table_after) for name in re.findall(r"`([^`]+)`", where)]


def test_the_table_of_the_package_is_the_package():
    """Every file and folder at the top has its line, and everything that has a line is there."""
    package, told = ROOT / "shapnotes", named("Inside the package a file is one idea")
    files = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert files | folders == {name for name in told if name.count("/") <= name.endswith("/")}
    assert [name for name in told if "NAME" not in name and not (package / name).exists()] == []


def test_the_contracts_of_imports_know_every_line():
    """The order of the table is theirs."""
    contract = next(c for c in TOOLS["importlinter"]["contracts"] if c.get("containers") == ["shapnotes"])
    layers = [set(re.findall(r"\w+", layer)) for layer in reversed(contract["layers"])]
    of_line = [
        {name.split("/")[0].removesuffix(".py") for name in re.findall(r"`([^`]+)`", where)}
        for where, *_ in rows("Inside the package a file is one idea")
    ]
    heights = [{next(i for i, layer in enumerate(layers) if name in layer) for name in line} for line in of_line]
    assert all(max(above) <= min(line) for above, line in pairwise(heights))


def test_the_files_and_folders_of_the_house_exist():
    told = named("## The house")
    assert len(told) >= 15
    assert [name for name in told if not (ROOT / name).exists()] == []
