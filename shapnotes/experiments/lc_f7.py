"""LC-F7: the gradient of each probability on MNIST, for and against each digit, beside LC-F6 (Li and Cui, figure 7).

The paper: "identical setup"; a pixel's brightness is "the average magnitude of the positive (for Approve) or negative
(for Reject) gradient to individual pixels", and the figure is called an interpretation by sensitivity. Taken here as
dp_c/dx_k, the gradient of the probability, like the relevance of LC-F6 (the paper does not say: of the logit would be
another way), at every pixel, blank ones included. Networks, seeds and images are those of LC-F6.

The paper calls figure 6 "far superior and much more intuitive". Its maps and ours are compared in four ways; `measures`
says how. A third guess is compared with both: gradient times input. Per unit of grey it is the gradient again, but only
where there is ink, as in figure 6.
"""

import torch
from torch import Tensor

from shapnotes.experiments import lc_f6
from shapnotes.experiments.explained import Explained, explained, measured_increase
from shapnotes.experiments.lc_f6 import between_seeds, told
from shapnotes.experiments.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed
from shapnotes.experiments.statistics import paired_interval
from shapnotes.experiments.sweep import Batch

ID = "LC-F7"
TITLE = "Gradients of the probabilities on MNIST"

GUESSES = ("relevance", "gradient", "gradient times input")
# Whether more or less of it is better.
BETTER = {"removal": -1, "shapley": 1, "resemblance": 1, "increase": 1}
BLANKED = 50  # pixels an image, in `removal`


def batches(scale: str) -> list[Batch]:
    """Those of LC-F6."""
    return lc_f6.batches(scale)


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train the networks of LC-F6 again; one set of maps and of measures a seed."""
    return [_one(explained(config, seed, device)) for seed in seeds]


def _one(found: Explained) -> dict:
    slopes = gradients(found)
    maps, theirs = parts(slopes), parts(per_unit_of_grey(found.relevance[0], found.x))
    return {
        "accuracy": found.accuracy,
        "measures": measures(found, slopes),
        "agreement_with_relevance": rounded(agreement(maps, theirs)),
        "light_on_dim_pixels": {
            name: rounded(light_on_dim_pixels(m, found.x)) for name, m in zip(GUESSES, (theirs, maps), strict=False)
        },
        "maps": packed(maps),
    }


def gradients(found: Explained) -> Tensor:
    """dp_c/dx_k: [images, pixels, classes]."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: found.probabilities(v)))
    return torch.cat([jacobian(x) for x in found.x.split(100)]).transpose(1, 2)


def measures(found: Explained, slopes: Tensor) -> dict[str, dict[str, float]]:
    """Four numbers for each guess.

    removal     : mean probability of the predicted class while an image's pixels are blanked, the most important first;
                  less is better
    shapley     : correlation of a class's mean map, Approve minus Reject, with that of sampled Shapley values
    resemblance : its correlation with the mean image of the digit less the mean image of all
    increase    : correlation of Approve and of Reject with the increase in probability if the pixel grows by 1,
                  measured: what the paper says that brightness stands for
    """
    relevance, x = found.relevance[0], found.x
    products = slopes * x[:, :, None]
    scores = dict(zip(GUESSES, (relevance, slopes, products), strict=True))
    per_grey = dict(zip(GUESSES, (per_unit_of_grey(relevance, x), slopes, per_unit_of_grey(products, x)), strict=True))
    first = len(found.shapley)
    shapley = signed(per_unit_of_grey(found.shapley, x[:first]))
    digits = torch.stack([x[found.y == c].mean(0) for c in range(len(shapley))])
    increase = measured_increase(found)
    rows = {
        "removal": {name: removal(found, s) for name, s in scores.items()},
        "shapley": {name: agreement(signed(v[:first]), shapley) for name, v in per_grey.items()},
        "resemblance": {name: agreement(signed(v), digits - digits.mean(0)) for name, v in per_grey.items()},
        "increase": {name: agreement(parts(v), increase) for name, v in per_grey.items()},
    }
    return {measure: {name: rounded(v) for name, v in row.items()} for measure, row in rows.items()}


def removal(found: Explained, scores: Tensor) -> Tensor:
    """Mean probability of the predicted class over the images and over 0, 1, ..., BLANKED blanked pixels."""
    x, rows = found.x.clone(), torch.arange(len(found.x), device=found.x.device)
    predicted = found.probabilities(x).argmax(1)
    order = scores[rows, :, predicted].argsort(1, descending=True)[:, :BLANKED].T
    curve = [found.probabilities(x)[rows, predicted].mean()]
    for pixel in order:
        x[rows, pixel] = 0
        curve.append(found.probabilities(x)[rows, predicted].mean())
    return torch.stack(curve).mean()


def light_on_dim_pixels(maps: Tensor, x: Tensor) -> Tensor:
    """How much of the maps' light is where the images' mean is below a hundredth: their blank rim."""
    return maps[..., x.mean(0) < 0.01].sum() / maps.sum()


# --- what the record says ------------------------------------------------------------------------------------------


def lead(runs: list[dict], measure: str, ahead: str = "relevance", behind: str = "gradient") -> tuple[float, float]:
    """By how much one guess is better, and the half-width of the 95 % interval over the seeds."""
    values = [
        {one["seed"]: BETTER[measure] * one["result"]["measures"][measure][name] for one in runs}
        for name in (ahead, behind)
    ]
    return paired_interval(*values)


def summary(runs: list[dict]) -> list[str]:
    """The measures of the three guesses, and what sets the maps of gradients apart, over the runs."""
    lines = [f"accuracy: training {told(runs, 'accuracy', 'train')}, test {told(runs, 'accuracy', 'test')}"]
    for measure in BETTER:
        cells = [f"{name} {told(runs, 'measures', measure, name)}" for name in GUESSES]
        lines.append(f"{measure}: {', '.join(cells)}")
    for name in GUESSES[:2]:
        lines.append(f"light on dim pixels, {name}: {told(runs, 'light_on_dim_pixels', name)}")
    lines.append(f"agreement of the maps with those of relevance: {told(runs, 'agreement_with_relevance')}")
    return [*lines, f"agreement between seeds: {between_seeds(runs):.4f}"]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to the paper's sentence that figure 6 is far superior to figure 7.

    Relevance is better than the gradient by each of the four measures: the 95 % interval of its lead over the runs lies
    above zero. All of them, some, or none. Gradient times input stands beside them and does not count: the paper does
    not compare it.
    """
    leads = {measure: lead(runs, measure) for measure in BETTER}
    ahead = {measure for measure, (mean, half) in leads.items() if mean > half}
    word = "reproduced" if len(ahead) == len(leads) else "partly" if ahead else "not reproduced"
    cells = [
        measure + " " + " / ".join(told(runs, "measures", measure, name, digits=3) for name in GUESSES)
        for measure in BETTER
    ]
    ours = (
        f"relevance / gradient / gradient times input: {'; '.join(cells)}; relevance is ahead of the gradient in "
        f"{len(ahead)} of {len(leads)} (for removal less is better); correlation of the two figures "
        f"{told(runs, 'agreement_with_relevance', digits=3)}"
    )
    paper = "two figures side by side, without numbers: relevance is evidently far superior and much more intuitive"
    return word, ours, paper
