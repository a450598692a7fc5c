"""What is said of networks that see every feature, from runs that are made up."""

import pytest

from shapnotes.experiments.tables import wide_finding
from shapnotes.experiments.tables.models import DEEP
from shapnotes.experiments.tables.wide import MNIST, SIZES, configuration
from shapnotes.experiments.tables.wide_finding import finding


def tables(rounds: int = 10, error: float = 0.05, slow: float = 0.5) -> list[dict]:
    """Errors and times that differ a little between rounds."""
    return [
        {
            "config": configuration(data, "wide", size),
            "seed": 5 * r,
            "result": {"error": error + r / 1000, "size": 1.0, "explain, 1": slow + r / 100, "deep, 1": 1.0},
        }
        for data in DEEP
        for size in SIZES
        for r in range(rounds)
    ]


def digits(*tests: float, seeds: int = 3) -> list[dict]:
    return [
        {"config": configuration("mnist", *one), "seed": seed, "result": {"test": test + seed / 10_000}}
        for one, test in zip(MNIST, tests, strict=True)
        for seed in range(seeds)
    ]


def test_closeness_is_judged_by_its_interval_at_one_stage():
    near, far = finding(tables(), "1"), finding(tables(error=0.2), "1")
    assert near.verdict == "directions agree" and far.verdict == "disagrees"
    assert len(near.statements) == 2 * 3 and len(near.table) == 3 * 3
    assert finding(tables(error=CLOSE - 0.0045), "1").verdict == "open"
    assert "of the values" in near.decides


CLOSE = wide_finding.CLOSE


def test_speed():
    assert finding(tables(), "2").verdict == "directions agree"
    assert finding(tables(slow=1.5), "2").verdict == "disagrees"


@pytest.mark.parametrize("part", ["1", "2"])
def test_what_is_missing_is_said(part):
    assert finding(tables(rounds=2), part).reduced == "2 of 10 rounds"
    assert finding(tables()[:10], part).reduced == "1 of 9 networks"
    assert finding([], part).verdict == "smaller scale only"


def test_digits():
    assert finding(digits(0.975, 0.98, 0.976, 0.981), "3").verdict == "directions agree"
    worse = finding(digits(0.975, 0.97, 0.976, 0.981), "3")
    assert [s.held for s in worse.statements] == [True, False, False] and worse.verdict == "disagrees"
    assert finding(digits(0.95, 0.98, 0.976, 0.981), "3").statements[0].held is False
    assert finding(digits(0.975, 0.98, 0.976, 0.981, seeds=2), "3").reduced == "2 seeds"
    assert finding(digits(0.975, 0.98, 0.976, 0.981)[:9], "3").verdict == "open"
