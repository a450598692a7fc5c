"""What is pruned and removed is what is said, and the findings of four figures follow the numbers."""

import hashlib

import pytest
import torch
from torch import nn

from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.images import study as images_study
from shapnotes.experiments.images import training
from shapnotes.experiments.regularised_images import (
    pruned_values,
    removed_pixels,
    small_values,
    sparse_explanations,
    trainings,
)
from shapnotes.experiments.regularised_images import study as regularised_images_study
from shapnotes.experiments.regularised_images.study import MODELS, REMOVED, SHARES, TRAININGS, batches
from shapnotes.shapnet import ImageShapNet

NAMES = {network: name for name, network in regularised_images_study.NETWORKS.items()}


def made(change=None, scale="paper", names=MODELS, trainings=TRAININGS["paper"]) -> list[dict]:
    """A record in which the paper is right; change(name, seed, result) spoils it."""
    runs = []
    for seed in range(trainings):
        for name in names:
            better = [*MODELS, regularised_images_study.INK].index(name) / 100
            curves = [[0.98 if s < 0.8 else 0.2 + 0.05 * stage + better for s in SHARES] for stage in range(7)]
            if name in ("l1", "l1-layers"):  # these keep more
                kept = {"l1": 0.15, "l1-layers": 0.3}[name]
                curves = [[min(0.98, a + kept) for a in curve] for curve in curves]
            areas = [sum(curve) / len(curve) for curve in curves]
            result = {
                "accuracy": 0.98,
                "images": 10_000,
                "pruned": {"shares": list(SHARES), "accuracy": curves, "area": areas},
                "removed": {o: {"accuracy": [0.5 + better for _ in REMOVED]} for o in regularised_images_study.ORDERS},
                "shape": {
                    "largest": 1.0,
                    "cv": 1.0 - better if name == "linf" else 1.0 + better,
                    "small": [0.1 * stage + better for stage in range(7)],
                },
            }
            if change:
                change(name, seed, result)
            config = regularised_images_study.configuration(scale, regularised_images_study.NETWORKS[name])
            runs.append({"config": config, "seed": seed, "scale": scale, "result": result})
    return runs


def held(module, runs):
    return [statement.held for statement in module.finding(runs).statements]


def test_the_networks_are_the_papers_and_at_our_scale_one_more():
    stages = [(batch.stage, NAMES[batch.config["network"]], batch.seeds) for batch in batches("paper")]
    assert stages == [(0 if seed == 0 else 2, name, (seed,)) for seed in range(3) for name in MODELS]
    assert {(b.config["width"], b.config["epochs"]) for b in batches("paper")} == {(128, 5)}
    ours = [batch for batch in batches("cpu") if batch.stage == 0]
    assert {NAMES[batch.config["network"]] for batch in ours} == {*MODELS, regularised_images_study.INK}
    # Each is trained by `images`, as far and in the same stage.
    for scale in ("paper", "cpu", "smoke"):
        trained = {
            (images_study.name_of(b.config), b.config["channels"][1], *b.seeds, b.epochs, b.stage)
            for b in images_study.batches(scale)
        }
        for b in batches(scale):
            assert (b.config["network"], b.config["width"], *b.seeds, b.config["epochs"], b.stage) in trained


def test_what_is_measured():
    """By hand: representations of one stage pruned, the rest of the network applied to them."""
    generator = torch.Generator().manual_seed(0)
    net = ImageShapNet((1, 3, 4, 5), dilations=(1, 2, 3)).double()
    net.reset_parameters(generator)
    x = torch.randn(6, 1, 32, 32, generator=generator, dtype=torch.float64)
    y = net(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    with torch.no_grad():
        found = regularised_images_study.measured(net, x, y, seed=0)
        assert found["accuracy"] == 5 / 6 and found["images"] == 6
        half = SHARES.index(0.5)
        z = net.layers(x)[1]
        kept = z.abs().sum(3) >= z.abs().sum(3).flatten(1).median(1).values[:, None, None]
        after = nn.Sequential(net.stages[2])(z * kept[..., None]).sum((1, 2)).argmax(1)
        # the median is the smaller one of the middle two, and goes as well
        assert abs(found["pruned"]["accuracy"][1][half] - float((after == y).double().mean())) < 0.2
    assert all(curve[0] == 5 / 6 for curve in found["pruned"]["accuracy"])
    means = [sum(curve) / len(curve) for curve in found["pruned"]["accuracy"]]
    assert found["pruned"]["area"] == pytest.approx(means, abs=1e-6)
    assert {len(found["removed"][order]["accuracy"]) for order in regularised_images_study.ORDERS} == {len(REMOVED)}
    assert found["removed"]["top"]["logit"][-1] == found["removed"]["least"]["logit"][-1] == 0
    assert found["removed"]["top"]["logit"][3] < found["removed"]["least"]["logit"][3]
    assert len(found["shape"]["small"]) == len(found["shape"]["l1"]) == 3


def test_the_network_that_is_measured_is_told(tmp_path):
    """Its weights are read from beside the record, and its file is identified; one that is not there is told."""
    config = regularised_images_study.configuration("smoke", "digits-none")
    with pytest.raises(FileNotFoundError, match="has not been trained so far yet; shapnotes reproduce image-networks"):
        regularised_images_study.run(config, (0,), "cpu", tmp_path / "SN-F5")
    path = images_study.weights(tmp_path / "image-networks", config["width"], "digits-none", 0, config["epochs"])
    net = training.network("shapnet", [1, 2, 10], torch.Generator().manual_seed(0))
    training.keep(net, path, {"channels": [1, 2, 10], "model": "shapnet"}, 0, config["epochs"])
    (result,) = regularised_images_study.run(config, (0,), "cpu", tmp_path / "SN-F5")
    assert result["network"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "channels": [1, 2, 10]}
    assert result["images"] == config["measured"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"digits-none-0-2\.safetensors is no network of these experiments"):
        regularised_images_study.run(config, (0,), "cpu", tmp_path / "SN-F5")


def reverse(result):
    result["pruned"]["area"].reverse()


def keep_less(result):
    result["pruned"]["area"] = [0.1] * 7


def lose_at_a_tenth(result):
    result["pruned"]["accuracy"] = [[0.98] + [0.9] * (len(SHARES) - 1)] * 7


@pytest.mark.parametrize(
    ("name", "change", "which"), [(None, reverse, 0), ("l1", keep_less, 1), (None, lose_at_a_tenth, 2)]
)
def test_the_verdict_of_figure_5_follows_the_numbers(name, change, which):
    found = pruned_values.finding(made())
    assert found.verdict == "directions agree" and found.reduced == "" and held(pruned_values, made()) == [True] * 3
    spoilt = made(lambda other, seed, result: change(result) if name in (None, other) else None)
    assert held(pruned_values, spoilt)[which] is False and pruned_values.finding(spoilt).verdict == "disagrees"
    once = made(lambda other, seed, result: change(result) if seed == 1 and name in (None, other) else None)
    assert held(pruned_values, once)[which] is None  # in one training of three
    (alone,) = {*held(pruned_values, made(trainings=1))}
    assert alone is None and "of which there are 3" in found.statements[which].criterion
    assert found.statements[0].found.startswith("so for 24 of 24; the lowest interval is of ℓ∞, stages 1 to 2, +0.0")
    assert (
        found.statements[1].found.startswith("so for 2 of 2; ℓ1 less no penalty +0.")
        and found.statements[2].found.count("±") == 4
    )


def test_a_later_stage_may_lose_a_little_more():
    """Where both lose hardly anything, the later one is not asked to lose less."""

    def flat(by):
        return made(lambda name, seed, result: result["pruned"].update(area=[0.9 - by * stage for stage in range(7)]))

    assert [held(pruned_values, flat(by))[0] for by in (0.0, 0.009, 0.011)] == [True, True, False]
    assert "not lower by more than 0.01" in pruned_values.finding(flat(0)).statements[0].criterion
    assert [one.mean for one in trainings.each(flat(0.009), pruned_values.rises).values()] == pytest.approx(
        [-0.009] * 24
    )


@pytest.mark.parametrize(
    ("module", "name", "which", "change"),
    [
        (small_values, "l1", 0, lambda r: r["shape"]["small"].reverse()),
        (small_values, "l1", 1, lambda r: r["shape"]["small"].__setitem__(6, 0.0)),
        (small_values, "l1-layers", 2, lambda r: r["shape"]["small"].__setitem__(2, 0.0)),
        (sparse_explanations, "l1", 0, lambda r: r["shape"]["small"].__setitem__(6, 0.0)),
        (sparse_explanations, "linf", 1, lambda r: r["shape"].update(cv=2.0)),
        (
            removed_pixels,
            "l1",
            0,
            lambda r: [r["removed"][o].update(accuracy=[0.1] * len(REMOVED)) for o in ("top", "least")],
        ),
        (removed_pixels, "linf", 2, lambda r: r["removed"]["top"]["accuracy"].__setitem__(2, 0.1)),
    ],
)
def test_the_other_verdicts_follow_the_numbers(module, name, which, change):
    assert module.finding(made()).verdict == "directions agree" and set(held(module, made())) == {True}
    spoilt = made(lambda other, seed, result: change(result) if other == name else None)
    assert held(module, spoilt)[which] is False and module.finding(spoilt).verdict == "disagrees"
    small = module.finding(made(scale="cpu"))
    assert small.verdict == "smaller scale only"
    assert small.reduced == (
        "16 channels in place of 128; 40,000 training images in place of 60,000; a learning rate of 0.003 in "
        "place of 0.001; 2 epochs in place of 5; measured on 1,000 of 10,000 test images"
    )
    assert len(module.summary(made())) >= 3


def test_an_unfinished_record_decides_nothing():
    begun = made(names=MODELS[:2])
    found = pruned_values.finding(begun)
    assert found.reduced == "no network ℓ1 on all, ℓ∞ yet" and held(pruned_values, begun) == [None] * 3
    assert trainings.trainings(begun) == [] and pruned_values.summary(begun)


def test_means_are_over_trainings():
    runs = made(names=(*MODELS, regularised_images_study.INK), scale="cpu")
    assert trainings.trainings(runs) == [0, 1, 2] and trainings.trainings(runs[:-2]) == [0, 1]
    ours = [run for run in runs if run["config"]["network"] == "mnist-l1"]
    for run, accuracy in zip(ours, (0.5, 0.6, 0.7), strict=True):
        run["result"]["accuracy"] = accuracy
    assert trainings.over_trainings(runs, "l1", lambda r: r["accuracy"]) == interval([0.5, 0.6, 0.7])
    assert "0.600 ± 0.248" in pruned_values.summary(runs)[2]
