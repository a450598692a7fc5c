"""SN-F5: what image ShapNets lose with pruned values and removed pixels, with penalties and without.

Four networks on MNIST, as in figures 3 and 5 to 10: without a penalty, with l1 on the last representation, with l1 on
all of them, with l-infinity on the last. A fifth is ours: l1 on all, on images whose background is the reference.
They are trained, and their weights kept, by `image-networks`, which says what the paper leaves open about them.

Measured on the first test images, each number over all of them:

- **Figure 5**, `pruned`. After one stage the pixels of smallest l1 norm (over channels) are set to the reference, a
  share of all pixels of each image; the stages after it go on from there. The area is the mean accuracy over the
  shares.
- **Figure 7**, `removed`. Pixels of the image are set to the reference: those of largest attribution to the predicted
  class first, those of smallest first, or in a random order.
- **Figures 3, 6 and 8 to 10**, `shape`. Of pixels' l1 norms over channels: the share of pixels below a hundredth of the
  image's largest after every stage, and the coefficient of variation after the last.

Other strengths of the penalties than the first choice are measured at the scale "cpu" only.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.images import data, training
from shapnotes.experiments.images import study as images_study
from shapnotes.experiments.images.study import FIGURES, STRENGTHS, TRAININGS, WIDTHS
from shapnotes.metrics import coefficient_of_variation, removal_curve, sparsity
from shapnotes.shapnet import ImageShapNet
from shapnotes.shapnet.pruning import prune_least

MODELS = ("none", "l1", "l1-layers", "linf")
INK = "l1-ink"
TITLES = {"none": "no penalty", "l1": "ℓ1", "l1-layers": "ℓ1 on all", "linf": "ℓ∞", INK: "ℓ1 on all, ink"}  # in words
NETWORKS = {name: f"mnist-{name}" for name in MODELS} | {INK: "mnist_ink-l1-layers"}
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
REMOVED = (0, 10, 25, 50, 75, 100, 150, 200, 300, 500, 750, 1024)  # pixels of 1024
ORDERS = ("top", "least", "random")
SMALL = 0.01  # of the largest pixel of an image
EPOCHS = {"paper": FIGURES, "cpu": 2, "smoke": 2}
MEASURED = {"paper": 10_000, "cpu": 1_000, "smoke": 32}  # test images


def batches(scale: str) -> list[Batch]:
    """Every network of a scale, one training after the other; in the stage in which it is trained."""
    if scale == "smoke":
        return [Batch(configuration(scale, f"digits-{name}"), (0,)) for name in MODELS]
    names = list(NETWORKS.values()) if scale == "cpu" else [NETWORKS[name] for name in MODELS]
    plan = [
        Batch(configuration(scale, name), (seed,), stage=0 if scale == "cpu" or seed == 0 else 2)
        for seed in range(TRAININGS[scale])
        for name in names
    ]
    if scale == "cpu":
        plan += [Batch(configuration(scale, name), (0,), stage=1) for name in swept()]
    return plan


def configuration(scale: str, network: str) -> dict:
    """A network, how far it was trained, and on how many images it is measured."""
    return {"network": network, "width": WIDTHS[scale][0], "epochs": EPOCHS[scale], "measured": MEASURED[scale]}


def swept() -> dict[str, tuple[str, float]]:
    """The networks with other strengths: the kind and the strength by name."""
    return {f"mnist-{kind}-{s:g}": (kind, s) for kind, strengths in STRENGTHS.items() for s in strengths}


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Read the networks and measure them."""
    images = config["network"].split("-")[0]
    x, y = (t.to(device) for t in data.test_images(images, config["measured"]))
    results = []
    for seed in seeds:
        net, identity = network(folder.parent, config, seed)
        results.append(measured(net.to(device), x, y, seed) | {"network": identity})
    return results


def network(results: Path, config: dict, seed: int) -> tuple[ImageShapNet, dict]:
    """The network of a configuration, and what identifies it."""
    path = images_study.weights(
        results / images_study.STUDY.id, config["width"], config["network"], seed, config["epochs"]
    )
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: the network has not been trained so far yet; shapnotes reproduce image-networks does"
        )
    net = training.load(path)
    return net, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "channels": list(net.channels)}


@torch.no_grad()
def measured(net: ImageShapNet, x: Tensor, y: Tensor, seed: int) -> dict:
    """Accuracy, the two figures, and the shape of explanations."""
    layers = [torch.cat(parts) for parts in zip(*map(net.layers, x.split(training.ROWS_MEASURED_AT_ONCE)), strict=True)]
    h = layers[-1]
    predicted = h.sum((1, 2)).argmax(1)
    due = h[torch.arange(len(h)), :, :, predicted]
    sizes = [z.abs().sum(3, keepdim=True) for z in layers]
    right = torch.stack(  # [stage, share, image]
        [
            torch.stack([_right_after(net, stage, prune_least(z, share), y) for share in SHARES])
            for stage, z in enumerate(layers)
        ]
    ).double()
    return {
        "accuracy": float((predicted == y).double().mean()),
        "images": len(x),
        "pruned": {
            "shares": list(SHARES),
            "accuracy": right.mean(2).tolist(),
            "area": [round(v, 6) for v in right.mean((1, 2)).tolist()],
        },
        "removed": {"pixels": list(REMOVED)} | {order: _removed(net, x, y, due, order, seed) for order in ORDERS},
        "shape": {
            "l1": [round(float(z.abs().sum((1, 2)).mean()), 4) for z in layers],
            "largest": round(float(h.abs().amax((1, 2)).mean()), 5),
            "cv": round(float(coefficient_of_variation(sizes[-1]).mean()), 4),
            "small": [round(float(sparsity(s / s.amax((1, 2), keepdim=True), SMALL).mean()), 5) for s in sizes],
        },
    }


def _right_after(net: ImageShapNet, stage: int, z: Tensor, y: Tensor) -> Tensor:
    """Which images are put into their class when the representation after a stage is z."""
    correct = []
    for rows, classes in zip(
        z.split(training.ROWS_MEASURED_AT_ONCE), y.split(training.ROWS_MEASURED_AT_ONCE), strict=True
    ):
        for later in net.stages[stage + 1 :]:
            rows = later(rows)
        correct.append(rows.sum((1, 2)).argmax(1) == classes)
    return torch.cat(correct)


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


STUDY = Study(
    "SN-F5",
    "Pruned values and removed pixels of four networks on MNIST",
    batches,
    run,
    keeps_files=True,
    needs="image-networks",
)
