"""Sphinx extension: the API reference, written from the docstrings of the package when the book is built.

A page of `book/api/` holds a title and one line, which stands for everything that a module makes public, or, with a
star, for the list of the modules:

    <!-- api: shapnotes.coalitions -->

Three kinds of links are made, and all are checked by the build:

- from a name to where the book derives it: the table `book/api/derivations.toml`;
- back from there, in a line "In code" at the end of the box or below the heading;
- from every mention of a public name in inline code, on any page, to its entry.

The docstrings have numpydoc's sections and two more, Cost and Source. Formulas are `.. math::` blocks and `:math:`
roles in LaTeX, where an empty line begins another formula; code stands in single backticks; shapes in brackets, stars,
powers and words in quotation marks need no marks and are shown as code as well. Everything else is plain text: no
character means anything but itself, and what would be read as markup that was not rendered (a table, TeX outside of a
formula) stops the build.
"""

import dataclasses
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType
from typing import Any

from docutils import nodes
from portable_blocks import chapter_number, slug
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

PAGES = Path(__file__).resolve().parents[1] / "api"
PLACE = re.compile(r"^<!-- api: ([\w.]+|\*) -->$", re.M)
ALIASES = {"sn": "shapnotes", "F": "shapnotes.nn.functional"}  # as the chapters import them

# --- what is documented --------------------------------------------------------------------------------------------


def public_names(module: ModuleType) -> set[str]:
    """What a module offers: its `__all__`, else the functions and classes that are defined in it."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    return {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }


@cache
def pages() -> dict[str, str]:
    """The modules that have a page, and the page's name."""
    places = ((module, path.stem) for path in PAGES.glob("*.md") for module in PLACE.findall(path.read_text("utf8")))
    return {module: page for module, page in sorted(places) if module != "*"}


def members(cls: type) -> list[str]:
    """The public methods and properties of a class that have a docstring and are the package's.

    What a public base class has is documented there.
    """
    elsewhere = [base for base in cls.__mro__[1:] if f"{base.__module__}.{base.__name__}" in _public_objects()]
    own = [base for base in cls.__mro__ if base.__module__.startswith("shapnotes") and base not in elsewhere]
    names = dict.fromkeys(name for base in own for name in vars(base) if not name.startswith("_"))
    inherited = {name for base in elsewhere for name in dir(base)} - set(vars(cls))
    return [name for name in names if name not in inherited and _is_documented(getattr(cls, name))]


def _is_documented(value: Any) -> bool:
    """Whether it is a method or property of the package with a docstring of its own, not one of its base class."""
    function = value.fget if isinstance(value, property) else value
    return inspect.isroutine(function) and function.__module__.startswith("shapnotes") and bool(function.__doc__)


@cache
def _public_objects() -> dict[str, str]:
    """From where a public class or function is defined to the name under which it is documented."""
    found = {}
    for module_name in pages():
        module = importlib.import_module(module_name)
        for name in public_names(module):
            value = getattr(module, name)
            if hasattr(value, "__module__"):
                found[f"{value.__module__}.{value.__qualname__}"] = f"{module_name}.{name}"
    return found


@cache
def entries() -> dict[str, str]:
    """Every name that can be mentioned, in full, and the entry that explains it.

    A method that comes from a public base class is explained there, a field of a dataclass with its class.
    """
    found = {module: module for module in pages()}
    classes = []
    for module_name in pages():
        module = importlib.import_module(module_name)
        for name in public_names(module):
            value, full = getattr(module, name), f"{module_name}.{name}"
            if not isinstance(value, ModuleType):
                found[full] = full
            if inspect.isclass(value):
                found |= {f"{full}.{member}": f"{full}.{member}" for member in members(value)}
                classes.append((full, value))
    for full, cls in classes:
        for base in cls.__mro__[1:]:
            documented = _public_objects().get(f"{base.__module__}.{base.__qualname__}")
            for member in members(base) if documented else ():
                found.setdefault(f"{full}.{member}", f"{documented}.{member}")
        for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
            found.setdefault(f"{full}.{field.name}", full)
    return found


def entry_of(code: str, context: str | None = None) -> str | None:
    """The entry that a piece of inline code names, or calls; None where it names none.

    Names are complete (`sn.explain`, `shapnotes.explain`) or begin with a module (`coalitions.masks`); those in the
    reference may also be bare, and are looked up from the class or the module, `context`, outwards.
    """
    match = re.match(r"([\w.]+)(\(|$)", code)
    if match is None or not (context or "." in match[1] or match[1] in entries()):
        return None
    first, _, rest = match[1].partition(".")
    name, context = (f"{ALIASES[first]}.{rest}", "") if first in ALIASES else (match[1], context or "shapnotes")
    while context:
        if found := entries().get(f"{context}.{name}"):
            return found
        context = context.rpartition(".")[0]
    return entries().get(name)


@cache
def derivations() -> dict[str, list[str]]:
    """Where the book derives what a public name computes: entry -> ["chapter#anchor", ...]."""
    table = tomllib.loads((PAGES / "derivations.toml").read_text("utf8"))
    return {f"{module}.{name}": places for module, names in table.items() for name, places in names.items()}


def short(full: str) -> str:
    """A full name as the chapters write it, with `sn` and `F`."""
    for alias, module in sorted(ALIASES.items()):
        if full.startswith(f"{module}."):
            return f"{alias}{full.removeprefix(module)}"
    return full


# --- from a docstring to Markdown ----------------------------------------------------------------------------------

ENTRIES = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")
SECTIONS = (*ENTRIES, "Cost", "Source", "Notes", "Examples")

ITEM = re.compile(r"(?P<names>[\w*]+(?:, [\w*]+)*) : (?P<type>.+)")
MARKED = re.compile(
    r":math:`(?P<math>[^`]+)`|(?::\w+:)?`{1,2}(?P<code>[^`]+)`{1,2}|(?<!\w)\*\*(?P<bold>[^*\s][^*]*)\*\*(?!\w)"
)
LIST = re.compile(r"^(-|\d+\.) ", re.M)
# Shapes with what they index, powers, stars, and words in quotation marks: code without marks.
UNMARKED = re.compile(r'[\w.]*\[[^\[\]]*\]|[\w()]*\*\*[\w()]+|\*\w+|"[\w.-]*"')
# What a page would show as it stands: a table, TeX, a power with a caret, a formula in dollars, marks of reST.
RAW = re.compile(r"\|-{2,}|\\\S|\S\^|\$\S[^$]*\$|:\w*:")


def sections(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a docstring with their names; the first one has none."""
    name, lines = "", []
    rest = docstring.splitlines()
    while rest:
        if len(rest) > 1 and re.fullmatch("-{3,}", rest[1]) and rest[0]:
            yield name, lines
            name, lines, rest = rest[0].strip(), [], rest[2:]
        else:
            lines.append(rest.pop(0))
    yield name, lines


def inline(text: str) -> str:
    """A line of a docstring as Markdown, in which nothing is markup that was not meant so."""
    parts, end = [], 0
    for match in MARKED.finditer(text):
        parts.append(_plain(text[end : match.start()]))
        shown = {"math": f"${match['math']}$", "code": _code(match["code"] or ""), "bold": f"**{match['bold']}**"}
        parts.append(shown[match.lastgroup or "code"])
        end = match.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    parts, end = [], 0
    for match in UNMARKED.finditer(text):
        parts += [_escaped(text[end : match.start()]), _code(match[0])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    if found := RAW.search(text):
        raise ValueError(f"a docstring holds {found[0]!r} outside of code and formulas: {text.strip()!r}")
    return re.sub(r"([\\*_`<>\[\]$|~#^{}])", r"\\\1", text.replace("->", "→"))


def _code(text: str) -> str:
    return f"`{text.strip()}`"


def _fenced(language: str, lines: Iterable[str]) -> str:
    return "\n".join([f"```{language}", *dedent("\n".join(lines)).strip("\n").splitlines(), "```"])


def blocks(lines: list[str]) -> str:
    """Paragraphs, formulas, lists and examples of a docstring, as Markdown."""
    found = []
    for block in _blocks(lines):
        first = block[0]
        if first.startswith(".. math::"):
            formulas = dedent("\n".join(block[1:])).strip() or first.removeprefix(".. math::").strip()
            found += [f"$$\n{formula}\n$$" for formula in re.split(r"\n{2,}", formulas)]
        elif first.startswith(".. "):
            raise ValueError(f"a docstring holds {first!r}; of directives there is only '.. math::'")
        elif first.startswith(">>>"):
            found.append(_fenced("pycon", block))
        elif first.startswith(" ") or re.match(r"[\w*][\w*, ]* +: ", first):
            found.append(_fenced("text", block))
        elif LIST.match(first):
            marks, texts = LIST.findall("\n".join(block)), LIST.split("\n".join(block))[2::2]
            found.append("\n".join(f"{m} {inline(' '.join(t.split()))}" for m, t in zip(marks, texts, strict=True)))
        else:
            found.append(inline(" ".join(line.strip() for line in block)))
    return "\n\n".join(found)


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Lines up to an empty one; a formula, and an indented block, may hold empty ones."""
    block: list[str] = []
    for line in [*lines, ""]:
        inside = block and (block[0].startswith("..") or block[0].startswith(" "))
        if inside and (not line.strip() or line.startswith(" ")):
            block.append(line)
        elif line.strip() and not inside:
            block.append(line)
        else:
            if any(map(str.strip, block)):
                yield block
            block = [line] if line.strip() else []
    if any(map(str.strip, block)):
        yield block


def defined(term: str, body: str) -> str:
    """An item of a definition list, in MyST's Markdown."""
    return f"{term}\n:   {indent(body, '    ')[4:]}\n"


def items(section: str, lines: list[str]) -> str:
    """The entries of a section such as Parameters: names and types, and below them, indented, the text."""
    named = section in ("Parameters", "Attributes")
    kind = (lambda head: f"**{_escaped(head)}**") if named else (lambda head: f"*{inline(head)}*")
    found = []
    rest = [line for line in lines]
    while rest:
        head = rest.pop(0)
        body = []
        while rest and (rest[0].startswith(" ") or not rest[0].strip()):
            body.append(rest.pop(0))
        if head.strip():
            match = ITEM.fullmatch(head)
            term = f"**{_escaped(match['names'])}** *{inline(match['type'])}*" if match else kind(head)
            found.append(defined(term, blocks(dedent("\n".join(body)).splitlines()) or "–"))
    return "\n".join(found)


def body(docstring: str, places: Sequence[str] = ()) -> str:
    """All of a docstring as Markdown: the text, and a definition list of its sections."""
    text, rows = "", dict[str, str]()
    for name, lines in sections(docstring):
        if not name:
            text = blocks(lines)
        elif name in SECTIONS:
            rows[name] = items(name, lines) if name in ENTRIES else blocks(lines)
        else:
            raise ValueError(f"a docstring has a section {name!r}; there are {', '.join(SECTIONS)}")
    examples = rows.pop("Examples", None)
    if places:
        rows["In the book"] = "; ".join(map(_link_to, places))
    if examples:
        rows["Examples"] = examples
    return "\n\n".join([text, "\n".join(defined(name, row) for name, row in rows.items())]).strip()


def _link_to(place: str) -> str:
    """A link to "page#anchor", whose text is the title there; a section comes with its chapter."""
    page, _, anchor = place.partition("#")
    suffix = ".ipynb" if (PAGES.parent / f"{page}.ipynb").is_file() else ".md"
    numbered = re.fullmatch(r"[a-z-]+(-\d+)+", anchor)
    chapter = "" if numbered else f"chapter {chapter_number(page)}, "
    return f"{chapter}[{_titles_with_formulas(page).get(anchor, '')}](../{page}{suffix}#{anchor})"


@cache
def _titles_with_formulas(page: str) -> dict[str, str]:
    """The titles of boxes that hold a formula, by their anchors; all others are filled in by the build, as text."""
    text = (PAGES.parent / f"{page}.md").read_text("utf8")
    boxes = re.findall(r"^> \*\*((\w+) (\d+\.\d+) \(.*\$.*\))\.\*\*", text, re.M)
    return {slug(kind, number): title for title, kind, number in boxes}


# --- from a module to a page ---------------------------------------------------------------------------------------


def signature(value: object) -> str:
    """The arguments with their defaults; their types are in the text."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "()"
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def directive(kind: str, head: str, options: dict[str, str], content: str) -> str:
    """An object of Sphinx's Python domain, with its text inside."""
    fence = "`" * (1 + max(map(len, re.findall("`{3,}", content)), default=2))
    settings = [f":{key}: {value}".rstrip() for key, value in options.items()]
    return "\n".join([f"{fence}{{py:{kind}}} {head}", *settings, "", content, fence])


def entry(module: str, name: str, value: Any) -> str:
    """One public name of a module."""
    full = f"{module}.{name}"
    text = body(_docstring(value), derivations().get(full, ()))
    options = {"module": module}
    if inspect.isclass(value):
        if issubclass(value, Exception):
            return directive("exception", name, options, text)
        methods = [_method(module, name, value, member) for member in members(value)]
        return directive("class", f"{name}{signature(value)}", options, "\n\n".join([text, *methods]))
    if callable(value):
        return directive("function", f"{name}{signature(value)}", options, text)
    return directive("data", name, options, text)


def _method(module: str, owner: str, cls: type, name: str) -> str:
    value = inspect.getattr_static(cls, name)
    text = body(_docstring(getattr(cls, name)), derivations().get(f"{module}.{owner}.{name}", ()))
    if isinstance(value, property):
        return directive("property", f"{owner}.{name}", {"module": module}, text)
    kinds = {classmethod: {"classmethod": ""}, staticmethod: {"staticmethod": ""}}
    options = {"module": module} | kinds.get(type(value), {})
    return directive("method", f"{owner}.{name}{signature(getattr(cls, name))}", options, text)


def _docstring(value: object) -> str:
    return inspect.cleandoc(inspect.getdoc(value) or "")


def summary(value: object) -> str:
    """The first line of a docstring, as Markdown."""
    return inline(_docstring(value).partition("\n")[0])


def reference(module_name: str) -> str:
    """What a page says of a module: its docstring, what it makes public in short, and then each in full."""
    module = importlib.import_module(module_name)
    names = sorted(public_names(module), key=lambda name: _order(module, name))
    objects = [name for name in names if not isinstance(getattr(module, name), ModuleType)]
    modules = [f"`{short(f'{module_name}.{name}')}`" for name in names if name not in objects]
    parts = [f"```{{py:module}} {module_name}\n```", body(_docstring(module))]
    overview = [(short(f"{module_name}.{name}"), getattr(module, name)) for name in objects]
    parts.append("\n".join(f"- `{name}`: {summary(value)}" for name, value in overview))
    parts += [f"Modules inside, each on its own page: {', '.join(modules)}."] if modules else []
    return "\n\n".join([*parts, *(entry(module_name, name, getattr(module, name)) for name in objects)]) + "\n"


def modules() -> str:
    """The list of all modules that have a page, in the order of the sidebar."""
    order = re.findall(r"file: book/api/(\w+)", (PAGES.parents[1] / "_toc.yml").read_text("utf8"))
    names = sorted(pages(), key=lambda name: order.index(pages()[name]))
    return "\n".join(f"- `{short(name)}`: {summary(importlib.import_module(name))}" for name in names) + "\n"


def _order(module: ModuleType, name: str) -> tuple[object, ...]:
    """In the order of the files and of the lines in them; a package's files in the order of its imports."""
    value = getattr(module, name)
    files = list(dict.fromkeys(getattr(v, "__module__", "") for v in vars(module).values()))
    try:
        return files.index(value.__module__), inspect.getsourcelines(value)[1]
    except (AttributeError, OSError, TypeError, ValueError):
        return len(files), name


# --- in Sphinx -----------------------------------------------------------------------------------------------------


def write_reference(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the reference of a module in the place that a page has for it."""
    if docname.startswith("book/api/"):
        source[0] = PLACE.sub(lambda match: modules() if match[1] == "*" else reference(match[1]), source[0])


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Make a link of every public name in inline code."""
    module = next((m for m, page in pages().items() if app.env.docname == f"book/api/{page}"), None)
    for literal in list(doctree.findall(nodes.literal)):
        if _inside(literal, (nodes.title, nodes.reference, addnodes.pending_xref, addnodes.desc_signature)):
            continue
        code = literal.astext()
        if code.startswith("."):  # `sn.coalitions` `.masks`, in two parts so that lines can break
            before = literal.parent[: literal.parent.index(literal)]
            while before and isinstance(before[-1], nodes.Text) and not before[-1].astext().strip():
                before.pop()
            code = f"{before[-1].astext()}{code}" if before else code
        if target := entry_of(code, _context(literal, module)):
            literal.replace_self(_link(target, literal.deepcopy(), app.env.docname))


def _link(target: str, shown: nodes.Node, docname: str) -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "", shown, refdomain="py", reftype="obj", reftarget=target, refdoc=docname, refwarn=True
    )


def _inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _context(node: nodes.Node, module: str | None) -> str | None:
    """The class or function in whose entry a node stands, or the module of the page."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, addnodes.desc):
            head = node[0]
            return f"{head['module']}.{head['class'] or head['fullname']}"
    return module


def link_back(app: Sphinx, doctree: nodes.document) -> None:
    """Say at each derivation which public names compute what it derives."""
    page = app.env.docname.removeprefix("book/")
    slugs = app.env.metadata[app.env.docname].get("myst_slugs", {})
    names: dict[str, list[str]] = {}
    for name, places in derivations().items():
        for place in places:
            if place.partition("#")[0] == page:
                names.setdefault(place.partition("#")[2], []).append(name)
    for anchor, targets in names.items():
        node = doctree.ids.get(slugs[anchor][1]) if anchor in slugs else None
        if node is None:
            logger.warning(f"derivations.toml: there is no #{anchor} on this page", location=app.env.docname)
            continue
        line = nodes.paragraph("", "In code: ", classes=["in-code"])
        for i, target in enumerate(targets):
            line += [nodes.Text(", ")] * bool(i)
            line += _link(target, nodes.literal("", short(target)), app.env.docname)
        if isinstance(node, nodes.section):
            node.insert(node.first_child_matching_class(nodes.title) + 1, line)
        else:
            node += line


def index_names(app: Sphinx, doctree: nodes.document) -> None:
    """Let a search for the bare name of a function or class begin with its entry."""
    for signature in list(doctree.findall(addnodes.desc_signature)):
        if ids := signature.get("ids"):
            name = ids[0].rsplit(".", 1)[-1]
            description = signature.parent
            index = addnodes.index(entries=[("single", name, ids[0], "main", None)])
            description.parent.insert(description.parent.index(description), index)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", write_reference)
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", link_back)
    app.connect("doctree-read", index_names)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
