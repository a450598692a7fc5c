"""The tool that makes and checks the notebooks: each rule can fail, and the book breaks none."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import ClassVar

import nbformat
import notebooks
import pytest

from shapnotes.plots.slider import Picture, Slider

ROOT = Path(__file__).resolve().parents[1]
URL = "https://github.com/someone/elsewhere"
FRONT = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {name: python3, display_name: Python 3}
---

"""
GOOD = """# A title

Text with $x$.

```{code-cell} ipython3
x = 1 + 1
assert x == 2
print(x)
```
"""
EQUATIONS = "\n$$\nx = 1 \\tag{{1.{}}}\n$$\n\n> $$\n> y = 1 \\tag{{1.{}}}\n> $$\n"


@pytest.fixture
def write(tmp_path):
    """Write a text and return its path."""

    def write(body: str = GOOD, name: str = "01_small") -> Path:
        path = tmp_path / "book" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FRONT + body, "utf8")
        return path

    return write


@pytest.fixture
def stored(write):
    """Write a text and the notebook that an execution would store, without executing anything."""

    def stored(body: str = GOOD, change=lambda notebook: None) -> Path:
        text = write(body)
        notebook = notebooks.generate(text, URL)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for count, cell in enumerate(code, 1):
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", text="2\n")]
        change(notebook)
        nbformat.write(notebook, text.with_suffix(".ipynb"))
        return text

    return stored


def last(notebook) -> nbformat.NotebookNode:
    return notebook.cells[-1]


def silence(notebook):
    """Nothing was printed."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []


def show(*outputs):
    """A change that gives the last cell these outputs."""

    def change(notebook):
        last(notebook).outputs = [nbformat.from_dict(output) for output in outputs]

    return change


def set_count(notebook, count=None):
    last(notebook).execution_count = count


def data(kind, content):
    return {"output_type": "display_data", "metadata": {}, "data": {kind: content}}


def picture():
    return data("image/png", "aGk=")


STDERR = {"output_type": "stream", "name": "stderr", "text": "UserWarning: no"}
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
ADDRESS = {"output_type": "stream", "name": "stdout", "text": "<Thing at 0x7f00aa>"}


def cell(source: str, header: str = "") -> str:
    return f"# A title\n\n```{{code-cell}} ipython3\n{header}{source}\n```\n"


def test_a_good_notebook_has_no_problem(stored):
    assert notebooks.check_one(stored(), URL) == []


@pytest.mark.parametrize(
    ("body", "change", "complaint"),
    [
        (GOOD, set_count, "execution counts"),
        (GOOD, lambda n: set_count(n, 7), "execution counts"),
        (GOOD, show(STDERR), "stderr"),
        (GOOD, show(ERROR), "fails with ValueError"),
        (GOOD, show(ADDRESS), "memory address"),
        (GOOD, show(picture()), "without alt text"),
        (GOOD, show(picture()), "without caption"),
        (GOOD, show(picture()), "without name"),
        (cell("assert True\nplt.plot([1]);"), None, "';'"),
        (cell("assert True\nplt.plot([1]);  # drawn"), None, "';'"),
        (GOOD, show(data("application/vnd.jupyter.widget-view+json", {})), "shows a widget"),
        (cell("assert True\n" * 26), None, "26 visible lines"),
        (cell("x = 1"), None, "asserts"),
        (GOOD + "\n![badge](https://example.org/b.svg)\n", None, "third-party"),
        (GOOD + '\n<img alt="b" src="https://example.org/b.svg">\n', None, "third-party"),
        (GOOD + "\n![](figures/x.png)\n", None, "no alt text"),
        (GOOD + EQUATIONS.format(4, 1), None, "equation 1 of the page carries the number 4"),
        (GOOD + EQUATIONS.format(1, 3), None, "equation 2 of the page carries the number 3"),
        (GOOD, lambda n: n.cells.pop(), "stale"),
        (GOOD, lambda n: last(n).update(source="assert 1"), "stale"),
        (GOOD, lambda n: last(n).update(id="other"), "stale"),
        (GOOD, lambda n: last(n).metadata.update(tags=["x"]), "stale"),
        (GOOD, lambda n: n.metadata.update(accelerator="TPU"), "stale"),
    ],
)
def test_every_rule_can_fail(stored, body, change, complaint):
    text = stored(body, change or (lambda notebook: None))
    assert complaint in " ".join(notebooks.check_one(text, URL))


@pytest.mark.parametrize(
    "body",
    [
        cell("assert True\n" * 26, ":tags: [hide-input]\n\n"),
        cell("assert True\nx = ';'"),
        cell("assert True  # one; two;"),
        cell("from torch.testing import assert_close\nassert_close(1, 1)"),
        GOOD + "\n![a plot](figures/x.png) and [a link](https://example.org)\n",
        GOOD + EQUATIONS.format(1, 2),
    ],
)
def test_the_rules_do_not_fire_on_what_is_allowed(stored, body):
    assert notebooks.check_one(stored(body), URL) == []


def test_an_error_that_is_meant_is_allowed(stored):
    body = GOOD + "\n```{code-cell} ipython3\n:tags: [raises-exception]\n\n1 / 0\n```\n"
    assert notebooks.check_one(stored(body, show(ERROR)), URL) == []


def test_a_described_figure_is_allowed(stored):
    header = "---\nmystnb:\n  image: {alt: Two bars.}\n  figure: {caption: Bars, name: fig-b}\n---\n"
    text = stored(cell("assert True", header), show(picture()))
    assert notebooks.check_one(text, URL) == []


@pytest.mark.parametrize(
    ("image", "described"),
    [('<img src="x">', False), ('<img alt="" src="x">', False), ('<img alt="Bars" src="x">', True)],
)
def test_images_in_html_need_alt_text(stored, image, described):
    found = notebooks.check_one(stored(change=show(data("text/html", f"<div>{image}</div>"))), URL)
    assert found == ([] if described else ["cell 5: an image in its HTML has no alt text"])


def test_a_text_without_its_notebook_is_reported(write):
    assert "no notebook" in notebooks.check_one(write(), URL)[0]


def book_of(tmp_path: Path, toc: str) -> Path:
    (tmp_path / "_toc.yml").write_text(toc, "utf8")
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "{URL}"\n', "utf8")
    return tmp_path


def test_a_complete_little_book_has_no_problem(stored, tmp_path):
    stored()
    assert notebooks.check(book_of(tmp_path, "root: book/01_small.ipynb\n")) == []


@pytest.mark.parametrize(
    ("toc", "complaint"),
    [
        ("root: book/01_small\n", "does not list book/01_small.ipynb"),
        ("root: book/01_small.ipynb\nchapters: [{file: book/gone}]\n", "book/gone, which does not"),
    ],
)
def test_the_table_of_contents_is_checked(stored, tmp_path, toc, complaint):
    stored()
    assert complaint in " ".join(notebooks.check(book_of(tmp_path, toc)))


def test_a_notebook_without_text_is_reported(stored, tmp_path):
    text = stored()
    shutil.copy(text.with_suffix(".ipynb"), text.with_name("02_orphan.ipynb"))
    found = notebooks.check(book_of(tmp_path, "root: book/01_small.ipynb\n"))
    assert found == ["02_orphan: a notebook without its text"]


def test_badge_and_install_cell_come_right_after_the_title_and_stay_out_of_the_book(write):
    title, badge, install, text, code = notebooks.generate(write(), URL).cells
    assert title.source == "# A title"
    assert "github/someone/elsewhere/blob/main/book/01_small.ipynb" in badge.source
    assert f'"{URL}"' in install.source and "shapnotes-book[notebooks]" in install.source
    assert f'"--branch", "{notebooks.tag()}"' in install.source
    assert badge.metadata.tags == install.metadata.tags == ["remove-cell"]
    assert (text.source, code.cell_type) == ("Text with $x$.", "code")


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """A machine with one notebook and no package; a repository whose version v1 is older than its newest commit.

    Returns what runs the install cell, and what pip was asked to install; an error in place of pip can be set.
    """
    origin, alone = tmp_path / "origin", tmp_path / "alone"
    (origin / "book" / "results").mkdir(parents=True)
    alone.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    (origin / "pyproject.toml").write_text("")
    for version in ("v1", "newest"):
        (origin / "book" / "results" / "x.jsonl").write_text(version)
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", version], ["tag", version]):
            subprocess.run([*git, *command], check=True)
    run = subprocess.run

    class Hosted:
        installed: ClassVar = []
        pip_fails = present = False

        def __call__(self, tag="v1"):
            """In a new kernel, which starts beside the notebook; returns the version that is there then."""
            monkeypatch.chdir(alone)
            exec(notebooks.INSTALL.format(url=origin.as_uri(), tag=tag), {})
            return Path("results/x.jsonl").read_text()

        def run(self, given, **how):
            if "pip" not in given:
                return run(given, **how)
            self.installed.append(given[-1])
            if self.pip_fails:
                raise subprocess.CalledProcessError(1, given)

    host = Hosted()
    host.installed.clear()
    monkeypatch.setattr(subprocess, "run", host.run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if host.present else None)
    return host


def test_the_install_cell_fetches_the_records_and_installs(hosted):
    """Run again, in a new kernel, it only goes back to the records; in the same one, it stays there."""
    assert hosted() == "v1" and hosted.installed == ["./shapnotes-book[notebooks]"]
    hosted.present = True
    assert hosted() == "v1"
    exec(notebooks.INSTALL.format(url=URL, tag="v1"), {})
    assert Path("results/x.jsonl").exists() and len(hosted.installed) == 1


def test_the_install_cell_can_be_run_again_after_it_failed(hosted, tmp_path):
    """In pip, with the book there already; or in git, which was killed."""
    hosted.pip_fails = True
    with pytest.raises(subprocess.CalledProcessError):
        hosted()
    hosted.pip_fails = False
    assert hosted() == "v1" and len(hosted.installed) == 2
    shutil.rmtree(tmp_path / "alone" / "shapnotes-book")
    (tmp_path / "alone" / "shapnotes-book" / ".git").mkdir(parents=True)
    assert hosted() == "v1" and len(hosted.installed) == 3


def test_the_install_cell_takes_the_newest_of_a_version_that_is_not_published(hosted, tmp_path):
    assert hosted("v2") == "newest"
    shutil.rmtree(tmp_path / "origin")
    shutil.rmtree(tmp_path / "alone" / "shapnotes-book")
    with pytest.raises(subprocess.CalledProcessError):
        hosted("v2")


def test_new_words_are_stored_without_executing(stored, monkeypatch):
    """And a new install cell, which every release has; whatever else is out of date is executed."""
    text = stored(GOOD, show({"output_type": "stream", "name": "stdout", "text": "2"}))
    before = text.with_suffix(".ipynb").read_text("utf8")
    executed = []
    monkeypatch.setattr(notebooks, "execute", lambda text, url: executed.append(text) or "executed")
    monkeypatch.setattr(notebooks, "tag", lambda: "v9")
    assert "stale" in notebooks.check_one(text, URL)[0]
    notebooks.store(text, URL)
    after = text.with_suffix(".ipynb").read_text("utf8")
    assert notebooks.check_one(text, URL) == [] and not executed
    assert '"v9' in after.replace("\\", "") and json.loads(after)["cells"][-1] == json.loads(before)["cells"][-1]
    text.write_text(text.read_text("utf8").replace("Text with", "Words with"), "utf8")
    notebooks.store(text, URL)
    assert notebooks.check_one(text, URL) == [] and not executed
    after = text.with_suffix(".ipynb").read_text("utf8")
    assert "Words with" in after and json.loads(after)["cells"][-1] == json.loads(before)["cells"][-1]
    notebooks.store(text, URL, everything=True)
    text.write_text(text.read_text("utf8").replace("1 + 1", "2"), "utf8")
    text.with_suffix(".ipynb").write_text(after, "utf8")
    notebooks.store(text, URL)
    text.with_suffix(".ipynb").unlink()
    notebooks.store(text, URL)
    assert executed == [text] * 3


LINKED = """# A title

See [the theorem](#theorem-1-2), [(1.1)](#equation-1-1), [the figure](#fig-b) and [what costs](#what-it-costs-x).

## What it costs, *x*

> **Theorem 1.2 (Name).** It holds that
>
> $$
> x = 1 \\tag{1.1}
> $$

> **Theorem 1.3.** Nobody leads here.

```{code-cell} ipython3
---
mystnb: {image: {alt: A line.}, figure: {caption: A line, name: fig-b}}
---
assert True
```
"""


def test_links_within_a_page_have_targets_that_any_viewer_of_notebooks_knows(write):
    """Those that are led to, and no others."""
    [_, _, _, text, code] = notebooks.generate(write(LINKED), URL).cells
    assert re.findall(r'<a id="([\w-]+)"></a>', text.source) == [
        "what-it-costs-x",
        "theorem-1-2",
        "equation-1-1",
        "fig-b",
    ]
    assert '> <a id="theorem-1-2"></a>**Theorem 1.2' in text.source
    assert '> <a id="equation-1-1"></a>\n> \n> $$' in text.source
    assert text.source.endswith('<a id="fig-b"></a>') and "<a" not in code.source
    after_code = LINKED.replace("> **Theorem 1.3.** Nobody leads here.", "```{code-cell} ipython3\n1\n```")
    [*_, only, _] = notebooks.generate(write(after_code), URL).cells
    assert only.source == '<a id="fig-b"></a>'


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (cell("x = 1\nassert x"), "shows nothing"),
        (cell("for x in range(3):\n    y = x"), "shows nothing"),
        (cell("x = 1"), "shows nothing"),
        (cell("import os\n\nx = os"), "shows nothing"),
        (cell("%matplotlib inline"), "shows nothing"),
        (cell("x = " + "1 + " * 20 + "1"), "a line of code over 76"),
    ],
)
def test_what_a_reader_sees_is_held_to_the_rules(stored, body, complaint):
    assert complaint in " ".join(notebooks.check_one(stored(body, silence), URL))


def test_wide_output_is_refused_unless_it_has_another_form(stored):
    wide = {"output_type": "stream", "name": "stdout", "text": "x" * 77 + "\n" + "x" * 76}
    html = data("text/html", "<table>") | {"data": {"text/html": "<table>", "text/plain": "x" * 99}}
    (problem,) = notebooks.check_one(stored(GOOD, show(wide, html)), URL)
    assert "a line of output over 76" in problem


@pytest.mark.parametrize(
    "body",
    [
        cell("import os"),
        cell("import os\n\n\ndef f():\n    assert os\n\n\nx = f"),
        cell("assert 1", ":tags: [hide-cell]\n\n"),
    ],
)
def test_definitions_and_folded_cells_may_be_silent(stored, body):
    assert not [p for p in notebooks.check_one(stored(body, silence), URL) if "shows nothing" in p]


@pytest.mark.parametrize(("version", "tag"), [("1.2.0", "v1.2.0"), ("1.3.dev0", "main")])
def test_notebooks_name_the_version_they_belong_to(tmp_path, version, tag):
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n', "utf8")
    assert notebooks.tag(tmp_path) == tag


def test_the_install_cell_does_nothing_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing to install"))
    exec(notebooks.INSTALL.format(url=URL, tag="v1"), {})
    assert Path.cwd() == tmp_path


def test_a_text_must_start_with_its_title(write):
    with pytest.raises(ValueError, match="must start with its title"):
        notebooks.generate(write("No title\n"), URL)


def test_pages_without_a_kernel_are_not_notebooks(tmp_path):
    (tmp_path / "notation.md").write_text("# Notation\n", "utf8")
    assert notebooks.texts(tmp_path) == []


def test_solutions_are_collapsed_in_colab_and_jupyter(write):
    body = GOOD + "\n```{code-cell} ipython3\n:tags: [solution]\n\nassert x\n```\n"
    metadata = last(notebooks.generate(write(body), URL)).metadata
    assert metadata["cellView"] == "form"
    assert metadata["jupyter"] == {"source_hidden": True}


def test_cell_ids_are_distinct_and_depend_on_nothing_but_the_source(write):
    body = GOOD + "\n```{code-cell} ipython3\nassert x\n```\n" * 2
    once, again = ([c.id for c in notebooks.generate(write(body, name), URL).cells] for name in ("a", "b"))
    assert len(set(once)) == len(once)
    assert once[2:] == again[2:]  # the badge names the page


@pytest.mark.filterwarnings("default")  # Jupyter's client leaves sockets and loops to the collector
def test_executing_twice_gives_the_same_bytes(write):
    """Pictures, a slider and a set's order included."""
    body = """# A title

```{code-cell} ipython3
---
mystnb: {image: {alt: A line.}, figure: {caption: A line, name: fig-l}}
---
import shapnotes as sn
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
assert True
```

```{code-cell} ipython3
sn.plots.frames(
    lambda step: plt.plot([step, 1]) and "A line.", ["first", "second"]
)
```

```{code-cell} ipython3
print({"a", "b", "c"})
```
"""
    text = write(body)
    once, again = (notebooks.execute(text, URL) for _ in range(2))
    assert once == again
    text.with_suffix(".ipynb").write_text(once, "utf8")
    assert notebooks.check_one(text, URL) == []
    stored = json.loads(once)
    assert "execution" not in stored["cells"][-1]["metadata"]
    assert "version" not in stored["metadata"]["language_info"]


@pytest.mark.filterwarnings("default")
def test_a_failing_chapter_is_not_stored(write):
    text = write(cell("assert 1 == 2"))
    with pytest.raises(Exception, match="AssertionError"):
        notebooks.execute(text, URL)


def test_the_book_itself_breaks_no_rule():
    assert notebooks.check() == []


def numbered(text: str) -> list[str]:
    """What a text gives a number or a name that links use: boxes, equations, figures."""
    boxes = [f"{found['what']} {found['number']}" for found in notebooks.BOX.finditer(text)]
    equations = [f"equation {found['number']}" for found in notebooks.EQUATION.finditer(text)]
    return boxes + equations + re.findall(r"^  figure: \{.*\bname: ([\w-]+)\}", text, re.M)


def test_no_number_is_given_twice_in_the_book():
    """Nor on two pages of one chapter, which number their boxes together."""
    page = "> **Lemma 1.1 (A).** B.\n\n$$\nx \\tag{1.2}\n$$\n\n  figure: {caption: C, name: fig-d}\n"
    assert numbered(page) == ["Lemma 1.1", "equation 1.2", "fig-d"]
    counts = Counter(name for text in notebooks.texts() for name in numbered(text.read_text("utf8")))
    assert len(counts) > 400
    assert [name for name, count in counts.items() if count > 1] == []


def test_pictures_in_html_are_not_compared_but_their_words_are():
    """Edges of what matplotlib draws differ between processors, which nbval is told in a file of expressions."""
    plugin = pytest.importorskip("nbval.plugin")
    [(pattern, replacement)] = plugin.get_sanitize_patterns((ROOT / "book" / "_tools" / "nbval.cfg").read_text("utf8"))

    def compared(png: bytes, alt: str) -> str:
        return re.sub(pattern, replacement, Slider([Picture(png, alt, "first")], "step")._repr_html_())

    assert compared(b"one", "A line.") == compared(b"another one", "A line.") != compared(b"one", "Bars.")
