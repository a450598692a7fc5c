"""What the values of a hidden layer are timed against computes the same values."""

import pytest
import torch
from contracts import network, normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.benchmarks import neuron
from shapnotes.benchmarks.rivals import paired_regression


@torch.no_grad()
def test_paired_regression_tends_to_the_exact_values():
    model, x = network(6, 2, activation=nn.ReLU), normal(1, 6)
    exact = sn.shapley_values(model, x)[0]
    errors = []
    for pairs in (100, 10_000):
        values = paired_regression(model, x, pairs, torch.Generator().manual_seed(0))
        assert_close(values.sum(0), (model(x) - model(0 * x))[0], **tolerance(torch.float64))
        errors.append(float((values - exact).abs().mean() / exact.abs().mean()))
    assert errors[1] < 0.02 and errors[1] < errors[0] / 3


def test_what_sampling_would_take_follows_from_what_it_took():
    rows = {row["what"]: row for row in neuron.measure(short=True)["rows"]}
    best = rows["edgeworth"]
    for what in ("antithetic permutations", "paired regression", "Kernel SHAP"):
        row = rows[what]
        more = (row["error"] / best["error"]) ** 2
        assert row["evaluations_for_its_error"] == pytest.approx(row["evaluations"] * more)
        assert row["times_as_long"] == pytest.approx(row["seconds"] * more / best["seconds"])
        assert row["error_at_its_time"] == pytest.approx(row["error"] * (row["seconds"] / best["seconds"]) ** 0.5)
        assert row["error"] > best["error"]
    assert rows["paired regression"]["evaluations"] == 2 * 400 + 2
    assert best["error"] < rows["normal"]["error"] < rows["li-cui"]["error"] < rows["Deep SHAP"]["error"]
