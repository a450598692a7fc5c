"""SN-F5: what pruning values after a stage costs (Shapley Explanation Networks, figure 5)."""

from collections.abc import Callable
from itertools import pairwise

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.statistics import of_share
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.regularised_images import study
from shapnotes.experiments.regularised_images.study import INK, MODELS, SHARES, swept
from shapnotes.experiments.regularised_images.trainings import (
    Claims,
    in_trainings,
    largest_share,
    of,
    over_trainings,
    reduced,
    usable,
)


def _mean_area(result: dict) -> float:
    return sum(result["pruned"]["area"]) / len(result["pruned"]["area"])


def _earlier_stronger(found: dict[str, dict]) -> bool:
    return all(
        after - before >= -1.96 * error
        for result in found.values()
        for (before, after), error in zip(
            pairwise(result["pruned"]["area"]), result["pruned"]["area_error"], strict=True
        )
    )


def _l1_best(found: dict[str, dict]) -> bool:
    none, l1, layers = (_mean_area(found[name]) for name in ("none", "l1", "l1-layers"))
    noise = 2**0.5 * of_share(0.5, found["none"]["images"])
    return l1 - none > noise and layers - l1 > noise


CLAIMS: Claims = {
    "pruning an earlier stage has at least as strong an effect as pruning a later one": (
        "of each network, the accuracy, averaged over the shares that are pruned, falls from no stage to the next by "
        "more than the images' 95 % interval",
        _earlier_stronger,
    ),
    "l1 keeps more accuracy, and on all stages most": (
        "averaged over shares and stages, l1 is above no penalty and l1 on all above l1, by more than the images' 95 % "
        "interval",
        _l1_best,
    ),
    "most values can be removed": (
        "of each network, the share of pixels that can go without a loss beyond the images' 95 % interval, averaged "
        "over the stages, is above one half",
        lambda found: all(sum(shares) / len(shares) > 0.5 for shares in map(largest_share, found.values())),
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 5's caption, which has no numbers."""
    half = SHARES.index(0.5)
    table = [
        Comparison(f"half pruned after stage {stage + 1}", name, over_trainings(runs, name, _left(stage, half)))
        for name, result in of(runs).items()
        for stage in range(len(result["pruned"]["accuracy"]))
    ]
    share = over_trainings(runs, "none", lambda result: sum(largest_share(result)) / len(result["pruned"]["accuracy"]))
    return Finding(
        in_trainings(runs, CLAIMS),
        tuple(table),
        f"without a penalty {share.mean:.0%} of the pixels can go, averaged over the stages",
        reduced(runs),
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
