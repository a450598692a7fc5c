"""LC-T2: twelve settings, eight repeats, and a finding that follows the numbers."""

import pytest
import torch

from shapnotes.experiments._models import dropout_perceptron
from shapnotes.experiments.cifar_perceptron import study as cifar_perceptron_study
from shapnotes.experiments.cifar_perceptron import twelve_optimisers
from shapnotes.experiments.cifar_perceptron.twelve_optimisers import PAPER


def made(accuracy, scale="paper", epochs=10, settings=tuple(PAPER)) -> list[dict]:
    """Runs whose final accuracies are accuracy(setting, activation, seed)."""
    seeds = range(twelve_optimisers.FIRST_SEED, twelve_optimisers.FIRST_SEED + twelve_optimisers.REPEATS[scale])

    def result(value: float) -> dict:
        curve = [0.1] + [value] * epochs
        return {"test_curve": curve, "train_accuracy": curve, "epochs": epochs, "images": "CIFAR-10, JPEG re-encoded"}

    return [
        {"scale": scale, "config": cifar_perceptron_study.configuration(scale, arm, name), "seed": seed}
        | {"result": result(accuracy(name, arm, seed))}
        for name in settings
        for arm in twelve_optimisers.ARMS
        for seed in seeds
    ]


def spread(name: str, arm: str, seed: int) -> float:
    """A small number that is different for every arm and seed, with no trend."""
    return ((7 * seed + 3 * list(PAPER).index(name) + 5 * (arm == "sa")) % 8 - 3.5) / 2000


def the_papers(name, arm, seed):
    return PAPER[name][twelve_optimisers.ARMS.index(arm)] + spread(name, arm, seed)


def swapped(name, arm, seed):
    return the_papers(name, "relu" if arm == "sa" else "sa", seed)


def slightly(name, arm, seed):
    """SA ahead everywhere, by half a point."""
    return PAPER[name][1] + 0.005 * (arm == "sa") + spread(name, arm, seed)


def noisy(name, arm, seed):
    """The paper's means, with a spread that hides them."""
    return the_papers(name, arm, seed) + (seed % 2 - 0.5) * (arm == "sa")


def test_the_papers_runs_are_those_of_its_table():
    stages = {batch.stage: [] for batch in twelve_optimisers.batches("paper")}
    for batch in twelve_optimisers.batches("paper"):
        stages[batch.stage].append(batch)
        assert batch.config["hidden"] == [1024, 512, 512] and batch.config["dropout"] == 0.2
    assert {stage: {batch.epochs for batch in found} for stage, found in stages.items()} == {0: {10}, 1: {10}, 2: {20}}
    seeds = {stage: {seed for batch in found for seed in batch.seeds} for stage, found in stages.items()}
    assert {stage: len(found) for stage, found in seeds.items()} == {0: 4, 1: 8, 2: 8}
    assert all(len({b.config["optimiser"] for b in found}) == 12 for found in stages.values())
    assert all(dropout_perceptron.optimiser(name, [torch.zeros(1, requires_grad=True)]) for name in PAPER)
    assert not seeds[2] & {seed for batch in cifar_perceptron_study.batches("paper") for seed in batch.seeds}


@pytest.mark.parametrize(
    ("accuracy", "held", "verdict"),
    [
        (the_papers, [True, True, True, True], "numbers agree"),
        (swapped, [False, False, False, False], "disagrees"),
        (slightly, [True, False, None, False], "disagrees"),
        (noisy, [None, None, True, True], "open"),
    ],
)
def test_the_verdict_follows_the_numbers(accuracy, held, verdict):
    found = twelve_optimisers.finding(made(accuracy))
    assert [statement.held for statement in found.statements] == held
    assert found.verdict == verdict and found.reduced == ""


def test_the_papers_own_numbers():
    runs = made(the_papers)
    found = twelve_optimisers.finding(runs)
    assert found.decides == "SA ahead in 11 of 12 settings, behind in 0, by 95 % intervals"
    assert twelve_optimisers.leads(runs)["Adam 0.002"].mean == pytest.approx(0.0768, abs=1e-3)
    assert "0.6 of 12 intervals would not include 0" in found.statements[0].criterion
    assert "in at least 11 of 12, the paper's own count of means" in found.statements[0].criterion
    assert [s.found for s in found.statements[:2]] == [
        "above 0 in 11, below 0 in 0",
        "above 0.01 in 8, below 0.01 in 2",
    ]
    assert found.statements[2].found == f"{twelve_optimisers.span_difference(runs).shown('+.3f')}, in the table -0.063"
    assert "0 are, by chance 1.2 would be" in found.statements[3].criterion
    lines = twelve_optimisers.summary(runs)
    assert len(lines) == 15 and "+0.077" in lines[6] and max(map(len, lines)) <= 78


def test_spans_are_those_of_each_seed():
    """Best minus worst setting, seed by seed; with and without one setting."""
    runs = made(the_papers)
    seeds = {run["seed"] for run in runs}

    def span(arm, seed, names):
        ends = [the_papers(name, arm, seed) for name in names]
        return max(ends) - min(ends)

    for without in ((), ("Adam 0.002",)):
        names = [name for name in PAPER if name not in without]
        each = [span("sa", seed, names) - span("relu", seed, names) for seed in seeds]
        assert twelve_optimisers.span_difference(runs, without).mean == pytest.approx(sum(each) / len(each))
    assert twelve_optimisers.span_difference(runs[:1]) is None


def test_a_smaller_or_unfinished_record_is_told():
    small = twelve_optimisers.finding(made(the_papers, "cpu", epochs=6))
    assert small.verdict == "smaller scale only" and small.reduced == (
        "a network 3072-128-64-64-10 in place of 3072-1024-512-512-10; 6 epochs; 4 of 8 repeats"
    )
    # The table's accuracies are not compared with its, in no mark and no statement.
    assert len(small.statements) == 3 and not any(s.size for s in small.statements)
    assert {line.agree for line in small.table} == {None}
    assert small.decides.endswith("the table's accuracies are not compared, because the experiment is smaller")
    runs = made(the_papers)
    assert twelve_optimisers.finding(runs[:-1]).reduced == "7 of 8 repeats"
    assert twelve_optimisers.finding(made(the_papers, settings=("Adam 0.001", "SGD 0.1"))).reduced == "2 of 12 settings"
    assert twelve_optimisers.finding(made(the_papers, epochs=4)).reduced == "4 epochs"
    begun = twelve_optimisers.finding(runs[:1])
    assert begun.verdict == "smaller scale only" and begun.reduced == "0 of 12 settings; 0 of 8 repeats"
    assert [s.held for s in begun.statements] == [None] * 4 and twelve_optimisers.leads(runs[:1]) == {}
    assert len(twelve_optimisers.summary(runs[:1])) == 3
    assert (
        twelve_optimisers.usable(runs)
        and twelve_optimisers.usable(runs[:-6])
        and not twelve_optimisers.usable(runs[:-7])
        and not twelve_optimisers.usable([])
    )


def test_runs_are_compared_at_equal_epochs():
    """A setting that has gone on to twenty epochs is read where the others are."""
    falling = made(the_papers, epochs=20)
    for run in falling:
        run["result"]["test_curve"][11:] = [0.0] * 10
    mixed = falling[:16] + made(the_papers)[16:]
    assert (
        twelve_optimisers.finding(mixed) == twelve_optimisers.finding(made(the_papers))
        and "10 epochs" in twelve_optimisers.summary(mixed)[0]
    )
