"""The scorecard says what the records, the chapters and the errata say, and no page says more."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from shapnotes.experiments import CLAIMS, STUDIES, recorded, scorecard
from shapnotes.experiments._harness.finding import matches
from shapnotes.experiments._harness.record import Record
from shapnotes.experiments.mnist_perceptron import finding as mnist
from shapnotes.experiments.pixel_maps import gradients_finding
from shapnotes.experiments.regularised_images import small_values, trainings
from shapnotes.experiments.tables import accuracy, accuracy_finding, penalties, penalties_finding
from shapnotes.experiments.tables.models import MODELS

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
    entries = scorecard._entries(BOOK / "errata.md")
    texts = {scorecard._choices(scorecard.claim_of(claim["finding"])) for claim in MEASURED.values()} - {""}
    for text in texts:
        assert page.count(scorecard._linked("\n".join(scorecard._prose(text)), entries)) == 1
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
        "Of the 22 experiments of the papers none has the verdict *numbers agree* or *directions agree*; "
        "five disagree; eleven were run smaller; two cannot be compared; four are open."
    )
    assert told in chapter("scorecard").splitlines()
    found = [row for row in scorecard.rows(RESULTS) if row.id in MEASURED and not row.id.startswith("X")]
    assert len(found) == 22 and "| numbers agree | 0 | 0 | 0 |" in chapter("scorecard")
    one = [
        replace(row, verdict=verdict) for row, verdict in zip(found, ("numbers agree", "open", "open"), strict=False)
    ]
    told = "Of the 3 experiments of the papers one agrees in all its numbers; two are open."
    assert scorecard._experiments(one) == told
    some = [replace(row, verdict=verdict) for row, verdict in zip(found, ("directions agree", "open"), strict=False)]
    assert scorecard._experiments(some) == (
        "Of the 2 experiments of the papers none agrees in all its numbers; one agrees in its directions alone; "
        "one is open."
    )
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
        assert f'<th scope="col">{head}</th>' in heads[identifier][0]
    assert "<caption>effect size of ours against the method, Cohen&#x27;s d_z</caption>" in heads["SN-Tab7"][0]


def test_what_several_statements_ask_stands_once():
    """Above them; every statement has its answer, and the numbers that it rests on."""
    page = chapter("scorecard")
    for row in scorecard.rows(RESULTS):
        if row.finding:
            for criterion, alike in row.finding.by_criterion.items():
                asked = fold(page, row.id).count(scorecard._text(criterion) + ".")
                assert asked == 1, (row.id, criterion)
                assert (f"Asked of each: {scorecard._text(criterion)}." in fold(page, row.id)) == (len(alike) > 1)
            for one in row.finding.statements:
                answer = f"<em>{ {True: 'holds', False: 'does not hold', None: 'undecided'}[one.held] }</em>"
                told = f": {scorecard._unbroken(scorecard._text(one.found))}" if one.found else ""
                assert f"{answer}{told}</li>" in fold(page, row.id)
            unused = "The verdict does not rest on these answers." in fold(page, row.id)
            assert unused == (row.verdict == "not comparable")


def test_numbers_of_few_models_are_settings_by_models():
    """The fewer are the columns, with the paper's beside them; each has a line of its own where one is missing."""
    rows = {row.id: row.finding for row in scorecard.rows(RESULTS) if row.finding}
    grids = {name: scorecard._grid(one) for name, one in rows.items()}
    assert {name for name, grid in grids.items() if grid} == {
        "LC-F3", "LC-F4", "LC-F7", "LC-T2", "SN-Tab4", "SN-F3", "SN-F4",
        "SN-F5", "SN-F6", "SN-F7", "SN-F11", "X-W1", "X-W2", "X-W6",
    }  # fmt: skip
    for name, grid in grids.items():
        if grid:
            head, *body = grid
            shown = {(row[0], column): cell for row in body for column, cell in zip(head[1:], row[1:], strict=True)}
            lines = {(one.setting, one.model): one.ours.shown(one.form) for one in rows[name].table}
            papers = {
                (one.setting, f"{one.model}, paper"): "" if one.paper is None else f"{one.paper:{one.form}}"
                for one in rows[name].table
            }
            lines |= papers if name in ("LC-T2", "SN-Tab4") else {}
            assert shown in (lines, {key[::-1]: cell for key, cell in lines.items()}) and len(head) <= 7
            assert scorecard._comparison(rows[name])[0].startswith('<div class="framed"><table class="numbers grid">')
    assert grids["SN-F4"][1][0] == "ShapNet" and grids["SN-F3"][0][1:] == ["no penalty", "ℓ1", "ℓ1 on all"]


def test_a_setting_of_many_lines_stands_once_above_them():
    rows = {row.id: row.finding for row in scorecard.rows(RESULTS) if row.finding}
    page = "\n".join(scorecard._comparison(rows["SN-Tab3"]))
    assert page.count("untrained networks, Deep ShapNet") == 1 and page.count("<tr>") == 1 + 8 + 48
    assert '<td colspan="4">untrained networks, Deep ShapNet:</td>' in page and "setting" not in page
    three = "\n".join(scorecard._comparison(rows["LC-T2"]))  # SA, ReLU and the lead, each with the paper's
    assert three.count("<td>SGD 0.1</td>") == 1 and three.count("<tr>") == 1 + 12
    apart = "\n".join(scorecard._comparison(rows["LC-P1"]))
    assert apart.count("<td>ResNet-20 v2</td>") == 1 and "colspan" not in apart


def test_a_number_and_its_interval_stay_in_one_line():
    assert scorecard._unbroken("by +1.3e-06 ± 2.0e-07 (10), 0.13 ± 0.01") == (
        'by <span class="number">+1.3e-06 ± 2.0e-07</span> (10), <span class="number">0.13 ± 0.01</span>'
    )


def test_numbers_that_texts_about_choices_name_are_the_records():
    """Texts of folds name few numbers of a record; these are theirs."""
    first = recorded("LC-F3", RESULTS)
    for how, told in (({"images": "drawn"}, "+0.028 ± 0.007"), ({"init": "torch"}, "+0.029 ± 0.009")):
        assert mnist.lead(first, "shaplu", "Adam 0.001", **how).shown("+.3f") == told and told in mnist.CLAIM.about
    rows = json.loads((RESULTS / "bench_explain.json").read_text("utf8"))["rows"]
    turns = {
        r["method"]: r["over_loop_range"] for r in rows if r["model"] == "DNN (eq. param.)" and r["method"] != "loop"
    }
    mean = {r["method"]: r["over_loop_interval"][0] for r in rows if r["model"] == "DNN (eq. param.)"}
    for kernel in ("Kernel SHAP (40)", "Kernel SHAP (77)"):
        assert 1 < turns[kernel][0] < 1.05 and 3.9 < turns[kernel][1] < 4.2
    assert mean["Kernel SHAP (40)"] > mean["Kernel SHAP (77)"] and turns["Deep SHAP"][1] < 1.15 * turns["Deep SHAP"][0]
    guesses = recorded("LC-F7", RESULTS)
    penalised = recorded("SN-Tab4", RESULTS)
    for strength, threshold, told in ((1.0, "within 0.1", "+0.27 ± 0.10"), (0.01, penalties.SPARSE, None)):
        config = penalties.configuration("breast_cancer", "linf", strength=strength)
        change = penalties_finding.against_none(penalised, config, threshold)
        assert change.shown("+.2f") == told if told else change.low < 0 < change.high
    accuracies = recorded("SN-Tab1", RESULTS)
    falling = lambda model, **c: accuracy_finding.of(accuracies, "synthetic", model, schedule="falling", **c)  # noqa: E731
    about = " ".join(accuracy_finding.CLAIM.about.split())
    lead = lambda net, dnn: accuracy_finding.lead(net, falling(dnn)).times(1000)  # noqa: E731
    nets = falling("deep"), falling("shallow"), falling("shallow", width=10)
    apart = [[lead(net, dnn) for net in nets] for dnn in ("dnn_parameters", "dnn_computation")]
    told = [[one.shown("+.2f") for one in row] for row in apart]
    assert "is {}, and the Shallow ShapNet's {} with 100 hidden units and {} with 10".format(*told[0]) in about
    assert "equal computation they are {}, and {} and {}".format(*told[1]) in about
    assert [[(one.low > 0) - (one.high < 0) for one in row] for row in apart] == [[-1, -1, 0], [-1, -1, 1]]
    deep = accuracy_finding.of(accuracies, "synthetic", "deep")
    constant = accuracy_finding.lead(deep, accuracy_finding.of(accuracies, "synthetic", "dnn_computation"))
    assert constant.low < 0 < constant.high  # undecided at the constant rate
    for model, agrees, word in (("shallow", True, "would agree with"), ("dnn_parameters", False, "no longer")):
        ours, paper = accuracy_finding.mean(falling(model)), dict(zip(MODELS, accuracy.PAPER["synthetic"], strict=True))
        assert f"{ours.times(1000).shown('.2f')}, " in about and word in about
        assert matches(ours, paper[model]) is agrees
    ahead = gradients_finding.lead(guesses, "removal", "gradient times input", "relevance")
    assert ahead.shown(".3f") == "0.029 ± 0.021"
    networks = recorded("SN-F3", RESULTS)
    small = [
        trainings.of(networks, seed=seed)[name]["shape"]["small"][:2]
        for seed in trainings.trainings(networks)
        for name in ("none", "l1")
    ]
    assert len(small) == 10 and max(map(max, small)) * small_values.PIXELS < 2  # of which two differences each


def test_names_in_texts_about_choices_lead_somewhere():
    """A name of a finding is a link to its row, a name of a module its file; norms are written as elsewhere."""
    shown = scorecard._prose("as in `accuracy` and `models`, the l1 norm and l-infinity, `l1` *aslant*, a * b * c")[0]
    assert '<a href="#sn-tab1-synthetic">SN-Tab1-synthetic</a>' in shown and "<code>tables/models.py</code>" in shown
    assert "the ℓ1 norm and ℓ∞, <code>l1</code> <em>aslant</em>, a * b * c" in shown
    package = Path(scorecard.__file__).parent
    assert all((package / path).exists() for path in scorecard.FILES.values())
    assert set(scorecard.ROWS.values()) <= scorecard.CLAIMS.keys()
    page = chapter("scorecard")
    assert not re.search(
        r"<code>(models|rivals|accuracy|baselines|image-networks|resnet)</code>|RATES|SIZES|SEEN\b", page
    )


def test_fewer_runs_of_one_model_are_named_beside_the_scale():
    (row,) = [row for row in scorecard.rows(RESULTS) if row.id == "SN-Tab1-synthetic"]
    assert (
        row.scale
        == "the paper's, but 10 of 50 runs of the DNN (eq. comp.), 10 of 50 runs of the Shallow ShapNet of width 10"
        and row.verdict == "open"
    )


def test_which_error_is_subtracted_from_which_is_said():
    (row,) = [row for row in scorecard.rows(RESULTS) if row.id == "X-N1"]
    told = [one.criterion for one in row.finding.statements if "difference" in one.criterion]
    assert "256 random orders, 128 and their reverses," in row.finding.statements[4].claim
    assert row.finding.decides.count("±") == 4
    assert "outputs: Li and Cui, equation 1 as printed 0.0326" in row.finding.decides
    assert "equation 1 without b / n, closed 0.01737" in row.finding.decides  # the nearer of the two, which is asked
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


def test_a_row_says_what_its_errata_take_from_the_claim():
    """Their lines, refuted parts first, of experiments as well, whose verdicts they do not enter.

    Formulas are for MathJax, which the page loads.
    """
    page = chapter("scorecard")
    (cell,) = re.findall(r'<tbody id="lc-e5">.*?<ul class="conditions">(.*?)</ul>', page, re.DOTALL)
    assert [*re.findall(r"<li><a [^>]+>(E\d+)</a>, <em>[^<]+</em>, ([a-z ]+):", cell)] == [
        ("E23", "does not hold"), ("E13", "condition"), ("E14", "condition"), ("E24", "condition"),
    ]  # fmt: skip
    assert r'with <span class="math notranslate nohighlight">\(b = 0\)</span>.' in cell
    assert "$\\sqrt2$" in page  # a formula outside the tables: without one Sphinx does not load MathJax
    for row in scorecard.rows(RESULTS):
        told = "\n".join(scorecard._decides(row, scorecard._entries(BOOK / "errata.md")))
        takes = {errata()[number] for number in row.errata} & {"does not hold", "condition"}
        assert ("conditions" in told) == bool(takes) and told and told in page
        assert row.id in MEASURED or bool(takes) == (row.verdict != "holds")
    assert scorecard._formulas("a $x < y$ & b") == (
        r'a <span class="math notranslate nohighlight">\(x &lt; y\)</span> &amp; b'
    )


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
