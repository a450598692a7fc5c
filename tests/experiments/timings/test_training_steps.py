"""LC-P1: the ratio that decides is that of the paper's network, and another machine's is only set beside it."""

import json
from pathlib import Path

import pytest

from shapnotes.benchmarks.training_steps import ACTIVATIONS, NETWORKS
from shapnotes.experiments import claim
from shapnotes.experiments.cifar_perceptron import study as cifar_perceptron_study
from shapnotes.experiments.timings import training_steps

BENCH = Path(__file__).resolve().parents[3] / "book" / "results" / training_steps.CLAIM.bench


def made(ratio: float, others: float = 3.0) -> dict:
    """Timings in which SA takes `ratio` times as long in the paper's network, and `others` in all others."""
    networks = dict.fromkeys(NETWORKS, others) | {cifar_perceptron_study.NETWORK: ratio}
    rows = [
        {
            "network": network,
            "activation": activation,
            "over_relu_interval": [cost if activation == "sa" else 1.0, 0.05],
        }
        for network, cost in networks.items()
        for activation in ACTIVATIONS
    ]
    return {"rows": rows}


@pytest.mark.parametrize(("ratio", "held"), [(1.2, True), (1.25, True), (1.5, False), (1.0, False)])
def test_the_statement_follows_the_papers_network(ratio, held):
    found = training_steps.finding(made(ratio))
    (statement,) = found.statements
    assert statement.held is held and found.verdict == "not comparable"
    assert f"{ratio:.2f} ± 0.05 times as long" in found.decides
    expected = dict.fromkeys(NETWORKS) | {cifar_perceptron_study.NETWORK: held}
    assert {line.setting: line.agree for line in found.table} == expected


def test_it_reads_the_record_of_steps():
    assert claim("LC-P1") is training_steps.CLAIM
    found = training_steps.finding(json.loads(BENCH.read_text("utf8")))
    assert len(found.table) == len(NETWORKS) and all(line.ours.mean > 1 for line in found.table)
