"""LC-F3: what is trained is what the configuration says, and the verdict follows the numbers."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from shapnotes.experiments import lc_f3
from shapnotes.experiments.record import Record
from shapnotes.nn import SALinear, ShapLULinear

RUNS = Record(Path(__file__).resolve().parents[2] / "book" / "results" / "LC-F3.jsonl").select("paper")


@pytest.mark.parametrize(("activation", "kinds"), [
    ("relu", [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]),
    ("gelu", [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]),
    ("sa", [SALinear, SALinear, nn.Linear]),
    ("shaplu", [ShapLULinear, ShapLULinear, nn.Linear]),
])  # fmt: skip
def test_networks(activation, kinds):
    generator = torch.Generator().manual_seed(0)
    model = lc_f3.network([784, 100, 50, 10], {"activation": activation, "init": "flux"}, generator)
    assert [type(layer) for layer in model] == kinds
    first = model[0]
    bound = (6 / 884) ** 0.5
    assert float(first.weight.detach().abs().max()) <= bound and float(first.weight.detach().std()) > 0.5 * bound
    assert float(first.bias.detach().abs().max()) == 0


def test_activations_of_a_seed_start_from_the_same_weights():
    started = [
        lc_f3.network([5, 4, 3], {"activation": name, "init": "torch"}, torch.Generator().manual_seed(1))
        for name in lc_f3.ACTIVATIONS
    ]
    weights = [[p.detach() for p in model.parameters()] for model in started]
    assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))


def changed(accuracy=None, test=None):
    runs = copy.deepcopy(RUNS)
    for run in runs:
        if accuracy is not None:
            run["result"]["train_accuracy"] = [accuracy(run)] * len(run["result"]["steps"])
        if test is not None:
            run["result"]["test_accuracy"] = test
    return runs


def test_the_verdict_follows_the_numbers():
    assert lc_f3.verdict(RUNS)[0] == "partly"
    assert lc_f3.verdict(changed(accuracy=lambda run: 0.5))[0] == "partly"  # no lead, but similar under small rates
    ahead = lambda run: 0.5 + 0.1 * (run["config"]["activation"] != "relu")  # noqa: E731
    assert lc_f3.verdict(changed(accuracy=ahead, test=0.5))[0] == "partly"  # ahead everywhere, also where it should not
    right = lambda run: ahead(run) if run["config"]["optimiser"] != "SGD 0.01" else 0.5  # noqa: E731
    assert lc_f3.verdict(changed(accuracy=right))[0] == "reproduced"
    behind = lambda run: 0.5 - 0.1 * (run["config"]["activation"] != "relu")  # noqa: E731
    assert lc_f3.verdict(changed(accuracy=behind, test=0.5))[0] == "not reproduced"
