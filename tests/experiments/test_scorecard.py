"""The scorecard says what the records, the chapters and the errata say, and no page says more."""

import re
from dataclasses import replace
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


def test_the_experiments_of_the_papers_are_counted_in_a_sentence():
    told = (
        "Of the 22 experiments of the papers none agrees in all its numbers; five disagree in a direction; "
        "eleven were run smaller; two cannot be compared; four are open."
    )
    assert told in chapter("scorecard").splitlines()
    found = [row for row in scorecard.rows(RESULTS) if row.id in MEASURED and not row.id.startswith("X")]
    assert len(found) == 22 and "| numbers agree | 0 | 0 | 0 |" in chapter("scorecard")
    one = [
        replace(row, verdict=verdict) for row, verdict in zip(found, ("numbers agree", "open", "open"), strict=False)
    ]
    told = "Of the 3 experiments of the papers one agrees in all its numbers; two are open."
    assert scorecard._experiments(one) == told
    derived = [row for row in scorecard.rows(RESULTS) if row.id in DERIVED]
    assert scorecard._experiments(one + derived) == told


def test_a_table_says_what_its_numbers_are_and_when_they_agree():
    """Numbers stand beside the paper's under the criterion of their finding, or none of them is held against it."""
    heads = {row.id: scorecard._comparison(row.finding) for row in scorecard.rows(RESULTS) if row.finding}
    for identifier, lines in heads.items():
        page = "\n".join(lines)
        assert ("✓" in page or "✗" in page) == ("√2" in page or "side of 1?" in page or "factor" in page), identifier
    told = {"SN-Tab5": "same side of 1?", "SN-Tab7": "within a factor of 1.5?", "SN-Tab1-synthetic": "within √2 × ±?"}
    for identifier, head in told.items():
        assert f'<th scope="col">{head}</th>' in heads[identifier]
    assert "<caption>effect size of ours against the method, Cohen&#x27;s d_z</caption>" in heads["SN-Tab7"][0]


def test_fewer_runs_of_one_model_are_named_beside_the_scale():
    (row,) = [row for row in scorecard.rows(RESULTS) if row.id == "SN-Tab1-synthetic"]
    assert row.scale == "the paper's, but 10 of 50 runs of the DNN (eq. comp.)" and row.verdict == "open"


def test_which_error_is_subtracted_from_which_is_said():
    (row,) = [row for row in scorecard.rows(RESULTS) if row.id == "X-N1"]
    told = [one.criterion for one in row.finding.statements if "difference" in one.criterion]
    assert len(told) == 5 and all("the nearer one's error less the other's" in criterion for criterion in told)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_claim_has_its_boxes_and_its_check(name):
    """Each box or section that it names is in the chapter, and so is a cell that names it and asserts something."""
    claim = DERIVED[name]
    text = chapter(claim["chapter"])
    for place in claim["shown"]:
        box = re.search(rf"^> \*\*{re.escape(place)}[ .(]", text, re.MULTILINE)
        assert box or re.search(rf"^##+ {re.escape(place)}$", text, re.MULTILINE), f"no box or section {place}"
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
