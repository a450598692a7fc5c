"""What pruned pixels save: time beside the network that computes everything, and the accuracy that is left."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor

from shapnotes import datasets
from shapnotes.bench import in_turn, provenance
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.images import data, training
from shapnotes.experiments.images.study import weights
from shapnotes.experiments.regularised_images import study as regularised_images_study
from shapnotes.shapnet import ImageShapNet, Pruning, use_backend
from shapnotes.shapnet.windows import blank_pixels

NETWORKS = ((16, 1), (16, 64), (64, 1), (64, 64))  # channels, batch
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RESULTS = Path("book/results")  # where the trained networks are
IMAGES, BATCH = 1000, 50
PLANS = {  # after which stages, and how much is pruned there for a share s
    "after stage 1": ((0,), lambda s: s),
    "after stage 2": ((1,), lambda s: s),
    "after stage 3": ((2,), lambda s: s),
    "more and more after stages 2, 3, 4": ((1, 2, 3), lambda s: (s / 2, 3 * s / 4, s)),
}


def pruning(device: str = "cpu", repeats: int = 4) -> dict:
    """Explanations of image ShapNets of seven stages (dilations 1 to 13, images of 32 x 32), pruned, on one thread.

    "time" rows: untrained networks of 16 and 64 channels, 1 and 64 images (scikit-learn's digits, made as large as
    MNIST's), whole and with a share of the pixels pruned after the first stage, timed in turn, `repeats` times. A
    ratio is that of the medians, with the smallest and the largest of one turn beside it. `activations` is counted:
    those of the pruned network over those of the whole one, after the first stage.

    "blank" rows: the same networks without any pruning, on images whose paper is at the reference, zero.

    "accuracy" rows: the networks of SN-F5 (16 channels, the first training) and the first 1000 test images of MNIST, 50
    at a time; for each plan of stages and each share, and for no pruning at all, the accuracy that is lost, with the
    half-width of the 95 % interval of the difference on the same images, and how many times faster, the median over the
    batches with its quartiles. Each batch is a turn. Networks that are not in `book/results` have no such rows.

    The bound: pruning leaves the first stage whole, a seventh of the work, and more at the borders of the image; so
    that no share makes it more than seven times faster. Paper at the reference spares the first stage as well.
    """
    if device != "cpu":
        raise ValueError(f"pixels are left out on a CPU only; got device {device!r}")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            rows = [row for width, batch in NETWORKS for row in _times(width, batch, repeats)]
            rows += [_blank(width, batch, repeats) for width, batch in NETWORKS]
            for name, network in regularised_images_study.NETWORKS.items():
                config = regularised_images_study.configuration("cpu", network)
                path = weights(RESULTS / "image-networks", config["width"], network, 0, config["epochs"])
                if path.exists():
                    x, y = data.test_images(network.split("-")[0], IMAGES)
                    rows += _accuracies(name, training.load(path), x, y)
        return provenance("shapnotes bench pruning", device) | {"rows": rows}
    finally:
        torch.set_num_threads(before)


def activations(net: ImageShapNet, layers: list[Tensor]) -> int:
    """How many activations an output of each stage takes after the first one, without those of blank pixels."""
    total = 0
    for stage, z in zip(net.stages[1:], layers, strict=False):
        counts = blank_pixels.window_counts(blank_pixels.active_pixels(z), stage.geometry)
        total += int((counts * (2 ** torch.arange(len(counts)) - 1)).sum())
    return total


def _untrained(width: int, batch: int) -> tuple[ImageShapNet, Tensor]:
    net = ImageShapNet((1, *[width] * 6, 10)).requires_grad_(False)
    net.reset_parameters(torch.Generator().manual_seed(0))
    return net, data.like_mnist(datasets.digits().x[:batch])


def _blank(width: int, batch: int, repeats: int) -> dict:
    net, x = _untrained(width, batch)
    x -= x.min()
    whole, taken = in_turn([_whole(partial(net.explain, x)), partial(net.explain, x)], repeats, x.device)
    each = [w / t for w, t in zip(whole, taken, strict=True)]
    return {
        "what": "blank",
        "width": width,
        "batch": batch,
        "share": float((x == 0).double().mean()),
        "seconds": median(whole),
        "faster": median(whole) / median(taken),
        "range": [min(each), max(each)],
    }


def _times(width: int, batch: int, repeats: int) -> list[dict]:
    (net, x), rows = _untrained(width, batch), []
    rules = [Pruning(share=share, stages=0) for share in SHARES]
    whole, *others = in_turn(
        [_whole(partial(net.explain, x)), *(partial(net.explain, x, rule) for rule in rules)], repeats, x.device
    )
    every = activations(net, net.layers(x))
    for share, rule, taken in zip(SHARES, rules, others, strict=True):
        each = [w / t for w, t in zip(whole, taken, strict=True)]
        rows.append(
            {
                "what": "time",
                "width": width,
                "batch": batch,
                "share": share,
                "seconds": median(whole),
                "faster": median(whole) / median(taken),
                "range": [min(each), max(each)],
                "activations": activations(net, net.layers(x, rule)) / every,
            }
        )
    return rows


def _whole(f: Callable[..., object]) -> Callable[..., object]:
    """f with blank pixels computed like others."""

    def computed(*given: object) -> object:
        with use_backend("numba"):
            return f(*given)

    return computed


def _accuracies(name: str, net: ImageShapNet, x: Tensor, y: Tensor) -> list[dict]:
    settings = [("nothing", 0.0), *((plan, share) for plan in PLANS for share in SHARES)]
    rules = [Pruning(share=PLANS[plan][1](share), stages=PLANS[plan][0]) if share else None for plan, share in settings]
    ways = [_whole(net.explain), *(partial(net.explain, pruning=rule) for rule in rules)]
    right, taken = [[] for _ in ways], [[] for _ in ways]
    ways[0](x[:BATCH])
    for some, classes in zip(x.split(BATCH), y.split(BATCH), strict=True):
        for f, found, seconds in zip(ways, right, taken, strict=True):
            start = time.perf_counter()
            explanation = f(some)
            seconds.append(time.perf_counter() - start)
            found.append(explanation.prediction.argmax(1) == classes)
    whole, rows = torch.cat(right[0]).double(), []
    for (plan, share), found, seconds in zip(settings, right[1:], taken[1:], strict=True):
        lost = whole - torch.cat(found).double()
        each = [w / p for w, p in zip(taken[0], seconds, strict=True)]
        low, middle, high = quantiles(each, n=4) if len(each) > 1 else each * 3
        rows.append(
            {
                "what": "accuracy",
                "network": name,
                "images": len(x),
                "accuracy": float(whole.mean()),
                "plan": plan,
                "share": share,
                "lost": float(lost.mean()),
                "lost_error": interval(lost.tolist()).half,
                "faster": middle,
                "quartiles": [low, high],
            }
        )
    return rows
