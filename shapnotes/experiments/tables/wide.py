"""Networks whose stages see every feature, `WideShapNet`, on the tables of `models` and on MNIST: ours, no paper's.

**Tables.** The first fold of each round, trained as in `accuracy`: nine epochs, batches of 32, Adam; squared error or
cross entropy; the reference is 0, of the two real tables the mean input. The sizes are one stage of 100 or of 400
neurons, or two of 20, all with the learning rate 0.003. They were chosen by the rows left out of training, of second
folds, which are not reported, and never by test rows. Tried: one to three stages of 20, 50, 100 and 400 neurons, rates
of 0.001, 0.003 and 0.01, and biases that start at 0 or at random. On the real tables nothing made a difference larger
than its error, but that 0.01 fits the training rows too well; on the synthetic task one stage of 400 was best, and two
stages worst.

**The learning rate** is constant. On the synthetic task all are also trained with one that falls linearly to 0
(`schedule`: "falling"), as the networks of `accuracy` are.

**Measured**, as in `rivals`: the test accuracy or squared error; on the first rows of the test part Equation 8's
distance of the explanation from the exact Shapley values of the network's own scores, by all coalitions of 8 or 16
features and by random orders of 30, with the size of the exact values; and times, in turn with an untrained Deep
ShapNet of the table, one input and 64. The distance has two causes: the method's error at each neuron, and that values
of values are not values of the whole. A network of one stage has the first only; it is also explained by "edgeworth".

**How many features a neuron sees.** One stage of 400 neurons, each of which sees a few features drawn at random, 1, 2,
4, 8 or 16 of them, or all: its other weights are held at 0, and those that it has start as much larger as there are
fewer. Neurons that see one feature make an additive model; those that see two, a sum of functions of pairs, as a
Shallow ShapNet of pairs.

**MNIST.** The 784 pixels in [0, 1] from a black image, 60,000 images to train on: a network of one stage, which is a
perceptron without a constant, and one of two, beside perceptrons. Values are estimated by random orders of the pixels
that are not blank, on the first test images of the digits; of one stage they are also by the lattice, to a thousandth.
"""

import copy
import json
from collections.abc import Callable
from functools import partial
from math import sqrt
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from shapnotes import datasets
from shapnotes._runtime.timing import in_turn
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments._models import perceptron
from shapnotes.experiments.tables import models, rivals, splits
from shapnotes.experiments.tables.accuracy import ROUNDS, ROWS
from shapnotes.experiments.tables.models import DEEP
from shapnotes.experiments.tables.splits import FOLDS
from shapnotes.metrics import shapley_error
from shapnotes.neuron import relu_values
from shapnotes.shapnet import WideShapNet

SIZES = ((100,), (400,), (20, 20))
RATE = 3e-3
SEEN = {"yeast": (1, 2, 4), "breast_cancer": (1, 2, 4, 8, 16), "synthetic": (1, 2, 4, 8)}  # features, but for all
LARGEST = (400,)  # neurons, where they see a few features each
MNIST = (("wide", (100,)), ("wide", (10, 100)), ("perceptron", (100,)), ("perceptron", (1000,)))
EXPLAINED = {"yeast": 20, "breast_cancer": 5, "synthetic": 5, "mnist": 3}  # inputs; what has 2^16 coalitions takes long


def batches(scale: str) -> list[Batch]:
    """The first fold of each round: tables, MNIST, parts of tables, falling rates; "cpu" has two rounds, MNIST once."""
    if scale == "smoke":
        small = {"explained": 2, "permutations": 4, "repeats": 1, "epochs": 1}
        return [
            Batch(configuration("synthetic", "wide", (5,), samples=80, **small), (0,)),
            Batch(configuration("breast_cancer", "wide", (3, 4), **small), (0, 5)),
            Batch(configuration("breast_cancer", "wide", (6,), seen=2, **small), (0,)),
            Batch(configuration("digits", "wide", (3, 4), **small), (0,)),
            Batch(configuration("digits", "perceptron", (6,), **small), (0,)),
        ]
    rounds = {"paper": ROUNDS, "cpu": 2}[scale]
    seeds = tuple(range(0, FOLDS * rounds, FOLDS))
    tables = [Batch(configuration(data, "wide", size), (seed,)) for seed in seeds for data in DEEP for size in SIZES]
    repeats = {"paper": 3, "cpu": 1}[scale]
    images = [Batch(configuration("mnist", *one), (seed,), stage=1) for seed in range(repeats) for one in MNIST]
    parts = [
        Batch(configuration(data, "wide", LARGEST, seen=seen), (seed,), stage=2)
        for seed in seeds
        for data, counts in SEEN.items()
        for seen in counts
    ]
    falling = [
        Batch(configuration("synthetic", "wide", size, schedule="falling", **seen), (seed,), stage=3)
        for seed in seeds
        for size, seen in [*((size, {}) for size in SIZES), *((LARGEST, {"seen": n}) for n in SEEN["synthetic"])]
    ]
    return tables + images + parts + falling


def configuration(data: str, model: str, channels: tuple[int, ...], **choice) -> dict:
    """One configuration; `choice` is what departs from the first choice."""
    config = {"data": data, "model": model, "channels": list(channels), "rate": RATE, "epochs": 9, "batch_size": 32}
    if data == "synthetic":
        config |= {"samples": ROWS, "reading": "product", "inputs": "raw"}
    if data not in DEEP:
        config |= {"rate": 1e-3, "epochs": 3, "batch_size": 64}
    if model == "wide":
        config |= {"method": "normal", "nodes": 8, "explained": EXPLAINED.get(data, 2), "permutations": 1000}
        config |= {"repeats": 21} | ({} if data in DEEP else {"permutations": 100})
    return config | choice


def run(config: dict, seeds: tuple[int, ...], device: str, checkpoint: Checkpoint | None = None) -> list[dict]:
    """Train one network a seed, and measure its predictions and explanations; on the processor, whatever the device."""
    measured = _on_table if config["data"] in DEEP else _on_images
    return [measured(config, seed, checkpoint) for seed in seeds]


def network(config: dict, features: int, outputs: int, generator: torch.Generator) -> nn.Module:
    """The network of a configuration, its weights drawn from `generator`."""
    if config["model"] == "perceptron":
        widths = [features, *config["channels"], outputs]
        return perceptron.network(widths, {"activation": "relu", "init": "torch"}, generator)
    method = {name: config[name] for name in ("method", "nodes")}
    net = WideShapNet(features, config["channels"], outputs, **method, generator=generator)
    if "seen" in config:
        _limit(net, config["seen"], generator)
    return net


class Seen(nn.Module):
    """Weights of neurons that see some features each: the others are 0, and stay 0 in training."""

    def __init__(self, sees: Tensor):
        super().__init__()
        self.register_buffer("sees", sees)  # [neurons, features, 1] of 0 and 1

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.sees


def _limit(net: WideShapNet, seen: int, generator: torch.Generator) -> None:
    """Let each neuron of the only stage see so many features, drawn at random, with what it is given as large."""
    (stage,) = net.stages
    neurons, features, _ = stage.weight.shape
    chosen = torch.rand(neurons, features, generator=generator).argsort(1) < seen  # argsort is a random permutation
    with torch.no_grad():
        stage.weight *= sqrt(features / seen)
    parametrize.register_parametrization(stage, "weight", Seen(chosen[..., None].to(stage.weight.dtype)))


def _on_table(config: dict, seed: int, checkpoint: Checkpoint | None) -> dict:
    options = {key: config[key] for key in ("samples", "reading", "inputs") if key in config}
    fold, generator = splits.fold(config["data"], seed, **options), torch.Generator().manual_seed(seed)
    features, _, outputs, _ = DEEP[config["data"]]
    net = network(config, features, outputs, generator)
    (net,) = models.fit([net], models.stacked([fold]), [generator], config)
    parameters = models.parameters(net)
    if "seen" in config:
        (stage,) = net.stages
        parameters -= stage.weight.numel() - len(stage.weight) * config["seen"]
        parametrize.remove_parametrizations(stage, "weight")
    net = net.double().requires_grad_(False)
    result = {name: rivals.performance(net, getattr(fold, name)) for name in ("test", "held_out", "train")}
    x = fold.test[0].double()
    result |= rivals.closeness(net, _explanations(net), x[: config["explained"]], config["permutations"], generator)
    deep = models.network("deep", config["data"], generator).double()
    times = _times({"predict": net, "explain": net.explain, "deep": deep.explain}, x, config["repeats"])
    return result | times | {"parameters": parameters}


def _on_images(config: dict, seed: int, checkpoint: Checkpoint | None) -> dict:
    train, test = _images(config["data"])
    generator = torch.Generator().manual_seed(seed)
    net = network(config, train[0].shape[1], 10, generator)
    stacked = tuple(part[None] for part in train)
    (net,) = models.fit([net], stacked, [generator], config, checkpoint=checkpoint)
    net = net.requires_grad_(False)
    result = {"parameters": models.parameters(net)}
    for name, (x, y) in {"test": test, "train": train}.items():
        scores = torch.cat([net(rows) for rows in x.split(500)])
        result[name] = float((scores.argmax(1) == y).double().mean())
    if config["model"] == "perceptron":
        return result
    net, x = net.double(), _one_of_each(*test)[: config["explained"]].double()
    result |= rivals.closeness(net, _explanations(net), x, config["permutations"], generator)
    if len(config["channels"]) == 1:
        exact = by_lattice(net, x)
        given = {name: explain(x) for name, explain in _explanations(net).items()} | {"size": torch.zeros_like(exact)}
        result |= {f"{name}, lattice": float(shapley_error(z, exact, net(x)).mean()) for name, z in given.items()}
    return result | _times({"predict": net, "explain": net.explain}, test[0].double(), config["repeats"])


def by_lattice(net: WideShapNet, x: Tensor, accuracy: float = 1e-3) -> Tensor:
    """Exact values, to an accuracy, of a network of one stage whose baseline is 0: [batch, n, outputs]."""
    (stage,) = net.stages
    terms = x[:, None] * stage.weight[..., 0]
    values = relu_values(terms, stage.bias.expand(terms.shape[:2]), method="lattice", accuracy=accuracy).values
    return values.transpose(1, 2) @ stage.readout.T


def _explanations(net: WideShapNet) -> dict[str, Callable[[Tensor], Tensor]]:
    """The network's own; and of one stage, whose prediction does not depend on the method, by the other method."""
    methods = {"error": net} if len(net.stages) > 1 else {"error": net, "error, edgeworth": copy.deepcopy(net)}
    if "error, edgeworth" in methods:
        methods["error, edgeworth"].stages[0].method = "edgeworth"
    return {name: lambda x, net=net: net.explain(x).attributions for name, net in methods.items()}


def _times(contenders: dict[str, Callable], x: Tensor, repeats: int) -> dict:
    """Median seconds per input of each, taken in turn, of one input and of 64."""
    result = {}
    for count in (1, 64):
        with torch.no_grad():
            times = in_turn([partial(f, x[:count]) for f in contenders.values()], repeats, x.device)
        result |= {f"{name}, {count}": median(taken) / count for name, taken in zip(contenders, times, strict=True)}
    return result


def _images(data: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pixels [rows, n] and labels to train on and to test on; the digits of scikit-learn in small."""
    if data == "digits":
        few = datasets.digits()
        rows = few.x.flatten(1).float(), few.y
        return tuple(part[:200] for part in rows), tuple(part[200:300] for part in rows)
    parts = datasets.mnist("train"), datasets.mnist("test")
    return tuple((part.x.flatten(1).float(), part.y) for part in parts)


def _one_of_each(x: Tensor, y: Tensor) -> Tensor:
    """The first image of each digit."""
    return x[[int((y == digit).nonzero()[0]) for digit in range(10)]]


# --- what the record says ------------------------------------------------------------------------------------------


def of(runs: list[dict], data: str, model: str, channels: tuple[int, ...], **choice) -> list[dict]:
    """The runs of one configuration, the first choice where none is named."""
    config = configuration(data, model, channels, **choice)
    return [run for run in runs if run["config"] == config]


def named(config: dict) -> str:
    """A network in words."""
    widths = "-".join(map(str, config["channels"]))
    sees = f", {config['seen']} seen" if "seen" in config else ""
    sees += ", rate that falls to 0" if config.get("schedule") == "falling" else ""
    return f"perceptron {widths}" if config["model"] == "perceptron" else f"Wide ShapNet {widths}{sees}"


def summary(runs: list[dict]) -> list[str]:
    """Two lines per configuration: its name, and the means over runs with their intervals."""
    lines = []
    for key in dict.fromkeys(json.dumps(run["config"], sort_keys=True) for run in runs):
        config = json.loads(key)
        group = [run for run in runs if run["config"] == config]
        what, form = ("squared error", ".5f") if config["data"] == "synthetic" else ("accuracy", ".4f")
        sized = f"{group[0]['result']['parameters']:,} parameters"
        lines.append(f"{config['data']}, {named(config)}, {sized}, {len(group)} runs")
        said = f"    {what} {rivals.mean(group, lambda result: result['test']).shown(form)}"
        if config["model"] == "wide":
            noise = rivals.mean(group, lambda result: result["standard error"] / result["size"]).mean
            said += f"; error in parts of the values {rivals.mean(group, rivals.relative).shown()} (noise {noise:.3f})"
        if "deep, 1" in group[0]["result"]:
            said += f"; time over Deep ShapNet {rivals.mean(group, rivals.slowness).shown('.2f')}"
        lines.append(said)
    return lines


STUDY = Study("wide", "Networks that see every feature at once", batches, run, resumes=True, summary=summary)
