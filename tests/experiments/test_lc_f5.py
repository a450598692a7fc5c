"""LC-F5: images move and turn as told, a run repeats to the bit, and the verdict follows the numbers."""

import json

import pytest
import torch
from oracles import tolerance
from torch import nn

from shapnotes.experiments import lc_f5
from shapnotes.experiments.resnet import resnet20


def test_images_move_and_turn():
    x = torch.arange(2 * 3 * 4 * 5).double().view(2, 3, 4, 5)
    moves, mirrored = torch.tensor([[1, -2], [0, 0]]), torch.tensor([False, True])
    y = lc_f5.augmented(x, moves, mirrored)
    for row in range(4):
        for column in range(5):
            from_row, from_column = min(row + 1, 3), max(column - 2, 0)
            assert torch.equal(y[0, :, row, column], x[0, :, from_row, from_column])
    assert torch.equal(y[1], x[1].flip(-1))


def test_the_rate_falls_where_the_example_lets_it():
    rates = [lc_f5.rate_at(lc_f5.RATES, epoch) for epoch in (0, 80, 81, 120, 121, 160, 161, 180, 181, 199)]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6, 5e-7, 5e-7]


def test_the_penalty_is_in_the_gradient(generator):
    """One step of Adam against the same step with 1e-4 times the squared kernels written into the loss."""
    steps = []
    x, y = torch.rand(8, 3, 8, 8, generator=generator).double(), torch.arange(8)
    for written in (False, True):
        model = resnet20("relu", torch.Generator().manual_seed(0), width=2).double()
        optimiser = lc_f5.adam(model)
        loss = nn.functional.cross_entropy(model(x), y)
        if written:
            loss = loss + 1e-4 * sum((m.weight**2).sum() for m in model.modules() if isinstance(m, nn.Conv2d))
            for group in optimiser.param_groups:
                group["weight_decay"] = 0
        loss.backward()
        optimiser.step()
        steps.append([parameter.detach() for parameter in model.parameters()])
    assert all(torch.allclose(a, b, **tolerance(torch.float64)) for a, b in zip(*steps, strict=True))


def test_a_run_repeats():
    config = {"activation": "sa", "batch_size": 32, **lc_f5.SMOKE, "images": 96}
    first, again, other = lc_f5.run(config, (0, 0, 1), "cpu")
    assert first == again != other
    assert len(first["train_accuracy"]) == len(first["test_accuracy"]) == 2
    assert json.loads(json.dumps(first)) == first


def test_scales_say_what_they_are():
    paper = lc_f5.batches("paper")
    assert len(paper) == 16 and all(len(batch.seeds) == 1 for batch in paper)
    assert {batch.config["activation"] for batch in paper} == {"relu", "sa"}
    assert all(batch.config["epochs"] == 200 and batch.config["width"] == 16 for batch in paper)
    assert not any(batch.config in [b.config for b in paper] for batch in lc_f5.batches("cpu"))


NOISE = (0.002, -0.001, 0.0, 0.001, -0.002, 0.0015, -0.0015, 0.0)


def record(settings: dict, lead, ends=(0.925, 0.925), pairs: int = 8) -> list[dict]:
    """Runs whose training accuracies lie `lead(epoch)` apart, whose test accuracies end at `ends`."""
    return [
        {
            "config": {"activation": arm, "batch_size": 32, **settings},
            "seed": seed,
            "seconds": 1.0,
            "result": {
                "train_accuracy": [
                    0.5 + (arm == "sa") * (lead(epoch) + NOISE[seed]) for epoch in range(settings["epochs"])
                ],
                "test_accuracy": [0.1] * (settings["epochs"] - 1) + [end + (arm == "sa") * NOISE[seed]],
                "data": "CIFAR-10, train split, JPEG re-encoded: pixels differ from the original",
            },
        }
        for seed in range(pairs)
        for arm, end in zip(lc_f5.ARMS, ends, strict=True)
    ]


@pytest.mark.parametrize(("lead", "ends", "word", "says"), [
    (lambda e: 0.01, (0.925, 0.925), "reproduced", "ahead throughout"),
    (lambda e: 0.01, (0.905, 0.905), "partly", "ahead throughout"),
    (lambda e: 0.01, (0.930, 0.920), "partly", "difference +0.0100"),  # both near, but apart
    (lambda e: 0.01 * (e < 81), (0.925, 0.925), "partly", "ahead in part"),
    (lambda e: 0.01 * (e < 81), (0.905, 0.905), "not reproduced", "ahead in part"),
    (lambda e: 0.0, (0.905, 0.905), "not reproduced", "no clear lead"),
    (lambda e: -0.01, (0.905, 0.905), "not reproduced", "behind throughout"),
])  # fmt: skip
def test_the_verdict_follows_the_numbers(lead, ends, word, says):
    verdict, ours, _ = lc_f5.verdict(record(lc_f5.PAPER, lead, ends))
    assert verdict == word and says in ours and "JPEG re-encoded" in ours


@pytest.mark.parametrize(("lead", "says"), [(0.01, "ahead throughout"), (-0.01, "behind throughout")])
def test_a_part_is_never_taken_for_the_whole(lead, says):
    part = record(lc_f5.CPU, lambda e: lead, pairs=4)
    verdict, ours, _ = lc_f5.verdict(part)
    assert verdict == "not run at full scale"
    assert says in ours and "4 pairs, 3 epochs on 10000 images, width 8" in ours
    assert lc_f5.verdict(record(lc_f5.PAPER, lambda e: lead, pairs=7))[0] == "not run at full scale"
    for few in (1, 2, 3):  # a sweep that has only begun
        assert "too few" in lc_f5.verdict(part[:few])[1] and lc_f5.summary(part[:few])


def test_leads_are_those_of_each_rate():
    settings = {**lc_f5.PAPER, "epochs": 100}
    found = lc_f5.leads(record(settings, lambda e: 0.03 if e < 81 else 0.01))
    assert list(found) == ["epochs 1 to 81", "epochs 82 to 100"]
    (first, half), (second, _) = found.values()
    deviation = (sum(n * n for n in NOISE) / 7) ** 0.5
    torch.testing.assert_close(torch.tensor([first, second]), torch.tensor([0.03, 0.01]), **tolerance(torch.float32))
    assert abs(half - 2.3646 * deviation / 8**0.5) < 1e-6  # Student's quantile for seven degrees of freedom
