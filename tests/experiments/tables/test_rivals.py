"""Rivals: their explanations are what is said of them, on models whose Shapley values are known otherwise."""

import json
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from oracles import by_permutations, tolerance
from real_data import needs_yeast
from torch.testing import assert_close

from shapnotes.exact import shapley_values
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.tables import rivals, splits
from shapnotes.experiments.tables.rivals import Boosted, Via, batches, coalitions, configuration, shapley_loss

F64 = tolerance(torch.float64)
SMALL = {"explained": 2, "permutations": 4, "repeats": 1, "samples": 80}


class Terms:
    """What an EBM offers, for F = 2 + a^2 + (a + 1)(b + 2) + sin(c), or scores of classes, that times 1, -1, 3."""

    term_features_ = ((0,), (0, 1), (2,))

    def __init__(self, classes: int = 0):
        self.factors = {0: 1.0, 2: 1.0, 3: np.array([1.0, -1.0, 3.0])}[classes]
        self.name = "decision_function" if classes else "predict"
        setattr(self, self.name, lambda x: 2 + self.eval_terms(x).sum(1))
        if classes:
            self.classes_ = np.arange(classes)

    def eval_terms(self, x):
        terms = np.stack([x[:, 0] ** 2, (x[:, 0] + 1) * (x[:, 1] + 2), np.sin(x[:, 2])], 1)
        return terms if np.isscalar(self.factors) else terms[:, :, None] * self.factors


def inputs(rows: int, n: int) -> torch.Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_the_terms_of_a_pair(classes):
    """(a + 1)(b + 2) - 2 = a b + 2 a + b: half of a b each, and 2 a and b whole; the halves have it half and half."""
    model, x = Boosted(Terms(classes)), inputs(4, 3)
    a, b, c = x.unbind(1)
    exact = torch.stack([a**2 + a * b / 2 + 2 * a, a * b / 2 + b, c.sin()], 1)[..., None]
    halves = torch.stack([a**2 + (a * b + 2 * a + b) / 2, (a * b + 2 * a + b) / 2, c.sin()], 1)[..., None]
    scale = {0: [1.0], 2: [-0.5, 0.5], 3: [1.0, -1.0, 3.0]}[classes]
    scale = torch.tensor(scale, dtype=torch.float64)
    assert_close(model.exact(x), exact * scale, **F64)
    assert_close(model.explain(x), halves * scale, **F64)
    assert_close(shapley_values(model, x), exact * scale, **F64)


def test_a_fitted_machine_is_explained_exactly():
    """By terms and by enumeration, the same; the sums close for both explanations."""
    fold = splits.fold("breast_cancer", 0)
    few = splits.Fold(*((x[:, :5], y) for x, y in (fold.train, fold.held_out, fold.test)))
    config = configuration("breast_cancer", "ebm", outer_bags=1, max_rounds=10)
    model = rivals.boosted(config, few, torch.Generator().manual_seed(0))
    assert any(len(players) == 2 for players in model.terms)
    x = few.test[0][:3].double()
    assert model(x).shape == (3, 2) and rivals.performance(model, few.test) > 0.8
    exact = shapley_values(model, x)
    assert_close(model.exact(x), exact, **F64)
    assert_close(model.explain(x).sum(1), exact.sum(1), **F64)
    assert float((model.explain(x) - exact).abs().max()) > 1e-4  # the halves are another explanation


def test_coalitions_have_the_weights_of_kernel_shap():
    n, draws = 5, 40_000
    masks = coalitions(n, (2, draws // 2), torch.Generator().manual_seed(0))
    assert masks.shape == (2, draws, n) and masks.dtype == torch.bool
    assert torch.equal(masks[:, draws // 2 :], ~masks[:, : draws // 2])
    numbers = (masks.long() << torch.arange(n)).sum(-1).flatten()
    shares = torch.bincount(numbers, minlength=2**n).double() / numbers.numel()
    kernel = [0.0] + [(n - 1) / (comb(n, s.bit_count()) * s.bit_count() * (n - s.bit_count())) for s in range(1, 31)]
    expected = torch.tensor([*kernel, 0.0], dtype=torch.float64)
    assert_close(shares, expected / expected.sum(), rtol=0, atol=4e-3)


class Product(Via):
    """F = c + a b d, explained by `shares` of it."""

    def __init__(self, shares):
        super().__init__(3, 1, torch.Generator().manual_seed(0))
        self.shares = torch.tensor(shares, dtype=torch.float64)

    def explain(self, x):
        return (x.prod(1)[:, None] * self.shares)[..., None]


def test_the_loss_is_least_at_the_shapley_values():
    """Over all coalitions of three, weighed alike: (1/3, 1/3, 1/3) of a product beats whatever else adds up to it."""
    x = inputs(6, 3)
    members = [s for size in (1, 2) for s in combinations(range(3), size)]
    masks = torch.tensor([[i in s for i in range(3)] for s in members]).expand(6, -1, 3)
    by_shares = lambda *shares: float(shapley_loss(Product(shares), x, masks).detach())  # noqa: E731
    mean = x.prod(1).square().mean().item()  # every product is 0 unless all are there
    assert by_shares(1 / 3, 1 / 3, 1 / 3) == pytest.approx(mean * (3 * (1 / 3) ** 2 + 3 * (2 / 3) ** 2) / 6)
    assert by_shares(1 / 3, 1 / 3, 1 / 3) < min(by_shares(0.4, 0.3, 0.3), by_shares(0.5, 0.5, 0), by_shares(1, 0, 0))
    assert Product((1, 0, 0))(x).shape == (6, 1)


def test_via_adds_up_and_is_nothing_at_the_reference():
    net, x = Via(4, 3, torch.Generator().manual_seed(0)).double(), inputs(5, 4)
    assert_close(net.explain(0 * x), x.new_zeros(5, 4, 3), **F64)
    assert_close(net(x), net(0 * x) + net.explain(x).sum(1), **F64)
    assert_close(net.explain(x)[2:3], net.explain(x[2:3]), **F64)


@needs_yeast
def test_the_shapley_loss_brings_explanations_nearer():
    """The same training without it (beta = 0) is the mutant: its explanations are no Shapley values."""
    fold, near = splits.fold("yeast", 0), {}
    x = fold.test[0][:10].double()
    for beta in (10.0, 0.0):
        config = configuration("yeast", "viashap", steps=250, beta=beta)
        net = rivals.via(config, fold, torch.Generator().manual_seed(0))
        near[beta] = rivals.closeness(net, {"error": net.explain}, x, 4, torch.Generator())
        assert near[beta]["gap"] < 1e-9 and near[beta]["standard error"] == 0
    share = {beta: found["error"] / found["size"] for beta, found in near.items()}
    assert share[10.0] < 0.5 * share[0.0], share


def test_closeness_by_hand(monkeypatch):
    """Two classes; one player's attribution is off by 1 for the first and by 3 for the second."""
    table = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)
    x = torch.ones(1, 2, dtype=torch.float64)

    def model(rows):
        value = table[(rows[:, 0] + 2 * rows[:, 1]).long()]
        return torch.stack([value, 0 * value], 1)

    exact = by_permutations(table)
    off = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]], dtype=torch.float64)
    given = torch.stack([exact, 0 * exact], -1)[None] + off
    found = rivals.closeness(model, {"error": lambda rows: given}, x, 8, torch.Generator().manual_seed(0))
    weight = torch.tensor([5.0, 0.0]).double().softmax(0)
    assert found["error"] == pytest.approx(float(weight @ torch.tensor([0.5, 1.5]).double()))
    assert found["size"] == pytest.approx(float(weight[0] * exact.mean())) and found["gap"] == pytest.approx(3)
    monkeypatch.setattr(rivals, "ENUMERATED", 1)  # sampled: two players, each pair of orders is exact
    sampled = rivals.closeness(model, {"error": lambda rows: given}, x, 8, torch.Generator().manual_seed(0))
    assert sampled == pytest.approx(found)


def test_smoke_runs_hold_their_numbers():
    found = []
    for batch in batches("smoke"):
        (result,) = rivals.run(batch.config, batch.seeds, "cpu")
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert {"test", "held_out", "error", "size", "explain, 1", "deep, 64"} <= set(result)
        assert result["gap"] < 1e-9
        found.append({"config": batch.config, "seed": 0, "result": result})
    assert found[0]["result"]["error, exact"] < 1e-10
    lines = rivals.summary(found)
    assert len(lines) == 4 and "squared error" in lines[1] and "exact)" in lines[1]
    assert lines[0].startswith("synthetic, EBM, 1 runs") and "ViaSHAP-style perceptron, β = 10, 100 steps" in lines[2]


def test_intervals_are_over_rounds_that_share_rows():
    """Error in parts of the values, and time over the Deep ShapNet's; five twelfths for first folds of a table."""
    runs = [
        {
            "config": configuration("yeast", "ebm"),
            "seed": seed,
            "result": {"error": e, "size": 2.0, "explain, 1": 3.0, "deep, 1": 6.0},
        }
        for seed, e in zip(range(0, 20, 5), (1.0, 2.0, 3.0, 2.0), strict=True)
    ]
    assert rivals.mean(runs, rivals.relative) == interval([0.5, 1.0, 1.5, 1.0], shared=5 / 12)
    assert rivals.mean(runs, rivals.slowness) == (0.5, 0)
    drawn = [run | {"config": configuration("synthetic", "ebm")} for run in runs]
    assert rivals.mean(drawn, rivals.relative) == interval([0.5, 1.0, 1.5, 1.0])
    assert rivals.named(configuration("yeast", "viashap", beta=0.0)) == "ViaSHAP-style perceptron, β = 0"
    assert configuration("synthetic", "ebm")["samples"] == 20_000


def test_all_runs_are_there():
    found = batches("paper")
    names = [(json.dumps(b.config, sort_keys=True), s) for b in found for s in b.seeds]
    assert len(set(names)) == len(names) == 10 * 3 * 3
    assert {s for b in found for s in b.seeds} == set(range(0, 50, 5))
    assert all(b.config["steps"] == 8000 for b in found if b.config["model"] == "viashap")
