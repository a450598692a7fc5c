"""LC-F6: relevance per unit of grey on MNIST, for and against each digit (Li and Cui, figure 6).

The paper: the network of its figure 3, "fully trained with MNIST"; the softmax by 1,000 random orders; equation 2 down
to the pixels; for each class the mean over 1,000 images of max(alpha_k / x_k, 0), called Approve in figure 7 and here,
and of -min(alpha_k / x_k, 0), called Reject. Ours where it is silent: all 60,000 training images, ten epochs of Adam in
batches of 100, its rate falling from 0.001 to 0; the first thousand test images, all of them for every class, since the
text parts them neither by label nor by prediction; eps = 0.01; a pixel of grey 0 has no value per unit of grey and
counts as 0.

There is no number in the paper for this figure. What its text says of it is measured, on three networks; intervals are
over these. "Approximate" and "proportional" are taken for a correlation above 0.9.
"""

from functools import reduce
from itertools import combinations
from operator import getitem

import torch
from torch import Tensor

from shapnotes.experiments.explained import Explained, explained, measured_increase
from shapnotes.experiments.finding import Comparison, Finding, Statement, above, below, every
from shapnotes.experiments.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed, unpacked
from shapnotes.experiments.statistics import Interval, interval
from shapnotes.experiments.sweep import Batch
from shapnotes.relevance import Relevances, propagate, softmax_relevance

ID = "LC-F6"
TITLE = "Relevance per unit of grey on MNIST"

PAPER = {"data": "mnist", "hidden": [100, 50], "epochs": 10, "images": 1000, "permutations": 1000, "eps": 0.01}
SMOKE = {"data": "digits", "hidden": [16], "epochs": 4, "images": 60, "permutations": 20, "eps": 0.01}
OTHER_EPS = (0.0, 1e-4, 1.0)  # beside the configuration's: what it costs, and what it does to the maps
ANYWHERE, INK = "anywhere", "where there is ink"
ALIKE = 0.9  # correlation from which on two maps count as the same here


def batches(scale: str) -> list[Batch]:
    """Three networks, each on its own."""
    return (
        [Batch(dict(SMOKE), (seed,)) for seed in (0, 1)]
        if scale == "smoke"
        else [Batch(dict(PAPER), (seed,)) for seed in (0, 1, 2)]
    )


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train a network per seed, hand its probabilities down to the pixels, and measure what the maps say."""
    return [_measured(explained(config, seed, device), config["eps"]) for seed in seeds]


def _measured(found: Explained, eps: float) -> dict:
    per_grey = per_unit_of_grey(found.relevance[0], found.x)
    maps = parts(per_grey)
    exact, _ = softmax_relevance(found.model(found.x), None)
    drawn = found.errors > 1e-12  # logits so small that every order gives them the same have no error but rounding
    deviations = ((found.start - exact) / found.errors)[drawn]
    relevances = {eps: found.relevance} | {e: propagate(found.model, found.x, found.start, eps=e) for e in OTHER_EPS}
    return {
        "accuracy": found.accuracy,
        "monte_carlo": {
            "mean_error": rounded(found.errors.mean()),
            "largest_error": rounded(found.errors.max()),
            "rms_deviation_in_errors": rounded(deviations.square().mean().sqrt()),
        },
        "eps": {str(e): _with_eps(found, relevance) for e, relevance in relevances.items()},
        "increase": {
            ANYWHERE: rounded(agreement(maps, measured_increase(found))),
            INK: rounded(agreement(maps, measured_increase(found, ink=True))),
        },
        "blanked": {
            name: [rounded(change) for change in without_brightest(found, part)]
            for name, part in zip(("approve", "reject"), maps, strict=True)
        },
        "own_images": rounded(agreement(maps, maps_of_own_images(per_grey, found.y))),
        "maps": packed(maps),
    }


def _with_eps(found: Explained, relevance: Relevances) -> dict:
    """What is lost down to each layer, as a part of all relevance, and how near the maps are to Shapley values'."""
    totals = relevance.totals  # [layers, images, classes]
    gaps = (totals - totals[-1]).abs().sum((1, 2)) / totals[-1].abs().sum()
    x = found.x[: len(found.shapley)]
    ours, sampled = (signed(per_unit_of_grey(v, x)) for v in (relevance[0][: len(x)], found.shapley))
    return {
        "lost": dict(zip(relevance.names, map(rounded, gaps), strict=True)),
        "shapley": rounded(agreement(ours, sampled)),
    }


def without_brightest(found: Explained, part: Tensor) -> Tensor:
    """How the mean probability of a class changes when the brightest twentieth of its map's pixels is blanked.

    part [classes, pixels]; returns [classes]. On the images that were not explained, whatever they show.
    """
    before = found.probabilities(found.others).mean(0)
    changes = []
    for c, picture in enumerate(part):
        x = found.others.clone()
        x[:, picture.topk(len(picture) // 20).indices] = 0
        changes.append(found.probabilities(x)[:, c].mean() - before[c])
    return torch.stack(changes)


def maps_of_own_images(per_grey: Tensor, y: Tensor) -> Tensor:
    """A class's maps over the images of that class alone: another way to read the paper's average."""
    return torch.cat([parts(per_grey[y == c, :, c : c + 1]) for c in range(per_grey.shape[2])], 1)


# --- what the record says ------------------------------------------------------------------------------------------


def over_seeds(runs: list[dict], *keys: str) -> Interval:
    """An entry of the results, with its interval over the networks; the mean of the entry where it is a list."""
    values = [reduce(getitem, keys, one["result"]) for one in runs]
    return interval(sum(v) / len(v) if isinstance(v, list) else v for v in values)


def blanked(runs: list[dict], part: str) -> list[Interval]:
    """For each class: how its probability changes without the brightest pixels of its map, over the networks."""
    return [interval(changes) for changes in zip(*(run["result"]["blanked"][part] for run in runs), strict=True)]


def between_seeds(runs: list[dict]) -> float:
    """Mean agreement of the maps of two seeds."""
    maps = [unpacked(one["result"]["maps"]) for one in runs]
    found = [float(agreement(a, b)) for a, b in combinations(maps, 2)]
    return sum(found) / len(found) if found else float("nan")


def finding(runs: list[dict]) -> Finding:
    """What the record says of the text about figure 6, which has no number."""
    eps = str(runs[0]["config"]["eps"])
    approve, reject = (blanked(runs, part) for part in ("approve", "reject"))
    near = {
        "sampled Shapley values": over_seeds(runs, "eps", eps, "shapley"),
        "increase, measured": over_seeds(runs, "increase", ANYWHERE),
        "increase where there is ink": over_seeds(runs, "increase", INK),
    }
    without = (
        "without a map's brightest twentieth of the pixels, on other images, the 95 % interval over networks of its"
    )
    correlation = f"95 % interval over networks of the mean correlation of the two is above {ALIKE}"
    statements = (
        Statement(
            "bright Approve pixels raise the probability of their digit",
            f"{without} change is below 0 for each of {len(approve)} digits",
            every([below(change) for change in approve]),
        ),
        Statement(
            "bright Reject pixels lower it",
            f"{without} change is above 0 for each of {len(reject)} digits",
            every([above(change) for change in reject]),
        ),
        Statement(
            "the maps are those of approximate Shapley values",
            correlation + ", with maps of sampled values",
            above(near["sampled Shapley values"], ALIKE),
        ),
        Statement(
            "brightness is proportional to the increase in probability if the pixel grows by 1",
            correlation + ", with the increase as it is measured",
            above(near["increase, measured"], ALIKE),
        ),
    )
    table = [Comparison("correlation of the maps with", what, one) for what, one in near.items()]
    for part, changes in (("approve", approve), ("reject", reject)):
        table += [
            Comparison(f"change of the probability without brightest {part} pixels", f"digit {c}", change, form="+.3f")
            for c, change in enumerate(changes)
        ]
    shown = ", ".join(f"{one.shown()} ({what})" for what, one in near.items())
    return Finding(statements, tuple(table), f"correlation of the maps with {shown}", reduced(runs))


def reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    return "" if runs[0]["config"]["data"] == PAPER["data"] else f"{runs[0]['config']['data']} in place of MNIST"


def summary(runs: list[dict]) -> list[str]:
    """The networks, the softmax's error, what eps takes and does, and what statements rest on, over the networks."""
    first = runs[0]["result"]

    def shown(*keys: str, form: str = ".4f") -> str:
        return over_seeds(runs, *keys).shown(form)

    lines = [
        f"accuracy: training {shown('accuracy', 'train')}, test {shown('accuracy', 'test')}",
        f"softmax: standard error {shown('monte_carlo', 'mean_error', form='.5f')}, root mean square of deviations "
        f"from exact values in such errors {shown('monte_carlo', 'rms_deviation_in_errors')}",
    ]
    for eps, found in first["eps"].items():
        lost = [f"{layer} {over_seeds(runs, 'eps', eps, 'lost', layer).mean:.2g}" for layer in reversed(found["lost"])]
        lines.append(f"eps {eps}: lost on the way down to layer {', '.join(lost)}")
        lines.append(f"eps {eps}: agreement with Shapley values {shown('eps', eps, 'shapley')}")
    lines += [f"agreement with the increase, {where}: {shown('increase', where)}" for where in first["increase"]]
    lines += [
        f"a class's probability without its brightest {name} pixels: change {shown('blanked', name)}"
        for name in first["blanked"]
    ]
    lines.append(f"agreement with maps of the class's own images: {shown('own_images')}")
    return [*lines, f"agreement between networks: {between_seeds(runs):.4f}"]
