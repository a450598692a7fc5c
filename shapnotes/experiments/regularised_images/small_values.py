"""SN-F3: how many pixels are small after every stage, with l1 and without, from the record of SN-F5 (figure 3).

The figure shows one image, for networks without a penalty, with l1 on the last representation and with l1 on all. Its
caption: a pixel that comes close to the reference stays close, and l1 "promotes the sparsity". What is compared here
are means over test images of the share of pixels below a hundredth of the image's largest. A share does not follow a
pixel: others may have become small in its place. After the first two stages, without a penalty and with l1 on the
last representation, our networks have fewer than two small pixels per image, so that four of the 18 differences could
not fall by two.
"""

from itertools import pairwise

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.regularised_images import trainings
from shapnotes.experiments.regularised_images.study import TITLES
from shapnotes.experiments.regularised_images.trainings import Asked, Claims, of, over_all, over_trainings

NETWORKS = ("none", "l1", "l1-layers")
PIXELS = 32 * 32
SHARE = "small pixels: the share below a hundredth of the image's largest"


def _small(results: dict[str, dict]) -> dict[str, list[float]]:
    return {name: results[name]["shape"]["small"] for name in NETWORKS}


CLAIMS: Claims = {
    "the number of small pixels does not fall": Asked(
        f"in each of the three networks the share of small pixels falls by less than two of {PIXELS:,} per image from "
        "each stage to the next (+: it rises)",
        lambda results: {
            f"{TITLES[name]}, stages {stage} to {stage + 1},": after - before
            for name, small in _small(results).items()
            for stage, (before, after) in enumerate(pairwise(small), 1)
        },
        -2 / PIXELS,
        "+.4f",
    ),
    "ℓ1 on the last representation makes more pixels small there": Asked(
        "its share of small pixels after the last stage is above that without a penalty",
        lambda results: {"": _small(results)["l1"][-1] - _small(results)["none"][-1]},
    ),
    "ℓ1 on all makes more pixels small at every stage": Asked(
        "its share of small pixels is above that without a penalty after each stage",
        lambda results: {
            f"stage {stage}": a - b
            for stage, (a, b) in enumerate(zip(_small(results)["l1-layers"], _small(results)["none"], strict=True), 1)
        },
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 3's caption, which has no numbers."""
    table = [
        Comparison(f"stage {stage + 1}", TITLES[name], _share(runs, name, stage))
        for name, result in of(runs, NETWORKS).items()
        for stage in range(len(result["shape"]["small"]))
    ]
    last = {name: _share(runs, name, -1).shown(".2f") for name in of(runs, NETWORKS)}
    decides = "share of small pixels at the end: " + ", ".join(f"{TITLES[name]} {one}" for name, one in last.items())
    return Finding(
        over_all(runs, CLAIMS), tuple(table), decides, trainings.reduced(runs), numbers=f"after a stage, {SHARE}"
    )


def _share(runs: list[dict], name: str, stage: int):
    return over_trainings(runs, name, lambda result: result["shape"]["small"][stage])


def summary(runs: list[dict]) -> list[str]:
    """A line per network: the share of small pixels after every stage, the mean over trainings."""
    return [
        f"{name:10} "
        + " ".join(f"{_share(runs, name, stage).mean:.3f}" for stage in range(len(result["shape"]["small"])))
        for name, result in of(runs, NETWORKS).items()
    ]


CLAIM = Claim(
    "SN-F3",
    "Small representations, stage by stage",
    finding,
    study="SN-F5",
    summary=summary,
    usable=trainings.usable,
    about=__doc__ or "",
)
