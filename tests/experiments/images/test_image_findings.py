"""Both networks are compared in pairs and at equal epochs, and the finding follows the pairs."""

import pytest

from shapnotes.experiments.images import finding as images_finding
from shapnotes.experiments.images import study as images_study
from shapnotes.experiments.images.finding import MODELS, PAPER

NAMES = dict(zip(MODELS, ("none", "cnn"), strict=True))  # of the networks in `images`


def made(change=None, scale="paper", data=tuple(PAPER), epochs=None, seeds=3) -> list[dict]:
    """Runs around the paper's table, in every epoch; change(data, model, seed) is added to what is there."""
    runs = []
    for name in data:
        done = epochs or images_study.EPOCHS[name]
        for seed in range(seeds):
            for i, model in enumerate(MODELS):
                value = PAPER[name][i] + 1e-4 * (seed - 1) * (i + 1) + (change(name, model, seed) if change else 0.0)
                result = {"epochs": done, "measured_at": list(range(1, done + 1)), "test_accuracy": [value] * done}
                config = images_study.configuration(scale, name, NAMES[model])
                runs.append({"config": config, "seed": seed, "scale": scale, "result": result})
    return runs


def test_settings_are_the_papers():
    found = [b for b in images_study.batches("paper") if b.config.get("penalty", "none") == "none"]
    most = {}
    for batch in found:
        most[batch.config["data"]] = max(batch.epochs, most.get(batch.config["data"], 0))
        assert batch.config["channels"][1:-1] == [128] * 6 and batch.config["rate"] == 0.001
        assert batch.config["batch_size"] == 64 and batch.config["images"] is None
    assert most == {"mnist": 10, "fashion_mnist": 10, "cifar10": 60}
    for data in PAPER:
        pairs = [{b.seeds for b in found if (b.config["data"], b.config["model"]) == (data, m)} for m in MODELS]
        assert pairs[0] == pairs[1] == {(0,), (1,), (2,)}


@pytest.mark.parametrize(
    ("change", "held", "verdict"),
    [
        (None, [True, True] * 3, "numbers agree"),
        (lambda data, model, seed: -0.01, [True, False] * 3, "directions agree"),
        (
            lambda data, model, seed: 0.1 * (data == "mnist") * (model == "cnn"),
            [False, False, *[True] * 4],
            "disagrees",
        ),
        # as far ahead in the mean, but not in every pair
        (lambda data, model, seed: 0.1 * (seed - 1) * (model == "cnn"), [None, True] * 3, "open"),
    ],
)
def test_the_verdict_follows_the_pairs(change, held, verdict):
    found = images_finding.finding(made(change))
    assert [statement.held for statement in found.statements] == held
    assert found.verdict == verdict and found.reduced == ""
    assert len(found.table) == 3 * len(PAPER)


def test_what_is_smaller_than_in_the_paper_is_told():
    assert images_finding.finding(made(data=("mnist",))).reduced == "FashionMNIST not run; CIFAR-10 not run"
    assert images_finding.finding(made(data=("mnist",), epochs=4)).reduced.startswith("MNIST: 4 of 10 epochs")
    small = images_finding.finding(made(scale="cpu", epochs=2))
    assert small.verdict == "smaller scale only"
    assert small.reduced.startswith(
        "16 channels in place of 128; 40,000 training images in place of 60,000 (CIFAR-10: 50,000); a learning rate "
        "of 0.003 in place of 0.001; MNIST: 2 of "
    )
    one = images_finding.finding(made(seeds=1))
    assert [statement.held for statement in one.statements] == [None] * 6 and one.verdict == "open"


def test_smaller_networks_are_not_held_against_the_tables_accuracies():
    """Which of two is ahead is asked of them."""
    small, shorter = images_finding.finding(made(scale="cpu", epochs=2)), images_finding.finding(made(epochs=10))
    for found, asked in ((small, ()), (shorter, ("MNIST", "FashionMNIST"))):  # CIFAR-10 has 60 epochs in the paper
        assert [one.claim for one in found.statements if one.size] == [
            f"{d}: accuracies as in the table" for d in asked
        ]
        assert sum(one.claim.endswith("the ShapNet is ahead") for one in found.statements) == len(PAPER)
        compared = {line.setting.partition(",")[0] for line in found.table if line.agree is not None}
        assert compared == set(asked)
    assert small.decides.endswith("because the experiment is smaller (MNIST, FashionMNIST, CIFAR-10)")
    assert shorter.decides.endswith("(CIFAR-10)") and "smaller" not in images_finding.finding(made()).decides


def test_pairs_are_compared_at_equal_epochs():
    """A network that has gone on is read where the other one is."""
    runs = made(data=("mnist",))
    for run in runs:
        if run["config"]["model"] == "cnn":
            run["result"] = {key: v[:6] if isinstance(v, list) else 6 for key, v in run["result"].items()}
        else:
            run["result"]["test_accuracy"][6:] = [0.0] * 4
    assert images_finding.epochs(runs, "mnist") == 6
    assert images_finding.lead(runs, "mnist") == images_finding.lead(made(data=("mnist",)), "mnist")


def test_networks_with_a_penalty_or_on_other_images_do_not_count():
    others = [images_study.configuration("cpu", data, name) for data, name in (("mnist", "l1"), ("mnist_ink", "none"))]
    runs = made(scale="cpu", data=("mnist",), epochs=2)
    result = {"epochs": 1, "measured_at": [1], "test_accuracy": [0.0]}
    more = [{"config": config, "seed": 0, "scale": "cpu", "result": result} for config in others]
    assert images_finding.finding(runs + more[:1]) == images_finding.finding(runs)
    assert images_finding.lead(runs + more, "mnist") == images_finding.lead(runs, "mnist")


def test_the_summary_has_a_line_per_network_and_lead():
    lines = images_finding.summary(made())
    assert len(lines) == 1 + 3 * 3 and "0.9950" in lines[1] and "+0.0033" in lines[3]
