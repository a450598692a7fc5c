"""Records lose nothing that was finished and accept nothing twice."""

import json

import pytest

from shapnotes.experiments.record import Record, mean_and_error


def run(seed: int, lr: float = 0.1) -> dict:
    return {"experiment": "X", "scale": "smoke", "config": {"lr": lr}, "seed": seed, "result": {"loss": seed / 3}}


def test_what_is_appended_is_read_again(tmp_path):
    record = Record(tmp_path / "new" / "x.jsonl")
    for seed in (1, 0):
        record.append(run(seed))
    again = Record(record.path)
    assert again.runs == [run(1), run(0)]
    assert [r["seed"] for r in again.select("smoke", lr=0.1)] == [0, 1]
    assert again.select("paper") == [] and again.select(lr=0.2) == []


def test_a_line_cut_short_is_dropped_and_the_rest_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    whole = json.dumps(run(0)) + "\n"
    path.write_text(whole + json.dumps(run(1))[:20])
    record = Record(path)
    assert record.runs == [run(0)] and not record.has("X", "smoke", {"lr": 0.1}, 1)
    record.append(run(1))
    assert Record(path).runs == [run(0), run(1)]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(run(0)) + "\n{}\n")
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2, is not a run"):
        Record(path)


def test_no_run_twice(tmp_path):
    record = Record(tmp_path / "x.jsonl")
    record.append(run(0))
    with pytest.raises(ValueError, match="has this run already"):
        record.append(run(0))
    record.append(run(0, lr=0.2))


def test_mean_and_standard_error():
    mean, error = mean_and_error([1.0, 2.0, 3.0])
    assert mean == 2 and error == pytest.approx((1 / 3) ** 0.5)
    assert mean_and_error([4.0])[0] == 4
