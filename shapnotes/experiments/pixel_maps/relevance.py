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

import torch
from torch import Tensor

from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.pixel_maps.explained import Explained, explained, measured_increase
from shapnotes.experiments.pixel_maps.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed
from shapnotes.relevance import Relevances, propagate, softmax_relevance

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
    """Train a network per seed, hand its probabilities down to the pixels, and measure what the maps say."""
    return [_measured(explained(config, seed, device), config["eps"]) for seed in seeds]


def _measured(subject: Explained, eps: float) -> dict:
    per_grey = per_unit_of_grey(subject.relevance[0], subject.x)
    maps = parts(per_grey)
    exact, _ = softmax_relevance(subject.model(subject.x), None)
    drawn = subject.errors > 1e-12  # logits so small that every order gives them the same have no error but rounding
    deviations = ((subject.start - exact) / subject.errors)[drawn]
    relevances = {eps: subject.relevance}
    relevances |= {e: propagate(subject.model, subject.x, subject.start, eps=e) for e in OTHER_EPS}
    return {
        "accuracy": subject.accuracy,
        "monte_carlo": {
            "mean_error": rounded(subject.errors.mean()),
            "largest_error": rounded(subject.errors.max()),
            "rms_deviation_in_errors": rounded(deviations.square().mean().sqrt()),
        },
        "eps": {str(e): _with_eps(subject, relevance) for e, relevance in relevances.items()},
        "increase": {
            ANYWHERE: rounded(agreement(maps, measured_increase(subject))),
            INK: rounded(agreement(maps, measured_increase(subject, ink=True))),
        },
        "blanked": {
            name: [rounded(change) for change in without_brightest(subject, part)]
            for name, part in zip(("approve", "reject"), maps, strict=True)
        },
        "own_images": rounded(agreement(maps, maps_of_own_images(per_grey, subject.y))),
        "maps": packed(maps),
    }


def _with_eps(subject: Explained, relevance: Relevances) -> dict:
    """What is lost down to each layer, as a part of all relevance, and how near the maps are to Shapley values'."""
    totals = relevance.totals  # [layers, images, classes]
    gaps = (totals - totals[-1]).abs().sum((1, 2)) / totals[-1].abs().sum()
    x = subject.x[: len(subject.shapley)]
    ours, sampled = (signed(per_unit_of_grey(v, x)) for v in (relevance[0][: len(x)], subject.shapley))
    return {
        "lost": dict(zip(relevance.names, map(rounded, gaps), strict=True)),
        "shapley": rounded(agreement(ours, sampled)),
    }


def without_brightest(subject: Explained, part: Tensor) -> Tensor:
    """How the mean probability of a class changes when the brightest twentieth of its map's pixels is blanked.

    part [classes, pixels]; returns [classes]. On the images that were not explained, whatever they show.
    """
    before = subject.probabilities(subject.others).mean(0)
    changes = []
    for c, picture in enumerate(part):
        x = subject.others.clone()
        x[:, picture.topk(len(picture) // 20).indices] = 0
        changes.append(subject.probabilities(x)[:, c].mean() - before[c])
    return torch.stack(changes)


def maps_of_own_images(per_grey: Tensor, y: Tensor) -> Tensor:
    """A class's maps over the images of that class alone: another way to read the paper's average."""
    return torch.cat([parts(per_grey[y == c, :, c : c + 1]) for c in range(per_grey.shape[2])], 1)


STUDY = Study("LC-F6", "Relevance per unit of grey on MNIST", batches, run)
