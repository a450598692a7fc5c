"""LC-F7: the gradient of each probability on MNIST, for and against each digit, beside LC-F6 (Li and Cui, figure 7).

The paper: "identical setup"; a pixel's brightness is "the average magnitude of the positive (for Approve) or negative
(for Reject) gradient to individual pixels", and the figure is called an interpretation by sensitivity. Taken here as
dp_c/dx_k, the gradient of the probability, like the relevance of LC-F6 (the paper does not say: of the logit would be
another way), at every pixel, blank ones included. Networks, seeds and images are those of LC-F6.

The paper calls figure 6 "far superior and much more intuitive". The maps are compared in four ways, and the sentence is
taken for one statement about each:

- removal: the mean probability of the predicted class while 50 of an image's pixels are blanked, the most important
  first; less is better;
- shapley: how near the maps are to those of sampled Shapley values;
- resemblance: how much they look like the digit;
- increase: how near they are to the increase in probability if a pixel grows by 1, as it is measured. This is
  what the paper says of the brightness of figure 6. A gradient is near to it by construction.

Gradient times input stands beside both, though no statement of the paper is about it: per unit of grey it is the
gradient again, but only where there is ink, as in figure 6. In removal it is ahead of relevance, by 0.029 ± 0.021, in
pairs of maps of one network. Without the last measure the verdict would be *directions agree*.
"""

import torch
from torch import Tensor

from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.pixel_maps import relevance
from shapnotes.experiments.pixel_maps.explained import Explained, explained, measured_increase
from shapnotes.experiments.pixel_maps.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed

GUESSES = ("relevance", "gradient", "gradient times input")
BLANKED = 50  # pixels per image, in `removal`


def batches(scale: str) -> list[Batch]:
    """Those of LC-F6."""
    return relevance.batches(scale)


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train the networks of LC-F6 again; one set of maps and of measures per seed."""
    return [_one(explained(config, seed, device)) for seed in seeds]


def _one(subject: Explained) -> dict:
    slopes = gradients(subject)
    maps, theirs = parts(slopes), parts(per_unit_of_grey(subject.relevance[0], subject.x))
    return {
        "accuracy": subject.accuracy,
        "measures": measures(subject, slopes),
        "agreement_with_relevance": rounded(agreement(maps, theirs)),
        "light_on_dim_pixels": {
            name: rounded(light_on_dim_pixels(m, subject.x)) for name, m in zip(GUESSES, (theirs, maps), strict=False)
        },
        "maps": packed(maps),
    }


def gradients(subject: Explained) -> Tensor:
    """dp_c/dx_k: [images, pixels, classes]."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: subject.probabilities(v)))
    return torch.cat([jacobian(x) for x in subject.x.split(100)]).transpose(1, 2)


def measures(subject: Explained, slopes: Tensor) -> dict[str, dict[str, float]]:
    """Four numbers for each guess.

    removal     : mean probability of the predicted class while an image's pixels are blanked, the most important first;
                  less is better
    shapley     : correlation of a class's mean map, Approve minus Reject, with that of sampled Shapley values
    resemblance : its correlation with the mean image of the digit less the mean image of all
    increase    : correlation of Approve and of Reject with the increase in probability if the pixel grows by 1,
                  measured: what the paper says that brightness stands for
    """
    relevance, x = subject.relevance[0], subject.x
    products = slopes * x[:, :, None]
    scores = dict(zip(GUESSES, (relevance, slopes, products), strict=True))
    per_grey = dict(zip(GUESSES, (per_unit_of_grey(relevance, x), slopes, per_unit_of_grey(products, x)), strict=True))
    first = len(subject.shapley)
    shapley = signed(per_unit_of_grey(subject.shapley, x[:first]))
    digits = torch.stack([x[subject.y == c].mean(0) for c in range(len(shapley))])
    increase = measured_increase(subject)
    rows = {
        "removal": {name: removal(subject, s) for name, s in scores.items()},
        "shapley": {name: agreement(signed(v[:first]), shapley) for name, v in per_grey.items()},
        "resemblance": {name: agreement(signed(v), digits - digits.mean(0)) for name, v in per_grey.items()},
        "increase": {name: agreement(parts(v), increase) for name, v in per_grey.items()},
    }
    return {measure: {name: rounded(v) for name, v in row.items()} for measure, row in rows.items()}


def removal(subject: Explained, scores: Tensor) -> Tensor:
    """Mean probability of the predicted class over the images and over 0, 1, ..., BLANKED blanked pixels."""
    x, rows = subject.x.clone(), torch.arange(len(subject.x), device=subject.x.device)
    predicted = subject.probabilities(x).argmax(1)
    order = scores[rows, :, predicted].argsort(1, descending=True)[:, :BLANKED].T
    curve = [subject.probabilities(x)[rows, predicted].mean()]
    for pixel in order:
        x[rows, pixel] = 0
        curve.append(subject.probabilities(x)[rows, predicted].mean())
    return torch.stack(curve).mean()


def light_on_dim_pixels(maps: Tensor, x: Tensor) -> Tensor:
    """How much of the maps' light is where the images' mean is below a hundredth: their blank rim."""
    return maps[..., x.mean(0) < 0.01].sum() / maps.sum()


STUDY = Study("LC-F7", "Gradients of the probabilities on MNIST", batches, run)
