"""The chapters' switch PAPER: with it on a chapter trains, and draws from what came of it.

What is executed are the chapter's own cells, with a few words of the switch changed: those that read records, and those
that they need. The scale is that of a rehearsal, which trains for seconds.
"""

import ast
import json
import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import notebooks
import pytest
import torch
from real_data import needs_yeast

from shapnotes.experiments import record_of, study
from shapnotes.experiments._harness.record import Record

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {  # what each reads; of those that are True, the runs of a rehearsal are enough
    "08_training": {"LC-F3": False, "LC-T2": True, "LC-F4": True, "LC-F5": True},
    "12_tables": {"SN-Tab1": False, "SN-Tab3": False, "SN-Tab4": False, "rivals": False},
    "13_images": {"SN-Tab2": True},
    "15_regularised": {"SN-F5": True},
    "16_pruning": {"SN-F5": True},
}
COMPLETE = {"08_training": ("LC-F3",), "12_tables": tuple(CHAPTERS["12_tables"])}  # at the paper's scale, in the book
OFF, ON, SCALE = "PAPER = False", "PAPER = True", 'scale="paper"'


def cells(chapter: str) -> list[str]:
    """Its code, without the cell that installs the package."""
    made = notebooks.generate(ROOT / f"book/{chapter}.md", "https://example.org").cells
    return [c.source for c in made if c.cell_type == "code" and "remove-cell" not in c.metadata.get("tags", [])]


def read_and_bound(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell takes from the cells before it, and those that it gives to the cells after it."""
    read: set[str] = set()
    bound: set[str] = set()
    for statement in ast.parse(source).body:
        loaded, stored, within = set(), set(), set()
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Load()):
                    loaded.add(name)
                case ast.Name(id=name):
                    stored.add(name)
                case ast.FunctionDef(name=name):
                    stored.add(name)
                case ast.alias(name=name, asname=other):
                    stored.add(other or name)
                case ast.arg(arg=name):
                    within.add(name)
                case ast.comprehension(target=target):
                    within |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
        if isinstance(statement, ast.AugAssign):
            loaded |= stored
        elif not isinstance(statement, ast.Assign):  # a loop, a function: what is set in it, it sets before it reads
            within |= stored
        read |= loaded - within - bound
        bound |= {statement.name} if isinstance(statement, ast.FunctionDef) else stored
    return read, bound


def reading_records(sources: list[str]) -> list[int]:
    """Which cells read a record, by way of any name; and which others these need."""
    names = [read_and_bound(source) for source in sources]
    chosen: set[int] = set()
    touched: set[str] = set()
    for place, (read, bound) in enumerate(names):
        if OFF in sources[place] or read & touched:
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
    """One folder for all chapters, which share networks."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def execute(monkeypatch):
    """Execute the cells of a chapter that read records, with changes in that of the switch; returns what is set."""
    monkeypatch.chdir(ROOT / "book")
    monkeypatch.setenv("SHAPNOTES_NO_READER", "1")
    figures = []
    monkeypatch.setattr(plt, "show", lambda: (figures.append(plt.gcf()), plt.close("all")))
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()

    def execute(chapter: str, words: dict[str, str]) -> dict:
        if chapter == "12_tables":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the packages that it imports
                pytest.importorskip("shap")
                pytest.importorskip("interpret")
        sources = cells(chapter)
        (switch,) = (place for place, source in enumerate(sources) if OFF in source)
        chosen = reading_records(sources)
        for before, after in words.items():
            assert sources[switch].count(before) == 1
            sources[switch] = sources[switch].replace(before, after)
        here = {"__name__": "__main__", "figures": figures}
        for place in chosen:
            exec(compile(sources[place], f"{chapter}, cell {place}", "exec"), here)
        return here

    with mpl.rc_context():
        yield execute
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=needs_yeast if name == "12_tables" else ()) for name in CHAPTERS]
)
def test_with_the_switch_on_a_chapter_trains_and_draws(execute, own, capsys, chapter):
    """Where a rehearsal is not enough, the tables and figures are those of the book's record, and that is said."""
    here = execute(chapter, {OFF: ON, SCALE: f'scale="smoke", own={str(own)!r}'})
    told = capsys.readouterr().out
    for identifier, enough in CHAPTERS[chapter].items():
        source = study(identifier)
        runs = record_of(source, own).select("smoke")
        assert len(runs) == sum(len(batch.seeds) for batch in source.batches("smoke"))
        assert (f"{identifier}: {len(runs)} runs of your own" in told) == enough
        assert (f"{identifier}: the book's runs" in told) != enough
        assert (here["records"].runs(identifier) == runs) == enough
    assert here["figures"] or chapter == "13_images"


def elsewhere(identifier: str, folder: Path) -> None:
    """A record of all runs at the paper's scale, with other numbers than the book's."""

    def other(value, factor):
        if isinstance(value, dict):
            return {key: other(one, factor) for key, one in value.items()}
        if isinstance(value, list):
            return [other(one, factor) for one in value]
        return value * factor if isinstance(value, float) else value

    runs = Record(ROOT / f"book/results/{identifier}.jsonl").select("paper")
    changed = [run | {"device": "elsewhere", "result": other(run["result"], 1 + run["seed"] % 3)} for run in runs]
    (folder / f"{identifier}.jsonl").write_text("".join(json.dumps(run) + "\n" for run in changed), "utf8")


@pytest.mark.parametrize("chapter", COMPLETE)
def test_a_complete_record_takes_the_place_of_the_books(execute, tmp_path, capsys, chapter):
    """Nothing is trained again; tables and figures are of its numbers, of which the chapter asserts nothing."""
    for identifier in COMPLETE[chapter]:
        elsewhere(identifier, tmp_path)
    listed = ", ".join(f'"{identifier}"' for identifier in CHAPTERS[chapter])
    only = ", ".join(f'"{identifier}"' for identifier in COMPLETE[chapter])
    here = execute(chapter, {listed: only, OFF: ON, SCALE: f'scale="paper", own={str(tmp_path)!r}'})
    told = capsys.readouterr().out
    assert told.count("runs of your own") == len(COMPLETE[chapter])
    for identifier in COMPLETE[chapter]:
        assert {run["device"] for run in here["records"].runs(identifier)} == {"elsewhere"}
    assert told.count("elsewhere") == len(COMPLETE[chapter])


@pytest.mark.parametrize("chapter", COMPLETE)
def test_with_the_switch_off_other_numbers_are_noticed(execute, tmp_path, chapter):
    for path in (ROOT / "book/results").glob("*.jsonl"):
        (tmp_path / path.name).symlink_to(path)
    for identifier in COMPLETE[chapter]:
        (tmp_path / f"{identifier}.jsonl").unlink()
        elsewhere(identifier, tmp_path)
    with pytest.raises(AssertionError):
        execute(chapter, {SCALE: f'scale="paper", book={str(tmp_path)!r}'})
