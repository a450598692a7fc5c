"""Boxes, folds, targets and citations of the built book: each form works, each mistake warns."""

import re
import shutil
from io import StringIO
from pathlib import Path

import pytest
from portable_blocks import KINDS, LEAD, chapter_number, index_entries, slug
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

# What these tests are about are the warnings of Sphinx, which it does not raise but writes.
pytestmark = pytest.mark.filterwarnings("default")

FRONT = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {name: python3, display_name: Python 3}
language_info: {name: python, pygments_lexer: ipython3}
---

# A title

"""
CONF = """
extensions = ["myst_nb", "sphinxcontrib.bibtex", "portable_blocks"]
nb_execution_mode = "off"
nitpicky = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_cite_id = "{key}"
html_theme = "basic"
exclude_patterns = ["out", "jupyter_execute"]
"""
BIB = "@book{owen1995, author = {Owen, G.}, title = {Game Theory}, publisher = {X}, year = {1995}}\n"
BOX = "> **Theorem 1.2 (Efficiency).** It holds that $x = x$.\n"
FOLD = "<details>\n<summary><b>Proof.</b></summary>\n\nLet $x$ be.\n\n</details>\n"
SOLUTION = "\n```{code-cell} ipython3\n:tags: [solution]\n\nanswer = 42\n```\n"


@pytest.fixture
def build(tmp_path):
    """Build pages (``name=text``) and return (html of 01_games, warnings)."""

    def build(text: str, **others: str) -> tuple[str, str]:
        pages = {"index": "# Index\n", "01_games": FRONT + text, **others}
        pages["index"] += "\n```{toctree}\n" + "\n".join(n for n in pages if n != "index") + "\n```\n"
        for name, content in pages.items():
            file = tmp_path / f"{name}.md"
            if not file.exists() or file.read_text("utf8") != content:  # else Sphinx would read the page again
                file.write_text(content, "utf8")
        (tmp_path / "conf.py").write_text(CONF, "utf8")
        (tmp_path / "references.bib").write_text(BIB, "utf8")
        out, warnings = tmp_path / "out", StringIO()
        with patch_docutils(), docutils_namespace():
            app = Sphinx(tmp_path, tmp_path, out, out / "trees", "html", status=None, warning=warnings)
            app.build()
        return Path(out, "01_games.html").read_text("utf8"), warnings.getvalue()

    return build


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised_with_and_without_number_and_name(kind):
    for text in (f"{kind}.", f"{kind} 1.2.", f"{kind} (A name).", f"{kind} 4.12 (A, 1953)."):
        assert LEAD.fullmatch(text)["kind"] == kind


def test_targets_are_named_after_the_object_and_its_number():
    assert slug("Theorem", "1.2") == "theorem-1-2"
    assert slug("In practice", "3") == "in-practice-3"
    assert (chapter_number("book/04_neuron"), chapter_number("book/intro")) == ("4", None)


def test_a_quotation_becomes_a_titled_box_with_a_target(build):
    html, warnings = build(BOX)
    assert warnings == ""
    assert re.search(r"<div class=\"[^\"]*portable theorem[^\"]*\" id=\"theorem-1-2\"", html)
    assert '<p class="admonition-title">Theorem 1.2 (Efficiency).</p>' in html
    assert "<p>It holds that" in html
    assert "<blockquote" not in html


def test_anchors_for_viewers_of_notebooks_are_dropped(build):
    """Before a box, in a paragraph of their own, and after a fold whose solution follows."""
    anchor = '<a id="x-1"></a>'
    text = BOX.replace("> **", f"> {anchor}**") + f"\n{anchor}\n\n## Heading\n\n" + FOLD + f"\n{anchor}\n" + SOLUTION
    html, warnings = build(text)
    assert warnings == ""
    assert '<p class="admonition-title">Theorem 1.2 (Efficiency).</p>' in html
    assert 'id="x-1"' not in html and "<p></p>" not in html


@pytest.mark.parametrize(
    ("name", "entries"),
    [("Uniqueness", ["Theorem 1.3", "Uniqueness"]), (None, ["Theorem 1.3"]), ("Limit \\sigma", ["Theorem 1.3"])],
)
def test_a_box_is_found_by_its_number_and_its_name(name, entries):
    assert index_entries("Theorem 1.3", name) == entries


def test_a_build_after_a_change_finds_the_boxes_of_all_pages(build, tmp_path):
    """Those of the pages that did not change as well: what is searched is what a fresh build would search."""
    lemma = FRONT + "> **Lemma 2.1 (Null).** Let $x = 0$.\n"
    pages = {"02_models": lemma, "03_computing": lemma.replace("2.1 (Null)", "3.1 (Symmetry)")}
    build(BOX, **pages)
    build(BOX + "\nMore.\n", **pages)
    again = (tmp_path / "out" / "searchindex.js").read_text("utf8")
    shutil.rmtree(tmp_path / "out")
    build(BOX + "\nMore.\n", **pages)
    assert again == (tmp_path / "out" / "searchindex.js").read_text("utf8")
    for entry in ("theorem 1.2", "efficiency", "lemma 2.1", "null", "lemma 3.1", "symmetry"):
        assert f'"{entry}": [[' in again


def test_other_quotations_stay_quotations(build):
    html, warnings = build("> **Yes**, she said.\n\n> Plain.\n")
    assert warnings == ""
    assert html.count("<blockquote") == 2
    assert "portable" not in html


def test_links_reach_boxes_and_equations_of_this_and_other_pages(build):
    equation = "\n$$\nx = x \\tag{1.1}\n$$\n"
    html, warnings = build(
        BOX + equation + "\n[T](#theorem-1-2) [(1.1)](#equation-1-1)\n",
        other="# Other\n\n[T](01_games.md#theorem-1-2), [E](01_games.md#equation-1-1)\n",
    )
    assert warnings == ""
    assert 'href="#theorem-1-2"' in html
    assert 'href="#equation-1-1"' in html
    assert 'id="equation-1-1"' in html


def test_a_tagged_equation_of_several_lines_is_put_into_no_split(build):
    """MathJax takes no tag there, and shows an error in place of the equation."""
    html, warnings = build("$$\n\\begin{aligned}\nx &= x \\\\\n&= x\n\\end{aligned} \\tag{1.1}\n$$\n")
    assert warnings == ""
    assert "split" not in html and re.search(r"x &amp;= x \\cr\s+&amp;= x", html)


def test_a_citation_reaches_its_entry(build):
    bibliography = "# Bibliography\n\n```{bibliography}\n:all:\n:list: bullet\n```\n"
    html, warnings = build("[Owen](bibliography.md#owen1995)\n", bibliography=bibliography)
    assert warnings == ""
    assert 'href="bibliography.html#owen1995"' in html


def test_a_fold_is_marked_by_its_kind(build):
    html, warnings = build(FOLD)
    assert warnings == ""
    assert '<details class="fold fold-proof">' in html


@pytest.mark.parametrize(
    ("tag", "code", "name"),
    [
        ("hide-cell", "import json\n\njson.dumps(1)", "Imports"),
        ("hide-cell", "for x in (1, 2):\n    assert x", "Checks of what is said"),
        ("hide-input", "x = 1", "Code"),
        ("hide-input", "assert x\n\ntable([], [], '')", "Code"),
        ("hide-cell", "# nothing", "Code"),
    ],
)
def test_a_folded_cell_is_called_after_what_is_in_it(build, tag, code, name):
    html, warnings = build(f"Words.\n\n```{{code-cell}} ipython3\n:tags: [{tag}]\n\n{code}\n```\n")
    assert warnings == ""
    assert re.findall(r'admonition-title">([^<]+)<', html) == [name, name]  # while it is closed, and open


def test_solution_cells_move_into_the_fold_before_them_in_order(build):
    text = FOLD.replace("Proof", "Solution") + SOLUTION + SOLUTION.replace("42", "43") + "\nAfter.\n"
    html, warnings = build(text)
    assert warnings == ""
    marks = ["fold-solution", ">42<", ">43<", "</details>", "After."]
    assert [html.index(mark) for mark in marks] == sorted(html.index(mark) for mark in marks)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOX + "\n[T](#theorem-1-3)\n", "theorem-1-3"),
        (BOX + "\n[D](#definition-1-2)\n", "definition-1-2"),
        ("[T](index.md#theorem-1-2)\n", "local id not found in doc 'index': 'theorem-1-2'"),
        ("[(1.1)](#equation-1-1)\n", "equation-1-1"),
        (BOX + "\nBetween.\n\n" + BOX, "Theorem 1.2 occurs twice"),
        (BOX.replace("1.2", "2.1"), "does not carry the number of chapter 1"),
        ("$$\nx \\tag{2.1}\n$$\n", "does not carry the number of chapter 1"),
        ("> **Theorem 1.2 by Owen.** No.\n", "not the form of a box's title"),
        ("<details>\n<summary>Proof.</summary>\n\nOpen.\n", "without its </details>"),
        ("Text.\n\n</details>\n", "without its <details>"),
        (FOLD.replace("Let", "## Heading\n\nLet"), "holds a heading"),
        ("Text." + SOLUTION, "must come right after"),
        (FOLD + "\nBetween.\n" + SOLUTION, "must come right after"),
    ],
)
def test_mistakes_are_warnings(build, text, complaint):
    assert complaint in build(text)[1]


def test_an_unknown_citation_is_a_warning(build):
    bibliography = "# Bibliography\n\n```{bibliography}\n:all:\n```\n"
    _, warnings = build("[Owen](bibliography.md#owen1996)\n", bibliography=bibliography)
    assert "'owen1996'" in warnings
