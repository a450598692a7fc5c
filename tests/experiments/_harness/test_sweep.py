"""A sweep does each run once, however often it is stopped, and lets runs grow that go on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import pytest
from real_data import needs_yeast

from shapnotes.experiments import CLAIMS, IDENTIFIERS, claim, study
from shapnotes.experiments._harness.checkpoints import OutOfTime
from shapnotes.experiments._harness.finding import Verdict
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments._harness.sweep import sweep


def counting(calls: list, fail_at: int | None = None) -> Study:
    def run(config, seeds, device):
        if fail_at is not None and len(calls) == fail_at:
            raise RuntimeError("the machine went away")
        calls.append((config["lr"], seeds))
        return [{"loss": config["lr"] * seed} for seed in seeds]

    return Study("X", "", lambda scale: [Batch({"lr": lr}, (0, 1, 2)) for lr in (0.1, 0.2, 0.3)], run)


def test_a_sweep_fills_the_record_and_then_rests(tmp_path, capsys):
    calls: list = []
    record = Record(tmp_path / "x.jsonl")
    assert sweep(counting(calls), "smoke", record) == 9
    assert sweep(counting(calls), "smoke", record) == 0 and len(calls) == 3
    one = record.runs[0]
    assert {"command", "date", "device", "versions", "threads", "seconds"} <= set(one)
    assert one["command"] == "shapnotes reproduce X --scale smoke"
    assert "runs" in capsys.readouterr().err  # progress


def test_a_run_of_fixed_length_goes_on_from_its_checkpoint(tmp_path):
    """Stopped in the second batch: it is given what it saved, no other batch is, and nothing is left in the end."""
    found = []

    def run(config, seeds, device, checkpoint):
        state = checkpoint.load() or {"done": 0}
        found.append((config["k"], state["done"]))
        while state["done"] < 3:
            state["done"] += 1
            checkpoint.save(state)
            if (config["k"], state["done"], len(found)) == (1, 2, 2):
                raise RuntimeError("the machine went away")
        return [{"seed": seed} for seed in seeds]

    study = Study("R", "", lambda scale: [Batch({"k": k}, (0, 1)) for k in range(3)], run, resumes=True)
    record = Record(tmp_path / "r.jsonl")
    with pytest.raises(RuntimeError, match="went away"):
        sweep(study, "smoke", record)
    assert len(list((tmp_path / ".unfinished").glob("*.pt"))) == 1
    assert sweep(study, "smoke", record) == 4
    assert found == [(0, 0), (1, 0), (1, 2), (2, 0)]
    assert not list((tmp_path / ".unfinished").glob("*.pt"))


def test_a_failure_keeps_what_was_done(tmp_path):
    calls: list = []
    record = Record(tmp_path / "x.jsonl")
    with pytest.raises(RuntimeError, match="went away"):
        sweep(counting(calls, fail_at=2), "smoke", record)
    assert len(Record(record.path).runs) == 6
    assert sweep(counting(calls), "smoke", Record(record.path)) == 3


def test_half_a_batch_is_completed(tmp_path):
    calls: list = []
    record = Record(tmp_path / "x.jsonl")
    sweep(counting(calls), "smoke", record)
    lines = record.path.read_text().splitlines(keepends=True)
    record.path.write_text("".join(lines[:1] + lines[3:]))  # seeds 1 and 2 of the first configuration are gone
    calls.clear()
    assert sweep(counting(calls), "smoke", Record(record.path)) == 2
    assert calls == [(0.1, (1, 2))]


SLOW = """
import sys, time
from pathlib import Path
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments._harness.sweep import sweep

def run(config, seeds, device):
    time.sleep(0.2)
    return [{"done": config["k"]}]

slow = Study("SLOW", "", lambda scale: [Batch({"k": k}, (0,)) for k in range(12)], run)
sweep(slow, "smoke", Record(Path(sys.argv[1])))
"""


def test_a_killed_sweep_goes_on(tmp_path):
    """Killed without warning in the middle; the second start does the rest, and no run is lost or done twice."""
    path = tmp_path / "slow.jsonl"
    start = [sys.executable, "-W", "ignore", "-c", SLOW, str(path)]
    first = subprocess.Popen(start, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = path.read_bytes().count(b"\n")
    assert 3 <= done < 12
    with path.open("ab") as file:
        file.write(b'{"experiment": "SLOW", "sc')  # as if it had died while writing
    subprocess.run(start, check=True, stderr=subprocess.DEVNULL)
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(r["config"]["k"] for r in runs) == list(range(12))


def _double(config, seeds, device):
    return [{"twice": 2 * config["k"]} for _ in seeds]


def spread() -> Study:
    return Study("D", "", lambda scale: [Batch({"k": k}, (0, 1)) for k in range(4)], _double)


def check_spread(record: Record) -> None:
    assert len(record.runs) == 8
    assert all(run["result"]["twice"] == 2 * run["config"]["k"] for run in record.runs)


@pytest.mark.filterwarnings("default")
def test_several_processes(tmp_path):
    record = Record(tmp_path / "d.jsonl")
    assert sweep(spread(), "smoke", record, jobs=2) == 8
    check_spread(record)


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed", reason='needs pip install "shapnotes[sweeps]"')
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        record = Record(tmp_path / "d.jsonl")
        assert sweep(spread(), "smoke", record, scheduler=cluster.scheduler_address) == 8
    check_spread(record)


# --- runs that grow ------------------------------------------------------------------------------------------------

STEPS = 4  # per epoch


def grown(config, seeds, device, *, epochs, checkpoint):
    """A study in steps that only notes what it does: the trail of (epoch, step) is its state, and its result."""
    state = checkpoint.load() or {"trail": [], "epochs": 0}
    if state["epochs"]:
        yield results(seeds, state)
    while state["epochs"] < epochs:
        done = len(state["trail"]) - STEPS * state["epochs"]
        for step in range(done, STEPS):
            TAKEN.append((config["k"], state["epochs"], step))
            time.sleep(PACE.get("seconds", 0.0))
            if TAKEN[-1] == FAIL_AT.get("step"):
                raise RuntimeError("the machine went away")
            state["trail"].append([state["epochs"], step])
            checkpoint.tick(lambda: state)
        state["epochs"] += 1
        checkpoint.save(state)
        yield results(seeds, state)


def results(seeds, state):
    return [{"trail": [*state["trail"]], "epochs": state["epochs"]} for _ in seeds]


TAKEN: list[tuple[int, int, int]] = []
FAIL_AT: dict[str, tuple[int, int, int]] = {}
PACE: dict[str, float] = {}


def growing(*stages: int, configs: int = 2) -> Study:
    """Every configuration to as many epochs as each stage says."""
    TAKEN.clear()
    FAIL_AT.clear()
    PACE.clear()

    def batches(scale):
        return [Batch({"k": k}, (0, 1), n, stage) for stage, n in enumerate(stages) for k in range(configs)]

    return Study("G", "", batches, grown)


def steps(epochs: int, start: int = 0, configs: int = 2) -> list[tuple[int, int, int]]:
    return [(k, e, s) for k in range(configs) for e in range(start, epochs) for s in range(STEPS)]


def unfinished(record: Record) -> list[str]:
    folder = record.path.parent / ".unfinished"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def check_grown(record: Record, epochs: int, configs: int = 2) -> None:
    assert [(run["config"]["k"], run["seed"]) for run in record.runs] == [
        (k, s) for k in range(configs) for s in (0, 1)
    ]
    for run in Record(record.path).runs:
        trail = [[e, s] for e in range(epochs) for s in range(STEPS)]
        assert run["result"] == {"trail": trail, "epochs": epochs}


def test_a_later_stage_goes_on_from_an_earlier_one(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    study = growing(5, 10)
    assert sweep(study, "smoke", record, stages=(0,)) == 4
    assert TAKEN == steps(5) and len(unfinished(record)) == 2  # kept, since a later stage goes on from them
    check_grown(record, 5)
    TAKEN.clear()
    assert sweep(study, "smoke", record, stages=(0,)) == 0 and not TAKEN
    assert sweep(study, "smoke", record, stages=(1,)) == 4
    assert TAKEN == steps(10, start=5) and unfinished(record) == []
    check_grown(record, 10)


def test_all_stages_at_once_do_every_step_once(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    assert sweep(growing(5, 10), "smoke", record) == 4
    assert sorted(TAKEN) == steps(10) and unfinished(record) == []
    check_grown(record, 10)


def test_a_record_grows_with_every_epoch(tmp_path):
    """What had finished before a failure is in the record; the next start does the rest of that epoch only."""
    record = Record(tmp_path / "g.jsonl")
    study = growing(3)
    FAIL_AT["step"] = (1, 2, 1)
    with pytest.raises(RuntimeError, match="went away"):
        sweep(study, "smoke", record)
    assert [run["result"]["epochs"] for run in Record(record.path).runs] == [3, 3, 2, 2]
    assert len(unfinished(record)) == 1
    FAIL_AT.clear()
    TAKEN.clear()
    assert sweep(study, "smoke", Record(record.path)) == 2
    assert TAKEN == [(1, 2, s) for s in range(STEPS)] and unfinished(record) == []  # the epoch was not saved inside
    check_grown(Record(record.path), 3)


def test_seeds_that_grow_are_done_together_or_not_at_all(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    study = growing(2, configs=1)
    sweep(study, "smoke", record)
    lines = record.path.read_text().splitlines(keepends=True)
    record.path.write_text(lines[0])  # the second seed is gone
    TAKEN.clear()
    assert sweep(study, "smoke", Record(record.path)) == 1
    assert TAKEN == steps(2, configs=1)
    check_grown(Record(record.path), 2, configs=1)


def test_what_kills_left_is_removed_and_what_others_write_is_not(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    study = growing(1)
    sweep(study, "smoke", record)
    mine = ["g.jsonl.0a.part", ".unfinished/G-0123456789abcdef.pt.0a.part", "g/16/net.safetensors.0a.part"]
    others = ["h.jsonl.0a.part", ".unfinished/GG-0123456789abcdef.pt.0a.part", ".unfinished/H-0123456789abcdef.pt"]
    for name in mine + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sweep(study, "smoke", record) == 0
    assert [(tmp_path / name).exists() for name in mine + others] == [False] * 3 + [True] * 3


def test_time_that_is_up_stops_inside_an_epoch_and_the_next_call_goes_on(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    study = growing(2)
    PACE["seconds"] = 0.03
    stops = 0
    for _ in range(200):
        try:
            sweep(study, "smoke", record, deadline=time.monotonic() + 0.04)  # a step or two
        except OutOfTime as stop:
            stops += 1
            assert str(tmp_path) in str(stop)
        else:
            break
    assert stops >= 3
    assert sorted(TAKEN) == steps(2) and unfinished(record) == []  # nothing twice, nothing left out
    check_grown(record, 2)


def test_time_that_is_up_stops_after_a_run_that_does_not_grow(tmp_path):
    calls: list = []
    record = Record(tmp_path / "x.jsonl")
    for done in (3, 6, 9):
        with pytest.raises(OutOfTime, match=r"out of time; what had finished is in .*x\.jsonl"):
            sweep(counting(calls), "smoke", record, deadline=time.monotonic() - 1)
        assert len(Record(record.path).runs) == done
    assert sweep(counting(calls), "smoke", record, deadline=time.monotonic() - 1) == 0 and len(calls) == 3


@pytest.mark.filterwarnings("default")
def test_runs_grow_in_several_processes(tmp_path):
    record = Record(tmp_path / "g.jsonl")
    study = growing(2)
    with pytest.raises(OutOfTime):
        sweep(study, "smoke", record, jobs=2, deadline=time.monotonic() - 1)
    assert 1 <= len(unfinished(record)) <= 2 and record.runs == []
    assert sweep(study, "smoke", record, jobs=2) == 4
    assert unfinished(record) == []
    assert sorted((run["config"]["k"], run["seed"]) for run in record.runs) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {json.dumps(run["result"]["trail"]) for run in record.runs} == {
        json.dumps([[e, s] for e in (0, 1) for s in range(4)])
    }


# --- refused before any work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["nope", "cuda:99", "meta", "cpu:x", ""])
def test_a_device_that_is_not_there_is_refused(tmp_path, device):
    calls: list = []
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used .*; there are cpu"):
        sweep(counting(calls), "smoke", Record(tmp_path / "x.jsonl"), device=device)
    assert not calls and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    calls: list = []
    with pytest.raises(
        ValueError, match=r"file.x\.jsonl cannot be written: .*give another folder by --out|Give another"
    ):
        sweep(counting(calls), "smoke", Record(tmp_path / "file" / "x.jsonl"))
    assert not calls


def test_two_sweeps_of_one_record_at_once(tmp_path):
    """The second is refused, and the first does not notice."""
    begun, may_end = threading.Event(), threading.Event()

    def run(config, seeds, device):
        begun.set()
        assert may_end.wait(60)
        return [{"loss": 0.0} for _ in seeds]

    waiting = Study("X", "", lambda scale: [Batch({"k": k}, (0,)) for k in range(2)], run)
    path = tmp_path / "x.jsonl"
    first = threading.Thread(target=sweep, args=(waiting, "smoke", Record(path)))
    first.start()
    try:
        assert begun.wait(60)
        calls: list = []
        with pytest.raises(ValueError, match=r"another process is adding runs to .*x\.jsonl .*or give another folder"):
            sweep(counting(calls), "smoke", Record(path))
        assert not calls
        assert sweep(counting(calls), "smoke", Record(tmp_path / "other.jsonl")) == 9
    finally:
        may_end.set()
        first.join()
    assert len(Record(path).runs) == 2
    assert sweep(waiting, "smoke", Record(path)) == 0


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="scale must be one of paper, cpu, smoke; got 'huge'"):
        sweep(counting([]), "huge", Record(tmp_path / "x.jsonl"))
    with pytest.raises(ValueError, match="no experiment 'LC-F99'; there are LC-F3"):
        study("LC-F99")


# --- all experiments -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the records of all small runs, so that a study that several findings are read from is done once."""
    return tmp_path_factory.mktemp("results")


def small(chosen: Study, folder: Path) -> Record:
    """The record of a study in small, after that of the study whose networks it measures."""
    if chosen.needs:
        small(study(chosen.needs), folder)
    record = Record(folder / f"{chosen.id}.jsonl")
    sweep(chosen, "smoke", record)
    return record


READ = [identifier for identifier in IDENTIFIERS if study(identifier)]  # the others are read from a benchmark


@pytest.mark.parametrize("identifier", [pytest.param(i, marks=needs_yeast if i == "SN-Tab4" else ()) for i in READ])
def test_every_experiment_runs_in_small(identifier, folder):
    source = study(identifier)
    record = small(source, folder)
    runs = record.select("smoke")
    assert runs and source.batches("paper") and source.batches("cpu")
    assert sweep(source, "smoke", record) == 0 and unfinished(record) == []
    if identifier not in CLAIMS:
        assert source.id == identifier and (source.summary is None or len(source.summary(runs)) > 1)
        return
    read = claim(identifier)
    assert read.id == identifier and read.study == source.id and len(read.summary(runs)) > 1
    for part in [[part] for part in read.parts] or [[]]:
        found = read.finding(runs, *part)
        assert found.verdict in get_args(Verdict) and found.decides and (found.statements or found.reduced)
