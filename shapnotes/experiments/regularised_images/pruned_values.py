"""SN-F5: what pruning values after a stage costs (Shapley Explanation Networks, figure 5)."""

from collections.abc import Callable
from itertools import pairwise

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.regularised_images import study
from shapnotes.experiments.regularised_images.study import INK, MODELS, SHARES, TITLES, swept
from shapnotes.experiments.regularised_images.trainings import (
    Asked,
    Claims,
    largest_share,
    of,
    over_all,
    over_trainings,
    reduced,
    usable,
)


def _mean_area(result: dict) -> float:
    return sum(result["pruned"]["area"]) / len(result["pruned"]["area"])


def rises(results: dict[str, dict]) -> dict[str, float]:
    """How much more is left after the later of two neighbouring stages, of every network."""
    return {
        f"{TITLES[name]}, stages {stage} to {stage + 1},": after - before
        for name, result in results.items()
        for stage, (before, after) in enumerate(pairwise(result["pruned"]["area"]), 1)
    }


def _l1_best(results: dict[str, dict]) -> dict[str, float]:
    pairs = (("l1", "none"), ("l1-layers", "l1"))
    return {
        f"{TITLES[ahead]} less {TITLES[behind]}": _mean_area(results[ahead]) - _mean_area(results[behind])
        for ahead, behind in pairs
    }


def _can_go(result: dict) -> float:
    """The share of pixels that can go, averaged over the stages."""
    return sum(largest_share(result)) / len(result["pruned"]["accuracy"])


AS_STRONG = 0.01  # of accuracy: what a later stage may lose beyond an earlier one, where both lose hardly anything

CLAIMS: Claims = {
    "pruning an earlier stage has at least as strong an effect as pruning a later one": Asked(
        "of each network the accuracy, averaged over the shares that are pruned, is not lower by more than "
        f"{AS_STRONG:g} from each stage to the next (+: it is higher)",
        rises,
        -AS_STRONG,
    ),
    "ℓ1 keeps more accuracy, and on all stages most": Asked(
        "averaged over shares and stages, ℓ1 is above no penalty, and ℓ1 on all above ℓ1",
        _l1_best,
    ),
    "most values can be removed": Asked(
        "of each network the share of pixels that can go without a loss beyond the half-width of the accuracy's 95 % "
        "interval over images, averaged over the stages, is above one half",
        lambda results: {TITLES[name]: _can_go(result) for name, result in results.items()},
        0.5,
        ".3f",
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 5's caption, which has no numbers."""
    half = SHARES.index(0.5)
    table = [
        Comparison(f"stage {stage + 1}", TITLES[name], over_trainings(runs, name, _left(stage, half)))
        for name, result in of(runs).items()
        for stage in range(len(result["pruned"]["accuracy"]))
    ]
    share = over_trainings(runs, "none", _can_go)
    return Finding(
        over_all(runs, CLAIMS),
        tuple(table),
        f"without a penalty {share.shown('.2f')} of the pixels can go without a measurable loss of accuracy, averaged "
        "over the stages",
        reduced(runs),
        numbers="accuracy on test images, half of the pixels pruned after a stage",
    )


def _left(stage: int, share: int) -> Callable[[dict], float]:
    return lambda result: result["pruned"]["accuracy"][stage][share]


def summary(runs: list[dict]) -> list[str]:
    """A line per network: accuracy, variation, small pixels, and what pruning half after each stage leaves."""
    lines = [f"{'network':12} accuracy        cv     small pixels   after pruning half, stage by stage"]
    half = SHARES.index(0.5)
    for name, result in of(runs, [*MODELS, INK, *swept()]).items():
        accuracy = over_trainings(runs, name, lambda r: r["accuracy"]).shown()
        cv = over_trainings(runs, name, lambda r: r["shape"]["cv"]).mean
        small = over_trainings(runs, name, lambda r: r["shape"]["small"][-1]).mean
        stages = range(len(result["pruned"]["accuracy"]))
        left = " ".join(f"{over_trainings(runs, name, _left(stage, half)).mean:.3f}" for stage in stages)
        lines.append(f"{name:12} {accuracy:15} {cv:.2f}   {small:.3f}          {left}")
    return lines


CLAIM = Claim(
    "SN-F5",
    "Pruned values and removed pixels of four networks on MNIST",
    finding,
    study="SN-F5",
    summary=summary,
    usable=usable,
    about=study.__doc__ or "",
)
