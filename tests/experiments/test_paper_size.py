"""Runs of one's own take the place of the book's when there are enough of them."""

import time
from functools import partial
from pathlib import Path

import pytest
import torch

from shapnotes.experiments import paper_size, record_of, recorded, study
from shapnotes.experiments._harness.record import Record

BOOK = Path(__file__).resolve().parents[2] / "book/results"
SPEED = "LC-T2"  # the rehearsal that takes least
rehearsed = partial(paper_size.records, anew=True, scale="smoke", book=BOOK)


def test_with_the_switch_off_nothing_is_done(tmp_path, capsys):
    read = paper_size.records(SPEED, anew=False, hours=1, own=tmp_path / "own", book=BOOK)
    assert read.runs(SPEED) == recorded(SPEED, BOOK) != []
    assert read.folder(SPEED) == BOOK
    assert not (tmp_path / "own").exists() and capsys.readouterr().out == f"{SPEED}: the book's runs\n"


def test_out_of_time_it_says_so_and_the_next_call_goes_on(tmp_path, capsys):
    read = rehearsed(SPEED, hours=1e-9, own=tmp_path)
    assert read.runs(SPEED) == recorded(SPEED, BOOK) and read.folder(SPEED) == BOOK
    assert list((tmp_path / ".unfinished").glob("*.pt")), "the state of what had begun is kept"
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "stopped; run the cell again, and it goes on from there"
    assert told[1].startswith(f"{SPEED}: the book's runs; of your own there are too few, ")

    read = rehearsed(SPEED, own=tmp_path)
    path = tmp_path / f"{SPEED}.jsonl"
    assert read.runs(SPEED) == record_of(study(SPEED), tmp_path).select("smoke") and read.folder(SPEED) == tmp_path
    assert capsys.readouterr().out == f"{SPEED}: 48 runs of your own, in {tmp_path}\n"
    complete = path.read_bytes()
    rehearsed(SPEED, hours=1e-9, own=tmp_path)
    assert path.read_bytes() == complete, "what is done is not done again"


def test_it_can_be_interrupted(tmp_path, capsys, monkeypatch):
    def stopped(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper_size, "sweep", stopped)
    assert rehearsed(SPEED, own=tmp_path).runs(SPEED) == recorded(SPEED, BOOK)
    assert "run the cell again" in capsys.readouterr().out


def test_first_stages_come_first_and_each_after_what_it_needs(tmp_path, monkeypatch):
    done = []

    def sweep(one, scale, record, *, stages, **how):
        done.extend((one.id, stage) for stage in stages)

    monkeypatch.setattr(paper_size, "sweep", sweep)
    paper_size.records("SN-F5", "LC-F5", anew=True, hours=1, own=tmp_path, book=BOOK)
    begun = [("image-networks", 0), ("SN-F5", 0), ("LC-F5", 0)]
    assert done == [*begun, ("LC-F5", 1), ("image-networks", 2), ("SN-F5", 2)]


@pytest.mark.parametrize("error", [ImportError("needs a package"), FileNotFoundError("has no such data")])
def test_what_this_machine_lacks_is_passed_over(tmp_path, capsys, monkeypatch, error):
    """The other studies are done."""
    sweep = paper_size.sweep

    def lacking(one, *args, **how):
        if one.id == "LC-F5":
            raise error
        return sweep(one, *args, **how)

    monkeypatch.setattr(paper_size, "sweep", lacking)
    read = rehearsed("LC-F5", SPEED, own=tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"LC-F5, stage 1: passed over, {error}" and told[-1].startswith(f"{SPEED}: 48 runs of your own")
    assert read.runs("LC-F5") == recorded("LC-F5", BOOK)


def test_time_and_device_reach_the_training(tmp_path, monkeypatch):
    settings = {}
    monkeypatch.setattr(paper_size, "sweep", lambda *args, **how: settings.update(how))
    before = time.monotonic()
    paper_size.records(SPEED, anew=True, hours=2, device=torch.device("cpu"), own=tmp_path, book=BOOK)
    assert settings["device"] == "cpu" and 0 <= settings["deadline"] - before - 7200 < 5


def test_runs_are_in_single_precision_whatever_the_chapter_computes_in(tmp_path):
    """Bit for bit those of the command line."""
    rehearsed(SPEED, own=tmp_path / "single")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        rehearsed(SPEED, own=tmp_path / "double")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    single, double = (
        [run["result"]["train_accuracy"] for run in record_of(study(SPEED), tmp_path / name).runs]
        for name in ("single", "double")
    )
    assert single == double


def test_a_claim_that_says_nothing_needs_a_run_of_every_configuration(tmp_path):
    """Not of every seed; and a rehearsal, which has other configurations, is not enough."""
    runs = Record(BOOK / "LC-F3.jsonl").select("paper")
    first = [run for run in runs if run["seed"] == 0]
    read = paper_size.Records(BOOK, tmp_path)
    record = Record(tmp_path / "LC-F3.jsonl")
    for run in first[:-1]:
        record.append(run)
    assert read.runs("LC-F3") == runs
    record.append(first[-1])
    assert read.runs("LC-F3") == Record(record.path).select("paper") and read.folder("LC-F3") == tmp_path
    assert paper_size.Records(BOOK, tmp_path, "smoke").runs("LC-F3") == runs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hours": 0}, "hours must be above 0, or None for no limit; got 0"),
        ({"hours": -1.5}, "got -1.5"),
        ({"scale": "huge"}, "scale must be one of paper, cpu, smoke; got 'huge'"),
        ({"device": "nothing"}, "'nothing' cannot be used"),
    ],
)
def test_refusals(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        paper_size.records("LC-F3", anew=True, own=tmp_path, book=BOOK, **({"scale": "smoke"} | wrong))


def test_an_unknown_claim_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no experiment 'LC-F9'"):
        rehearsed("LC-F9", own=tmp_path)
