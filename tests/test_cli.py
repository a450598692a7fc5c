"""The command line writes what it prints."""

import json

import pytest

from shapnotes import bench, cli
from shapnotes.experiments import MODULES


def record() -> dict:
    row = {
        "n": 3,
        "network": "3-4-1",
        "chunk_size": 8,
        "bare_seconds": 0.1,
        "opaque_over_bare": 1.5,
        "linear_over_bare": 0.5,
        "shap_over_ours": None,
    }
    return bench.provenance("shapnotes bench exact", "cpu") | {"rows": [row, row | {"shap_over_ours": 4.0}]}


def test_bench_prints_and_records(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "exact", lambda device: record())
    out = tmp_path / "records" / "exact.json"
    assert cli.main(["bench", "exact", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "1.50" in shown and "4.0" in shown and shown.count("\n") == 4
    assert json.loads(out.read_text()) == record()


def test_record_says_where_it_comes_from():
    made = bench.provenance("shapnotes bench exact", "cpu")
    assert {"command", "date", "device", "threads", "versions"} <= set(made)
    assert {"python", "torch", "shapnotes"} <= set(made["versions"])


def test_functions_are_timed_in_turn():
    import torch

    calls = []
    times = bench.in_turn([lambda: calls.append("a"), lambda: calls.append("b")], 2, torch.device("cpu"))
    assert calls == ["a", "b"] * 3 and [len(t) for t in times] == [2, 2]


def test_training_steps_are_timed_and_shown(capsys, monkeypatch):
    networks = {name: (shape, 2, gpu, rarer) for name, (shape, _, gpu, rarer) in bench.NETWORKS.items()}
    monkeypatch.setattr(bench, "NETWORKS", networks)
    made = bench.training(repeats=1)
    assert [(row["network"], row["batch"]) for row in made["rows"][::5]] == [(name, 2) for name in networks]
    assert {row["activation"] for row in made["rows"]} == {"relu", "gelu", "sa", "shaplu", "shaplu, full"}
    assert all(row["over_relu"] == 1 for row in made["rows"] if row["activation"] == "relu")
    monkeypatch.setattr(bench, "training", lambda device: made)
    assert cli.main(["bench", "training"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("784-100-50-10") == shown.count("ResNet-20 v2") == 5


def test_mistakes_are_told_in_a_line(capsys, tmp_path):
    assert cli.main(["reproduce", "LC-F99", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"shapnotes: no experiment 'LC-F99'; there are {', '.join(MODULES)}\n"


def test_reproduce_records_and_sums_up(capsys, tmp_path):
    assert cli.main(["reproduce", "lc-f3", "--scale", "smoke", "--out", str(tmp_path)]) == 0
    assert "6 runs added" in capsys.readouterr().out
    assert (tmp_path / "LC-F3.jsonl").read_text().count("\n") == 6


def test_scorecard_writes_the_page(capsys, tmp_path):
    assert cli.main(["scorecard", "--book", str(tmp_path)]) == 0
    assert (tmp_path / "scorecard.md").read_text() == capsys.readouterr().out
    assert "not written yet" in (tmp_path / "scorecard.md").read_text()


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "everything"])
    assert "invalid choice" in capsys.readouterr().err
