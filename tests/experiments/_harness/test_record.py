"""Records lose nothing that was finished, accept nothing twice, and are never written to by those who read them."""

import json
import pickle
import subprocess
import sys
import threading

import pytest

from shapnotes.experiments._harness.record import Record


def run(seed: int, lr: float = 0.1, **more) -> dict:
    named = {"experiment": "X", "scale": "smoke", "config": {"lr": lr}, "seed": seed}
    return named | {"result": {"loss": seed / 3}, "date": "2026-01-31", "command": "shapnotes reproduce X"} | more


def lines(*runs: dict) -> str:
    return "".join(json.dumps(one, sort_keys=True) + "\n" for one in runs)


def test_what_is_appended_is_read_again(tmp_path):
    record = Record(tmp_path / "new" / "x.jsonl")
    for seed in (1, 0):
        record.append(run(seed))
    again = Record(record.path)
    assert again.runs == [run(1), run(0)]
    assert [r["seed"] for r in again.select("smoke", lr=0.1)] == [0, 1]
    assert again.select("paper") == [] and again.select(lr=0.2) == []


def test_a_line_cut_short_is_left_out_and_removed_by_the_next_run(tmp_path):
    path = tmp_path / "x.jsonl"
    whole = lines(run(0)) + json.dumps(run(1))[:20]
    path.write_text(whole)
    record = Record(path)
    assert record.runs == [run(0)] and not record.has("X", "smoke", {"lr": 0.1}, 1)
    assert path.read_text() == whole  # reading writes nothing
    record.append(run(1))
    assert path.read_text() == lines(run(0), run(1))


def test_a_last_run_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(lines(run(0), run(1))[:-1])
    record = Record(path)
    assert record.runs == [run(0), run(1)] and not path.read_bytes().endswith(b"\n")
    record.append(run(2))
    assert path.read_text() == lines(run(0), run(1), run(2))


def test_opening_a_record_loses_nothing_that_others_write(tmp_path):
    """One writes while another does nothing but open the record."""
    path, done = tmp_path / "x.jsonl", threading.Event()

    def open_again_and_again():
        while not done.is_set():
            Record(path)

    reader = threading.Thread(target=open_again_and_again)
    reader.start()
    try:
        record = Record(path)
        for seed in range(60):
            record.append(run(seed))
    finally:
        done.set()
        reader.join()
    assert [r["seed"] for r in Record(path).runs] == list(range(60))


WRITER = """
import sys
from pathlib import Path
from shapnotes.experiments._harness.record import Record

record = Record(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for seed in range(30):
    run = {"experiment": "X", "scale": "smoke", "config": {}, "seed": seed, "result": {}, "date": "", "command": ""}
    try:
        record.append(run)
    except ValueError as error:
        assert "has this run already" in str(error)
"""


def test_two_who_write_at_once_store_every_run_once(tmp_path):
    path = tmp_path / "x.jsonl"
    start = [sys.executable, "-c", WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(start, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0, 0]
    for writer in writers:
        writer.stdin.close()
        writer.stdout.close()
    assert sorted(r["seed"] for r in Record(path).runs) == list(range(30))
    assert path.read_bytes().count(b"\n") == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}\n", r"x\.jsonl, line 2, is not a run: it has no 'experiment'"),
        ("[1]\n", "line 2, is not a run: list in place of an object"),
        ("\n", "line 2, is not a run: Expecting value"),
        (lines(run(1) | {"seed": "1"}), "its 'seed' is '1', no int"),
        (lines(run(1) | {"seed": True}), "its 'seed' is True, no int"),
        (lines(run(1) | {"config": [1]}), r"its 'config' is \[1\], no dict"),
        (lines({k: v for k, v in run(1).items() if k != "date"}), "it has no 'date'"),
        (lines({k: v for k, v in run(1).items() if k != "result"}), "it has no 'result'"),
        (lines(run(1, result={"loss": float("nan")})), "line 2, is not a run: NaN is no JSON"),
        (lines(run(1)).replace("0.3333333333333333", "1e999"), "line 2, is not a run: 1e999 is beyond the largest"),
        (lines(run(1, result=1.5)), "its 'result' is 1.5, no dict"),
        (lines(run(1, experiment="Y")), "line 2, is a run of Y with seed 1, in the record of X"),
        (lines(run(0)), "line 2, has the name of line 1.*remove one of the two"),
    ],
)
def test_what_is_no_run_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "x.jsonl"
    path.write_text(lines(run(0)) + text)
    with pytest.raises(ValueError, match=message):
        Record(path, "X")


def test_an_entry_that_is_missing_is_told_with_its_run(tmp_path):
    record = Record(tmp_path / "x.jsonl", "X")
    record.append(run(3, result={"arm": {"loss": 1.0}}))
    for one in (record.runs[0], pickle.loads(pickle.dumps(Record(record.path).runs[0]))):
        assert one["result"]["arm"] == {"loss": 1.0} and one["result"].get("time") is None
        with pytest.raises(ValueError, match=r"x\.jsonl, seed 3: its result has no 'time'"):
            one["result"]["time"]
        with pytest.raises(ValueError, match=r"x\.jsonl, seed 3: its result, 'arm', has no 'time'"):
            one["result"]["arm"]["time"]
        with pytest.raises(ValueError, match=r"x\.jsonl, seed 3: its config has no 'eps'"):
            one["config"]["eps"]
    with pytest.raises(ValueError, match="the new run is a run of Y with seed 0, in the record of X"):
        record.append(run(0, experiment="Y"))


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(run(0)).encode() + b'{"seed": "\xff"}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2, is not a run: 'utf-8' codec"):
        Record(path)


def test_an_empty_file_has_no_runs(tmp_path):
    path = tmp_path / "x.jsonl"
    path.touch()
    assert Record(path).runs == []


def test_no_run_twice(tmp_path):
    record = Record(tmp_path / "x.jsonl")
    record.append(run(0))
    with pytest.raises(ValueError, match="has this run already"):
        record.append(run(0))
    with pytest.raises(ValueError, match="has this run already"):
        Record(record.path).append(run(0))
    record.append(run(0, lr=0.2))


def test_a_run_that_grew_takes_its_own_place(tmp_path):
    record = Record(tmp_path / "x.jsonl")
    for seed in range(3):
        record.put(run(seed))
    record.put(run(1, result={"epochs": 2}))
    assert Record(record.path).runs == [run(0), run(1, result={"epochs": 2}), run(2)]
    assert record.get("X", "smoke", {"lr": 0.1}, 1)["result"] == {"epochs": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"x.jsonl", "x.jsonl.lock"}


def test_nan_is_not_recorded(tmp_path):
    record = Record(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match="NaN or infinity in it cannot be recorded"):
        record.append(run(0, result={"loss": float("nan")}))
    assert not record.path.exists() and record.runs == []


def test_one_sweep_at_a_time(tmp_path):
    first, second = Record(tmp_path / "x.jsonl"), Record(tmp_path / "x.jsonl")
    with first.alone():
        with pytest.raises(ValueError, match="another process is adding runs"), second.alone():
            pass
        first.append(run(0))
    with second.alone():
        assert second.runs == [run(0)]


def test_a_record_that_cannot_be_written_is_named_at_once(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match=r"file.x\.jsonl cannot be written: .*Give another folder"),
        Record(tmp_path / "file" / "x.jsonl").alone(),
    ):
        pass
