"""Every benchmark measures, shows what it measured, and shows the records that the book reads."""

import json
from pathlib import Path

import pytest

from shapnotes import cli
from shapnotes.benchmarks import BENCHMARKS, report

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> dict[str, tuple[dict, str]]:
    """The short form of all, by the command line: what each records and prints."""
    folder, shown = tmp_path_factory.mktemp("records"), {}
    for name in BENCHMARKS:
        shown[name] = report(name, short=True, out=folder)
    return {name: (json.loads((folder / f"bench_{name}.json").read_text("utf8")), shown[name]) for name in BENCHMARKS}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_short_run_is_recorded_and_shown(name, short):
    record, shown = short[name]
    assert record["command"] == f"shapnotes bench {name} --short" and record["rows"]
    assert {"date", "device", "threads", "versions"} <= set(record)
    assert shown[0].startswith(f"{name}: ") and record["date"] in shown[1]
    assert shown[2:] == BENCHMARKS[name].table(record)
    assert len(shown) > 2 + len(record["rows"]) and not any(line != line.rstrip() for line in shown)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_records_of_the_book_have_the_same_form(name, short):
    """A record of today is read by the chapters as the stored one is."""
    stored = json.loads((RESULTS / f"bench_{name}.json").read_text("utf8"))
    assert stored["command"] == f"shapnotes bench {name}"
    assert len(BENCHMARKS[name].table(stored)) > len(stored["rows"])
    kinds = {row.get("what"): row for row in stored["rows"]}
    for row in short[name][0]["rows"]:
        compiled = {key for key in kinds[row.get("what")] if "compiled" in key}  # the short form compiles nothing
        assert set(row) | compiled == set(kinds[row.get("what")])


def test_all_are_run_and_what_cannot_run_is_passed_over(capsys, tmp_path, monkeypatch):
    def refused(device, *, short):
        raise ImportError("this needs the package shap")

    chosen = {name: BENCHMARKS[name] for name in ("exact", "shapnet")}
    monkeypatch.setattr(cli, "BENCHMARKS", chosen)
    monkeypatch.setattr(chosen["exact"], "measure", refused)
    assert cli.main(["bench", "all", "--short", "--out", str(tmp_path)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "exact: passed over, this needs the package shap" and second.startswith("shapnet: ")
    assert [path.name for path in tmp_path.iterdir()] == ["bench_shapnet.json"]


def test_one_that_cannot_run_says_so(capsys, tmp_path):
    assert cli.main(["bench", "pruning", "--device", "meta"]) == 2
    assert "device 'meta' cannot be used" in capsys.readouterr().err
    assert cli.main(["bench", "all", "--out", str(tmp_path / "all.json")]) == 2
    assert "--out of all benchmarks is a folder" in capsys.readouterr().err


def test_one_record_goes_where_it_is_told(tmp_path):
    out = tmp_path / "records" / "mine.json"
    assert cli.main(["bench", "exact", "--short", "--out", str(out)]) == 0
    assert json.loads(out.read_text("utf8"))["command"] == "shapnotes bench exact --short"
