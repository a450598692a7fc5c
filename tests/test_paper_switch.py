"""The chapters' switch PAPER: with it on a chapter trains, and draws from what came of it.

What is executed are the chapter's own cells with two words changed, the switch and the scale, which is that of a
rehearsal. It is those that read records, and what they need.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import notebooks
import pytest
import torch
from real_data import needs_yeast

from shapnotes.experiments import paper_size, record_of, study

from shapnotes.experiments._harness.record import Record

ROOT = Path(__file__).resolve().parents[1]
SWITCH = "PAPER = False"
CHAPTERS = {  # what each reads; the runs of a rehearsal are enough for those that are True
    "08_training": {"LC-F3": False, "LC-T2": True, "LC-F4": True, "LC-F5": True},
    "12_tables": {"SN-Tab1": False, "SN-Tab3": False, "SN-Tab4": False, "rivals": False},
    "13_images": {"SN-Tab2": True},
    "15_regularised": {"SN-F5": True},
    "16_pruning": {"SN-F5": True},
}
COMPLETE = {"08_training": ("LC-F3",), "12_tables": tuple(CHAPTERS["12_tables"])}  # in the book, at the paper's scale


def cells(chapter: str) -> list[str]:
    """Its code, without the cell that installs the package."""
    made = notebooks.generate(ROOT / f"book/{chapter}.md", "https://example.org").cells
    return [c.source for c in made if c.cell_type == "code" and "remove-cell" not in c.metadata.get("tags", [])]


def read_and_bound(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell takes from the cells before it, and those that it gives to the cells after it."""
    read, bound = set(), set()
    for statement in ast.parse(source).body:
        nodes = list(ast.walk(statement))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        stored |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        stored |= {a.asname or a.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names}
        own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        own |= stored if not isinstance(statement, ast.Assign) else set()
        own |= {n.id for node in nodes if isinstance(node, ast.comprehension) for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        read |= {node.id for node in names if isinstance(node.ctx, ast.Load)} - own - bound
        read |= {node.target.id for node in nodes if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)} - bound
        bound |= {statement.name} if isinstance(statement, ast.FunctionDef) else stored
    return read, bound


def reading_records(sources: list[str]) -> list[int]:
    """Which cells read a record, by way of any name; and which others these need."""
    names = [read_and_bound(source) for source in sources]
    chosen, touched = set(), set()
    for place, (read, bound) in enumerate(names):
        if "paper_size.records(" in sources[place] or read & touched:
            chosen.add(place)
            touched |= bound
        else:
            touched -= bound
    waiting = sorted(chosen)
    while waiting:
        place = waiting.pop()
        for name in names[place][0]:
            giver = next((before for before in range(place - 1, -1, -1) if name in names[before][1]), None)
            if giver is not None and giver not in chosen:
                chosen.add(giver)
                waiting.append(giver)
    return sorted(chosen)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """One folder for all chapters: they share networks."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def execute(monkeypatch):
    """Execute the cells of a chapter that read records, after changes of words; returns what they have set."""
    monkeypatch.chdir(ROOT / "book")
    monkeypatch.setenv("SHAPNOTES_NO_READER", "1")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()

    def execute(chapter: str, **words: str) -> dict:
        if chapter == "12_tables":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the packages that it imports
                pytest.importorskip("shap")
        sources = cells(chapter)
        switch = next(i for i, source in enumerate(sources) if SWITCH in source)
        chosen = reading_records(sources)
        for before, after in words.items():
            before = {"switch": SWITCH, "scale": 'scale="paper"'}[before]
            assert sources[switch].count(before) == 1
            sources[switch] = sources[switch].replace(before, after)
        here = {"__name__": "__main__"}
        for place in chosen:
            exec(compile(sources[place], f"{chapter}, cell {place}", "exec"), here)
        return here

    with mpl.rc_context():
        yield execute
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_trains_and_draws(execute, own, capsys, chapter):
    here = execute(chapter, switch="PAPER = True", scale=f'scale="smoke", own={str(own)!r}')
    told = capsys.readouterr().out
    for identifier, enough in CHAPTERS[chapter].items():
        source = study(identifier)
        runs = record_of(source, own).select("smoke")
        assert len(runs) == sum(len(batch.seeds) for batch in source.batches("smoke"))
        assert f"{identifier}: {f'{len(runs)} runs of your own' if enough else 'the book'}" in told
        assert (here["records"].runs(identifier) == runs) == enough


