"""The API reference: every public name is on it, says what its signature asks for, and leads to its derivation."""

import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from doctest import SKIP, DocTestFinder
from io import StringIO
from pathlib import Path
from types import ModuleType

import api_pages
import pytest
import yaml
from api_pages import derivations, entry_of, inline, members, pages, public_names, reference, sections
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import shapnotes as sn

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"


def public_modules(module: ModuleType = sn) -> list[ModuleType]:
    """A module and, from its `__all__`, the modules that it makes public."""
    found = [getattr(module, name) for name in sorted(public_names(module))]
    return [module, *(deeper for m in found if isinstance(m, ModuleType) for deeper in public_modules(m))]


def documented() -> list[tuple[str, object]]:
    """Everything that has an entry: functions, classes, their methods and properties."""
    objects = []
    for module in public_modules():
        for name in sorted(public_names(module)):
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                objects.append((f"{module.__name__}.{name}", value))
            if inspect.isclass(value):
                objects += [(f"{module.__name__}.{name}.{m}", inspect.getattr_static(value, m)) for m in members(value)]
    return objects


NAMES = dict(documented())
# Those whose docstrings have sections, and so are held to what sections must say.
SECTIONED = {name: dict(sections(inspect.getdoc(value) or "")) for name, value in NAMES.items()}
SECTIONED = {name: parts for name, parts in SECTIONED.items() if len(parts) > 1}
FORMULAS = [name for name, value in NAMES.items() if ".. math::" in (inspect.getdoc(value) or "")]
FORMULAS = [name for name in FORMULAS if name != "shapnotes.datasets.standardise"]  # defined, and nothing to derive


def parameters(value: object) -> list[str]:
    """The parameters of a function or class, with their stars; those of an `__init__` of PyTorch's are told there."""
    if isinstance(value, property):
        return []
    if inspect.isclass(value) and inspect.isfunction(value.__init__) and value.__init__.__module__[:5] == "torch":
        return []
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(value).parameters.values()
    return [stars.get(p.kind, "") + p.name for p in found if p.name not in ("self", "cls")]


# --- all of the package is there ----------------------------------------------------------------------------------


def test_every_public_module_has_a_page_and_every_page_is_listed():
    assert set(pages()) == {module.__name__ for module in public_modules()}
    listed = re.findall(r"file: book/api/(\w+)", (ROOT / "_toc.yml").read_text("utf8"))
    assert sorted(listed) == sorted(["index", *pages().values()])


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_every_public_name_is_on_its_page(module):
    text = reference(module.__name__)
    heads = set(re.findall(r"^`{3,}\{py:\w+\} ([\w.]+)", text, re.M))
    names = {name for name in public_names(module) if not isinstance(getattr(module, name), ModuleType)}
    assert names and names <= heads
    for name in names:
        assert re.search(rf"^- `[\w.]*\b{name}`: \S", text, re.M), f"{name} is not in the list of the page"
    listed = re.findall(r"`[\w.]+\.(\w+)`", "".join(re.findall(r"^Modules inside, .*", text, re.M)))
    assert set(listed) == public_names(module) - names


def test_the_index_lists_the_modules_in_the_order_of_the_sidebar():
    listed = re.findall(r"^- `([\w.]+)`: \S", api_pages.modules(), re.M)
    sidebar = re.findall(r"file: book/api/(\w+)", (ROOT / "_toc.yml").read_text("utf8"))
    pages_of = {api_pages.short(module): page for module, page in pages().items()}
    assert ["index", *(pages_of[name] for name in listed)] == sidebar


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_what_a_page_names_of_the_package_has_an_entry(module):
    named = re.findall(r"`((?:shapnotes|sn)\.[\w.]+)(?:\(.*\))?`", reference(module.__name__))
    assert named and [name for name in named if entry_of(name) is None] == []


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_every_page_has_an_example_that_is_run(module):
    """By pytest, which runs all but those that are marked as skipped."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in settings["addopts"] and "shapnotes" in settings["testpaths"]
    examples = [example for found in DocTestFinder().find(module) for example in found.examples]
    assert [example for example in examples if SKIP not in example.options]
    assert ">>> " in reference(module.__name__)


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_examples_of_modules_are_no_wider_than_a_page(module):
    examples = dict(sections(inspect.getdoc(module) or "")).get("Examples", [])
    assert [line for line in examples if line.startswith((">>> ", "... ")) and len(line) > 76] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name):
    assert (inspect.getdoc(NAMES[name]) or "").strip()


@pytest.mark.parametrize("name", SECTIONED)
def test_the_parameters_of_a_docstring_are_those_of_the_signature(name):
    heads = [line for line in SECTIONED[name].get("Parameters", []) if line and not line.startswith(" ")]
    described = [parameter for head in heads for parameter in head.partition(" : ")[0].split(", ")]
    assert sorted(described) == sorted(parameters(NAMES[name]))


@pytest.mark.parametrize("name", SECTIONED)
def test_a_function_that_returns_something_says_what(name):
    value = NAMES[name]
    if inspect.isfunction(value) and inspect.signature(value).return_annotation not in (None, "None", Iterator[None]):
        assert {"Returns", "Yields"} & set(SECTIONED[name])


@pytest.mark.parametrize("name", SECTIONED)
def test_examples_are_no_wider_than_a_page(name):
    assert [line for line in SECTIONED[name].get("Examples", []) if len(line) > 76] == []


def test_many_docstrings_have_sections():
    """The tests above would pass if none had."""
    assert len(SECTIONED) >= 45


# --- where things are derived -------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """The targets of a chapter: its headings and its numbered boxes."""
    text = (BOOK / f"{page}.md").read_text("utf8")
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    boxes = re.findall(r"^> \*\*([A-Z][a-z]+) (\d+)\.(\d+)\b", text, re.M)
    return headings | {f"{kind.lower()}-{chapter}-{number}" for kind, chapter, number in boxes}


@pytest.mark.parametrize("name", derivations())
def test_a_derivation_belongs_to_a_public_name_and_is_in_the_book(name):
    assert name in NAMES
    for place in derivations()[name]:
        page, _, anchor = place.partition("#")
        assert anchor in anchors(page)


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_of_the_package_is_derived_in_the_book(name):
    """At its own entry, or at that of its class."""
    assert {name, name.rpartition(".")[0]} & set(derivations())


# --- from docstrings to Markdown ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("x [batch, *features] -> [rows]", "x `[batch, *features]` → `[rows]`"),
        ("2**n rows of *features", "`2**n` rows of `*features`"),
        ("the value :math:`\\phi_i` of `x_i`", "the value $\\phi_i$ of `x_i`"),
        ("a_b < c | d, 3 * 4, $5", "a\\_b \\< c \\| d, 3 \\* 4, \\$5"),
        ('"deep" or "a pair"', '`"deep"` or "a pair"'),
        ("**no** and ``code``", "**no** and `code`"),
    ],
)
def test_no_character_is_markup_that_was_not_meant_so(text, markdown):
    assert inline(text) == markdown


def test_a_formula_with_an_empty_line_is_two_formulas():
    text = api_pages.body("Line.\n\n.. math::\n    a = b,\n    \\quad c\n\n    d\n\nwhere it ends.")
    assert text == "Line.\n\n$$\na = b,\n\\quad c\n$$\n\n$$\nd\n$$\n\nwhere it ends."


@pytest.mark.parametrize(
    ("docstring", "complaint"),
    [
        ("Line.\n\n| file | what it holds |\n|---|---|\n| `a.py` | a |", "holds '|---'"),
        ("Line, where\n\\alpha is small.", "holds '\\\\a'"),
        ("Of size 2^k.", "holds '2^'"),
        ("The value $x_1$.", "holds '$x_1$'"),
        ("The value :math: `x`.", "holds ':math:'"),
        ("Line::\n\n    code", "holds '::'"),
        ("Line.\n\nParameters\n----------\nx : Tensor\n    [2^n].\n    Of \\phi.\n", "holds '\\\\p'"),
        ("Line.\n\n.. note:: no\n", "there is only '.. math::'"),
        ("Line.\n\nReferences\n----------\nNone.\n", "a section 'References'"),
    ],
)
def test_what_would_not_be_shown_is_refused(docstring, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        api_pages.body(docstring)


@pytest.mark.parametrize(
    ("code", "context", "entry"),
    [
        ("sn.shapley_values(f, x, r)", None, "shapnotes.shapley_values"),
        ("F.shaplu", None, "shapnotes.nn.functional.shaplu"),
        ("coalitions.masks(n)", None, "shapnotes.coalitions.masks"),
        ("sn.Explanation.gap()", None, "shapnotes.Explanation.gap"),
        ("gap", "shapnotes.Explanation", "shapnotes.Explanation.gap"),
        ("masks", "shapnotes.coalitions.sizes", "shapnotes.coalitions.masks"),
        ("shapley_values", None, None),  # a chapter's own function may have that name
        ("torch.where(masks, x, r)", None, None),
        ("sn.no_such_name", None, None),
    ],
)
def test_names_in_code_lead_to_their_entries(code, context, entry):
    assert entry_of(code, context) == entry


# --- in a built page ----------------------------------------------------------------------------------------------

TOY = '''
"""A toy."""
__all__ = ["Half", "half"]
def half(x: float, *, twice: bool = False) -> float:
    r"""Half of a number.

    .. math::
        h(x) = x / 2

    Parameters
    ----------
    x : float
        Any number; see `Half`.
    twice : bool
        Whether to halve once more.

    Examples
    --------
    >>> half(2.0)
    1.0
    """
class Half:
    """A half; `value` is its number, made by `half`."""
    def value(self) -> float:
        """The number."""
    def __len__(self):
        """Not public."""
'''
CONF = """
extensions = ["myst_nb", "sphinxcontrib.bibtex", "portable_blocks", "api_pages"]
bibtex_bibfiles = []
nb_execution_mode = "off"
nitpicky = True
add_module_names = False
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
html_theme = "basic"
exclude_patterns = ["out"]
"""
CHAPTER = """# A chapter

> **Theorem 1.1 (Halves).** Use `sn.half`, or `toy.Half.value()`.

## To halve

Text.
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build the reference of a module with two names and a chapter; return (reference, chapter, warnings)."""

    def build(
        derived: str = '"half" = ["01_toy#theorem-1-1"]\n"Half.value" = ["01_toy#to-halve"]\n',
        toy: str = TOY,
        chapter: str = CHAPTER,
    ):
        module = ModuleType("shapnotes.toy")
        exec(toy, vars(module))
        monkeypatch.setitem(sys.modules, "shapnotes.toy", module)
        monkeypatch.setattr(api_pages, "PAGES", tmp_path / "book" / "api")
        monkeypatch.setattr(api_pages, "ALIASES", {"sn": "shapnotes.toy"})
        files = {
            "conf.py": CONF,
            "index.md": "# Index\n\n```{toctree}\nbook/01_toy\nbook/api/toy\n```\n",
            "book/01_toy.md": chapter,
            "book/api/toy.md": "# toy\n\n<!-- api: shapnotes.toy -->\n",
            "book/api/derivations.toml": f'["shapnotes.toy"]\n{derived}',
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf8")
        cached = [api_pages.pages, api_pages.entries, api_pages.derivations, api_pages._public_objects]
        cached.append(api_pages._titles_with_formulas)
        for function in cached:
            function.cache_clear()
        out, warnings = tmp_path / "out", StringIO()
        try:
            with patch_docutils(), docutils_namespace():
                app = Sphinx(tmp_path, tmp_path, out, out / "trees", "html", status=None, warning=warnings)
                app.build()
        finally:
            for function in cached:
                function.cache_clear()
        html = [(out / "book" / name).read_text("utf8") for name in ("api/toy.html", "01_toy.html")]
        return *html, warnings.getvalue()

    return build


@pytest.mark.filterwarnings("default")
def test_a_page_has_signature_formula_sections_and_links_both_ways(build):
    page, chapter, warnings = build()
    assert warnings == ""
    text = re.sub(r"<[^>]+>", "", page)
    assert re.search(r"half\(x, \*, twice=False\)", text)
    assert "h(x) = x / 2" in text and "Any number; see Half." in text and "Not public" not in text
    assert 'id="shapnotes.toy.half"' in page and 'id="shapnotes.toy.Half.value"' in page
    assert 'href="../01_toy.html#theorem-1-1"' in page and "Theorem 1.1 (Halves)" in text
    assert re.search(r'href="#shapnotes\.toy\.Half"[^>]*><code[^>]*><span class="pre">Half<', page)
    assert chapter.count('href="api/toy.html#shapnotes.toy.half"') == 2  # where it is mentioned, and "In code"
    assert chapter.count('href="api/toy.html#shapnotes.toy.Half.value"') == 2
    assert re.search(r"In code: .*half", re.sub(r"<[^>]+>", "", chapter))


@pytest.mark.filterwarnings("default")
def test_a_link_to_a_box_shows_the_formula_of_its_title(build):
    page, _, warnings = build(chapter=CHAPTER.replace("(Halves)", r"(Halves of $\hat\alpha_k$)"))
    assert warnings == ""
    link = re.search(r'href="../01_toy.html#theorem-1-1">(.*?)</a>', page, re.S)[1]
    assert re.search(r'Theorem 1\.1 \(Halves of .*class="math[^>]*>\\\(\\hat\\alpha_k\\\)</span>', link, re.S)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("derived", "complaint"),
    [
        ('"half" = ["01_toy#theorem-1-2"]\n', "there is no #theorem-1-2 on this page"),
        ('"third" = ["01_toy#theorem-1-1"]\n', "shapnotes.toy.third"),
    ],
)
def test_derivations_that_lead_nowhere_are_warnings(build, derived, complaint):
    assert complaint in build(derived)[2]


@pytest.mark.filterwarnings("default")
def test_a_formula_that_is_no_directive_stops_the_build(build):
    with pytest.raises(Exception, match=r"of directives there is only"):
        build(toy=TOY.replace(".. math::", ".. maths::"))


def test_the_book_knows_the_extension():
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    assert "api_pages" in config["sphinx"]["config"]["extensions"]
    assert "deflist" in config["parse"]["myst_enable_extensions"]
