"""The command line writes what it prints."""

import json
from pathlib import Path

import pytest

from shapnotes import bench, cli
from shapnotes.experiments import IDENTIFIERS, study
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments.images import training
from shapnotes.experiments.plan import PAPER_SCALE, PLAN, paper_scale


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
    monkeypatch.setattr(bench, "TURN", 0.001)
    made = bench.training(repeats=2)
    assert [(row["network"], row["batch"]) for row in made["rows"][::5]] == [(name, 2) for name in networks]
    assert {row["activation"] for row in made["rows"]} == {"relu", "gelu", "sa", "shaplu", "shaplu, full"}
    assert all(row["over_relu"] == 1 for row in made["rows"] if row["activation"] == "relu")
    for row in made["rows"]:
        if row["network"].startswith("ResNet"):  # a third as often: one turn has no interval
            assert row["over_relu_interval"] is None
        else:
            mean, half = row["over_relu_interval"]
            assert row["range"][0] <= mean <= row["range"][1] and (half > 0) == (row["activation"] != "relu")
    monkeypatch.setattr(bench, "training", lambda device: made)
    assert cli.main(["bench", "training"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("784-100-50-10") == shown.count("ResNet-20 v2") == 5


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
