"""LC-T2: twelve settings, eight repeats, and a verdict that follows the numbers."""

import pytest
import torch

from shapnotes.experiments import lc_f4, lc_t2


def made(accuracy, scale="paper") -> list[dict]:
    """Runs whose final accuracies are accuracy(setting, activation, seed)."""
    return [
        {
            "scale": scale,
            "config": batch.config,
            "seed": seed,
            "result": {"test_curve": [0.1, value], "images": "CIFAR-10, JPEG re-encoded"},
        }
        for batch in lc_t2.batches(scale)
        for seed in batch.seeds
        for value in [accuracy(batch.config["optimiser"], batch.config["activation"], seed)]
    ]


def the_papers(setting, activation, seed):
    return lc_t2.PAPER[setting][activation == "relu"] + (seed % 3 - 1) / 500


def test_the_papers_runs_are_those_of_its_table():
    found = lc_t2.batches("paper")
    assert len(found) == 24 and all(len(batch.seeds) == 8 for batch in found)
    assert all(batch.config["hidden"] == [1024, 512, 512] and batch.config["dropout"] == 0.2 for batch in found)
    assert all(lc_f4.optimiser(name, [torch.zeros(1, requires_grad=True)]) for name in lc_t2.PAPER)
    drawn = {seed for batch in found for seed in batch.seeds}
    assert not drawn & {seed for batch in lc_f4.batches("paper") for seed in batch.seeds}


def test_the_papers_own_numbers_reproduce_it():
    runs = made(the_papers)
    word, ours, paper = lc_t2.verdict(runs)
    assert word == "reproduced" and "ahead in 11 of 12 settings, with the paper's sign in 12" in ours
    assert "SA 0.053, ReLU 0.116" in ours and "SA 0.053, ReLU 0.116" in paper
    assert lc_t2.leads(runs)["Adam 0.002"][0] == pytest.approx(0.0768)
    assert len(lc_t2.summary(runs)) == 14


def test_the_verdict_follows_the_numbers():
    swapped = {"sa": "relu", "relu": "sa"}
    assert lc_t2.verdict(made(lambda o, a, s: the_papers(o, swapped[a], s)))[0] == "not reproduced"
    assert lc_t2.verdict(made(lambda o, a, s: 0.5))[0] == "not reproduced"
    slightly = lambda o, a, s: the_papers(o, "relu", s) + 0.005 * (a == "sa")  # noqa: E731
    assert lc_t2.verdict(made(slightly))[0] == "partly"  # ahead everywhere, nowhere by a wide margin
    noisy = lambda o, a, s: the_papers(o, a, s) + (s % 2 - 0.5) * (a == "sa")  # noqa: E731
    assert "interval above zero in 0 (by more than 0.01 in 0), below in 0" in lc_t2.verdict(made(noisy))[1]


def test_a_smaller_or_unfinished_record_is_no_reproduction():
    word, ours, _ = lc_t2.verdict(made(the_papers, "cpu"))
    assert word == "not run at full scale" and "3 of 3 statements hold" in ours
    assert "3072-128-64-64-10 in place of 3072-1024-512-512-10, 6 epochs, 4 repeats" in ours and "JPEG" in ours
    runs = made(the_papers)
    assert lc_t2.verdict(runs[:-1])[0] == "not run at full scale"
    assert lc_t2.verdict(runs[:1])[0] == "not run at full scale" and lc_t2.leads(runs[:1]) == {}
