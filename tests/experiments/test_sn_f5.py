"""What is pruned and removed is what is said, and the verdicts of four figures follow the numbers."""

import pytest
import torch
from torch import nn

from shapnotes.experiments import sn_f3, sn_f5, sn_f6, sn_f7
from shapnotes.experiments.sn_f5 import MODELS, REMOVED, SHARES, batches, error, model
from shapnotes.shapnet import ImageShapNet


def made(change=None, scale="paper") -> list[dict]:
    """A record in which the paper is right; change(name, result) spoils it."""
    runs = []
    for batch in batches(scale):
        name = model(batch.config)
        better = [*MODELS, sn_f5.INK].index(name) / 100
        curves = [[0.98 if s < 0.8 else 0.2 + 0.1 * stage + better for s in SHARES] for stage in range(7)]
        result = {
            "accuracy": 0.98,
            "images": 10_000,
            "pruned": {"shares": list(SHARES), "accuracy": curves},
            "removed": {o: {"accuracy": [0.5 + better for _ in REMOVED]} for o in sn_f5.ORDERS},
            "shape": {
                "largest": 1.0,
                "cv": 1.0 - better if name == "linf" else 1.0 + better,
                "small": [0.1 * stage + better for stage in range(7)],
            },
        }
        if name in ("none", "l1"):  # on all stages is better than on the last
            result["pruned"]["accuracy"] = [[min(0.98, a) for a in curve] for curve in curves]
        if change:
            change(name, result)
        runs.append({"config": batch.config, "seed": batch.seeds[0], "scale": scale, "result": result})
    return runs


def test_the_networks_are_the_papers_and_one():
    assert [model(batch.config) for batch in batches("paper")] == [*MODELS, sn_f5.INK]
    assert {tuple(batch.config["channels"]) for batch in batches("paper")} == {(1, *[128] * 6, 10)}
    assert {(b.config["epochs"], b.config["images"], b.config["rate"]) for b in batches("paper")} == {(5, None, 0.001)}


def test_what_is_measured():
    """By hand: representations of one stage pruned, the rest of the network applied to them."""
    generator = torch.Generator().manual_seed(0)
    net = ImageShapNet((1, 3, 4, 5), dilations=(1, 2, 3)).double()
    net.reset_parameters(generator)
    x = torch.randn(6, 1, 32, 32, generator=generator, dtype=torch.float64)
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    with torch.no_grad():
        found = sn_f5.measured(net, x, y, seed=0)
        assert found["accuracy"] == 5 / 6 and found["images"] == 6
        half = SHARES.index(0.5)
        z = net.layers(x)[1]
        kept = z.abs().sum(3) >= z.abs().sum(3).flatten(1).median(1).values[:, None, None]
        after = nn.Sequential(net.stages[2])(z * kept[..., None]).sum((1, 2)).argmax(1)
        # the median is the smaller one of the middle two, and goes as well
        assert abs(found["pruned"]["accuracy"][1][half] - float((after == y).double().mean())) < 0.2
    assert all(curve[0] == 5 / 6 for curve in found["pruned"]["accuracy"])
    assert {len(found["removed"][order]["accuracy"]) for order in sn_f5.ORDERS} == {len(REMOVED)}
    assert found["removed"]["top"]["logit"][-1] == found["removed"]["least"]["logit"][-1] == 0
    assert found["removed"]["top"]["logit"][3] < found["removed"]["least"]["logit"][3]
    assert len(found["shape"]["small"]) == len(found["shape"]["l1"]) == 3


def test_the_verdict_of_figure_5_follows_the_numbers():
    assert sn_f5.verdict(made())[0] == "reproduced" and all(sn_f5.statements(made()).values())
    for which, change in (
        ("earlier stages matter at least as much", lambda r: r["pruned"]["accuracy"].reverse()),
        ("half of the pixels can go anywhere", lambda r: r["pruned"]["accuracy"][3].__setitem__(5, 0.9)),
    ):
        runs = made(lambda name, result, change=change: change(result))
        assert not sn_f5.statements(runs)[which] and sn_f5.verdict(runs)[0] == "partly"
    worse = made(lambda name, r: name == "l1" and r["pruned"]["accuracy"].__setitem__(6, [0.0] * len(SHARES)))
    assert not sn_f5.statements(worse)["l1 keeps more, on all stages most"]
    small = made(scale="cpu")
    assert sn_f5.verdict(small)[0] == "not run at full scale" and "16 channels" in sn_f5.verdict(small)[1]
    assert "half of the pixels can go anywhere: in 3 of 3" in sn_f5.verdict(small)[1]
    small[6]["result"]["pruned"]["accuracy"][3][5] = 0.9  # in one training
    assert "half of the pixels can go anywhere: in 2 of 3" in sn_f5.verdict(small)[1]
    assert sn_f5.verdict(small[:3])[1].startswith("3 of 4 networks")


@pytest.mark.parametrize(
    ("module", "name", "change"),
    [
        (sn_f3, "l1", lambda r: r["shape"]["small"].reverse()),
        (sn_f3, "l1-layers", lambda r: r["shape"]["small"].__setitem__(2, 0.0)),
        (sn_f6, "l1", lambda r: r["shape"]["small"].__setitem__(6, 0.0)),
        (sn_f6, "linf", lambda r: r["shape"].update(cv=2.0)),
        (sn_f7, "linf", lambda r: r["removed"]["top"]["accuracy"].__setitem__(2, 0.1)),
        (sn_f7, "l1", lambda r: [r["removed"][o].update(accuracy=[0.1] * len(REMOVED)) for o in ("top", "least")]),
    ],
)
def test_the_other_verdicts_follow_the_numbers(module, name, change):
    assert module.verdict(made())[0] == "reproduced" and all(module.statements(made()).values())
    spoilt = made(lambda other, result: other == name and change(result))
    assert not all(module.statements(spoilt).values()) and module.verdict(spoilt)[0] == "partly"
    assert module.verdict(made(scale="cpu"))[0] == "not run at full scale"
    assert len(module.summary(made())) >= 3


def test_means_are_over_trainings():
    runs = made(scale="cpu")
    assert sn_f5.trainings(runs) == [0, 1, 2] and sn_f5.trainings(runs[:-2]) == [0, 1]
    for run, accuracy in zip((r for r in runs if model(r["config"]) == "l1"), (0.5, 0.6, 0.7), strict=True):
        run["result"]["accuracy"] = accuracy
    mean, spread = sn_f5.over_trainings(runs, "l1", lambda r: r["accuracy"])
    assert mean == pytest.approx(0.6) and spread == pytest.approx(0.1 / 3**0.5)
    assert "0.600 ± 0.058" in sn_f5.summary(runs)[2]


def test_the_error_of_a_share():
    assert error(0.5, 100) == pytest.approx(0.05) and error(1.0, 100) == 0
