"""A sweep does each run once, however often it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from real_data import needs_yeast

from shapnotes.experiments import MODULES, experiment
from shapnotes.experiments.record import Record
from shapnotes.experiments.sweep import Batch, sweep


def counting(calls: list, fail_at: int | None = None) -> SimpleNamespace:
    def run(config, seeds, device):
        if fail_at is not None and len(calls) == fail_at:
            raise RuntimeError("the machine went away")
        calls.append((config["lr"], seeds))
        return [{"loss": config["lr"] * seed} for seed in seeds]

    return SimpleNamespace(
        ID="X", run=run, batches=lambda scale: [Batch({"lr": lr}, (0, 1, 2)) for lr in (0.1, 0.2, 0.3)]
    )


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

    study = SimpleNamespace(
        ID="R", RESUMES=True, run=run, batches=lambda scale: [Batch({"k": k}, (0, 1)) for k in range(3)]
    )
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
from types import SimpleNamespace
from shapnotes.experiments.record import Record
from shapnotes.experiments.sweep import Batch, sweep

def run(config, seeds, device):
    time.sleep(0.2)
    return [{"done": config["k"]}]

slow = SimpleNamespace(ID="SLOW", run=run, batches=lambda scale: [Batch({"k": k}, (0,)) for k in range(12)])
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


def spread() -> SimpleNamespace:
    return SimpleNamespace(ID="D", run=_double, batches=lambda scale: [Batch({"k": k}, (0, 1)) for k in range(4)])


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


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="scale must be one of paper, cpu, smoke; got 'huge'"):
        sweep(counting([]), "huge", Record(tmp_path / "x.jsonl"))
    with pytest.raises(ValueError, match="no experiment 'LC-F99'; there are LC-F3"):
        experiment("LC-F99")


@pytest.mark.parametrize("identifier", [pytest.param(i, marks=needs_yeast if i == "SN-Tab4" else ()) for i in MODULES])
def test_every_experiment_runs_in_small(identifier, tmp_path):
    chosen = experiment(identifier)
    assert identifier == chosen.ID
    record = Record(tmp_path / "x.jsonl")
    sweep(chosen, "smoke", record)
    assert len(chosen.summary(record.select("smoke"))) > 1
    assert chosen.batches("paper") and chosen.batches("cpu")
