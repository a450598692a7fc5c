"""What is read from the tests: our explanations against another method's, on the same images of one network."""

import torch
from torch import Tensor

from shapnotes.experiments._harness.finding import Statement
from shapnotes.experiments._harness.statistics import Interval, interval
from shapnotes.experiments.images.study import EPOCHS, FIGURES, smaller
from shapnotes.experiments.removal.methods import METHODS, RIVALS
from shapnotes.experiments.removal.study import TEST_IMAGES, named
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


def over_images(runs: list[dict]) -> str:
    """What means are over; sampled Shapley values are of fewer images than the others."""
    first, task = next(iter(by_training(runs).values()), []), next(iter(TEST_IMAGES))
    few, full = (len(marks(first, task, method)) if of(first, task, method) else 0 for method in ("shapley", "ours"))
    return f"images (of {METHODS['shapley']}: over the first {few})" if 0 < few < full else "images"


def usable(runs: list[dict]) -> bool:
    """Whether the paper's methods have been put to all tests, in one training."""
    return bool(whole(runs, tuple(TEST_IMAGES)))


def reduced(runs: list[dict], tasks: tuple[str, ...]) -> str:
    """What is smaller than in the paper, in words."""
    if not whole(runs, tasks):
        return "not all methods have been run on all tests"
    config = runs[0]["config"]
    parts = smaller(config["width"])
    if config["epochs"] < FIGURES:  # the paper has networks of both, and does not say which these are
        parts.append(f"{config['epochs']} epochs in place of {FIGURES} or {EPOCHS['mnist']}")
    counts = {task: min(len(marks(own, task, "ours")) for own in whole(runs, tasks).values()) for task in tasks}
    parts += [
        f"{n} of {TEST_IMAGES[task]} images ({named(task)})" for task, n in counts.items() if n < TEST_IMAGES[task]
    ]
    return "; ".join(parts)


def in_trainings(answers: list[bool | None], claim: str, criterion: str, also: str = "") -> Statement:
    """A statement about the images of each network: it has to hold in every training; refuted where each refutes it.

    also : what else was found, as over networks
    """
    agreed = answers[0] if answers and len(set(answers)) == 1 else None
    counts = f"so in {answers.count(True)} of {len(answers)} networks, refuted in {answers.count(False)}"
    return Statement(claim, criterion, agreed, found=f"{counts}; {also}" if also else counts)


def lead(runs: list[dict], task: str, method: str, quantity: str = "change") -> Interval:
    """By how much our explanations are better than a method's: means over images, with the interval over trainings."""
    sign = -1 if task == "removal" else 1
    own = [one for one in by_training(runs).values() if of(one, task, method) and of(one, task, "ours")]
    return interval(sign * against(one, task, method, quantity).mean for one in own)


def over_networks(runs: list[dict], task: str, quantity: str = "change", form: str = "+.1f") -> str:
    """Over networks: of how many of the five methods ours are ahead, in words, and the least lead."""
    leads = {method: lead(runs, task, method, quantity) for method in RIVALS}
    ahead = sum(one.low > 0 for one in leads.values())
    least = min(one.mean for one in leads.values()) + 1e-3  # DeepLIFT and Deep SHAP are one but for rounding
    nearest = next(method for method, one in leads.items() if one.mean < least)
    of_the_five = "all five" if ahead == len(RIVALS) else f"{ahead or 'none'} of the five"
    return f"over networks ahead of {of_the_five}, the least lead {leads[nearest].shown(form)} ({METHODS[nearest]})"


def ahead_over_networks(runs: list[dict], task: str, quantity: str = "change") -> bool:
    """Whether the interval over networks of our lead over each of the five methods is above zero."""
    return all(lead(runs, task, method, quantity).low > 0 for method in RIVALS)


def over_trainings(runs: list[dict], task: str, method: str, quantity: str = "change"):
    """The mean over images, with its interval over trainings."""
    own = [one for one in by_training(runs).values() if of(one, task, method)]
    return interval(float(marks(one, task, method, quantity).mean()) for one in own)
