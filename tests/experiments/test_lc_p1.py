"""LC-P1: the ratio that decides is that of the paper's network, and another machine's is only set beside it."""

import json
from pathlib import Path

import pytest

from shapnotes.benchmarks import training_steps
from shapnotes.experiments import experiment, lc_f4, lc_p1

BENCH = Path(__file__).resolve().parents[2] / "book" / "results" / lc_p1.BENCH


def made(ratio: float, others: float = 3.0) -> dict:
    """Timings in which SA takes `ratio` times as long in the paper's network, and `others` in all others."""
    networks = dict.fromkeys(training_steps.NETWORKS, others) | {lc_f4.NETWORK: ratio}
    rows = [
        {
            "network": network,
            "activation": activation,
            "over_relu_interval": [cost if activation == "sa" else 1.0, 0.05],
        }
        for network, cost in networks.items()
        for activation in training_steps.ACTIVATIONS
    ]
    return {"rows": rows}


@pytest.mark.parametrize(("ratio", "held"), [(1.2, True), (1.25, True), (1.5, False), (1.0, False)])
def test_the_statement_follows_the_papers_network(ratio, held):
    found = lc_p1.finding(made(ratio))
    (statement,) = found.statements
    assert statement.held is held and found.verdict == "not comparable"
    assert f"{ratio:.2f} ± 0.05 times as long" in found.decides
    expected = dict.fromkeys(training_steps.NETWORKS) | {lc_f4.NETWORK: held}
    assert {line.setting: line.agree for line in found.table} == expected


def test_it_reads_the_record_of_steps():
    assert experiment("LC-P1") is lc_p1
    found = lc_p1.finding(json.loads(BENCH.read_text("utf8")))
    assert len(found.table) == len(training_steps.NETWORKS) and all(line.ours.mean > 1 for line in found.table)
