"""Sphinx extension: boxes, proofs, solutions and citations written in plain Markdown.

A chapter is read in three places: in the built book, in Colab and on GitHub. Directives such as
``{prf:theorem}`` look well in the first and are noise in the other two, so the chapters use only
what every Markdown reader shows well, and this extension gives it a form in the built book:

======================================================  ===========================================
``> **Theorem 1.2 (Name).** ...``                       a box; target ``#theorem-1-2``
``<details><summary><b>Proof.</b></summary>``           a fold; closed when the page opens
a code cell tagged ``solution`` right after a fold      moved into that fold
a code cell that is folded                              a fold that says what is in it: `fold_name`
``\\tag{1.2}`` in a displayed equation                   target ``#equation-1-2``
``[Shapley (1953)](bibliography.md#shapley1953)``       target: the entry of references.bib
======================================================  ===========================================

Anchors, ``<a id="theorem-1-2"></a>``, which notebooks.py writes for viewers of notebooks, are dropped.
Every target can be reached from its own page (``#theorem-1-2``) and from another one
(``01_games.ipynb#theorem-1-2``); a link to a target that is not there is a warning of the build.
"""

import ast
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.index_entries import split_index_msg

logger = logging.getLogger(__name__)

KINDS = (
    "Theorem", "Lemma", "Proposition", "Corollary", "Definition", "Example", "Remark", "Note",
    "Warning", "In practice", "Exercise", "Relative to the paper", "What we chose", "Key ideas", "Predict",
)  # fmt: skip
LEAD = re.compile(
    rf"(?P<kind>{'|'.join(KINDS)})(?:\s+(?P<number>\d+(?:\.\d+)*))?(?:\s+\((?P<name>.+)\))?\.?",
    re.DOTALL,
)
TAG = re.compile(r"\\tag\{(?P<number>\d+(?:\.\d+)*)\}")
ANCHOR = re.compile(r'<a id="[\w-]+">(</a>)?')
OPEN, CLOSE = re.compile(r"<details\b[^>]*>"), re.compile(r"</details>")
STYLED = re.compile(r"<details class=")  # a fold that brings its own class, as those of the scorecard do
SUMMARY = re.compile(r"<summary>\s*(?:<b>)?\s*(?P<word>[A-Za-z]+)")


def slug(kind: str, number: str) -> str:
    """The target of a numbered object: ``slug("Theorem", "1.2") == "theorem-1-2"``."""
    return f"{kind} {number}".lower().replace(" ", "-").replace(".", "-")


def index_entries(numbered: str, name: str | None) -> list[str]:
    """Under what a box is found by a search: ``["Theorem 1.3", "Uniqueness"]``. Formulas cannot be typed there."""
    entries = [numbered]
    if name and not re.search(r"[$\\;]", name):
        entries.append(name[0].upper() + name[1:])
    return entries


def chapter_number(docname: str) -> str | None:
    """The chapter's number as its file name gives it: ``"book/01_games"`` is chapter ``"1"``."""
    found = re.match(r"(\d+)_", docname.rsplit("/", 1)[-1])
    return str(int(found[1])) if found else None


class PortableBlocks(SphinxTransform):
    """Turn quotations into boxes, ``<details>`` into folds, and number what can be linked to."""

    default_priority = 210  # after parsing, before MyST resolves the links of the page

    def apply(self, **kwargs: Any) -> None:
        self.drop_anchors()
        for quote in list(self.document.findall(nodes.block_quote)):
            self.box(quote)
        for equation in list(self.document.findall(nodes.math_block)):
            if found := TAG.search(equation.astext()):
                self.target(equation, "Equation", found["number"], f"({found['number']})")
                # Sphinx puts an equation with two backslashes into a `split`, where MathJax takes no tag.
                equation.children = [nodes.Text(equation.astext().replace(r"\\", r"\cr "))]
        self.folds()

    def drop_anchors(self) -> None:
        """Take out ``<a id="..."></a>``, which viewers of notebooks need; here the same targets are made below."""
        for start in list(self.document.findall(nodes.raw)):
            if not ANCHOR.fullmatch(start.astext().strip()):
                continue
            parent, at = start.parent, start.parent.index(start)
            if at + 1 < len(parent) and parent[at + 1].astext().strip() == "</a>":
                parent.pop(at + 1)
            parent.remove(start)
            if isinstance(parent, nodes.paragraph) and not parent.astext().strip():
                parent.parent.remove(parent)

    def box(self, quote: nodes.block_quote) -> None:
        """``> **Theorem 1.2 (Name).** ...`` as a titled, numbered box."""
        paragraph = quote.children[0] if quote.children else None
        if not isinstance(paragraph, nodes.paragraph):
            return
        # MyST puts an empty Text before a leading strong.
        lead = next((c for c in paragraph.children if c.astext().strip()), None)
        if not isinstance(lead, nodes.strong):
            return
        found = LEAD.fullmatch(lead.astext().strip())
        if found is None:
            if re.match(rf"({'|'.join(KINDS)})\b", lead.astext()):
                self.warn(f"not the form of a box's title: {lead.astext()!r}", quote)
            return
        kind, number = found["kind"], found["number"]
        paragraph.remove(lead)
        while paragraph.children and not paragraph.children[0].astext().strip():
            paragraph.pop(0)
        if paragraph.children and isinstance(paragraph.children[0], nodes.Text):
            paragraph[0] = nodes.Text(paragraph.children[0].lstrip())
        if not paragraph.children:
            quote.remove(paragraph)
        title = nodes.title("", "", *[child.deepcopy() for child in lead.children])
        box = nodes.admonition("", title, *quote.children, classes=["portable", kind.lower().replace(" ", "-")])
        box.source, box.line = quote.source, quote.line or paragraph.line
        if number:
            self.target(box, kind, number, title.astext().removesuffix("."))
            entries = index_entries(f"{kind} {number}", found["name"])
            index = addnodes.index(entries=[("single", entry, slug(kind, number), "main", None) for entry in entries])
            quote.replace_self([index, box])
        else:
            quote.replace_self(box)

    def target(self, node: nodes.Element, kind: str, number: str, text: str) -> None:
        """Make ``node`` linkable, from this page and from others."""
        chapter = chapter_number(self.env.docname)
        if chapter and number.split(".")[0] != chapter:
            self.warn(f"{kind} {number} does not carry the number of chapter {chapter}", node)
        name = slug(kind, number)
        slugs = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        if name in slugs:
            self.warn(f"{kind} {number} occurs twice on this page", node)
            return
        node["names"].append(name)
        self.document.note_explicit_target(node, node)
        slugs[name] = (node.line, node["ids"][0], text)

    def folds(self) -> None:
        """Style ``<details>``, and move the ``solution`` cells that follow a fold into it."""
        opened: list[nodes.raw] = []
        for raw in list(self.document.findall(nodes.raw)):
            text = raw.astext()
            if raw.get("format") != "html" or STYLED.search(text):
                continue
            if OPEN.search(text):
                word = SUMMARY.search(text)
                kind = word["word"].lower() if word else "more"
                marked = OPEN.sub(f'<details class="fold fold-{kind}">', text, count=1)
                raw.children = [nodes.Text(marked)]
                opened.append(raw)
            if CLOSE.search(text):
                if not opened:
                    self.warn("</details> without its <details>", raw)
                    continue
                start = opened.pop()
                if start.parent is not raw.parent:
                    self.warn("a fold holds a heading or ends in another block", start)
        for start in opened:
            self.warn("<details> without its </details>", start)
        for cell in list(self.document.findall(is_solution)):
            self.solution(cell)
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code" and cell.get("hide_mode"):
                cell["prompt_show"] = cell["prompt_hide"] = fold_name(cell.children[0].astext())

    def solution(self, cell: nodes.container) -> None:
        """Put an executed cell tagged ``solution`` inside the fold right before it."""
        parent, at = cell.parent, cell.parent.index(cell)
        before = parent[at - 1] if at else None
        if isinstance(before, nodes.raw) and CLOSE.fullmatch(before.astext().strip()):
            parent.remove(cell)
            parent.insert(at - 1, cell)
        else:
            self.warn("a cell tagged 'solution' must come right after '</details>'", cell)

    def warn(self, message: str, node: nodes.Node) -> None:
        logger.warning(message, location=node, type="portable", subtype="block")


def is_solution(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and "tag_solution" in node["classes"]


def fold_name(code: str) -> str:
    """What a folded cell is called: by what is in it. One that shows a picture or a table is code, even if it checks.

    >>> fold_name("import torch\\ntorch.set_num_threads(1)"), fold_name("assert 1 > 0"), fold_name("plt.plot(x)")
    ('Imports', 'Checks of what is said', 'Code')
    >>> fold_name("assert 1 > 0\\nplt.show()"), fold_name("assert 1 > 0\\ntables.table([], [], '')")
    ('Code', 'Code')
    """
    tree = ast.parse(code)
    shows = {"plt", "table", "tables"}
    if any(isinstance(node, ast.Name) and node.id in shows for node in ast.walk(tree)):
        return "Code"
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return "Checks of what is said"
    return "Imports" if tree.body and isinstance(tree.body[0], ast.Import | ast.ImportFrom) else "Code"


def bibliography_targets(app: Sphinx, doctree: nodes.document) -> None:
    """Let ``[...](bibliography.md#key)`` reach the entries of references.bib, and only those."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for place, bibliography in app.env.get_domain("cite").bibliographies.items():
        if place.docname == app.env.docname:
            for key, entry in bibliography.citation_nodes.items():
                slugs[key] = (bibliography.line, entry["ids"][0], key)


def note_search_entries(app: Sphinx, doctree: nodes.document) -> None:
    """Remember with each page under what the search finds its boxes and names; a page that is read again forgets it."""
    app.env.metadata[app.env.docname]["search_entries"] = sorted({
        (part, target or "", main)
        for index in doctree.findall(addnodes.index)
        for kind, value, target, main, _ in index["entries"]
        for part in split_index_msg(kind, value)
    })  # fmt: skip


def restore_search_entries(app: Sphinx, env: BuildEnvironment) -> None:
    """Let the search find those of all pages, also of the pages that this build does not write.

    Sphinx collects them while it writes a page and does not load those of an earlier build, so that a build after
    one change would lose all others.
    """
    env._search_index_index_entries.clear()
    for docname, metadata in sorted(env.metadata.items()):
        env._search_index_index_entries[docname] = metadata.get("search_entries", [])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(PortableBlocks)
    app.connect("doctree-read", bibliography_targets)
    app.connect("doctree-read", note_search_entries, priority=900)  # after api_pages has added its own
    app.connect("env-updated", restore_search_entries)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
