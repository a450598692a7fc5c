"""A growing study that is killed at any moment goes on to the same record and the same weights as if it never was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shapnotes.experiments._harness.record import Record

# Two networks of `image-networks` on 320 digits: five steps per epoch, and the state is saved after each. A sweep is a
# process of its own, which kills itself at the n-th event of a kind: a step that is done, a file that is written and
# about to take its place (".pt", ".safetensors", ".jsonl"), a state that is about to be removed.
STUDY = """
import json, os, signal, sys
from collections import Counter
from pathlib import Path
from dataclasses import replace as changed
import torch
from shapnotes.experiments._harness import checkpoints
from shapnotes.experiments.images import study as images_study
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.sweep import sweep

torch.set_num_threads(1)
checkpoints.SECONDS_BETWEEN_SAVES = -1.0
images_study.SETTINGS["smoke"]["images"] = 320
chosen = [b for b in images_study.batches("smoke") if images_study.name_of(b.config) in ("digits-l1", "digits-cnn")]
study = changed(images_study.STUDY, batches=lambda scale: chosen)
tick, remove, replace = checkpoints.Checkpoint.tick, checkpoints.Checkpoint.remove, os.replace

def killed_at(kind, n, folder):
    seen = Counter()

    def event(happened):
        seen[happened] += 1
        if (happened, seen[happened]) == (kind, n):
            os.kill(os.getpid(), signal.SIGKILL)

    def noted(self, state):
        tick(self, state)
        with (folder / "steps").open("a") as file:
            file.write(".")
        event("step")

    checkpoints.Checkpoint.tick = noted
    checkpoints.Checkpoint.remove = lambda self: (event("remove"), remove(self))
    os.replace = lambda new, path: (event(Path(path).suffix), replace(new, path))
    sweep(study, "smoke", Record(folder / "image-networks.jsonl"))

for kind, n, folder in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        killed_at(kind, n, Path(folder))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
STEPS = 2 * 2 * 5  # networks, epochs, steps
KILLS = (
    (".pt", 1),  # before there is any state
    ("step", 3),
    (".pt", 2),
    (".safetensors", 1),
    (".jsonl", 1),  # the state is ahead of the record
    ("step", 4),
    ("remove", 1),  # the record has the run, and its state is still there
    ("step", 7),
    (".jsonl", 1),
)


def sweeps(*moments: tuple[str, int, Path]) -> list[int]:
    """The exit codes of one sweep after the other."""
    asked = json.dumps([(kind, n, str(folder)) for kind, n, folder in moments])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", STUDY, asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [int(code) for code in done.stdout.split()]


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {str(path.relative_to(folder)): load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def results(folder: Path) -> list[dict]:
    """What was measured, by run; seconds are no part of it."""
    return [
        {"config": run["config"], "seed": run["seed"]}
        | {key: value for key, value in run["result"].items() if "seconds" not in key}
        for run in Record(folder / "image-networks.jsonl").runs
    ]


def steps(folder: Path) -> int:
    return len((folder / "steps").read_text())


def leftovers(folder: Path) -> list[str]:
    return sorted({path.name for path in [*(folder / ".unfinished").glob("*"), *folder.rglob("*.part")]})


@pytest.mark.slow
def test_a_killed_study_ends_as_if_it_had_never_been_killed(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    never = [("", 0, killed)]
    codes = sweeps(("", 0, whole), *((kind, n, killed) for kind, n in KILLS), *never)
    assert codes == [0] + [-9] * len(KILLS) + [0]
    assert steps(whole) == STEPS and leftovers(whole) == []
    assert results(killed) == results(whole) and len(results(whole)) == 2
    assert all(len(run["test_accuracy"]) == run["epochs"] == 2 for run in results(whole))
    ours, theirs = weights(killed), weights(whole)
    assert ours.keys() == theirs.keys() and len(theirs) == 2
    for file, tensors in theirs.items():
        assert all(torch.equal(value, ours[file][name]) for name, value in tensors.items())
    assert STEPS <= steps(killed) <= STEPS + len(KILLS)  # of what was saved nothing is done again
    assert leftovers(killed) == []
    done = steps(killed)
    assert sweeps(*never) == [0] and steps(killed) == done
