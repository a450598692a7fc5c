"""LC-F4: networks, dropout and optimisers are what the paper says, and the verdict follows the numbers."""

import json
from pathlib import Path

import pytest
import torch
from oracles import tolerance
from torch import nn

from shapnotes.experiments import lc_f4
from shapnotes.nn import SALinear, ShapLULinear

BENCH = Path(__file__).resolve().parents[2] / "book" / "results" / "bench_training.json"


def made(accuracy, *, scale="paper", repeats=None, activations=("relu", "sa")) -> list[dict]:
    """Runs whose accuracies are accuracy(activation, seed, epoch)."""
    size = lc_f4.SIZES[scale]
    repeats = repeats or lc_f4.REPEATS[scale]

    def result(activation: str, seed: int) -> dict:
        curve = [0.1] + [accuracy(activation, seed, epoch) for epoch in range(1, size["epochs"] + 1)]
        steps = [391 * epoch for epoch in range(len(curve))]
        values = {"train_accuracy": curve, "test_curve": curve, "test_accuracy": curve[-1]}
        return {"steps": steps, "images": "CIFAR-10, train split, JPEG re-encoded: ..."} | values

    return [
        {
            "experiment": lc_f4.ID,
            "scale": scale,
            "config": lc_f4.configuration(scale, a, "Adam 0.001"),
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
    model = lc_f4.Perceptron([3072, 1024, 512, 512, 10], activation, torch.Generator().manual_seed(0))
    assert [[type(part) for part in block] for block in model.hidden] == [kinds] * 3
    assert type(model.last) is nn.Linear and (model.last.in_features, model.last.out_features) == (512, 10)
    assert sum(p.numel() for p in model.parameters()) == 3_939_338  # the paper: "nearly 4 million"
    for layer in (model.hidden[1][0], model.last):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        weight = layer.weight.detach()
        assert float(weight.abs().max()) <= bound and abs(float(weight.std()) * 3**0.5 / bound - 1) < 0.05
        assert float(layer.bias.detach().abs().max()) == 0


def test_dropout_is_after_every_hidden_activation():
    model = lc_f4.Perceptron([6, 5, 4, 3, 2], "relu", torch.Generator().manual_seed(0)).double()
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = [m.double() for m in lc_f4.masks([5, 4, 3], 0.2)(torch.Generator().manual_seed(2), 7)]
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
    drawn = lc_f4.masks([300, 200], 0.2)(torch.Generator().manual_seed(0), 500)
    assert [tuple(mask.shape) for mask in drawn] == [(500, 300), (500, 200)]
    for mask in drawn:
        assert set(mask.unique().tolist()) == {0.0, 1.25}
        spread = 0.5 / mask.numel() ** 0.5  # of the mean: sqrt(.2 / .8)
        assert abs(float(mask.mean()) - 1) < 4 * spread


def test_repeats_do_not_depend_on_company():
    config = lc_f4.configuration("smoke", "sa", "Adam 0.001")
    both = lc_f4.run(config, (3, 4), "cpu")
    assert both == lc_f4.run(config, (3,), "cpu") + lc_f4.run(config, (4,), "cpu")
    assert both[0]["steps"] == [0, 15] and both[0]["test_curve"][-1] == both[0]["test_accuracy"]
    assert json.loads(json.dumps(both)) == both


@pytest.mark.parametrize(("name", "kind", "settings"), [
    ("SGD 0.05", torch.optim.SGD, {"lr": 0.05, "momentum": 0}),
    ("Adam 0.002", torch.optim.Adam, {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-7}),
    ("RMSprop 0.00005", torch.optim.RMSprop, {"lr": 5e-5, "alpha": 0.9, "eps": 1e-7, "momentum": 0}),
])  # fmt: skip
def test_optimisers(name, kind, settings):
    built = lc_f4.optimiser(name, [torch.zeros(2, requires_grad=True)])
    assert type(built) is kind and settings.items() <= built.defaults.items()


def test_rmsprop_by_hand():
    """Two steps down a slope of 2: the mean square is .1 * 4, then .9 * .4 + .1 * 4."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    steps = lc_f4.optimiser("RMSprop 0.001", [x])
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


def test_the_verdict_follows_the_numbers():
    others = lc_f4.ACTIVATIONS[2:]
    activations = ("relu", "sa", *others)

    def said(accuracy, **more):
        return lc_f4.verdict(made(accuracy, activations=activations, **more))

    def ahead(lead, steadiness):
        return lambda a, seed, epoch: 0.5 + (lead + steadiness * jitter(seed) if a == "sa" else jitter(seed))

    assert said(ahead(0.05, 0.1))[0] == "reproduced"
    assert said(ahead(0.05, 1.0))[0] == "partly"  # as unsteady as ReLU
    assert said(ahead(0.0, 0.1))[0] == "partly"  # steadier, but not ahead
    assert said(ahead(-0.05, 1.0))[0] == "not reproduced"
    word, ours, paper = said(ahead(0.05, 0.1), scale="cpu")
    assert word == "not run at full scale"
    assert "3072-128-64-64-10 in place of 3072-1024-512-512-10, 6 epochs, 4 repeats" in ours and "JPEG" in ours
    assert "SA minus ReLU in training accuracy +0.05" in ours and "20 repeats" in paper


def test_an_unfinished_record_is_no_reproduction():
    ahead = lambda a, seed, epoch: 0.5 + 0.05 * (a == "sa") + 0.1 * jitter(seed) * (a == "sa") + jitter(seed)  # noqa: E731
    whole = made(ahead, activations=lc_f4.ACTIVATIONS)
    assert lc_f4.verdict(whole[:-1])[0] == "not run at full scale"
    assert lc_f4.verdict(made(ahead, activations=("relu",)))[0] == "not run at full scale"


def test_leads_and_deviations():
    runs = made(lambda a, seed, epoch: 0.4 + epoch / 100 + 0.02 * (a == "sa"), scale="cpu")
    assert [lc_f4.at_end(lc_f4.of(runs, a))[0] for a in ("relu", "sa")] == pytest.approx([0.46, 0.48])
    assert lc_f4.over_all(lc_f4.of(runs, "relu"))[0] == pytest.approx(0.435)
    wide, narrow = dict(enumerate([0.0, 1.0, 2.0, 3.0])), dict(enumerate([0.0, 0.5, 1.0, 1.5]))
    ratio, low, high = lc_f4.deviations(wide, narrow)
    assert ratio == pytest.approx(2) and low < 1 < high
    # The 97.5 % quantile of F with 3 and 3 degrees of freedom is 15.44.
    assert (low, high) == pytest.approx((2 / 15.44**0.5, 2 * 15.44**0.5), rel=1e-3)


def test_equal_time():
    """When ReLU has done all its steps, an activation that costs twice as much has done half."""
    runs = made(lambda a, seed, epoch: 0.1 + epoch / 10, scale="cpu", repeats=2)
    end = runs[0]["result"]["steps"][-1]
    assert lc_f4.at_time(runs, end, 1.0) == pytest.approx({0: 0.7, 1: 0.7})
    assert lc_f4.at_time(runs, end, 2.0) == pytest.approx({0: 0.4, 1: 0.4})
    assert lc_f4.at_time(runs, end, 6 / 2.5)[0] == pytest.approx(0.35)  # between two epochs
    assert lc_f4.at_time(runs, 0, 1.0)[0] == 0.1
    with pytest.raises(ValueError, match="the runs have 2346 steps; at this time they would be at step 4692"):
        lc_f4.at_time(runs, end, 0.5)


def test_costs_come_from_the_record_of_steps():
    bench = json.loads(BENCH.read_text("utf8"))
    assert lc_f4.step_cost(bench, "relu") == 1 < lc_f4.step_cost(bench, "sa")
    with pytest.raises(ValueError, match=r"no step of 3072-1024-512-512-10 with 'tanh' was timed; there are relu"):
        lc_f4.step_cost(bench, "tanh")
