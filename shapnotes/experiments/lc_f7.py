"""LC-F7: the gradient of each probability on MNIST, for and against each digit, beside LC-F6 (Li and Cui, figure 7).

The paper: "identical setup"; a pixel's brightness is "the average magnitude of the positive (for Approve) or negative
(for Reject) gradient to individual pixels", and the figure is called an interpretation by sensitivity. Taken here as
dp_c/dx_k, the gradient of the probability, like the relevance of LC-F6 (the paper does not say: of the logit would be
another way), at every pixel, blank ones included. Networks, seeds and images are those of LC-F6.

The paper calls figure 6 "far superior and much more intuitive". The maps are compared in four ways, and the sentence is
taken for one statement about each:

- removal: how far the probability falls while an image's pixels are blanked, the most important first;
- shapley: how near the maps are to those of sampled Shapley values;
- resemblance: how much they look like the digit;
- increase: how near they are to the increase in probability if a pixel grows by 1, as it is measured.

A third guess stands beside both and does not count: gradient times input. Per unit of grey it is the gradient again,
but only where there is ink, as in figure 6.
"""

import torch
from torch import Tensor

from shapnotes.experiments import lc_f6
from shapnotes.experiments.explained import Explained, explained, measured_increase
from shapnotes.experiments.finding import Comparison, Finding, Statement, above, below
from shapnotes.experiments.lc_f6 import between_seeds, over_seeds, reduced
from shapnotes.experiments.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed
from shapnotes.experiments.statistics import Interval, paired_interval
from shapnotes.experiments.sweep import Batch

ID = "LC-F7"
TITLE = "Gradients of the probabilities on MNIST"

GUESSES = ("relevance", "gradient", "gradient times input")
# Whether more or less of it is better.
BETTER = {"removal": -1, "shapley": 1, "resemblance": 1, "increase": 1}
BETTER_WHERE = {
    "removal": "without the pixels that relevance ranks first the probability falls further",
    "shapley": "maps of relevance are nearer to those of Shapley values",
    "resemblance": "maps of relevance look more like the digit",
    "increase": "maps of relevance are nearer to the increase in probability if a pixel grows by 1",
}
BLANKED = 50  # pixels per image, in `removal`


def batches(scale: str) -> list[Batch]:
    """Those of LC-F6."""
    return lc_f6.batches(scale)


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train the networks of LC-F6 again; one set of maps and of measures per seed."""
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


def lead(runs: list[dict], measure: str, ahead: str = "relevance", behind: str = "gradient") -> Interval:
    """By how much one guess is better, over pairs: both are of the same network."""
    values = [
        {one["seed"]: BETTER[measure] * one["result"]["measures"][measure][name] for one in runs}
        for name in (ahead, behind)
    ]
    return paired_interval(*values)


def finding(runs: list[dict]) -> Finding:
    """What the record says of the paper's sentence that figure 6 is far superior to figure 7."""
    leads = {measure: lead(runs, measure) for measure in BETTER}
    statements = tuple(
        Statement(
            f"{measure}: {BETTER_WHERE[measure]}",
            "95 % interval of relevance's paired lead over the gradient, over the networks, is above 0",
            above(one),
        )
        for measure, one in leads.items()
    )
    table = []
    for measure, one in leads.items():
        what = measure + (" (less is better)" if BETTER[measure] < 0 else "")
        table += [Comparison(what, name, over_seeds(runs, "measures", measure, name)) for name in GUESSES]
        table.append(Comparison(what, "relevance better than the gradient by", one, form="+.3f"))
    ahead, behind = ([measure for measure, one in leads.items() if side(one) is True] for side in (above, below))
    decides = f"relevance ahead in {len(ahead)} of {len(leads)} measures ({', '.join(ahead) or 'none'})"
    return Finding(
        statements, tuple(table), f"{decides}, behind in {len(behind)} ({', '.join(behind) or 'none'})", reduced(runs)
    )


def summary(runs: list[dict]) -> list[str]:
    """The measures of the three guesses, and what sets the maps of gradients apart, over the networks."""

    def shown(*keys: str) -> str:
        return over_seeds(runs, *keys).shown(".4f")

    lines = [f"accuracy: training {shown('accuracy', 'train')}, test {shown('accuracy', 'test')}"]
    for measure in BETTER:
        lines.append(f"{measure}: " + ", ".join(f"{name} {shown('measures', measure, name)}" for name in GUESSES))
        lines.append(f"{measure}: relevance better than the gradient by {lead(runs, measure).shown('+.4f')}")
    for name in GUESSES[:2]:
        lines.append(f"light on dim pixels, {name}: {shown('light_on_dim_pixels', name)}")
    lines.append(f"agreement of the maps with those of relevance: {shown('agreement_with_relevance')}")
    return [*lines, f"agreement between networks: {between_seeds(runs):.4f}"]
