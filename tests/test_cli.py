"""The command line writes what it prints."""

import json
from pathlib import Path

import pytest

from shapnotes import cli
from shapnotes.experiments import IDENTIFIERS, study
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments.images import training
from shapnotes.experiments.plan import PAPER_SCALE, PLAN, paper_scale


def test_mistakes_are_told_in_a_line(capsys, tmp_path):
    assert cli.main(["reproduce", "LC-F99", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"shapnotes: no experiment 'LC-F99'; there are {', '.join(IDENTIFIERS)}\n"


def test_reproduce_records_and_sums_up(capsys, tmp_path):
    assert cli.main(["reproduce", "lc-f3", "--scale", "smoke", "--out", str(tmp_path)]) == 0
    assert "6 runs added" in capsys.readouterr().out
    assert (tmp_path / "LC-F3.jsonl").read_text().count("\n") == 6


def reproduce(identifier: str, folder: Path, *more: str) -> int:
    return cli.main(["reproduce", identifier, "--scale", "smoke", "--out", str(folder), *more])


def told(capsys) -> str:
    """The one line that a failure prints, after the progress bars, which end where they began."""
    line = capsys.readouterr().err.split("\r")[-1]
    assert line.startswith("shapnotes: ") and line.count("\n") == 1 and line.endswith("\n")
    return line


def unfinished(folder: Path) -> list[Path]:
    return sorted((folder / ".unfinished").glob("*"))


def test_a_finding_runs_the_study_that_it_is_read_from(capsys, tmp_path, monkeypatch):
    """And the study whose networks that one measures; the next finding finds all of it done."""
    assert reproduce("sn-f6", tmp_path) == 0
    shown = capsys.readouterr().out
    assert "5 runs added" in shown and "4 runs added" in shown and "small pixels" in shown
    records = {path.stem for path in tmp_path.glob("*.jsonl")}
    assert records == {"image-networks", "SN-F5"} and unfinished(tmp_path) == []
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    monkeypatch.setattr(training, "training", lambda *_: pytest.fail("trained again"))
    assert reproduce("SN-F7", tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.count("0 runs added") == 2 and "order" in shown
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_the_plan_stops_when_its_time_is_up_and_goes_on(capsys, tmp_path):
    assert reproduce(PAPER_SCALE, tmp_path, "--budget", "0") == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith(
        f"the state of the run is in {unfinished(tmp_path)[0]}; the same command goes on from there\n"
    )
    assert reproduce(PAPER_SCALE, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = [f"{identifier}, stage {stage}: " for identifier, stage in PLAN]
    assert [line[: len(start)] for line, start in zip(lines, stages, strict=True)] == stages
    assert lines[0].endswith(f"5 runs added to {tmp_path / 'image-networks.jsonl'}")
    assert unfinished(tmp_path) == [] and not any("passed over" in line for line in lines)
    studies = {identifier for identifier, _ in PLAN}
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == studies
    for identifier in studies:
        runs = Record(tmp_path / f"{identifier}.jsonl").runs
        assert len(runs) == sum(len(batch.seeds) for batch in study(identifier).batches("smoke"))


def test_what_the_plan_cannot_do_is_told_and_passed_over(tmp_path):
    (tmp_path / "LC-F4.jsonl").write_text("no run\n")
    first, second = paper_scale(tmp_path, "smoke", (("LC-F4", 0), ("LC-F3", 0)))
    assert first.startswith("LC-F4, stage 0: passed over, ") and "LC-F4.jsonl, line 1, is not a run" in first
    assert second == f"LC-F3, stage 0: 6 runs added to {tmp_path / 'LC-F3.jsonl'}"


RECORD = Path(__file__).parents[1] / "book" / "results" / "LC-F6.jsonl"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("result", {}, "seed 0: its result has no 'blanked'"),
        ("config", {}, "seed 0: its config has no 'eps'"),
        ("result", 1.5, "line 1, is not a run: its 'result' is 1.5, no dict"),
        ("experiment", "LC-F7", "line 1, is a run of LC-F7 with seed 0, in the record of LC-F6"),
        ("result", {"blanked": 1.5}, "does not hold what is read from it (TypeError: "),
    ],
)
def test_records_that_cannot_be_read_are_told_in_a_line(capsys, tmp_path, field, value, message):
    (tmp_path / "results").mkdir()
    runs = [json.loads(line) for line in RECORD.read_text("utf8").splitlines()]
    (tmp_path / "results" / RECORD.name).write_text("".join(json.dumps(run | {field: value}) + "\n" for run in runs))
    assert cli.main(["scorecard", "--book", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"shapnotes: {tmp_path / 'results' / RECORD.name}")
    assert message in shown.err and shown.err.count("\n") == 1


def test_summaries_tell_of_missing_entries_as_well(capsys, tmp_path):
    assert reproduce("LC-F3", tmp_path) == 0
    path = tmp_path / "LC-F3.jsonl"
    runs = [json.loads(line) for line in path.read_text("utf8").splitlines()]
    path.write_text("".join(json.dumps(run | {"result": {}}) + "\n" for run in runs))
    capsys.readouterr()
    assert reproduce("LC-F3", tmp_path) == 2
    shown = capsys.readouterr().err
    assert f"\rshapnotes: {path}, seed 0: its result has no " in shown and shown.count("\n") == 1  # after a bar


@pytest.mark.parametrize("damage", ["cut short", "emptied", "of another run"])
def test_a_checkpoint_that_cannot_go_on_is_told_by_name(capsys, tmp_path, damage):
    assert reproduce("LC-F4", tmp_path, "--budget", "0") == 0
    (path,) = unfinished(tmp_path)
    if damage == "of another run":
        Checkpoint(path, {"rate": 0.1}).save({})
    else:
        path.write_bytes(path.read_bytes()[: 500 if damage == "cut short" else 0])
    before = path.read_bytes()
    capsys.readouterr()
    assert reproduce("LC-F4", tmp_path) == 2
    message = told(capsys)
    assert (
        str(path) in message and ("another run" if "another" in damage else "is no checkpoint or is damaged") in message
    )
    assert path.read_bytes() == before  # nothing is thrown away
    path.unlink()
    assert reproduce("LC-F4", tmp_path) == 0 and unfinished(tmp_path) == []


def test_damaged_weights_are_told_by_name(capsys, tmp_path):
    assert reproduce("image-networks", tmp_path) == 0
    path = next((tmp_path / "image-networks").rglob("digits-l1-0-2.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])
    capsys.readouterr()
    assert reproduce("SN-F5", tmp_path) == 2
    message = told(capsys)
    assert str(path) in message and "is no network of these experiments, or is damaged" in message


def test_what_cannot_be_run_is_told_before_any_work(capsys, tmp_path):
    assert reproduce("LC-F3", tmp_path, "--device", "nope") == 2
    assert "device 'nope' cannot be used" in told(capsys)
    (tmp_path / "file").touch()
    assert reproduce("LC-F3", tmp_path / "file") == 2
    assert "cannot be written" in told(capsys)
    (tmp_path / "LC-F3.jsonl").write_text('{"experiment": "LC-F3"}\n')
    assert reproduce("LC-F3", tmp_path) == 2
    assert "LC-F3.jsonl, line 1, is not a run: it has no 'scale'" in told(capsys)
    assert reproduce("LC-P1", tmp_path) == 2
    assert f"shapnotes bench training --out {tmp_path / 'bench_training.json'} makes it" in told(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "LC-F3.jsonl"}


def test_scorecard_writes_the_page(capsys, tmp_path):
    assert cli.main(["scorecard", "--book", str(tmp_path)]) == 0
    assert (tmp_path / "scorecard.md").read_text() == capsys.readouterr().out
    assert "| open |" in (tmp_path / "scorecard.md").read_text()


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "everything"])
    assert "invalid choice" in capsys.readouterr().err
