"""The command line writes what it prints."""

import json

import pytest

from shapnotes import bench, cli


def record() -> dict:
    row = {
        "n": 3,
        "hidden": 4,
        "outputs": 1,
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


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "everything"])
    assert "invalid choice" in capsys.readouterr().err
