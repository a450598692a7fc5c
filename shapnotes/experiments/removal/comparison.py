"""What is read from the tests: our explanations against another method's, on the same images of one network."""

import torch
from torch import Tensor

from shapnotes.experiments._harness.finding import Statement
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.removal.methods import RIVALS
from shapnotes.experiments.removal.study import TEST_IMAGES, WIDTH, named
from shapnotes.metrics import PairedComparison, paired_comparison


def by_training(runs: list[dict]) -> dict[int, list[dict]]:
    """The runs of each training of the network, by its seed."""
    return {seed: [run for run in runs if run["seed"] == seed] for seed in sorted({run["seed"] for run in runs})}


def of(runs: list[dict], task: str, method: str) -> dict | None:
    """The result of a test and method in one training, on most images; None where the record has none."""
    matching = [run for run in runs if run["config"]["task"] == task and run["config"]["method"] == method]
    return max(matching, key=lambda run: run["config"]["images"])["result"] if matching else None


def marks(runs: list[dict], task: str, method: str, quantity: str = "change") -> Tensor:
    """One number per image: the change of log-odds; or a removal curve's area, `quantity` "change" or "remaining"."""
    result = of(runs, task, method)
    return torch.tensor(result[quantity]["area"] if task == "removal" else result["change"], dtype=torch.float64)


def against(runs: list[dict], task: str, method: str, quantity: str = "change") -> PairedComparison:
    """Our explanations less a method's, on the images that both have; of removal curves lower is better."""
    ours, theirs = (marks(runs, task, m, quantity) for m in ("ours", method))
    return paired_comparison(ours[: len(theirs)], theirs[: len(ours)])


def better(runs: list[dict], task: str, method: str, quantity: str = "change") -> int:
    """1 where our explanations are better, -1 where the method is: the 95 % interval is beyond zero. 0 otherwise."""
    sign, test = (-1 if task == "removal" else 1), against(runs, task, method, quantity)
    low, high = sorted((sign * test.low, sign * test.high))
    return 1 if low > 0 else -1 if high < 0 else 0


def whole(runs: list[dict], tasks: tuple[str, ...]) -> dict[int, list[dict]]:
    """The trainings of which the record has the paper's methods on all of these tests."""
    return {
        seed: own
        for seed, own in by_training(runs).items()
        if all(of(own, task, method) for task in tasks for method in ("ours", *RIVALS))
    }


def usable(runs: list[dict]) -> bool:
    """Whether the paper's methods have been put to all tests, in one training."""
    return bool(whole(runs, tuple(TEST_IMAGES)))


def reduced(runs: list[dict], tasks: tuple[str, ...]) -> str:
    """What is smaller than in the paper, in words."""
    if not whole(runs, tasks):
        return "not all methods have been run on all tests"
    config = runs[0]["config"]
    parts = [f"{config['width']} channels in place of {WIDTH}"] if config["width"] != WIDTH else []
    counts = {task: min(len(marks(own, task, "ours")) for own in whole(runs, tasks).values()) for task in tasks}
    parts += [
        f"{n} of {TEST_IMAGES[task]} images ({named(task)})" for task, n in counts.items() if n < TEST_IMAGES[task]
    ]
    return "; ".join(parts)


def in_trainings(answers: list[bool | None], claim: str, criterion: str) -> Statement:
    """A statement that has to hold in every training; refuted where every one refutes it."""
    agreed = answers[0] if answers and len(set(answers)) == 1 else None
    counts = f"holds in {answers.count(True)} and fails in {answers.count(False)} of {len(answers)} trainings"
    return Statement(claim, f"{criterion}; {counts}", agreed)


def over_trainings(runs: list[dict], task: str, method: str, quantity: str = "change"):
    """The mean over images, with its interval over trainings."""
    own = [one for one in by_training(runs).values() if of(one, task, method)]
    return interval(float(marks(one, task, method, quantity).mean()) for one in own)
