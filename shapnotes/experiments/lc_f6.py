"""LC-F6: relevance per unit of grey on MNIST, for and against each digit (Li and Cui, figure 6).

The paper: the network of its figure 3, "fully trained with MNIST"; the softmax by 1,000 random orders; equation 2 down
to the pixels; for each class the mean over 1,000 images of max(alpha_k / x_k, 0), called Approve in figure 7 and here,
and of -min(alpha_k / x_k, 0), called Reject. Ours where it is silent: all 60,000 training images, ten epochs of Adam in
batches of 100, its rate falling from 0.001 to 0; the first thousand test images, all of them for every class, since the
text parts them neither by label nor by prediction; eps = 0.01; a pixel of grey 0 has no value per unit of grey and
counts as 0.

There is no number in the paper for this figure. What its text says of it is measured; see `verdict`.
"""

from functools import reduce
from itertools import combinations
from operator import getitem

import torch
from torch import Tensor

from shapnotes.experiments.explained import Explained, explained, measured_increase
from shapnotes.experiments.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed, unpacked
from shapnotes.experiments.statistics import mean_and_error
from shapnotes.experiments.sweep import Batch
from shapnotes.relevance import Relevances, propagate, softmax_relevance

ID = "LC-F6"
TITLE = "Relevance per unit of grey on MNIST"

PAPER = {"data": "mnist", "hidden": [100, 50], "epochs": 10, "images": 1000, "permutations": 1000, "eps": 0.01}
SMOKE = {"data": "digits", "hidden": [16], "epochs": 4, "images": 60, "permutations": 20, "eps": 0.01}
OTHER_EPS = (0.0, 1e-4, 1.0)  # beside the configuration's: what it costs, and what it does to the maps
ANYWHERE, INK = "anywhere", "where there is ink"


def batches(scale: str) -> list[Batch]:
    """Three networks, each on its own."""
    return (
        [Batch(dict(SMOKE), (seed,)) for seed in (0, 1)]
        if scale == "smoke"
        else [Batch(dict(PAPER), (seed,)) for seed in (0, 1, 2)]
    )


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train a network a seed, hand its probabilities down to the pixels, and measure what the maps say."""
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


def over_seeds(runs: list[dict], *keys: str) -> tuple[float, float]:
    """Mean and standard error over the runs of an entry of their results; of its mean if it is a list."""
    values = [reduce(getitem, keys, one["result"]) for one in runs]
    return mean_and_error(sum(v) / len(v) if isinstance(v, list) else v for v in values)


def told(runs: list[dict], *keys: str, digits: int = 4) -> str:
    """The same as text."""
    return "{:.{d}f} ± {:.{d}f}".format(*over_seeds(runs, *keys), d=digits)


def between_seeds(runs: list[dict]) -> float:
    """Mean agreement of the maps of two seeds."""
    maps = [unpacked(one["result"]["maps"]) for one in runs]
    found = [float(agreement(a, b)) for a, b in combinations(maps, 2)]
    return mean_and_error(found)[0] if found else float("nan")


def summary(runs: list[dict]) -> list[str]:
    """The networks, the softmax's error, what eps takes and does, and the measures of the verdict, over the runs."""
    first = runs[0]["result"]
    lines = [
        f"accuracy: training {told(runs, 'accuracy', 'train')}, test {told(runs, 'accuracy', 'test')}",
        f"softmax: standard error {told(runs, 'monte_carlo', 'mean_error', digits=5)}, deviations from exact values in "
        f"such errors {told(runs, 'monte_carlo', 'rms_deviation_in_errors')} (root mean square)",
    ]
    for eps, found in first["eps"].items():
        lost = [f"{layer} {over_seeds(runs, 'eps', eps, 'lost', layer)[0]:.2g}" for layer in reversed(found["lost"])]
        lines.append(f"eps {eps}: lost on the way down to layer {', '.join(lost)}")
        lines.append(f"eps {eps}: agreement with Shapley values {told(runs, 'eps', eps, 'shapley')}")
    lines += [f"agreement with the increase, {where}: {told(runs, 'increase', where)}" for where in first["increase"]]
    lines += [
        f"a class's probability without its brightest {name} pixels: change {told(runs, 'blanked', name)}"
        for name in first["blanked"]
    ]
    lines.append(f"agreement with maps of the class's own images: {told(runs, 'own_images')}")
    return [*lines, f"agreement between seeds: {between_seeds(runs):.4f}"]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to what the paper says of the figure: the verdict, our numbers, the paper's words.

    Bright Approve pixels raise the probability of their digit, bright Reject pixels lower it (here: without a map's
    brightest twentieth it falls, and rises, in every class and run). The maps are those of approximate Shapley values
    (here: their mean correlation with sampled values exceeds 0.9). Brightness is proportional to the increase in
    probability if the pixel's brightness increases by 1 (here: the mean correlation of the two exceeds 0.9).
    """
    eps = str(runs[0]["config"]["eps"])
    blanked = [one["result"]["blanked"] for one in runs]
    right = [c < 0 for found in blanked for c in found["approve"]]
    right += [c > 0 for found in blanked for c in found["reject"]]
    kept = [all(right)]
    kept += [over_seeds(runs, *keys)[0] > 0.9 for keys in (("eps", eps, "shapley"), ("increase", ANYWHERE))]
    word = "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced"
    ours = (
        f"blanking the brightest pixels moves the probability as it should in {sum(right)} of {len(right)} cases; "
        f"correlation with sampled Shapley values {told(runs, 'eps', eps, 'shapley', digits=3)}, with the measured "
        f"increase {told(runs, 'increase', ANYWHERE, digits=3)} ({told(runs, 'increase', INK, digits=3)} counting only "
        f"ink); eps {eps} absorbs {over_seeds(runs, 'eps', eps, 'lost', 'input')[0]:.1%}; test accuracy "
        f"{told(runs, 'accuracy', 'test')}"
    )
    paper = (
        "a figure without numbers: bright pixels raise or lower the probability, in proportion to its increase when "
        "the pixel grows by 1; approximate Shapley values"
    )
    return word, ours, paper
