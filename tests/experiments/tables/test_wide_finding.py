"""What is said of networks that see every feature, from runs that are made up."""

import re

import pytest

from shapnotes.experiments.tables import wide_finding
from shapnotes.experiments.tables.models import DEEP
from shapnotes.experiments.tables.wide import LARGEST, MNIST, SEEN, SIZES, configuration
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
    assert near.decides.startswith("the largest of 6 errors, ") and near.decides.endswith("of the values")
    worse = tables()
    for run in worse[10:20]:  # the second size of the first table
        run["result"]["error"] += 0.01
    data, channels = next(iter(DEEP)), SIZES[1][0]
    assert f"{wide_finding.TITLES[data]}, Wide ShapNet {channels}: 0.06" in finding(worse, "1").decides


CLOSE = wide_finding.CLOSE


def test_speed():
    assert finding(tables(), "2").verdict == "directions agree"
    assert finding(tables(slow=1.5), "2").verdict == "disagrees"
    mixed = tables()
    for run in mixed[:10]:
        run["result"]["explain, 1"] += 1
    assert re.search(r"for one input: 0\.5\d ± .* to 1\.5\d ± ", finding(mixed, "2").decides)


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


def parts(better: float, nearer: float, data: str = "yeast") -> list[dict]:
    """Neurons that see every feature of a table are so much better and nearer than those that see fewer."""
    cells = [(configuration(data, "wide", LARGEST, seen=seen), 0.0, 0.1) for seen in SEEN[data]]
    cells.append((configuration(data, "wide", LARGEST), better, 0.1 - nearer))
    return [
        {
            "config": config,
            "seed": 5 * r,
            "result": {"test": 0.5 + ahead + r / 1000, "error": error + r / 1e4, "size": 1.0},
        }
        for config, ahead, error in cells
        for r in range(10)
    ]


def test_what_a_neuron_sees():
    both = finding(parts(0.02, 0.05), "4")
    assert both.decides.startswith("every feature less two: Yeast, accuracy +0.020 ± ")
    assert [s.held for s in both.statements] == [True, True] and both.reduced == "4 of 15 networks"
    assert re.fullmatch(r"-0\.050 ± 0\.\d{3}", both.statements[1].found)  # in pairs of rounds
    assert [s.held for s in finding(parts(-0.02, -0.05), "4").statements] == [False, False]
    assert [s.held for s in finding(parts(-0.02, 0.05, "synthetic"), "4").statements] == [True, True]
    assert finding(parts(0.0, 0.0), "4").statements[1].held is None
    assert not finding(parts(0.0, 0.0)[:10], "4").statements


def test_all_predictions_come_before_all_explanations():
    """So that no table of them leaves the prediction of one data set behind the explanations of others."""
    of_two = finding(parts(0.02, 0.05) + parts(0.02, 0.05, "synthetic"), "4").statements
    assert ["predicts" in s.claim for s in of_two] == [True, True, False, False]
