"""The scorecard says what the records, the chapters and the errata say, and no page says more."""

import re
from pathlib import Path

import pytest

from shapnotes.experiments import CLAIMS, STUDIES, scorecard
from shapnotes.experiments._harness.record import Record

BOOK = Path(__file__).resolve().parents[2] / "book"
RESULTS = BOOK / "results"
DERIVED = {name: claim for name, claim in scorecard.CLAIMS.items() if "finding" not in claim}
MEASURED = {name: claim for name, claim in scorecard.CLAIMS.items() if "finding" in claim}


def chapter(name: str) -> str:
    return (BOOK / f"{name}.md").read_text("utf8")


def errata() -> dict[str, str]:
    """The kind of each entry, by the table of the errata page."""
    return dict(re.findall(r"^\| \[(E\d+)\]\(.*\| ([a-z ]+) \|$", chapter("errata"), re.MULTILINE))


def text_of(row: scorecard.Row) -> str:
    """All that a claim's study says of its choices, whichever row it stands in."""
    return scorecard._choices(scorecard.claim_of(MEASURED[row.id]["finding"]))


def fold(page: str, identifier: str) -> str:
    """The evidence folded under a row."""
    (body,) = re.findall(rf'<tbody id="{identifier.lower()}">.*?\n</tbody>\n', page, re.DOTALL)
    (evidence,) = re.findall(r"<details .*</details>", body, re.DOTALL)
    return evidence


def test_the_page_is_what_the_records_say():
    assert (BOOK / "scorecard.md").read_text("utf8") == scorecard.page(RESULTS), "run: shapnotes scorecard"


def test_what_is_said_of_tables_and_images_has_no_names_of_the_program():
    """Data sets, methods and penalties are named as people name them."""
    raw = re.compile(r"[a-z]_[a-z]|->|\b(yeast|linf|l1|mnist|cifar10|none)\b")
    chapters = ("12_tables", "13_images", "14_quality")
    found = [row.finding for row in scorecard.rows(RESULTS) if row.chapter in chapters and row.finding]
    assert len(found) > 10
    for one in found:
        told = [one.decides, one.reduced, *(f"{line.setting}, {line.model}" for line in one.table)]
        told += [f"{statement.claim}: {statement.criterion}" for statement in one.statements]
        assert [text for text in told if raw.search(text)] == []


def test_a_claim_of_the_book_has_no_paper_behind_it():
    ours = [row for row in scorecard.rows(RESULTS) if row.id.startswith("X") and row.finding]
    assert len(ours) > 4 and {row.scale for row in ours} == {"as planned"}
    assert not any("the paper" in scorecard._html(row, {}) for row in ours)


def test_each_text_about_choices_stands_once_and_other_rows_link_to_it():
    """The first row of a study has its text, within its fold; the fold of every other row of the study leads there."""
    found = scorecard.rows(RESULTS)
    page = chapter("scorecard")
    texts = {scorecard._choices(scorecard.claim_of(claim["finding"])) for claim in MEASURED.values()} - {""}
    for text in texts:
        assert page.count("\n".join(scorecard._prose(text))) == 1
        rows = [row for row in found if row.id in MEASURED and text_of(row) == text]
        first, *others = rows
        assert (first.choices, first.as_under) == (text, "")
        target = f"{first.id.lower()}-choices"
        assert page.count(f'id="{target}"') == fold(page, first.id).count(f'id="{target}"') == 1
        for row in others:
            assert (row.choices, row.as_under) == ("", first.id)
            assert f'as under <a href="#{target}">{first.id}</a>' in fold(page, row.id)
    linking = {row.id for row in found if row.as_under}
    assert linking >= {"SN-Tab1-yeast", "SN-Tab1-breast", "X-W2", "X-W3", "X-W6"}
    long = [line for line in re.findall(r"<(?:p|li)>(?!<span)(.+)</(?:p|li)>", page) if len(line) > 300]
    assert len(long) == len(set(long)) > 20


def test_no_experiment_has_a_verdict_without_its_record(tmp_path):
    """With the records taken away every experiment is open, whatever the chapters hold."""
    found = scorecard.rows(tmp_path)
    assert {row.verdict for row in found if row.id in MEASURED} == {"open"}
    assert [row.id for row in found] == list(scorecard.CLAIMS)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_claim_has_its_boxes_and_its_check(name):
    """Each box that it names is in the chapter, and so is a cell that names the claim and asserts something."""
    claim = DERIVED[name]
    text = chapter(claim["chapter"])
    for box in claim["shown"]:
        assert re.search(rf"^> \*\*{re.escape(box)}[ .(]", text, re.MULTILINE), f"no box {box}"
    cells = re.findall(r"```\{code-cell\}.*?\n(.*?)```", text, re.DOTALL)
    checks = [cell for cell in cells if re.search(rf"#.*\b{name}\b", cell)]
    assert checks and all("assert" in cell for cell in checks)


@pytest.mark.parametrize("name", DERIVED)
def test_no_verdict_contradicts_the_errata(name):
    claim = DERIVED[name]
    kinds = {errata()[entry] for entry in claim.get("errata", ())}
    if "does not hold" in kinds:
        assert claim["verdict"] == "fails"
    elif "condition" in kinds:
        assert claim["verdict"] in ("condition", "fails")
    if claim["verdict"] != "holds":
        assert kinds & {"does not hold", "condition"}, "what is missing stands in no erratum"


def test_the_errata_and_the_claims_name_each_other():
    """Every entry that takes something away from a claim is named by one, and every entry that is named is there."""
    named = {entry for claim in scorecard.CLAIMS.values() for entry in claim.get("errata", ())}
    kinds = errata()
    assert len(kinds) > 30 and named <= kinds.keys()
    assert {entry for entry, kind in kinds.items() if kind in ("condition", "does not hold")} <= named


def test_every_finding_has_a_module_and_a_chapter():
    for name, claim in MEASURED.items():
        assert claim["finding"] in CLAIMS and (BOOK / f"{claim['chapter']}.md").exists()
        assert name == claim["finding"] or name.startswith(claim["finding"])


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda p: p.stem)
def test_every_record_belongs_to_a_study_and_has_its_provenance(path):
    assert path.stem in STUDIES
    for run in Record(path).runs:
        assert {"command", "date", "device", "threads", "versions", "seed", "config", "seconds"} <= set(run)
        assert run["scale"] != "smoke"


def test_ids_that_chapters_name_are_claims():
    """A chapter that points to a claim by its id points to one that there is."""
    for path in BOOK.glob("*.md"):
        for identifier in re.findall(r"\b(?:LC|SN|X)-(?:Tab\d|AE|[A-Z]\d*)\b", path.read_text("utf8")):
            assert any(name.startswith(identifier) for name in scorecard.CLAIMS), f"{path.name} names {identifier}"


def test_what_is_shown_is_escaped(tmp_path):
    assert "&lt;b&gt;" in scorecard._prose("a <b> in `code` and **bold**")[0]
    assert scorecard._prose("- one\n- two") == ["<ul>", "<li>one</li>", "<li>two</li>", "</ul>"]
