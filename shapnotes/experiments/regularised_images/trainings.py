"""What is read from the trainings of four networks: numbers over them, and statements about differences."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shapnotes.experiments._harness.finding import Statement, above, every
from shapnotes.experiments._harness.statistics import Interval, interval, of_share
from shapnotes.experiments.images.study import FIGURES, smaller
from shapnotes.experiments.regularised_images.study import MODELS, NETWORKS, SHARES, TITLES, network
from shapnotes.shapnet import ImageShapNet

TEST_IMAGES = 10_000  # of MNIST
FEW = 4  # numbers that are told one by one


def of(runs: list[dict], names: Iterable[str] = MODELS, seed: int = 0) -> dict[str, dict]:
    """The results of one training of the networks, by name, those of the paper if no others are named."""
    return {name: run["result"] for name, run in _runs(runs, names, seed).items()}


def networks(runs: list[dict], folder: Path, seed: int = 0) -> dict[str, ImageShapNet]:
    """The paper's networks of one training, by name, from the weights that were kept.

    folder : of the records
    """
    return {name: network(folder, run["config"], seed)[0] for name, run in _runs(runs, MODELS, seed).items()}


def _runs(runs: list[dict], names: Iterable[str], seed: int) -> dict[str, dict]:
    return {
        name: run
        for name in names
        for run in runs
        if run["config"]["network"] in (NETWORKS.get(name, name), f"digits-{name}") and run["seed"] == seed
    }


def trainings(runs: list[dict]) -> list[int]:
    """The seeds with which all of the paper's networks were trained."""
    return [seed for seed in sorted({run["seed"] for run in runs}) if len(of(runs, seed=seed)) == len(MODELS)]


def usable(runs: list[dict]) -> bool:
    """Whether there is one training of all four networks."""
    return bool(trainings(runs))


def over_trainings(runs: list[dict], name: str, number: Callable[[dict], float]) -> Interval:
    """A number of a network, with its interval over trainings."""
    by_seed = [of(runs, [name], seed) for seed in sorted({run["seed"] for run in runs})]
    return interval(number(results[name]) for results in by_seed if results)


Numbers = Callable[[dict[str, dict]], dict[str, float]]  # of the results of one training, by what they are of


class Asked(NamedTuple):
    """What has to be above a bound: in words, from the results of one training, the bound, and how it is printed."""

    words: str
    numbers: Numbers
    bound: float = 0.0
    form: str = "+.3f"


Claims = dict[str, Asked]  # by what is said


def over_all(runs: list[dict], claims: Claims) -> tuple[Statement, ...]:
    """Statements that hold where the 95 % interval over trainings of each of its numbers is above its bound."""
    count = len(trainings(runs))
    statements = []
    for what, asked in claims.items():
        found = each(runs, asked.numbers)
        criterion = f"{asked.words}: by the 95 % interval over trainings, of which there are {count}"
        held = every([above(one, asked.bound) for one in found.values()])
        statements.append(Statement(what, criterion, held, found=_found(found, asked)))
    return tuple(statements)


def each(runs: list[dict], numbers: Numbers) -> dict[str, Interval]:
    """Numbers of a training, each with its interval over those that have all four networks.

    A training has the same first weights for all four networks, so that differences within it are paired.
    """
    found = [numbers(of(runs, seed=seed)) for seed in trainings(runs)]
    return {name: interval(one[name] for one in found) for name in (found[0] if found else ())}


def _found(numbers: dict[str, Interval], asked: Asked) -> str:
    """The numbers, or the lowest interval of many, and for how many of several it is so."""
    told = {name: f"{name} {one.shown(asked.form)}".lstrip() for name, one in numbers.items()}
    if len(numbers) < 2:
        return "".join(told.values())
    count = f"so for {sum(one.low > asked.bound for one in numbers.values())} of {len(numbers)}; "
    if len(numbers) > FEW:
        return f"{count}the lowest interval is of {told[min(numbers, key=lambda name: numbers[name].low)]}"
    return count + ", ".join(told.values())


def reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    config = runs[0]["config"]
    parts = smaller(config["width"])
    parts += [f"{config['epochs']} epochs in place of {FIGURES}"] if config["epochs"] < FIGURES else []
    if (measured := config["measured"]) < TEST_IMAGES:
        parts.append(f"measured on {measured:,} of {TEST_IMAGES:,} test images")
    if missing := [TITLES[name] for name in MODELS if name not in of(runs)]:
        parts.append(f"no network {', '.join(missing)} yet")
    return "; ".join(parts)


def largest_share(result: dict) -> list[float]:
    """After each stage, the largest share of its pixels that can go with no loss beyond the interval of the images."""
    least = result["accuracy"] - of_share(result["accuracy"], result["images"])
    return [
        max(share for share, left in zip(SHARES, curve, strict=True) if left >= least)
        for curve in result["pruned"]["accuracy"]
    ]
