"""SN-F4: a Deep ShapNet's explanations of MNIST beside those of other methods (Shapley Explanation Networks, figure 4).

The paper, on test images, with the reference 0 for all methods: (1) the change in log-odds when the pixels that speak
for digit s rather than t go (9 to 1; in figure 11 and table 7 also 4 to 1, 8 to 3 and 8 to 6); (2) the change of the
output while the least salient pixels go; (3) what remains of the predicted class's output while the most salient go.
Figure 11 and table 7 are read from the same record, in `four_pairs` and `effect_sizes`.

What the paper leaves open, or we do otherwise:

- **Which network.** The paper trains those of its table 2 for 10 epochs, and for 5 those of layer-wise explanations and
  of regularisation; of which these tests are is not said. At the scale "paper" we take 5.
- **How many pixels** go in (1): at most a fifth, 205 of 1024, of those with a positive difference, the share of
  Shrikumar et al. Which of the images of a digit: all of them, also those that the network takes for another.
- **Which order.** (2) takes the attributions to the predicted class by size, the smallest first; (3) takes them with
  their sign, the largest first. A curve's area is its mean height over the shares of pixels that are gone.
- **What is removed** becomes 0. Of normalised MNIST that is the mean of all pixels, a grey of 13 hundredths of ink,
  where the background is -0.42 and ink 2.8: to remove background draws a little, and to remove ink leaves a trace.
- **Deep SHAP** with one reference is the rescale rule: it coincides with DeepLIFT (chapter 14 has the proof). In the
  paper's table 7 it does not. The layers that its authors released hand coalitions to the activations as the first
  axis; there captum's and shap's code take the first half for inputs and the second for their references. Both are run
  in that way as well, as *mispaired*. Nothing tells that the paper's runs were so.
- **Saliency** has the size of the gradient of each class. Its signed form, the *gradient*, is beside it.
- **Not in the paper:** a random order, and Shapley values of patches of 4 x 4 pixels, sampled, shared out in equal
  parts; without them nobody knows what a test gives to no explanation, or to the values that others approximate.

Every method is asked to explain one number, C_s - C_t or C_c, of which all but saliency are linear. The networks are
those of `image-networks` without a penalty, three trainings (five at the scale "cpu"), which are the seeds of the runs:
images of one network say nothing of others. Methods that follow activations see a network as a `TransparentImage`.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.images import data, training
from shapnotes.experiments.images import study as images_study
from shapnotes.experiments.regularised_images import study as regularised_images_study
from shapnotes.experiments.removal.methods import METHODS, Logits, explained
from shapnotes.metrics import log_odds_change, removal_curve
from shapnotes.shapnet import ImageShapNet

PAIRS = {"9->1": (9, 1), "4->1": (4, 1), "8->3": (8, 3), "8->6": (8, 6)}
TEST_IMAGES = {"9->1": 1009, "4->1": 982, "8->3": 974, "8->6": 974, "removal": 10_000}
FRACTION = 0.2
FRACTIONS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
NETWORK = "mnist-none"
FIRST = 200  # images of each test to begin with, at the paper's scale

# What is explained at once; a transparent network keeps some 20 MiB per image for a gradient.
ROWS_AT_ONCE = 8


def named(task: str) -> str:
    """A test in words."""
    return task.replace("->", " to ")


def batches(scale: str) -> list[Batch]:
    """A test and a method each; the network's own explanations first, sampled Shapley values last.

    At the scale "paper" in stages: 0, the first images of each test and the first training; 2, the two other trainings;
    4, all test images.
    """
    if scale == "smoke":
        sizes = {"data": "digits", "images": 2}
        settings = {"integrated_gradients": {"steps": 2}, "shapley": {"patch": 16, "permutations": 4}}
        return [
            Batch({"task": task, "method": method, **sizes} | settings.get(method, {}), (0,))
            for method in METHODS
            for task in ("8->3", "removal")
        ]
    paper = scale == "paper"
    settings = {
        "integrated_gradients": {"steps": 64 if paper else 16},
        "shapley": {"patch": 4, "permutations": 32 if paper else 8},
    }
    trained = {
        key: regularised_images_study.configuration(scale, NETWORK)[key] for key in ("network", "width", "epochs")
    }

    def tests(seed: int, stage: int, images: Callable[[str], int], sampled: int) -> list[Batch]:
        return [
            Batch(
                {"task": task, "method": method, "data": "mnist", **trained}
                | {"images": sampled if method == "shapley" else images(task)}
                | settings.get(method, {}),
                (seed,),
                stage=stage,
            )
            for method in METHODS
            for task in TEST_IMAGES
        ]

    if not paper:
        return [
            batch for seed in range(images_study.TRAININGS[scale]) for batch in tests(seed, 0, lambda task: 100, 16)
        ]
    plan = []
    for seed in range(images_study.TRAININGS[scale]):
        plan += tests(seed, min(2 * seed, 2), lambda task: FIRST, 8)
    return plan + tests(0, 4, TEST_IMAGES.__getitem__, 64)


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Explain test images by one method, and put the explanations to one test."""
    networks = [_network(config, seed, folder.parent) for seed in seeds]
    x, y = data.test_images(config["data"])
    if config["task"] != "removal":
        x = x[y == PAIRS[config["task"]][0]]
    x = x[: config["images"]].to(device)
    test = _removed if config["task"] == "removal" else _flipped
    results = []
    for seed, (net, identity) in zip(seeds, networks, strict=True):
        results.append({"network": identity, **test(config, net.to(device), x, seed)})
    return results


def _network(config: dict, seed: int, results: Path) -> tuple[ImageShapNet, dict]:
    """The network, and what identifies it; one that was not trained where none is named."""
    if "network" in config:
        return regularised_images_study.network(results, config, seed)
    net = training.network("shapnet", (1, 4, 10), torch.Generator().manual_seed(0)).requires_grad_(False)
    return net, {"channels": list(net.channels)}


def _flipped(config: dict, net: ImageShapNet, x: Tensor, seed: int) -> dict:
    source, target = PAIRS[config["task"]]
    weights = x.new_zeros(net.channels[-1])
    weights[source], weights[target] = 1, -1
    pair = Logits(net, torch.eye(len(weights), device=x.device)[[source, target]].T)
    generator, change, gaps = torch.Generator().manual_seed(seed), [], []
    for rows in x.split(ROWS_AT_ONCE):
        scores = explained(config, net, rows, weights, generator)
        gaps.append(_gap(net, rows, weights, scores))
        both = torch.stack([scores, torch.zeros_like(scores)], -1)  # what the first class is due beyond the second
        change.append(log_odds_change(pair, rows, both, 0, 1, fraction=FRACTION))
    with torch.no_grad():
        answers = torch.cat([pair(rows) for rows in x.split(ROWS_AT_ONCE)])
    return {
        "change": _rounded(torch.cat(change)),
        "before": _rounded(answers[:, 0] - answers[:, 1]),
        "gap": _number(torch.cat(gaps).mean()),
    }


def _removed(config: dict, net: ImageShapNet, x: Tensor, seed: int) -> dict:
    with torch.no_grad():
        predicted = torch.cat([net(rows).argmax(1) for rows in x.split(ROWS_AT_ONCE)])
    generator = torch.Generator().manual_seed(seed)
    scores = x.new_zeros(len(x), *x.shape[2:])
    gaps = x.new_zeros(len(x))
    for c in predicted.unique().tolist():
        weights = x.new_zeros(net.channels[-1])
        weights[c] = 1
        for mine in (predicted == c).nonzero()[:, 0].split(ROWS_AT_ONCE):
            scores[mine] = explained(config, net, x[mine], weights, generator)
            gaps[mine] = _gap(net, x[mine], weights, scores[mine])
    least = removal_curve(net, x, scores.abs(), FRACTIONS, order="least")
    top = removal_curve(net, x, scores, FRACTIONS)
    curves = {"change": (least, least.change()), "remaining": (top, top.remaining())}
    return {
        name: {
            "mean": _rounded(values.mean(1)),
            "median": _rounded(values.median(1).values),
            "error": _rounded(values.std(1) / len(x) ** 0.5),
            "area": _rounded(curve.area(values)),
        }
        for name, (curve, values) in curves.items()
    } | {"fractions": list(FRACTIONS), "gap": _number(gaps.mean())}


@torch.no_grad()
def _gap(net: ImageShapNet, x: Tensor, weights: Tensor, scores: Tensor) -> Tensor:
    """How far scores miss the output that they explain, in parts of their sizes: [batch]."""
    return (scores.sum((1, 2)) - net(x) @ weights).abs() / scores.abs().sum((1, 2))


def _rounded(values: Tensor) -> list[float]:
    return [_number(v) for v in values]


def _number(value: Tensor) -> float:
    return float(f"{float(value):.5g}")


STUDY = Study("SN-F4", "Digit flipping and removal on MNIST", batches, run, keeps_files=True, needs="image-networks")
