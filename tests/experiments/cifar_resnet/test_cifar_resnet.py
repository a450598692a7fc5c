"""LC-F5: images move and turn as told, a run repeats to the bit, and the finding follows the numbers."""

import json

import pytest
import torch
from interrupted import stopped_and_gone_on
from oracles import tolerance
from torch import nn

from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.statistics import Interval
from shapnotes.experiments._models.resnet20 import resnet20
from shapnotes.experiments.cifar_perceptron import under_adam
from shapnotes.experiments.cifar_resnet import finding as cifar_resnet_finding
from shapnotes.experiments.cifar_resnet import study as cifar_resnet_study


def test_images_move_and_turn():
    x = torch.arange(2 * 3 * 4 * 5).double().view(2, 3, 4, 5)
    moves, mirrored = torch.tensor([[1, -2], [0, 0]]), torch.tensor([False, True])
    y = cifar_resnet_study.augmented(x, moves, mirrored)
    for row in range(4):
        for column in range(5):
            from_row, from_column = min(row + 1, 3), max(column - 2, 0)
            assert torch.equal(y[0, :, row, column], x[0, :, from_row, from_column])
    assert torch.equal(y[1], x[1].flip(-1))


def test_the_rate_falls_where_the_example_lets_it():
    rates = [
        cifar_resnet_study.rate_at(cifar_resnet_study.RATES, epoch)
        for epoch in (0, 80, 81, 120, 121, 160, 161, 180, 181, 199)
    ]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6, 5e-7, 5e-7]


def test_the_penalty_is_in_the_gradient(generator):
    """One step of Adam against the same step with 1e-4 times the squared kernels written into the loss."""
    steps = []
    x, y = torch.rand(8, 3, 8, 8, generator=generator).double(), torch.arange(8)
    for written in (False, True):
        model = resnet20("relu", torch.Generator().manual_seed(0), width=2).double()
        optimiser = cifar_resnet_study.adam(model)
        loss = nn.functional.cross_entropy(model(x), y)
        if written:
            loss = loss + 1e-4 * sum((m.weight**2).sum() for m in model.modules() if isinstance(m, nn.Conv2d))
            for group in optimiser.param_groups:
                group["weight_decay"] = 0
        loss.backward()
        optimiser.step()
        steps.append([parameter.detach() for parameter in model.parameters()])
    assert all(torch.allclose(a, b, **tolerance(torch.float64)) for a, b in zip(*steps, strict=True))


def trained(config: dict, seed: int, epochs: int = 2) -> dict:
    """The last result of a run, which grows; seconds are no part of it."""
    *_, (last,) = cifar_resnet_study.run(config, (seed,), "cpu", epochs=epochs, checkpoint=Checkpoint(None, {}))
    return {key: value for key, value in last.items() if key != "epoch_seconds"}


def test_a_run_repeats():
    config = {"activation": "sa", "batch_size": 32, **cifar_resnet_study.SMOKE, "images": 96}
    first, again, other = (trained(config, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first["train_accuracy"]) == len(first["test_accuracy"]) == first["epochs"] == 2
    assert json.loads(json.dumps(first)) == first
    assert trained(config, 0, epochs=1)["train_accuracy"] == first["train_accuracy"][:1]


@pytest.mark.parametrize("moments", [(2,), (4, 3)])
def test_a_run_goes_on_inside_an_epoch(tmp_path, moments):
    """With moved and mirrored images, running means and channels last: 96 images in batches of 32, two epochs."""
    config = {"activation": "sa", "batch_size": 32, **cifar_resnet_study.SMOKE, "images": 96}

    def run(checkpoint):
        return cifar_resnet_study.run(config, (0,), "cpu", epochs=2, checkpoint=checkpoint)

    (found,), steps = stopped_and_gone_on(run, tmp_path / "x.pt", *moments)
    assert {key: value for key, value in found.items() if key != "epoch_seconds"} == trained(config, 0)
    assert steps <= 6 + len(moments) and len(found["epoch_seconds"]) == 2
    whole, gone_on = (tmp_path / name for name in ("whole.pt", "x.pt"))
    list(run(Checkpoint(whole, {"run": "x"})))
    states = [Checkpoint(one, {"run": "x"}).load()["net"] for one in (whole, gone_on)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_scales_say_what_they_are():
    paper = cifar_resnet_study.batches("paper")
    assert {(batch.stage, batch.epochs, len(batch.seeds)) for batch in paper} == {(0, 10, 1), (1, 200, 1)}
    assert [sum(batch.stage == stage for batch in paper) for stage in (0, 1)] == [4, 16]
    assert {batch.config["activation"] for batch in paper} == {"relu", "sa"}
    assert all(batch.config["width"] == 16 and batch.config["images"] == 50_000 for batch in paper)
    assert not any(batch.config in [b.config for b in paper] for batch in cifar_resnet_study.batches("cpu"))


NOISE = (0.002, -0.001, 0.0, 0.001, -0.002, 0.0015, -0.0015, 0.0)


def record(
    lead, ends=(0.925, 0.925), *, settings=cifar_resnet_study.PAPER, epochs: int = 200, pairs: int = 8
) -> list[dict]:
    """Runs whose training accuracies lie `lead(epoch)` apart, whose test accuracies end at `ends` (SA's, ReLU's)."""
    return [
        {
            "scale": "paper" if settings is cifar_resnet_study.PAPER else "cpu",
            "config": {"activation": arm, "batch_size": 32, **settings},
            "seed": seed,
            "seconds": 1.0,
            "result": {
                "epochs": epochs,
                "train_accuracy": [0.5 + (arm == "sa") * (lead(epoch) + NOISE[seed]) for epoch in range(epochs)],
                "test_accuracy": [0.1] * (epochs - 1) + [end + (-1) ** (arm == "sa") * NOISE[seed]],
                "epoch_seconds": [2.0 if arm == "sa" else 1.0] * epochs,
                "data": "CIFAR-10, train split, JPEG re-encoded: pixels differ from the original",
            },
        }
        for seed in range(pairs)
        for arm, end in zip(cifar_resnet_study.ARMS, ends, strict=True)
    ]


@pytest.mark.parametrize(("lead", "ends", "held", "verdict"), [
    (lambda e: 0.01, (0.925, 0.925), [True, True, True], "numbers agree"),
    (lambda e: 0.01, (0.905, 0.905), [True, True, False], "directions agree"),
    (lambda e: 0.01, (0.930, 0.920), [True, False, False], "disagrees"),  # apart
    (lambda e: 0.01 * (e < 81), (0.925, 0.925), [None, True, True], "open"),  # undecided at four rates of five
    (lambda e: 0.01 - 0.02 * (e >= 81), (0.925, 0.925), [False, True, True], "disagrees"),
    (lambda e: 0.0, (0.925, 0.925), [None, True, True], "open"),
    (lambda e: -0.01, (0.925, 0.925), [False, True, True], "disagrees"),
])  # fmt: skip
def test_the_verdict_follows_the_numbers(lead, ends, held, verdict):
    found = cifar_resnet_finding.finding(record(lead, ends))
    assert [statement.held for statement in found.statements] == held
    assert found.verdict == verdict and found.reduced == ""
    assert "at each rate that was reached; these are 5 of 5" in found.statements[0].criterion
    assert found.statements[0].found.count(" (epochs ") == 5 and found.statements[0].found in found.decides


@pytest.mark.parametrize(("difference", "held"), [
    (Interval(0.005, 0.01), True), (Interval(0.01, 0.005), False), (Interval(0.005, 0.03), None),
    (Interval(0.0, float("nan")), None),
])  # fmt: skip
def test_a_wide_interval_does_not_make_accuracies_equal(difference, held):
    assert cifar_resnet_finding._as_one(difference) is held


@pytest.mark.parametrize("lead", [0.01, -0.01])
def test_a_part_is_never_taken_for_the_whole(lead):
    part = record(lambda e: lead, settings=cifar_resnet_study.CPU, epochs=3, pairs=4)
    found = cifar_resnet_finding.finding(part)
    assert found.verdict == "smaller scale only" and found.statements[0].held is (lead > 0)
    assert found.reduced == (
        "8 channels in place of 16; 10,000 training images in place of 50,000; 2,000 test images in place of 10,000; "
        "3 epochs in place of the example's 200; 4 of 8 pairs"
    )
    # The accuracy at the end is not compared, in no mark and no statement.
    assert len(found.statements) == 2 and {line.agree for line in found.table} == {None}
    assert found.decides.endswith("the accuracy at the end is not compared, because the experiment is smaller")
    assert found.statements[1].found.startswith("with 4 pairs, ")
    assert cifar_resnet_finding.finding(record(lambda e: lead, pairs=7)).reduced == "7 of 8 pairs"
    assert (
        cifar_resnet_finding.finding(record(lambda e: lead, epochs=120)).reduced
        == "120 epochs in place of the example's 200"
    )
    for few in (1, 2, 3):  # a sweep that has only begun
        begun = cifar_resnet_finding.finding(part[:few])
        assert begun.statements[0].held is begun.statements[1].held is None and cifar_resnet_finding.summary(part[:few])
        assert not cifar_resnet_finding.usable(part[:few]) and cifar_resnet_finding.usable(part[: few + 3])


def test_leads_are_those_of_each_rate():
    found = cifar_resnet_finding.leads(record(lambda e: 0.03 if e < 81 else 0.01, epochs=100))
    assert list(found) == ["epochs 1 to 81", "epochs 82 to 100"]
    (first, half), (second, _) = found.values()
    deviation = (sum(n * n for n in NOISE) / 7) ** 0.5
    torch.testing.assert_close(torch.tensor([first, second]), torch.tensor([0.03, 0.01]), **tolerance(torch.float32))
    assert abs(half - 2.3646 * deviation / 8**0.5) < 1e-6  # Student's quantile for seven degrees of freedom


def test_pairs_are_compared_at_equal_epochs():
    """Two pairs that have gone on, one that is on the way, one that has only begun."""
    far, near, begun = (record(lambda e: 0.01, epochs=epochs, pairs=4) for epochs in (60, 30, 2))
    mixed = [*far[:4], *near[4:6], *begun[6:]]
    assert list(cifar_resnet_finding.leads(under_adam.level(mixed))) == ["epochs 1 to 30"]
    assert "30 epochs in place of the example's 200; 3 of 8 pairs" in cifar_resnet_finding.finding(mixed).reduced


def test_the_ratio_of_times_is_that_of_pairs():
    whole = record(lambda e: 0.01, epochs=12, pairs=2)
    assert cifar_resnet_finding.summary(whole)[-1] == "time to train, SA over ReLU: 2.00"
    assert cifar_resnet_finding.summary(whole[:3])[-1] == "time to train, SA over ReLU: 2.00"
    for run in whole:  # trained in one go, as in older runs
        run["seconds"] = 3.0 if run["config"]["activation"] == "sa" else 1.0
        del run["result"]["epoch_seconds"]
    assert cifar_resnet_finding.summary(whole)[-1] == "time to train, SA over ReLU: 3.00"
