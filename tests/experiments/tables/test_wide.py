"""The study of networks that see every feature: its settings, its numbers, and what is said of them."""

import json
from math import isclose

import pytest
import torch
from oracles import tolerance
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.tables import models, rivals, wide, wide_finding
from shapnotes.experiments.tables.wide import LARGEST, MNIST, SEEN, SIZES, batches, by_lattice, configuration
from shapnotes.shapnet import WideShapNet

F64 = tolerance(torch.float64)


def test_the_network_is_the_configurations():
    net = wide.network(configuration("yeast", "wide", (4, 3), nodes=5), 8, 10, torch.Generator().manual_seed(0))
    assert [tuple(z.shape[1:]) for z in net.layers(torch.zeros(1, 8))] == [(8, 4), (8, 10)]
    assert {(stage.method, stage.nodes) for stage in net.stages} == {("normal", 5)}
    again = wide.network(configuration("yeast", "wide", (4, 3)), 8, 10, torch.Generator().manual_seed(0))
    assert_close(again.stages[0].weight, net.stages[0].weight, rtol=0, atol=0)
    plain = wide.network(configuration("mnist", "perceptron", (6,)), 784, 10, torch.Generator().manual_seed(0))
    assert [tuple(p.shape) for p in plain.parameters()] == [(6, 784), (6,), (10, 6), (10,)]


@pytest.mark.parametrize("seen", [1, 3, 8])
def test_neurons_see_so_many_features_before_and_after_training(seen):
    config = configuration("yeast", "wide", (40,), seen=seen, epochs=1)
    net = wide.network(config, 8, 10, torch.Generator().manual_seed(0))
    (whole,) = wide.network(configuration("yeast", "wide", (40,)), 8, 10, torch.Generator().manual_seed(0)).stages
    (stage,) = net.stages
    chosen = stage.weight != 0
    assert chosen.sum(1).eq(seen).all() and (seen == 8 or chosen.float().mean(0).lt(1).all())
    assert_close(stage.weight[chosen], (whole.weight * (8 / seen) ** 0.5)[chosen])
    x, y = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 10
    (trained,) = models.fit([net], (x[None], y[None]), [torch.Generator().manual_seed(2)], config)
    after = trained.stages[0].weight
    assert torch.equal(after != 0, chosen) and not torch.equal(after, stage.weight)


def test_by_lattice_is_what_all_coalitions_say():
    net = WideShapNet(9, 6, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_(False)
    net.stages[0].bias.copy_(torch.linspace(-1, 1, 6))
    x = torch.randn(2, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = sn.shapley_values(net, x, progress=False)
    assert float((by_lattice(net, x) - exact).abs().max()) < 0.003 * float(exact.abs().mean())


def test_both_methods_of_one_stage_explain_one_network():
    net = WideShapNet(8, 30, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_(False)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = rivals.closeness(net, wide._explanations(net), x, 4, torch.Generator())
    assert 0 < found["error, edgeworth"] < found["error"] < 0.2 * found["size"]
    assert net.stages[0].method == "normal"
    two = WideShapNet(8, (3, 3), 2).double().requires_grad_(False)
    assert list(wide._explanations(two)) == ["error"]
    assert_close(wide._explanations(two)["error"](x).sum(1), two(x), **F64)


def test_one_image_of_each_digit():
    y = torch.tensor([3, 1, 0, 1, 2, 4, 5, 6, 7, 8, 9, 9])
    assert wide._one_of_each(torch.arange(12.0)[:, None], y)[:, 0].tolist() == [2, 1, 4, 0, 5, 6, 7, 8, 9, 10]


def test_smoke_runs_hold_their_numbers():
    found = []
    for batch in batches("smoke"):
        for seed, result in zip(batch.seeds, wide.run(batch.config, batch.seeds, "cpu"), strict=True):
            assert json.loads(json.dumps(result, allow_nan=False)) == result
            assert {"test", "train", "parameters"} <= set(result)
            if batch.config["model"] == "wide":
                assert {"error", "size", "standard error", "explain, 1", "predict, 64"} <= set(result)
                assert result["gap"] < 1e-12
            found.append({"config": batch.config, "seed": seed, "result": result})
    assert found[0]["result"]["parameters"] == 5 * 16 + 5 + 5 and "error, edgeworth" in found[0]["result"]
    lines = wide.summary(found)
    assert len(lines) == 10 and lines[0] == "synthetic, Wide ShapNet 5, 90 parameters, 1 runs"
    assert "time over Deep ShapNet" in lines[1] and "accuracy" in lines[3]
    assert found[3]["result"]["parameters"] == 6 * (2 + 1 + 2) and lines[4].startswith(
        "breast_cancer, Wide ShapNet 6, 2 seen"
    )
    assert lines[8].startswith("digits, perceptron 6") and "error" not in lines[9]


@pytest.mark.parametrize(("data", "shared"), [("yeast", 5 / 12), ("synthetic", 0.0), ("mnist", 0.0)])
def test_intervals_are_over_runs(data, shared):
    runs = [
        {"config": configuration(data, "wide", (5,)), "seed": 5 * i, "result": {"error": e, "size": 2.0}}
        for i, e in enumerate((1.0, 2.0, 3.0))
    ]
    found, expected = rivals.mean(runs, rivals.relative), interval([0.5, 1.0, 1.5], shared=shared)
    assert isclose(found.mean, expected.mean) and isclose(found.half, expected.half)
    assert len(wide.of(runs, data, "wide", (5,))) == 3 and not wide.of(runs, data, "wide", (5,), nodes=3)


def test_all_runs_are_there():
    found = batches("paper")
    names = [(json.dumps(b.config, sort_keys=True), s) for b in found for s in b.seeds]
    falling = len(SIZES) + len(SEEN["synthetic"])
    per_round = 3 * len(SIZES) + sum(map(len, SEEN.values())) + falling
    assert len(set(names)) == len(names) == 10 * per_round + 3 * len(MNIST)
    assert {s for b in found if b.stage == 0 for s in b.seeds} == set(range(0, 50, 5))
    assert len(batches("cpu")) == 2 * per_round + len(MNIST)
    assert {(b.config["data"], b.config["schedule"]) for b in found if b.stage == 3} == {("synthetic", "falling")}


def test_the_row_says_what_a_falling_rate_changes():
    def runs(error, distance, **choice):
        config = configuration("synthetic", "wide", LARGEST, **choice)
        return [
            {"config": config, "seed": 5 * i, "result": {"test": error + i / 1e4, "error": distance, "size": 1.0}}
            for i in range(3)
        ]

    constant = runs(0.005, 0.1) + runs(0.003, 0.2, seen=2)
    fall = {"schedule": "falling"}
    both = constant + runs(0.004, 0.5, **fall) + runs(0.003, 0.25, seen=2, **fall)
    told = wide_finding.finding(both, "4").decides
    assert told.startswith(wide_finding.finding(constant, "4").decides)
    assert "falls to 0, on the synthetic task: squared error +0.00100" in told and "explanation +0.250" in told
    assert "falls" not in wide_finding.finding(constant, "4").decides
