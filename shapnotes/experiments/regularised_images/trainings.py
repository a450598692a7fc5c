"""What is read from the trainings of four networks: numbers over them, and statements that hold in all or in none."""

from collections.abc import Callable, Iterable

from shapnotes.experiments._harness.finding import Statement
from shapnotes.experiments._harness.statistics import Interval, interval, of_share
from shapnotes.experiments.images.study import FIGURES
from shapnotes.experiments.regularised_images.study import MODELS, NETWORKS, SHARES


def of(runs: list[dict], names: Iterable[str] = MODELS, seed: int = 0) -> dict[str, dict]:
    """The results of one training of the networks, by name, those of the paper if no others are named."""
    return {
        name: run["result"]
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
    found = [of(runs, [name], seed) for seed in sorted({run["seed"] for run in runs})]
    return interval(number(results[name]) for results in found if results)


Claims = dict[
    str, tuple[str, Callable[[dict[str, dict]], bool]]
]  # by what is said: the criterion, and whether it holds


def in_trainings(runs: list[dict], claims: Claims) -> tuple[Statement, ...]:
    """Statements of which each has to hold in every training of all networks; refuted where it fails in every one."""
    results = [of(runs, seed=seed) for seed in trainings(runs)]
    found = []
    for what, (criterion, holds) in claims.items():
        times = sum(holds(one) for one in results)
        answer = None if not results else True if times == len(results) else False if times == 0 else None
        found.append(Statement(what, f"{criterion}; holds in {times} of {len(results)} trainings", answer))
    return tuple(found)


def reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    config = runs[0]["config"]
    parts = [f"{config['width']} channels in place of 128"] if config["width"] != 128 else []
    parts += [f"{config['epochs']} epochs in place of {FIGURES}"] if config["epochs"] < FIGURES else []
    if missing := [name for name in MODELS if name not in of(runs)]:
        parts.append(f"no network {', '.join(missing)} yet")
    return "; ".join(parts)


def largest_share(result: dict) -> list[float]:
    """After each stage, the largest share of its pixels that can go with no loss beyond the interval of the images."""
    least = result["accuracy"] - of_share(result["accuracy"], result["images"])
    return [
        max(share for share, left in zip(SHARES, curve, strict=True) if left >= least)
        for curve in result["pruned"]["accuracy"]
    ]
