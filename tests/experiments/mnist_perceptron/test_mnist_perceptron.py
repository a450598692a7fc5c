"""LC-F3: what is trained is what the configuration says, and the finding follows the numbers."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from shapnotes.experiments._harness.record import Record
from shapnotes.experiments._models import perceptron
from shapnotes.experiments.mnist_perceptron import finding as mnist_perceptron_finding
from shapnotes.experiments.mnist_perceptron import study as mnist_perceptron_study
from shapnotes.nn import SALinear, ShapLULinear

RUNS = Record(Path(__file__).resolve().parents[3] / "book" / "results" / "LC-F3.jsonl").select("paper")


@pytest.mark.parametrize(("activation", "kinds"), [
    ("relu", [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]),
    ("gelu", [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]),
    ("sa", [SALinear, SALinear, nn.Linear]),
    ("shaplu", [ShapLULinear, ShapLULinear, nn.Linear]),
])  # fmt: skip
def test_networks(activation, kinds):
    generator = torch.Generator().manual_seed(0)
    model = perceptron.network([784, 100, 50, 10], {"activation": activation, "init": "flux"}, generator)
    assert [type(layer) for layer in model] == kinds
    first = model[0]
    bound = (6 / 884) ** 0.5
    assert float(first.weight.detach().abs().max()) <= bound and float(first.weight.detach().std()) > 0.5 * bound
    assert float(first.bias.detach().abs().max()) == 0


def test_activations_of_a_seed_start_from_the_same_weights():
    started = [
        perceptron.network([5, 4, 3], {"activation": name, "init": "torch"}, torch.Generator().manual_seed(1))
        for name in mnist_perceptron_study.ACTIVATIONS
    ]
    weights = [[p.detach() for p in model.parameters()] for model in started]
    assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))


def changed(accuracy=None, test=None):
    """The record with other accuracies: `accuracy(config)` in every epoch, seeds a little apart."""
    runs = copy.deepcopy(RUNS)
    for run in runs:
        if accuracy is not None:
            level = accuracy(run["config"]) + run["seed"] * 1e-4 * (run["config"]["activation"] != "relu")
            run["result"]["train_accuracy"] = [level] * len(run["result"]["steps"])
        if test is not None:
            run["result"]["test_accuracy"] = test + run["seed"] * 1e-4
    return runs


def ahead(config):
    return 0.5 + 0.1 * (config["activation"] != "relu")


def right(config):
    return 0.5 if config["optimiser"] in mnist_perceptron_finding.SMALLER else ahead(config)


@pytest.mark.parametrize(
    ("runs", "held", "verdict"),
    [
        (RUNS, [True, True, None, None, True], "open"),
        (changed(right, 0.8597), [True, True, True, True, True], "numbers agree"),
        (changed(right, 0.80), [True, True, True, True, False], "directions agree"),
        (changed(ahead, 0.8597), [True, True, False, True, True], "disagrees"),  # ahead at small rates too
        (changed(lambda config: 1 - right(config), 0.8597), [False, False, True, True, True], "disagrees"),
    ],
)
def test_the_verdict_follows_the_numbers(runs, held, verdict):
    found = mnist_perceptron_finding.finding(runs)
    assert [statement.held for statement in found.statements] == held
    assert found.verdict == verdict and found.reduced == ""


@pytest.mark.parametrize("arm", ["shaplu", "sa"])
def test_every_arm_is_judged_alike(arm):
    """One arm that is behind is enough to refute, one whose interval includes zero to leave it open."""
    behind = changed(lambda config: 1 - right(config) if config["activation"] == arm else right(config))
    assert [s.held for s in mnist_perceptron_finding.finding(behind).statements[:2]] == [False, False]
    unsure = changed(right)
    for run in unsure:
        if run["config"]["activation"] == arm:
            run["result"]["train_accuracy"] = [0.5 + (-1) ** run["seed"] / 10] * len(run["result"]["steps"])
    held = [s.held for s in mnist_perceptron_finding.finding(unsure).statements]
    assert held[:3] == [None, None, None if arm == "shaplu" else True]


@pytest.mark.parametrize(
    ("rates", "held"),
    [
        ((), False),
        (("SGD 0.1",), None),
        (("SGD 0.1", "SGD 0.05"), None),
        (("SGD 0.1", "SGD 0.05", "SGD 0.01"), True),
    ],
)
def test_a_claim_of_a_rate_that_is_not_given(rates, held):
    """Decided where the answer is the same at every rate that may be meant, and so the printed criterion says."""
    runs = changed(lambda config: 0.5 if config["optimiser"] in rates else ahead(config))
    statement = mnist_perceptron_finding.finding(runs).statements[2]
    assert statement.held is held
    words = (
        "at 0.1, 0.05 and 0.01 (the paper gives no rate): yes if all lie within -0.02 and 0.02, no if none reaches in"
    )
    assert words in statement.criterion


def test_the_rates_of_the_record_have_different_answers():
    """One lead is within the bounds, one across, one wholly outside: as "at all, else no" the claim were refuted."""
    leads = [mnist_perceptron_finding.lead(RUNS, "shaplu", rate) for rate in mnist_perceptron_finding.SMALLER]
    assert -0.02 < leads[0].low and leads[0].high < 0.02
    assert leads[1].low < -0.02 < leads[1].high and leads[2].high < -0.02
    statement = mnist_perceptron_finding.finding(RUNS).statements[2]
    assert statement.held is None
    assert statement.found == "+0.000 ± 0.007, -0.024 ± 0.005, -0.049 ± 0.008"


def test_every_answer_has_its_numbers_beside_it_and_its_own_criterion():
    found = mnist_perceptron_finding.finding(RUNS)
    assert len(found.by_criterion) == len(found.statements) == 5
    assert [s.found for s in found.statements[:2] + found.statements[3:4]] == [
        "ShapLU +0.025 ± 0.010, SA +0.026 ± 0.009",
        "ShapLU +0.094 ± 0.033, SA +0.095 ± 0.036",
        "+0.001 ± 0.004, +0.001 ± 0.022, +0.016 ± 0.005, +0.028 ± 0.005, +0.046 ± 0.008",
    ]


def test_an_unfinished_record_decides_nothing():
    begun = [run for run in RUNS if run["config"]["activation"] == "relu"]
    found = mnist_perceptron_finding.finding(begun)
    assert found.verdict == "smaller scale only" and "0 of 10 runs (SA, SGD 0.5)" in found.reduced
    assert [s.held for s in found.statements] == [None] * 5
    assert len(mnist_perceptron_finding.summary(begun)) == 1 + len(
        {json.dumps(run["config"], sort_keys=True) for run in begun}
    )


def test_the_summary_has_a_line_per_configuration():
    lines = mnist_perceptron_finding.summary(RUNS)
    assert len(lines) == 1 + len(mnist_perceptron_study.batches("paper"))
    one = next(line for line in lines if line.startswith("SGD 0.5     shaplu"))
    assert mnist_perceptron_finding.lead(RUNS, "shaplu", "SGD 0.5").shown("+.3f") in one
    assert mnist_perceptron_finding.lead(RUNS, "tanh", "SGD 0.5") is None
