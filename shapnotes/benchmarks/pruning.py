"""Pruned image ShapNets beside those that compute everything, and the accuracy that is left."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor

from shapnotes import datasets
from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import by_turn, in_brackets, ratio, turn_range
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.images import data, training
from shapnotes.experiments.images.study import weights
from shapnotes.experiments.regularised_images import study as regularised_images_study
from shapnotes.explanation import Explanation
from shapnotes.shapnet import ImageShapNet, Pruning, use_backend
from shapnotes.shapnet.image_transform import ImageTransform
from shapnotes.shapnet.windows import blank_pixels

NETWORKS = ((16, 1), (16, 64), (64, 1), (64, 64))  # channels, batch
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RESULTS = Path("book/results")  # where the trained networks are
IMAGES, BATCH = 1000, 50
# After which stages, and how much is pruned there for a share s.
PLANS: dict[str, tuple[tuple[int, ...], Callable[[float], float | tuple[float, ...]]]] = {
    "after stage 1": ((0,), lambda s: s),
    "after stage 2": ((1,), lambda s: s),
    "after stage 3": ((2,), lambda s: s),
    "more and more after stages 2, 3, 4": ((1, 2, 3), lambda s: (s / 2, 3 * s / 4, s)),
}


def measure(device: str = "cpu", *, short: bool = False, results: Path = RESULTS) -> Record:
    """Explanations of image ShapNets of seven stages (dilations 1 to 13, images of 32 x 32), pruned, on one thread.

    "time" rows: untrained networks of 16 and 64 channels, 1 and 64 images (scikit-learn's digits, made as large as
    MNIST's), whole and with a share of the pixels pruned after the first stage, timed in turn, four times. A ratio is
    that of the medians, with the smallest and the largest of one turn beside it. `activations` is counted: those of the
    pruned network over those of the whole one, after the first stage.

    "blank" rows: the same networks without any pruning, on images whose background is the reference, zero.

    "accuracy" rows: the networks of SN-F5 (16 channels, the first training) and the first 1000 test images of MNIST, 50
    at a time; for each plan of stages and each share, and for no pruning at all, the accuracy that is lost, with the
    half-width of the 95 % interval of the difference on the same images, and how many times faster, the median over the
    batches with its quartiles. Each batch is a turn. Networks that are not in `results` have no such rows, and the
    short form has none at all; its network has two channels.

    The bound: pruning leaves the first stage whole, a seventh of the work, and more at the borders of the image; so
    that no share makes it more than seven times faster. Paper at the reference spares the first stage as well.
    """
    if device != "cpu":
        raise ValueError(f"pixels are left out on a CPU only; got device {device!r}")
    repeats, networks, shares = (2, ((2, 1),), (0.5, 0.9)) if short else (4, NETWORKS, SHARES)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            rows = [row for width, batch in networks for row in _times(width, batch, shares, repeats)]
            rows += [_blank(width, batch, repeats) for width, batch in networks]
            rows += [] if short else of_trained(results)
        return recorded("pruning", device, short, rows)
    finally:
        torch.set_num_threads(before)


def table(record: Record) -> list[str]:
    """One line per network and share; then one per trained network, plan and share."""
    rows: list[Row] = record["rows"]
    lines = ["channels batch  pruned  whole s  times faster  (range)          activations"]
    for row in rows:
        if row["what"] != "accuracy":
            left = f"{row['activations']:10.3f}" if row["what"] == "time" else " none pruned: blank"
            lines.append(
                f"{row['width']:8d} {row['batch']:5d} {row['share']:7.2f} {row['seconds']:8.4f} "
                f"{row['faster']:13.2f}  {in_brackets(row['range']):17} {left}"
            )
    trained = [row for row in rows if row["what"] == "accuracy"]
    if trained:
        lines.append("network    accuracy  pruned  points lost   times faster (quartiles)       plan")
    for row in trained:
        lines.append(
            f"{row['network']:10} {row['accuracy']:8.4f} {row['share']:7.2f} {100 * row['lost']:6.2f} ± "
            f"{100 * row['lost_error']:4.2f} {row['faster']:9.2f} {in_brackets(row['quartiles']):18}  {row['plan']}"
        )
    return lines


def activations(net: ImageShapNet, layers: Sequence[Tensor]) -> int:
    """How many activations an output of each stage takes after the first one, without those of blank pixels."""
    total = 0
    stages = [stage for stage in net.stages if isinstance(stage, ImageTransform)]
    for stage, z in zip(stages[1:], layers, strict=False):
        counts = blank_pixels.window_counts(blank_pixels.active_pixels(z), stage.geometry)
        total += int((counts * (2 ** torch.arange(len(counts)) - 1)).sum())
    return total


def _untrained(width: int, batch: int) -> tuple[ImageShapNet, Tensor]:
    net = ImageShapNet((1, *[width] * 6, 10)).requires_grad_(False)
    net.reset_parameters(torch.Generator().manual_seed(0))
    return net, data.like_mnist(datasets.digits().x[:batch])


def _blank(width: int, batch: int, repeats: int) -> Row:
    net, x = _untrained(width, batch)
    x -= x.min()
    whole, taken = in_turn([partial(_whole, net, x), partial(net.explain, x)], repeats, x.device)
    return {
        "what": "blank",
        "width": width,
        "batch": batch,
        "share": float((x == 0).double().mean()),
        "seconds": median(whole),
        "faster": ratio(whole, taken),
        "range": turn_range(whole, taken),
    }


def _times(width: int, batch: int, shares: Sequence[float], repeats: int) -> list[Row]:
    net, x = _untrained(width, batch)
    rules = [Pruning(share=share, stages=0) for share in shares]
    ways = [partial(_whole, net, x), *(partial(net.explain, x, rule) for rule in rules)]
    whole, *others = in_turn(ways, repeats, x.device)
    every = activations(net, net.layers(x))
    return [
        {
            "what": "time",
            "width": width,
            "batch": batch,
            "share": share,
            "seconds": median(whole),
            "faster": ratio(whole, taken),
            "range": turn_range(whole, taken),
            "activations": activations(net, net.layers(x, rule)) / every,
        }
        for share, rule, taken in zip(shares, rules, others, strict=True)
    ]


def _whole(net: ImageShapNet, x: Tensor) -> Explanation:
    with use_backend("numba"):  # which computes blank pixels like others
        return net.explain(x)


def of_trained(results: Path) -> list[Row]:
    """The "accuracy" rows of the networks whose weights are in this folder of records."""
    rows = []
    for name, network in regularised_images_study.NETWORKS.items():
        config = regularised_images_study.configuration("cpu", network)
        path = weights(results / "image-networks", config["width"], network, 0, config["epochs"])
        if path.exists():
            x, y = data.test_images(network.split("-")[0], IMAGES)
            rows += accuracies(name, training.load(path), x, y, SHARES, BATCH)
    return rows


def accuracies(
    name: str, net: ImageShapNet, x: Tensor, y: Tensor, shares: Sequence[float], batch_size: int
) -> list[Row]:
    """What each plan and share loses in accuracy and gains in time; the first row prunes nothing.

    x : [images, channels, height, width]; y : [images], their classes
    """
    settings = [("nothing", 0.0), *((plan, share) for plan in PLANS for share in shares)]
    rules = [Pruning(share=PLANS[plan][1](share), stages=PLANS[plan][0]) if share else None for plan, share in settings]
    ways: list[Callable[[Tensor], Explanation]] = [partial(_whole, net)]
    ways += [partial(net.explain, pruning=rule) for rule in rules]
    correct: list[list[Tensor]] = [[] for _ in ways]
    taken: list[list[float]] = [[] for _ in ways]
    ways[0](x[:batch_size])
    for batch, classes in zip(x.split(batch_size), y.split(batch_size), strict=True):
        for explain, hits, seconds in zip(ways, correct, taken, strict=True):
            start = time.perf_counter()
            explanation = explain(batch)
            seconds.append(time.perf_counter() - start)
            hits.append(explanation.prediction.argmax(1) == classes)
    whole, rows = torch.cat(correct[0]).double(), []
    for (plan, share), hits, seconds in zip(settings, correct[1:], taken[1:], strict=True):
        lost = whole - torch.cat(hits).double()
        faster = by_turn(taken[0], seconds)
        low, middle, high = quantiles(faster, n=4) if len(faster) > 1 else faster * 3
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
