"""The verdict is a consequence of the statements, whatever else is said."""

import pytest

from shapnotes.experiments._harness.finding import (
    Comparison,
    Finding,
    Statement,
    above,
    below,
    every,
    matches,
    similar,
    within_factor,
)
from shapnotes.experiments._harness.statistics import Interval
from shapnotes.experiments._harness.tables import comparison, statements


def made(directions=(), sizes=(), **more) -> Finding:
    said = [Statement(f"direction {i}", "interval", held) for i, held in enumerate(directions)]
    said += [Statement(f"size {i}", "interval", held, size=True) for i, held in enumerate(sizes)]
    return Finding(tuple(said), (), "", **more)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (made([True, True], [True]), "numbers agree"),
        (made([], [True, True]), "numbers agree"),
        (made([True, True], [True, False]), "directions agree"),
        (made([True], [None]), "directions agree"),
        (made([True, True]), "directions agree"),
        (made([True, False], [True]), "disagrees"),
        (made([None, False]), "disagrees"),
        (made([], [False]), "disagrees"),
        (made([True, None], [True]), "open"),
        (made([]), "open"),
        (made([True], [True], reduced="two epochs"), "smaller scale only"),
        (made([False], reduced="two epochs"), "smaller scale only"),
        (made([True], [True], comparable=False), "not comparable"),
    ],
)
def test_the_verdict_follows(finding, verdict):
    assert finding.verdict == verdict


def test_the_count_tells_of_every_answer():
    told = [made(answers).count for answers in ([True, True], [True, False, None], [False, False, None, None])]
    assert told == [
        "2 of 2 statements hold",
        "1 of 3 statements hold, 1 does not, 1 undecided",
        "0 of 4 statements hold, 2 do not, 2 undecided",
    ]
    told = [made(*answers).count for answers in (([True, None], [False]), ([True, False], [False, False]))]
    assert told == [
        "1 of 3 statements hold, 1 does not (about the size of numbers), 1 undecided",
        "1 of 4 statements hold, 3 do not (2 about the size of numbers)",
    ]


def test_sides_are_decided_by_whole_intervals():
    for mean, half, answer in ((0.3, 0.2, True), (0.1, 0.2, None), (-0.3, 0.2, False)):
        assert above(Interval(mean, half)) is answer
        assert below(Interval(mean, half)) is (None if answer is None else not answer)
        assert above(Interval(mean + 1, half), 1.0) is answer and below(Interval(1 - mean, half), 1.0) is answer
    assert above(Interval(5.0, float("nan"))) is None  # a single run decides nothing


def test_a_difference_is_similar_by_its_whole_interval():
    nan = float("nan")
    for mean, half, answer in ((0.01, 0.005, True), (0.01, 0.02, None), (-0.05, 0.02, False), (0.0, nan, None)):
        assert similar(Interval(mean, half)) is answer and similar(Interval(-mean, half)) is answer


def test_a_number_is_the_papers_within_the_error_of_both():
    assert matches(Interval(1.0, 0.1), 1.14) and not matches(Interval(1.0, 0.1), 1.15)
    assert matches(Interval(1.0, float("nan")), 1.0) is None


def test_a_factor_is_judged_by_the_whole_interval():
    """Two thirds of 3 to three halves of it are 2 to 4.5."""
    spans = {
        (2.1, 4.4): True,
        (1.9, 2.1): None,
        (4.4, 4.6): None,
        (1.0, 9.0): None,
        (1.0, 1.9): False,
        (4.6, 5.0): False,
    }
    for (low, high), answer in spans.items():
        assert within_factor(Interval((low + high) / 2, (high - low) / 2), 3.0, 1.5) is answer
    assert within_factor(Interval(3.0, float("nan")), 3.0, 1.5) is None


def test_every():
    assert every([True, True]) is True and every([True, None]) is None and every([None, False]) is False
    assert every([]) is None


def test_findings_as_tables():
    one = Finding(
        (Statement("faster", "interval above 0", None),), (Comparison("here", "SA", Interval(0.5, 0.1), 0.6),), ""
    )
    assert "Asked of the record: interval above 0" in statements(one, "said", stacked=True).text
    assert "undecided" in statements(one, "said").text and "0.500\u00a0±\u00a00.100" in comparison(one, "numbers").html
