"""LC-F6: what is measured is what it is called, and the finding follows the numbers."""

import copy
import json
from pathlib import Path

import pytest
import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.pixel_maps import relevance, relevance_finding
from shapnotes.experiments.pixel_maps.explained import explained
from shapnotes.experiments.pixel_maps.maps import parts, per_unit_of_grey, unpacked

F64 = tolerance(torch.float64)
RUNS = Record(Path(__file__).resolve().parents[3] / "book" / "results" / "LC-F6.jsonl").select("paper")


@pytest.fixture(scope="module")
def found():
    return explained(relevance.SMOKE, 0, "cpu")


def test_the_paper_s_setting():
    for batch in relevance.batches("paper"):
        assert batch.config["hidden"] == [100, 50] and batch.config["images"] == batch.config["permutations"] == 1000
    assert [batch.seeds for batch in relevance.batches("paper")] == [(0,), (1,), (2,)]
    assert relevance.batches("cpu") == relevance.batches("paper")


def test_without_brightest_blanks_a_twentieth(found):
    """Three of 64 pixels, class by class, on the images that were not explained."""
    part = torch.zeros(10, 64, dtype=torch.float64)
    chosen = [[(7 * c + step) % 64 for step in (20, 28, 36)] for c in range(10)]
    for c, pixels in enumerate(chosen):
        part[c, pixels] = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    changes = relevance.without_brightest(found, part)
    for c, pixels in enumerate(chosen):
        kept = torch.ones(64, dtype=torch.float64)
        kept[pixels] = 0
        expected = (found.probabilities(found.others * kept) - found.probabilities(found.others))[:, c].mean()
        assert_close(changes[c], expected, **F64)
    assert float(changes.abs().max()) > 1e-4


def test_own_images_are_those_of_the_class(found):
    per_grey = per_unit_of_grey(found.relevance[0], found.x)
    maps = relevance.maps_of_own_images(per_grey, found.y)
    for c in range(10):
        rows = [i for i, label in enumerate(found.y.tolist()) if label == c]
        mean = sum(per_grey[i, :, c].clamp(min=0) for i in rows) / len(rows)
        assert_close(maps[0, c], mean, **F64)


def test_a_smoke_run_holds_its_numbers(found):
    batch = relevance.batches("smoke")[0]
    (result,) = relevance.run(batch.config, batch.seeds, "cpu")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    maps = parts(per_unit_of_grey(found.relevance[0], found.x))
    assert_close(unpacked(result["maps"]), maps, rtol=0, atol=0.51 * result["maps"]["unit"])
    assert list(result["eps"]) == ["0.01", "0.0", "0.0001", "1.0"]
    lost = {float(eps): entry["lost"] for eps, entry in result["eps"].items()}
    assert all(layers["2"] == 0 for layers in lost.values())  # what is lost is counted from the logits down
    assert max(lost[0.0].values()) < 1e-12
    assert 0 < lost[1e-4]["input"] < lost[0.01]["input"] < lost[1.0]["input"] < 1
    absorbed = (found.relevance.totals[0] - found.relevance.totals[-1]).abs().sum() / found.start.sum(1).abs().sum()
    assert abs(lost[0.01]["input"] - float(absorbed)) < 1e-4
    assert 0 < result["monte_carlo"]["mean_error"] < result["monte_carlo"]["largest_error"]
    assert 0.5 < result["monte_carlo"]["rms_deviation_in_errors"] < 5
    runs = [{"config": batch.config, "seed": 0, "result": result}]
    assert relevance_finding.summary(runs) and relevance_finding.finding(runs).reduced == "digits in place of MNIST"
    assert [statement.held for statement in relevance_finding.finding(runs).statements] == [None] * 4  # one network


def changed(**entries):
    """The record with these entries of every result replaced, each by what a function makes of it."""
    runs = copy.deepcopy(RUNS)
    for one in runs:
        for key, change in entries.items():
            one["result"][key] = change(one["result"][key])
    return runs


def near(correlation, spread=0.0):
    """Entries by which both correlations are so large in the mean, networks apart by `spread`."""
    values = iter([correlation - spread, correlation, correlation + spread] * 2)
    return {
        "eps": lambda entry, own=values: {
            eps: {**found, "shapley": v} for v in [next(own)] for eps, found in entry.items()
        },
        "increase": lambda entry, own=values: dict.fromkeys(entry, next(own)),
    }


def turned(entry):
    return {name: [-change for change in changes] for name, changes in entry.items()}


def held(runs):
    return [statement.held for statement in relevance_finding.finding(runs).statements]


def test_the_verdict_follows_the_numbers():
    assert held(RUNS) == [True, True, True, False] and relevance_finding.finding(RUNS).verdict == "disagrees"
    agrees = relevance_finding.finding(changed(**near(0.95, 0.001)))
    assert agrees.verdict == "directions agree" and agrees.reduced == ""
    assert held(changed(**near(0.85, 0.001))) == [True, True, False, False]
    assert held(changed(**near(0.92, 0.05))) == [True, True, None, None]
    assert held(changed(blanked=turned, **near(0.95, 0.001))) == [False, False, True, True]
    one_wrong = lambda entry: entry | {"approve": [abs(entry["approve"][0]), *entry["approve"][1:]]}  # noqa: E731
    assert held(changed(blanked=one_wrong)) == [False, True, True, False]
    seeds = iter([1, -1, 1])
    unsure = lambda entry: entry | {"reject": [0.1 * next(seeds), *entry["reject"][1:]]}  # noqa: E731
    assert held(changed(blanked=unsure)) == [True, None, True, False]


def test_the_finding_reads_the_configuration_s_eps():
    """Maps with another eps may agree or not: they are shown, and do not count."""
    only = lambda entry: {e: {**f, "shapley": f["shapley"] if e == "0.01" else 0.0} for e, f in entry.items()}  # noqa: E731
    assert held(changed(eps=only)) == held(RUNS)


def test_numbers_are_means_over_networks_with_intervals():
    found = [one["result"]["accuracy"]["test"] for one in RUNS]
    assert relevance_finding.over_seeds(RUNS, "accuracy", "test") == interval(found)
    approve = [one["result"]["blanked"]["approve"] for one in RUNS]
    assert relevance_finding.over_seeds(RUNS, "blanked", "approve").mean == pytest.approx(sum(map(sum, approve)) / 30)
    assert relevance_finding.blanked(RUNS, "approve")[7] == interval(changes[7] for changes in approve)


def test_the_record():
    assert len(RUNS) == 3 and {one["seed"] for one in RUNS} == {0, 1, 2}
    for one in RUNS:
        result = one["result"]
        assert one["config"] == relevance.PAPER and result["accuracy"]["test"] > 0.97
        assert unpacked(result["maps"]).shape == (2, 10, 784)
        assert max(result["eps"]["0.0"]["lost"].values()) < 1e-10
    assert "nan" not in "\n".join(relevance_finding.summary(RUNS))
    assert 0.5 < relevance_finding.between_seeds(RUNS) < 1
