"""Make the notebooks of the book from their text: one way, ``NAME.md`` to ``NAME.ipynb``.

    python book/_tools/notebooks.py build [NAME ...] [--all]   execute and store what is stale
    python book/_tools/notebooks.py check [NAME ...]           nothing is executed; about a second

The text is the source; the notebook beside it is what Colab opens, what the built book shows and
what nbval compares, so it is stored with its outputs. Executing it again gives the same bytes:
cell ids are hashes of the source, and nothing is kept that tells the time, the machine or a
version.

``check`` holds the stored notebooks to their text and to the rules below, each of which stands for
a way in which a notebook once looked tested and was not, or broke in front of a reader.
"""

import argparse
import ast
import copy
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

# One number of threads and one hash seed, so that the outputs do not depend on the machine's load.
PINNED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}
PINNED |= {"SHAPNOTES_NO_READER": "1"}  # and no sliders that would need a kernel
TIMEOUT = 300  # seconds a cell
WORKERS = 2
LONGEST_VISIBLE_CELL = 25
WIDEST_LINE = 76  # characters of code or output that a page shows on a wide screen without a scroll bar

METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": [], "toc_visible": True},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}

BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{owner_and_name}/blob/main/book/{name}.ipynb)"
)
INSTALL = """\
# Colab and other hosted notebooks: fetch the book with its records and install the package. Silent otherwise.
import importlib.util
import os
import shutil
import subprocess
import sys

if importlib.util.find_spec("shapnotes") is None:
    if not os.path.isfile("shapnotes-book/pyproject.toml"):
        shutil.rmtree("shapnotes-book", ignore_errors=True)  # what an interrupted call may have left
        clone = ["git", "clone", "--quiet", "--depth", "1", "{url}", "shapnotes-book"]
        # The version that this notebook belongs to; the newest, as long as that is not published.
        if subprocess.run([*clone, "--branch", "{tag}"], capture_output=True).returncode:
            subprocess.run(clone, check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "./shapnotes-book[notebooks]"], check=True)
if os.path.isdir("shapnotes-book/book"):  # where the records are that some chapters read
    os.chdir("shapnotes-book/book")"""

# Cells that the built book folds away; the reader of a notebook sees them folded where possible.
FOLDED = {"solution", "hide-input", "hide-cell", "remove-input", "remove-cell"}


# --- from text to notebook ------------------------------------------------------------------------


def repository_url(root: Path = ROOT) -> str:
    """The public address, which is written by hand in pyproject.toml and nowhere else."""
    with open(root / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"].rstrip("/")


def tag(root: Path = ROOT) -> str:
    """What a release of this version is tagged; the main branch, while a version is developed (1.2.dev0)."""
    with open(root / "pyproject.toml", "rb") as file:
        version = tomllib.load(file)["project"]["version"]
    return "main" if "dev" in version else f"v{version}"


def is_notebook(text: Path) -> bool:
    """Whether a page is to be executed: its front matter names a kernel."""
    front = re.match(r"---\n(.*?)\n---\n", text.read_text("utf8"), re.DOTALL)
    return front is not None and "kernelspec" in (yaml.safe_load(front[1]) or {})


def texts(book: Path = BOOK) -> list[Path]:
    """The texts of all notebooks, in order of their names."""
    return [path for path in sorted(book.glob("*.md")) if is_notebook(path)]


def generate(text: Path, url: str) -> NotebookNode:
    """The notebook that ``text`` asks for, without outputs."""
    source = jupytext.read(text, fmt="md:myst")
    notebook = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA))
    notebook.cells = list(with_header(with_anchors(source.cells), text.stem, url))
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
        key = f"{cell.cell_type}\n{cell.source}"
        seen[key] = seen.get(key, 0) + 1
        cell.id = hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()[:12]
    return notebook


def with_header(cells: list[NotebookNode], name: str, url: str) -> Iterator[NotebookNode]:
    """Put the badge and the install cell right after the title. The built book shows neither."""
    first, *rest = cells
    title, _, after = first.source.partition("\n")
    if first.cell_type != "markdown" or not title.startswith("# "):
        raise ValueError(f"{name}.md: must start with its title, '# ...'; got {title!r}")
    owner_and_name = url.removeprefix("https://github.com/")
    hidden = {"tags": ["remove-cell"]}
    yield nbformat.v4.new_markdown_cell(title)
    yield nbformat.v4.new_markdown_cell(
        BADGE.format(owner_and_name=owner_and_name, name=name), metadata=copy.deepcopy(hidden)
    )
    yield nbformat.v4.new_code_cell(INSTALL.format(url=url, tag=tag()), metadata=copy.deepcopy(hidden))
    if after.strip():
        yield nbformat.v4.new_markdown_cell(after.strip("\n"))
    for cell in rest:
        make = {
            "code": nbformat.v4.new_code_cell,
            "markdown": nbformat.v4.new_markdown_cell,
            "raw": nbformat.v4.new_raw_cell,
        }[cell.cell_type]
        yield make(cell.source, metadata=cell.metadata)


BOX = re.compile(r"^(?P<before> *> )(?=\*\*(?P<what>[A-Z][a-z]+(?: [a-z]+)*) (?P<number>\d+(?:\.\d+)*)\b)", re.M)
EQUATION = re.compile(r"^(?P<before>[> ]*)(?=\$\$[^$]*?\\tag\{(?P<number>\d+(?:\.\d+)*)\})", re.M)
HEADING = re.compile(r"^(?P<before>)(?=#{2,3} (?P<title>.+)$)", re.M)


def anchor(name: str) -> str:
    return f'<a id="{name}"></a>'


def with_anchors(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells with a target, in HTML, for every link that leads to a place of the page itself.

    The built book makes its own and drops these; a viewer of notebooks knows no boxes, equations and figures, and
    names headings in its own way.
    """
    wanted = {
        name for cell in cells if cell.cell_type == "markdown" for name in re.findall(r"\]\(#([\w-]+)\)", cell.source)
    }

    def numbered(found: re.Match[str]) -> str:
        what, number = found.groupdict().get("what", "equation"), found["number"]
        return f"{what} {number}".lower().replace(" ", "-").replace(".", "-")

    def titled(found: re.Match[str]) -> str:
        return re.sub(r"[^\w\- ]", "", found["title"].lower()).strip().replace(" ", "-")

    def mark(form: re.Pattern[str], name: Callable[[re.Match[str]], str], after: str, source: str) -> str:
        def marked(found: re.Match[str]) -> str:
            before = found["before"]
            return before + (anchor(name(found)) + after.format(before) if name(found) in wanted else "")

        return form.sub(marked, source)

    done: list[NotebookNode] = []
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = mark(BOX, numbered, "", cell.source)
            cell.source = mark(EQUATION, numbered, "\n{0}\n{0}", cell.source)
            cell.source = mark(HEADING, titled, "\n\n", cell.source)
        figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if figure in wanted:
            if not done or done[-1].cell_type != "markdown":
                done.append(nbformat.v4.new_markdown_cell(anchor(figure)))
            else:
                done[-1].source += f"\n\n{anchor(figure)}"
        done.append(cell)
    return done


def execute(text: Path, url: str) -> str:
    """Execute the notebook of ``text`` and return the bytes to store, as a string."""
    from nbclient import NotebookClient  # slow to import, and `check` does not need it

    os.environ.update(PINNED)
    notebook = generate(text, url)
    NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of TCP on the local host
        resources={"metadata": {"path": str(text.parent)}},
    ).execute()
    notebook.metadata = nbformat.from_dict(copy.deepcopy(METADATA))
    return nbformat.writes(notebook) + "\n"


# --- rules ----------------------------------------------------------------------------------------


def out_of_sync(expected: NotebookNode, stored: NotebookNode) -> str | None:
    """The first difference in cells, ids or metadata; outputs are not compared here."""
    if len(expected.cells) != len(stored.cells):
        return f"{len(stored.cells)} cells stored, the text has {len(expected.cells)}"
    for number, (ours, theirs) in enumerate(zip(expected.cells, stored.cells, strict=True), 1):
        for key in ("cell_type", "source", "id", "metadata"):
            if ours.get(key) != theirs.get(key):
                return f"cell {number}: stored {key} is not the text's"
    if stored.metadata != expected.metadata:
        return "the notebook's metadata is not what the tool writes"
    return None


def problems(notebook: NotebookNode) -> Iterator[str]:
    """Every rule that a stored notebook breaks, one sentence each."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield "execution counts are not 1..n: nbval passes a cell without one unseen; build again"
    for number, cell in enumerate(notebook.cells, 1):
        rules = code_problems if cell.cell_type == "code" else markdown_problems
        for problem in rules(cell):
            yield f"cell {number}: {problem}"
    if not any(re.search(r"^\s*assert\b|\bassert_\w+\(", cell.source, re.M) for cell in code):
        yield "no cell asserts anything: a chapter that cannot fail is not tested"
    yield from equation_problems(notebook)


def equation_problems(notebook: NotebookNode) -> Iterator[str]:
    r"""Equations carry the numbers 1, 2, 3, ... of their chapter (``\tag{12.1}``), in order of appearance."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    numbers = [int(number) for number in re.findall(r"\\tag\{\d+\.(\d+)\}", text)]
    for place, number in enumerate(numbers, 1):
        if number != place:
            yield f"equation {place} of the page carries the number {number}: number them as they come"
            return


def markdown_problems(cell: NotebookNode) -> Iterator[str]:
    if "remove-cell" in cell.metadata.get("tags", []):
        return
    if re.search(r"!\[[^\]]*\]\(\s*<?https?://|<img\b[^>]*src=['\"]https?://", cell.source):
        yield "shows an image from another host: the built book makes no third-party request"
    if re.search(r"!\[\s*\]\(", cell.source):
        yield "an image has no alt text"


def code_problems(cell: NotebookNode) -> Iterator[str]:
    tags = set(cell.metadata.get("tags", []))
    lines = [line for line in cell.source.splitlines() if line.strip()]
    if len(lines) > LONGEST_VISIBLE_CELL and not tags & FOLDED:
        yield f"{len(lines)} visible lines, at most {LONGEST_VISIBLE_CELL}: fold it or move it"
    if shows_nothing(cell):
        yield f"shows nothing, and defines nothing that the text reads: {cell.source[:40]!r}"
    seen = {"code": [] if tags & FOLDED else lines, "output": [] if "remove-cell" in tags else printed(cell)}
    for what, each in seen.items():
        for line in each:
            if len(line) > WIDEST_LINE:
                yield f"a line of {what} over {WIDEST_LINE} characters: {line[:40]!r}"
    if ends_in_semicolon(cell.source):
        yield "ends in ';', which nbval does not understand: end with plt.show()"
    for output in cell.outputs:
        yield from output_problems(output, cell, tags)


def shows_nothing(cell: NotebookNode) -> bool:
    """Whether a visible cell neither shows something nor only imports, or defines a function or class."""
    if cell.outputs or set(cell.metadata.get("tags", [])) & FOLDED:
        return False
    functions, imports = (ast.FunctionDef, ast.ClassDef), (ast.Import, ast.ImportFrom)
    try:
        body = ast.parse(cell.source).body
    except SyntaxError:  # a magic
        return True
    if any(isinstance(statement, functions) for statement in body):
        imports += (*functions, ast.Assign, ast.AnnAssign)  # constants beside a function
    return not all(isinstance(statement, imports) for statement in body)


def printed(cell: NotebookNode) -> Iterator[str]:
    """The lines of text that a cell shows; what has a richer form is shown in that form."""
    for output in cell.outputs:
        data = output.get("data", {})
        if not any(kind == "text/html" or kind.startswith("image/") for kind in data):
            yield from (output.get("text", "") or str(data.get("text/plain", ""))).splitlines()


def output_problems(output: NotebookNode, cell: NotebookNode, tags: set[str]) -> Iterator[str]:
    if output.output_type == "stream" and output.name == "stderr":
        yield f"writes to stderr: {output.text.strip().splitlines()[0][:80]!r}"
    if output.output_type == "error" and "raises-exception" not in tags:
        yield f"fails with {output.ename}; tag it raises-exception if that is meant"
    data = output.get("data", {})
    shown = output.get("text", "") or str(data.get("text/plain", ""))
    if re.search(r"\bat 0x[0-9a-fA-F]+", shown):
        yield "prints a memory address, which changes every time"
    if "application/vnd.jupyter.widget-view+json" in data:
        yield "shows a widget, which is blank or dead without a kernel: use sn.plots.frames"
    for image in re.findall(r"<img\b[^>]*>", str(data.get("text/html", ""))):
        if not re.search(r"\balt=(?P<q>['\"])(?!\s*(?P=q))", image):
            yield "an image in its HTML has no alt text"
    if any(kind.startswith("image/") for kind in data) and not tags & {"remove-output"}:
        yield from figure_problems(cell.metadata.get("mystnb", {}))


def figure_problems(settings: dict) -> Iterator[str]:
    if not str(settings.get("image", {}).get("alt", "")).strip():
        yield "a figure without alt text (mystnb: image: alt)"
    for key in ("caption", "name"):
        if not str(settings.get("figure", {}).get(key, "")).strip():
            yield f"a figure without {key} (mystnb: figure: {key})"


def ends_in_semicolon(source: str) -> bool:
    """Whether the last statement is followed by ``;`` (which ast drops, so we look behind it)."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return source.rstrip().endswith(";")
    if not body:
        return False
    last = body[-1]
    line = source.splitlines()[last.end_lineno - 1].encode()
    return line[last.end_col_offset :].lstrip().startswith(b";")


def toc_problems(root: Path, names: list[str]) -> Iterator[str]:
    """Every notebook is listed in _toc.yml, with its suffix, and everything listed exists."""
    listed = list(toc_files(yaml.safe_load((root / "_toc.yml").read_text("utf8"))))
    for name in names:
        if f"book/{name}.ipynb" not in listed:
            yield f"_toc.yml does not list book/{name}.ipynb"
    for file in listed:
        if not any((root / f"{file}{suffix}").is_file() for suffix in ("", ".md")):
            yield f"_toc.yml lists {file}, which does not exist"


def toc_files(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("root", "file") if key in node)
    if isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from toc_files(child)


def check_one(text: Path, url: str) -> list[str]:
    """What is wrong with the notebook of one text; empty if nothing."""
    stored = text.with_suffix(".ipynb")
    if not stored.is_file():
        return ["has no notebook yet: run `make notebooks`"]
    notebook = nbformat.read(stored, as_version=4)
    difference = out_of_sync(generate(text, url), notebook)
    stale = [f"stale, run `make notebooks`: {difference}"] if difference else []
    return stale + list(problems(notebook))


# --- commands -------------------------------------------------------------------------------------


def check(root: Path = ROOT, chosen: list[Path] | None = None) -> list[str]:
    """All problems of the book, or of the chosen texts, each with the name of its page."""
    book = root / "book"
    every = texts(book)
    url = repository_url(root)
    found = [f"{t.stem}: {p}" for t in chosen or every for p in check_one(t, url)]
    if chosen is None:
        names = [text.stem for text in every]
        found += toc_problems(root, names)
        for orphan in sorted({path.stem for path in book.glob("*.ipynb")} - set(names)):
            found.append(f"{orphan}: a notebook without its text")
    return found


def is_stale(text: Path, url: str) -> bool:
    stored = text.with_suffix(".ipynb")
    if not stored.is_file():
        return True
    notebook = nbformat.read(stored, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    unfinished = counts != list(range(1, len(counts) + 1))
    return unfinished or out_of_sync(generate(text, url), notebook) is not None


def is_install(cell: NotebookNode) -> bool:
    return cell.source.startswith(INSTALL.splitlines()[0])


def with_new_words(text: Path, url: str) -> str | None:
    """The stored outputs under the new text, if no code changed but the install cell, which here does nothing."""
    target = text.with_suffix(".ipynb")
    if not target.is_file():
        return None
    expected, stored = generate(text, url), nbformat.read(target, as_version=4)
    ours, theirs = ([cell for cell in notebook.cells if cell.cell_type == "code"] for notebook in (expected, stored))
    if len(ours) != len(theirs):
        return None
    for new, old in zip(ours, theirs, strict=True):
        if new.source != old.source and not (is_install(new) and is_install(old)):
            return None
        new.outputs, new.execution_count = old.outputs, old.execution_count
    return None if list(problems(expected)) else nbformat.writes(expected) + "\n"


def store(text: Path, url: str, everything: bool = False) -> str:
    """Execute one text if need be, and write its notebook if the bytes differ; return a line to report."""
    target = text.with_suffix(".ipynb")
    executed = ((not everything and with_new_words(text, url)) or execute(text, url)).encode()
    if target.is_file() and target.read_bytes() == executed:
        return f"{text.stem}: unchanged"
    partial = target.with_suffix(".ipynb.part")
    partial.write_bytes(executed)
    partial.replace(target)  # never a half-written notebook
    return f"{text.stem}: stored"


def build(chosen: list[Path], everything: bool) -> int:
    url = repository_url()
    stale = [text for text in chosen if everything or is_stale(text, url)]
    if not stale:
        print("all notebooks are up to date with their text (use --all to execute them again)")
        return 0
    failures = 0
    with ProcessPoolExecutor(max_workers=WORKERS) as pool:
        jobs = {text: pool.submit(store, text, url, everything) for text in stale}
        for text, job in jobs.items():
            try:
                print(job.result(), flush=True)
            except Exception as error:  # one broken chapter must not hide the others
                failures += 1
                print(f"{text.stem}: FAILED\n{error}", file=sys.stderr, flush=True)
    return 1 if failures else 0


def choose(names: list[str], book: Path = BOOK) -> list[Path]:
    """The texts named on the command line (``01_games``, ``book/01_games.md``), or all."""
    every = {text.stem: text for text in texts(book)}
    wanted = [Path(name).stem for name in names] or list(every)
    if unknown := [name for name in wanted if name not in every]:
        raise SystemExit(f"no such notebook: {', '.join(unknown)}; there are {', '.join(every)}")
    return [every[name] for name in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["build", "check"])
    parser.add_argument("names", nargs="*", help="such as 01_games; default: all")
    parser.add_argument("--all", action="store_true", help="build also what is up to date")
    arguments = parser.parse_intermixed_args()
    chosen = choose(arguments.names)
    if arguments.verb == "build":
        return build(chosen, arguments.all)
    found = check(chosen=chosen if arguments.names else None)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{len(chosen)} notebooks in step with their text, no rule broken")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
