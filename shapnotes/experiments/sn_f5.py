"""SN-F5 and SN-F7: image ShapNets trained to explain themselves sparsely or flatly, and what they lose.

Four networks on MNIST, as in figures 3 and 5 to 10: without a penalty, with l1 on the last representation, with l1 on
all of them, with l-infinity on the last. The strengths are not in the paper. Ours make the penalty about as large as
the cross entropy when a small network has learned half of what it will. The paper trains five epochs of Adam with its
defaults; at the scale "cpu" networks are an eighth as wide, learn three times as fast, and see fewer images.

Measured on test images, each number over all of them:

    pruned  : figure 5. After one stage the pixels of smallest l1 norm (over channels) are set to the reference, a share
              of all pixels of each image; the stages after it go on from there
    removed : figure 7. Pixels of the image are set to the reference: those of largest attribution to the predicted
              class first, those of smallest first, or in a random order
    shape   : of pixels' l1 norms over channels: the share of pixels below a hundredth of the image's largest after
              every stage, and the coefficient of variation after the last

A fifth network is ours: l1 on all, on images whose paper is the reference, which blank pixels then keep at every stage.

The networks are kept beside the record, so that pages can explain with them.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from shapnotes.experiments import images
from shapnotes.experiments.record import mean_and_error
from shapnotes.experiments.sweep import Batch
from shapnotes.metrics import coefficient_of_variation, removal_curve, sparsity
from shapnotes.shapnet import ImageShapNet
from shapnotes.shapnet.pruning import prune_least

ID = "SN-F5"
TITLE = "Pruned values and removed pixels of four networks on MNIST"
CHECKPOINTS = True

INK = "l1-ink"
MODELS = {  # penalty, layers, strength
    "none": ("none", "last", 0.0),
    "l1": ("l1", "last", 0.01),
    "l1-layers": ("l1", "all", 0.001),
    "linf": ("linf", "last", 1.0),
}
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
REMOVED = (0, 10, 25, 50, 75, 100, 150, 200, 300, 500, 750, 1024)  # pixels of 1024
ORDERS = ("top", "least", "random")
SMALL = 0.01  # of the largest pixel of an image
PAPER = {
    "data": "mnist",
    "channels": [1, *[128] * 6, 10],
    "epochs": 5,
    "images": None,
    "rate": 0.001,
    "measured": 10_000,
}
CPU = {
    "data": "mnist",
    "channels": [1, *[16] * 6, 10],
    "epochs": 2,
    "images": 40_000,
    "rate": 0.003,
    "measured": 1_000,
    "compiled": True,
}
SMOKE = {"data": "digits", "channels": [1, 2, 10], "epochs": 1, "images": 64, "rate": 0.003, "measured": 32}


def batches(scale: str) -> list[Batch]:
    """A network each, the paper's four first; at the scale "cpu" three of each, from other first weights."""
    settings = {"batch_size": 64} | {"paper": PAPER, "cpu": CPU, "smoke": SMOKE}[scale]
    configs = [
        {"penalty": penalty, "layers": layers, "strength": strength} | settings
        for penalty, layers, strength in MODELS.values()
    ]
    if scale != "smoke":
        configs.append(configs[list(MODELS).index("l1-layers")] | {"data": "mnist_ink"})
    seeds = (0, 1, 2) if scale == "cpu" else (0,)
    return [Batch(config, (seed,)) for seed in seeds for config in configs]


def model(config: dict) -> str:
    """The name of a configuration's network, one of MODELS or INK; its checkpoint is called so."""
    if config["data"] == "mnist_ink":
        return INK
    return next(name for name, (penalty, layers, _) in MODELS.items() if (penalty, layers) == _kind(config))


def _kind(config: dict) -> tuple[str, str]:
    return config["penalty"], config["layers"]


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Train the networks, or read them from `folder`, and measure."""
    training = {"model": "shapnet"} | {key: value for key, value in config.items() if key != "measured"}
    x, y = (t.to(device) for t in images.test_images(config["data"], config["measured"]))
    found = []
    for seed in seeds:
        path = folder / f"{model(config)}{f'-{seed}' if seed else ''}.safetensors"
        net = images.trained(training, seed, device, path).requires_grad_(False)
        found.append(measured(net, x, y, seed))
    return found


def measured(net: ImageShapNet, x: Tensor, y: Tensor, seed: int) -> dict:
    """Accuracy, the two figures, and the shape of explanations."""
    layers = [torch.cat(parts) for parts in zip(*map(net.layers, x.split(images.MEASURED_AT_ONCE)), strict=True)]
    h = layers[-1]
    predicted = h.sum((1, 2)).argmax(1)
    due = h[torch.arange(len(h)), :, :, predicted]
    sizes = [z.abs().sum(3, keepdim=True) for z in layers]
    return {
        "accuracy": float((predicted == y).double().mean()),
        "images": len(x),
        "pruned": {
            "shares": list(SHARES),
            "accuracy": [
                [_accuracy_after(net, stage, prune_least(z, share), y) for share in SHARES]
                for stage, z in enumerate(layers)
            ],
        },
        "removed": {"pixels": list(REMOVED)} | {order: _removed(net, x, y, due, order, seed) for order in ORDERS},
        "shape": {
            "l1": [round(float(z.abs().sum((1, 2)).mean()), 4) for z in layers],
            "largest": round(float(h.abs().amax((1, 2)).mean()), 5),
            "cv": round(float(coefficient_of_variation(sizes[-1]).mean()), 4),
            "small": [round(float(sparsity(s / s.amax((1, 2), keepdim=True), SMALL).mean()), 5) for s in sizes],
        },
    }


def _accuracy_after(net: ImageShapNet, stage: int, z: Tensor, y: Tensor) -> float:
    """The accuracy when the representation after a stage is z."""
    right = 0
    for rows, classes in zip(z.split(images.MEASURED_AT_ONCE), y.split(images.MEASURED_AT_ONCE), strict=True):
        for later in net.stages[stage + 1 :]:
            rows = later(rows)
        right += int((rows.sum((1, 2)).argmax(1) == classes).sum())
    return right / len(z)


def _removed(net: ImageShapNet, x: Tensor, y: Tensor, due: Tensor, order: str, seed: int) -> dict:
    """What is left of the accuracy, and of the predicted class's logit, after so many pixels."""
    if order == "random":
        due = torch.rand(due.shape, generator=torch.Generator().manual_seed(seed)).to(due)
    fractions = [pixels / due[0].numel() for pixels in REMOVED]
    curve = removal_curve(net, x, due, fractions, order="least" if order == "least" else "top")
    return {
        "accuracy": curve.accuracy(y).mean(1).tolist(),
        "logit": [round(float(v), 4) for v in curve.remaining().mean(1)],
    }


# --- what the record says ------------------------------------------------------------------------------------------


def of(runs: list[dict], names: Iterable[str] = MODELS, seed: int = 0) -> dict[str, dict]:
    """The results of one training of the networks, by name, those of the paper if no others are named."""
    return {
        name: run["result"] for name in names for run in runs if model(run["config"]) == name and run["seed"] == seed
    }


def trainings(runs: list[dict]) -> list[int]:
    """The seeds with which all of the paper's networks were trained."""
    return [seed for seed in sorted({run["seed"] for run in runs}) if len(of(runs, seed=seed)) == len(MODELS)]


def over_trainings(runs: list[dict], name: str, number: Callable[[dict], float]) -> tuple[float, float]:
    """Mean and standard error of a number over a network's trainings."""
    found = [of(runs, [name], seed) for seed in sorted({run["seed"] for run in runs})]
    return mean_and_error(number(results[name]) for results in found if results)


def held(runs: list[dict], statements: Callable[[list[dict], int], dict[str, bool]]) -> dict[str, int]:
    """In how many trainings each statement holds."""
    found = [statements(runs, seed) for seed in trainings(runs)]
    return {what: sum(one[what] for one in found) for what in found[0]}


def error(share: float, images: int) -> float:
    """The standard error of a share of so many images; it says nothing of other networks."""
    return (share * (1 - share) / images) ** 0.5


def summary(runs: list[dict]) -> list[str]:
    """A line a network, means over trainings, with what pruning half of the pixels after each stage leaves."""
    lines = [f"{'network':10} accuracy        cv     small pixels   after pruning half, stage by stage"]
    half = SHARES.index(0.5)
    for name in of(runs, [*MODELS, INK]):
        accuracy, spread = over_trainings(runs, name, lambda r: r["accuracy"])
        cv, _ = over_trainings(runs, name, lambda r: r["shape"]["cv"])
        small, _ = over_trainings(runs, name, lambda r: r["shape"]["small"][-1])
        left = " ".join(
            f"{over_trainings(runs, name, lambda r, stage=stage: r['pruned']['accuracy'][stage][half])[0]:.3f}"
            for stage in range(len(of(runs, [name])[name]["pruned"]["accuracy"]))
        )
        lines.append(f"{name:10} {accuracy:.3f} ± {spread:.3f}   {cv:.2f}   {small:.3f}          {left}")
    return lines


def statements(runs: list[dict], seed: int = 0) -> dict[str, bool]:
    """Which statements of figure 5's caption hold in one training, each up to two standard errors of the images."""
    found = of(runs, seed=seed)
    areas = {name: [sum(c) / len(c) for c in result["pruned"]["accuracy"]] for name, result in found.items()}
    two = 2 * error(0.5, min(result["images"] for result in found.values()))  # for any share
    mean = {name: sum(by_stage) / len(by_stage) for name, by_stage in areas.items()}
    half = SHARES.index(0.5)
    return {
        "earlier stages matter at least as much": all(
            a <= b + two for by_stage in areas.values() for a, b in pairwise(by_stage)
        ),
        "l1 keeps more, on all stages most": mean["none"] < mean["l1"] < mean["l1-layers"],
        "half of the pixels can go anywhere": all(
            result["accuracy"] - curve[half] <= two
            for result in found.values()
            for curve in result["pruned"]["accuracy"]
        ),
    }


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to figure 5's caption: three statements, as in `statements`."""
    paper = "four curves a stage, without numbers: earlier stages matter more, l1 is best, most values can go"
    half = SHARES.index(0.5)

    def after(name: str, stage: int) -> float:
        return over_trainings(runs, name, lambda r: r["pruned"]["accuracy"][stage][half])[0]

    ours = "accuracy, and after pruning half of the pixels after each stage in turn: " + "; ".join(
        f"{name} {over_trainings(runs, name, lambda r: r['accuracy'])[0]:.3f}, "
        + " ".join(f"{after(name, stage):.3f}" for stage in range(len(result["pruned"]["accuracy"])))
        for name, result in of(runs).items()
    )
    return told(runs, statements, ours, paper)


def told(
    runs: list[dict], statements: Callable[[list[dict], int], dict[str, bool]], ours: str, paper: str
) -> tuple[str, str, str]:
    """A verdict from statements about a training, where all networks were trained at the paper's scale."""
    if not trainings(runs):
        return "not run at full scale", f"{len(of(runs))} of {len(MODELS)} networks: {ours}", paper
    count, hold = len(trainings(runs)), held(runs, statements)
    ours = ", ".join(f"{what}: in {times} of {count}" for what, times in hold.items()) + "; " + ours
    if any(run["scale"] != "paper" for run in runs):
        channels = max(runs[0]["config"]["channels"])
        return "not run at full scale", f"{channels} channels in place of 128, trainings: {count}. {ours}", paper
    kept = [times == count for times in hold.values()]
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced", ours, paper
