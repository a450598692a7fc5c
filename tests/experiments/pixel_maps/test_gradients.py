"""LC-F7: gradients, four measures by another way each, and a finding that follows the numbers."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.experiments._harness.record import Record
from shapnotes.experiments.pixel_maps import gradients, gradients_finding, relevance
from shapnotes.experiments.pixel_maps.explained import explained
from shapnotes.experiments.pixel_maps.maps import parts, unpacked

F64 = tolerance(torch.float64)
RUNS = Record(Path(__file__).resolve().parents[3] / "book" / "results" / "LC-F7.jsonl").select("paper")


@pytest.fixture(scope="module")
def found():
    return explained(relevance.SMOKE, 0, "cpu")


@pytest.fixture(scope="module")
def slopes(found):
    return gradients.gradients(found)


def test_gradients_are_those_of_the_probabilities(found, slopes):
    x = found.x.clone().requires_grad_()
    for c in (0, 9):
        expected = torch.autograd.grad(found.probabilities(x)[:, c].sum(), x)[0]
        assert_close(slopes[:, :, c], expected, **F64)
    assert_close(slopes.sum(2), torch.zeros(60, 64, dtype=torch.float64), **F64)  # probabilities sum to one


def test_removal_one_image_at_a_time(found, monkeypatch):
    monkeypatch.setattr(gradients, "BLANKED", 5)
    few = dataclasses.replace(found, x=found.x[:3])
    scores = torch.rand(3, 64, 10, generator=torch.Generator().manual_seed(0))
    curve = []
    for x, score in zip(few.x, scores, strict=True):
        c = int(found.probabilities(x).argmax())
        order = sorted(range(64), key=lambda k: -score[k, c])
        for count in range(6):
            kept = torch.tensor([0.0 if k in order[:count] else 1.0 for k in range(64)], dtype=torch.float64)
            curve.append(found.probabilities(x * kept)[c])
    assert_close(gradients.removal(few, scores), torch.stack(curve).mean(), **F64)
    # Turned upside down it is another number: the order counts.
    assert abs(float(gradients.removal(few, -scores) - gradients.removal(few, scores))) > 1e-4


def test_measures_know_a_perfect_guess(found, slopes):
    """Shapley values for relevance: a correlation of 1 with themselves. Gradients twice as steep: the same numbers."""
    perfect = dataclasses.replace(found, relevance=[found.shapley])
    rows = gradients.measures(perfect, slopes)
    assert rows["shapley"]["relevance"] == 1
    assert rows == gradients.measures(perfect, 2 * slopes)
    assert set(rows) == set(gradients_finding.BETTER) and all(tuple(row) == gradients.GUESSES for row in rows.values())


def test_resemblance_is_to_the_own_digit(found, slopes):
    """The digits' mean images as values, each for its class: a correlation of 1; for the next class: less."""
    means = torch.stack([found.x[found.y == c].mean(0) for c in range(10)])
    values = (means - means.mean(0)).T.expand(60, 64, 10)
    assert gradients.measures(found, values)["resemblance"]["gradient"] == 1
    assert gradients.measures(found, values.roll(1, 2))["resemblance"]["gradient"] < 0.5


def test_light_on_dim_pixels():
    x = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.01, 0.5]])
    assert float(gradients.light_on_dim_pixels(torch.tensor([[1.0, 2.0, 5.0]]), x)) == 3 / 8


def test_a_smoke_run(found, slopes):
    batch = gradients.batches("smoke")[0]
    (result,) = gradients.run(batch.config, batch.seeds, "cpu")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert_close(unpacked(result["maps"]), parts(slopes), rtol=0, atol=0.51 * result["maps"]["unit"])
    runs = [{"config": batch.config, "seed": seed, "result": result} for seed in (0, 1)]
    assert gradients_finding.summary(runs) and gradients_finding.finding(runs).reduced == "digits in place of MNIST"


def changed(**better):
    """The record with relevance ahead of the gradient by this much, measure by measure (seeds differ a little)."""
    runs = copy.deepcopy(RUNS)
    for one in runs:
        for measure, by in better.items():
            row = one["result"]["measures"][measure]
            row["relevance"] = row["gradient"] + by + 1e-4 * one["seed"]
    return runs


def test_less_is_better_for_removal():
    assert (
        gradients_finding.lead(changed(removal=-0.1), "removal")[0]
        > 0
        > gradients_finding.lead(changed(removal=0.1), "removal")[0]
    )
    assert (
        gradients_finding.lead(changed(shapley=0.1), "shapley")[0]
        > 0
        > gradients_finding.lead(changed(shapley=-0.1), "shapley")[0]
    )


def held(runs):
    return dict(
        zip(
            gradients_finding.BETTER,
            (statement.held for statement in gradients_finding.finding(runs).statements),
            strict=True,
        )
    )


def test_the_verdict_follows_the_numbers():
    assert held(RUNS) == {"removal": True, "shapley": True, "resemblance": True, "increase": False}
    assert gradients_finding.finding(RUNS).verdict == "disagrees"
    told = gradients_finding.finding(RUNS).decides
    assert "behind in 1 (increase, which is what the paper says of" in told and told.endswith("by construction)")
    ahead = {"removal": -0.1, "shapley": 0.1, "resemblance": 0.1, "increase": 0.1}
    agrees = gradients_finding.finding(changed(**ahead))
    assert agrees.verdict == "directions agree" and agrees.reduced == ""
    assert agrees.decides.startswith("relevance ahead in 4 of 4 measures") and agrees.decides.endswith("in 0 (none)")
    assert set(held(changed(**{name: -by for name, by in ahead.items()})).values()) == {False}
    for name in ahead:
        assert held(changed(**ahead | {name: -ahead[name]})) == dict.fromkeys(ahead, True) | {name: False}
    inside = changed(**ahead | {"shapley": -1e-4})  # seeds 0, 1 and 2: -1, 0 and 1 ten thousandths
    assert held(inside)["shapley"] is None and gradients_finding.finding(inside).verdict == "open"


def test_the_record():
    theirs = Record(Path(__file__).resolve().parents[3] / "book" / "results" / "LC-F6.jsonl").select("paper")
    assert len(RUNS) == 3
    for one, other in zip(RUNS, theirs, strict=True):
        assert one["config"] == other["config"] and one["seed"] == other["seed"]
        assert one["result"]["accuracy"] == other["result"]["accuracy"]  # the same networks
    assert "nan" not in "\n".join(gradients_finding.summary(RUNS))
