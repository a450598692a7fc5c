"""LC-F4: networks, dropout and optimisers are what the paper says, and the finding follows the numbers."""

import json
from pathlib import Path

import pytest
import torch
from oracles import tolerance
from torch import nn

from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._models import dropout_perceptron
from shapnotes.experiments._models.perceptron import NAMES
from shapnotes.experiments.cifar_perceptron import study as cifar_perceptron_study
from shapnotes.experiments.cifar_perceptron import under_adam
from shapnotes.nn import SALinear, ShapLULinear

BENCH = Path(__file__).resolve().parents[3] / "book" / "results" / "bench_training.json"


def made(accuracy, *, scale="paper", epochs=None, repeats=None, activations=("relu", "sa")) -> list[dict]:
    """Runs whose accuracies are accuracy(activation, seed, epoch); all of them have had as many epochs."""
    epochs, repeats = epochs or cifar_perceptron_study.EPOCHS[scale], repeats or cifar_perceptron_study.REPEATS[scale]
    per_epoch = 391

    def result(activation: str, seed: int) -> dict:
        curve = [0.1] + [accuracy(activation, seed, epoch) for epoch in range(1, epochs + 1)]
        values = {"train_accuracy": curve, "test_curve": curve, "test_accuracy": curve[-1]}
        values |= {"steps": [per_epoch * epoch for epoch in range(epochs + 1)], "epoch_seconds": [1.5] * epochs}
        return values | {"epochs": epochs, "images": "CIFAR-10, train split, JPEG re-encoded: ..."}

    return [
        {
            "experiment": "LC-F4",
            "scale": scale,
            "config": cifar_perceptron_study.configuration(scale, a, "Adam 0.001"),
            "seed": seed,
            "result": result(a, seed),
        }
        for a in activations
        for seed in range(repeats)
    ]


@pytest.mark.parametrize(("activation", "kinds"), [
    ("relu", [nn.Linear, nn.ReLU]), ("silu", [nn.Linear, nn.SiLU]), ("sa", [SALinear]), ("shaplu", [ShapLULinear]),
])  # fmt: skip
def test_the_network(activation, kinds):
    model = dropout_perceptron.Perceptron([3072, 1024, 512, 512, 10], activation, torch.Generator().manual_seed(0))
    assert [[type(part) for part in block] for block in model.hidden] == [kinds] * 3
    assert type(model.last) is nn.Linear and (model.last.in_features, model.last.out_features) == (512, 10)
    assert sum(p.numel() for p in model.parameters()) == 3_939_338  # the paper: "nearly 4 million"
    for layer in (model.hidden[1][0], model.last):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        weight = layer.weight.detach()
        assert float(weight.abs().max()) <= bound and abs(float(weight.std()) * 3**0.5 / bound - 1) < 0.05
        assert float(layer.bias.detach().abs().max()) == 0


def test_dropout_is_after_every_hidden_activation():
    model = dropout_perceptron.Perceptron([6, 5, 4, 3, 2], "relu", torch.Generator().manual_seed(0)).double()
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = [m.double() for m in dropout_perceptron.masks([5, 4, 3], 0.2)(torch.Generator().manual_seed(2), 7)]
    want = x
    for layer, mask in zip([block[0] for block in model.hidden], drawn, strict=True):
        want = torch.relu(want @ layer.weight.T + layer.bias) * mask
    want = want @ model.last.weight.T + model.last.bias
    torch.testing.assert_close(model(x, *drawn), want, **tolerance(torch.float64))
    torch.testing.assert_close(model(x), nn.Sequential(*model.hidden.children(), model.last)(x))
    assert not torch.allclose(model(x), want)
    with pytest.raises(ValueError, match="3 hidden layers need a mask each, or none; got 2 masks"):
        model(x, *drawn[:2])


def test_masks_keep_the_mean():
    drawn = dropout_perceptron.masks([300, 200], 0.2)(torch.Generator().manual_seed(0), 500)
    assert [tuple(mask.shape) for mask in drawn] == [(500, 300), (500, 200)]
    for mask in drawn:
        assert set(mask.unique().tolist()) == {0.0, 1.25}
        spread = 0.5 / mask.numel() ** 0.5  # of the mean: sqrt(.2 / .8)
        assert abs(float(mask.mean()) - 1) < 4 * spread


def run(config: dict, seeds: tuple[int, ...], epochs: int = 1) -> list[dict]:
    """The last results of a run, which grows; seconds are no part of them."""
    *_, last = cifar_perceptron_study.run(config, seeds, "cpu", epochs=epochs, checkpoint=Checkpoint(None, {}))
    return [{key: value for key, value in result.items() if key != "epoch_seconds"} for result in last]


def test_repeats_do_not_depend_on_company():
    config = cifar_perceptron_study.configuration("smoke", "sa", "Adam 0.001")
    both = run(config, (3, 4))
    assert both == run(config, (3,)) + run(config, (4,))
    assert both[0]["steps"] == [0, 15] and both[0]["test_curve"][-1] == both[0]["test_accuracy"]
    assert json.loads(json.dumps(both)) == both


def test_a_longer_run_is_a_shorter_one_that_went_on():
    config = cifar_perceptron_study.configuration("smoke", "relu", "Adam 0.001")
    results = [
        result
        for (result,) in cifar_perceptron_study.run(config, (3,), "cpu", epochs=3, checkpoint=Checkpoint(None, {}))
    ]
    assert [result["epochs"] for result in results] == [1, 2, 3] == [len(r["epoch_seconds"]) for r in results]
    assert results[2]["steps"] == [0, 15, 30, 45] and results[2]["test_curve"][:3] == results[1]["test_curve"]
    (short,) = run(config, (3,), epochs=2)
    assert short["test_curve"] == results[1]["test_curve"]


@pytest.mark.parametrize(("name", "kind", "settings"), [
    ("SGD 0.05", torch.optim.SGD, {"lr": 0.05, "momentum": 0}),
    ("Adam 0.002", torch.optim.Adam, {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-7}),
    ("RMSprop 0.00005", torch.optim.RMSprop, {"lr": 5e-5, "alpha": 0.9, "eps": 1e-7, "momentum": 0}),
])  # fmt: skip
def test_optimisers(name, kind, settings):
    built = dropout_perceptron.optimiser(name, [torch.zeros(2, requires_grad=True)])
    assert type(built) is kind and settings.items() <= built.defaults.items()


def test_rmsprop_by_hand():
    """Two steps down a slope of 2: the mean square is .1 * 4, then .9 * .4 + .1 * 4."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    steps = dropout_perceptron.optimiser("RMSprop 0.001", [x])
    want = 0.0
    for mean_square in (0.4, 0.76):
        steps.zero_grad()
        (2 * x).sum().backward()
        steps.step()
        want -= 0.001 * 2 / (mean_square**0.5 + 1e-7)
        torch.testing.assert_close(x.detach(), torch.tensor([want], dtype=torch.float64), **tolerance(torch.float64))


def jitter(seed: int) -> float:
    """A number around zero that differs from seed to seed."""
    return (seed * 7 % 5 - 2) / 100


def ahead(lead, steadiness):
    """Accuracies in which SA is ahead by so much, with so large a part of ReLU's spread."""
    return lambda a, seed, epoch: 0.5 + epoch / 100 + (lead + steadiness * jitter(seed) if a == "sa" else jitter(seed))


@pytest.mark.parametrize(
    ("lead", "steadiness", "held", "verdict"),
    [
        (0.05, 0.1, [True, True, True], "directions agree"),
        (0.05, 1.0, [True, True, None], "open"),  # as unsteady as ReLU
        (0.0, 0.1, [None, None, True], "open"),  # steadier, but not ahead
        (-0.05, 0.1, [False, False, True], "disagrees"),
        (0.05, 5.0, [True, True, False], "disagrees"),
    ],
)
def test_the_verdict_follows_the_numbers(lead, steadiness, held, verdict):
    found = under_adam.finding(made(ahead(lead, steadiness)))
    assert [statement.held for statement in found.statements] == held and found.verdict == verdict
    assert found.reduced == "" and not any(statement.size for statement in found.statements)
    assert f"SA minus ReLU in training accuracy {lead:+.3f}" in found.decides
    assert [s.found[:6] for s in found.statements[:2]] == [f"{lead:+.3f}"] * 2
    assert found.statements[2].found.startswith(f"{steadiness:.2f} (")


def test_every_activation_stands_in_the_table_and_in_the_summary():
    runs = made(ahead(0.05, 0.1), activations=cifar_perceptron_study.ACTIVATIONS)
    leads = {f"{name} minus ReLU" for name in NAMES.values()} - {"ReLU minus ReLU"}
    assert {line.model for line in under_adam.finding(runs).table} == {*NAMES.values(), *leads}
    lines = under_adam.summary(runs)
    assert lines[0] == "3072-1024-512-512-10, 20 epochs, 20 repeats, CIFAR-10, JPEG re-encoded"
    assert [line.split()[0] for line in lines[2:]] == list(cifar_perceptron_study.ACTIVATIONS) and max(
        map(len, lines)
    ) <= 78
    assert "+0.050" in lines[3] and "+" not in lines[2]


def test_what_is_smaller_than_in_the_paper_is_told():
    rising = ahead(0.05, 0.1)
    cpu = under_adam.finding(made(rising, scale="cpu"))
    assert cpu.verdict == "smaller scale only" and [s.held for s in cpu.statements] == [True] * 3
    assert cpu.reduced == (
        "a network 3072-128-64-64-10 in place of 3072-1024-512-512-10; 6 epochs; 4 of 20 repeats (SA); "
        "4 of 20 repeats (ReLU)"
    )
    assert under_adam.finding(made(rising, epochs=10)).reduced == ""
    assert under_adam.finding(made(rising, epochs=9)).reduced == "9 epochs"
    whole = made(rising, activations=cifar_perceptron_study.ACTIVATIONS[:4])
    assert under_adam.finding(whole[:-1]).reduced == ""  # GELU is not the paper's
    assert under_adam.finding(whole[1:]).reduced == "19 of 20 repeats (ReLU)"
    for begun in (whole[:1], whole[:2], whole[20:21], [whole[0], whole[20]]):
        found = under_adam.finding(begun)
        assert found.verdict == "smaller scale only" and {s.held for s in found.statements} == {None}
        assert under_adam.summary(begun) and not under_adam.usable(begun)
    assert (
        under_adam.usable(whole[:2] + whole[20:22])
        and not under_adam.usable(whole[:2] + whole[22:24])
        and not under_adam.usable([])
    )


def test_runs_are_compared_at_equal_epochs():
    """Cut to what all have; what has not come to ten epochs shortens nobody."""
    rising = ahead(0.05, 0.1)
    far, near, begun = (made(rising, epochs=epochs, repeats=3) for epochs in (20, 12, 3))
    mixed = far[:3] + near[3:]
    level = under_adam.level(mixed)
    assert level == made(rising, epochs=12, repeats=3)
    assert mixed[0]["result"]["epochs"] == 20  # the runs are left alone
    assert under_adam.level([*mixed, *begun]) == level
    assert under_adam.level(begun) == begun and under_adam.level([]) == []
    assert under_adam.level(begun[:3] + made(rising, epochs=5, repeats=3)[3:]) == begun
    assert "12 epochs" in under_adam.summary(mixed)[0]
    crossing = made(lambda a, seed, epoch: 0.5 + jitter(seed) / 10 + (0.1 if epoch < 15 else -0.1) * (a == "sa"))
    cut = [
        run if run["config"]["activation"] == "sa" else short
        for run, short in zip(crossing, made(lambda a, seed, epoch: 0.5 + jitter(seed) / 10, epochs=12), strict=True)
    ]
    assert (
        under_adam.finding(crossing).statements[0].held is False and under_adam.finding(cut).statements[0].held is True
    )


def test_accuracies_of_the_seeds():
    runs = made(lambda a, seed, epoch: 0.4 + epoch / 100 + 0.02 * (a == "sa"), scale="cpu")
    assert [under_adam.at_end(under_adam.select(runs, a))[0] for a in ("relu", "sa")] == pytest.approx([0.46, 0.48])
    assert under_adam.over_all(under_adam.select(runs, "relu"))[0] == pytest.approx(0.435)
    assert under_adam.select(runs, "relu", "SGD 0.1") == []


def test_equal_time():
    """When ReLU has done all its steps, an activation that costs twice as much has done half."""
    runs = made(lambda a, seed, epoch: 0.1 + epoch / 10, scale="cpu", repeats=2)
    end = runs[0]["result"]["steps"][-1]
    assert under_adam.at_time(runs, end, 1.0) == pytest.approx({0: 0.7, 1: 0.7})
    assert under_adam.at_time(runs, end, 2.0) == pytest.approx({0: 0.4, 1: 0.4})
    assert under_adam.at_time(runs, end, 6 / 2.5)[0] == pytest.approx(0.35)  # between two epochs
    assert under_adam.at_time(runs, 0, 1.0)[0] == 0.1
    with pytest.raises(ValueError, match="the runs have 2346 steps; at this time they would be at step 4692"):
        under_adam.at_time(runs, end, 0.5)


def test_costs_come_from_the_record_of_steps():
    """Of the network that was trained, with the interval over turns."""
    row = {"network": "3072-128-64-64-10", "activation": "sa", "over_relu_interval": [2.0, 0.25]}
    bench = {"rows": [row, row | {"network": cifar_perceptron_study.NETWORK, "over_relu_interval": [2.5, 0.1]}]}
    assert under_adam.step_cost(
        bench, "sa", under_adam.widths(cifar_perceptron_study.configuration("cpu", "sa", "Adam 0.001"))
    ) == (2.0, 0.25)
    assert under_adam.step_cost(bench, "sa") == (2.5, 0.1)
    with pytest.raises(ValueError, match=r"no step of 3072-1024-512-512-10 with 'tanh' was timed; there are sa"):
        under_adam.step_cost(bench, "tanh")
    with pytest.raises(ValueError, match="there are none"):
        under_adam.step_cost(bench, "sa", "64-8-10")


def test_the_networks_of_all_scales_are_timed():
    """The record of steps has the widths of both scales."""
    bench = json.loads(BENCH.read_text("utf8"))
    for scale in ("cpu", "paper"):
        network = under_adam.widths(cifar_perceptron_study.configuration(scale, "sa", "Adam 0.001"))
        costs = {a: under_adam.step_cost(bench, a, network) for a in ("relu", "gelu", "shaplu", "sa")}
        assert (
            costs["relu"] == (1, 0)
            and 1 < costs["sa"].low
            and all(cost.half > 0 for cost in costs.values() if cost != (1, 0))
        )
