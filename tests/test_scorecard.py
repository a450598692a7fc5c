"""The scorecard says what the records say, and no page says more."""

import re
from pathlib import Path

import pytest

from shapnotes import scorecard
from shapnotes.experiments import MODULES, experiment
from shapnotes.experiments.record import Record

ROOT = Path(__file__).resolve().parents[1]
BOOK, RESULTS = ROOT / "book", ROOT / "book" / "results"


def test_the_page_is_what_the_records_say():
    assert (BOOK / "scorecard.md").read_text("utf8") == scorecard.page(RESULTS, BOOK), "run: shapnotes scorecard"


def test_no_claim_is_shown_without_its_record(tmp_path):
    """With the records taken away no experiment is said to be reproduced, whatever the chapters hold."""
    for row in scorecard.rows(tmp_path, BOOK):
        if scorecard.CLAIMS[row.id].get("record"):
            assert row.verdict == "no record" and row.ours == ""


def test_no_chapter_no_derivation(tmp_path):
    assert {r.verdict for r in scorecard.rows(RESULTS, tmp_path) if not scorecard.CLAIMS[r.id].get("record")} == {
        "not written yet"
    }


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda p: p.stem)
def test_every_record_belongs_to_an_experiment_and_has_its_provenance(path):
    assert path.stem in MODULES
    for run in Record(path).runs:
        assert {"command", "date", "device", "threads", "versions", "seed", "config", "seconds"} <= set(run)
        assert run["scale"] != "smoke"
    if path.stem not in scorecard.CLAIMS:  # ours, not a paper's
        return
    verdict, ours, paper = experiment(path.stem).verdict(Record(path).select("paper") or Record(path).select("cpu"))
    assert verdict in ("reproduced", "partly", "not reproduced", "not run at full scale") and ours and paper


def test_ids_that_chapters_name_are_claims():
    """A chapter that points to a claim by its id points to one that there is."""
    for path in BOOK.glob("*.md"):
        for identifier in re.findall(r"\b(?:LC|SN)-(?:Tab\d|AE|[A-Z]\d*)\b", path.read_text("utf8")):
            assert identifier in scorecard.CLAIMS, f"{path.name} names {identifier}"
