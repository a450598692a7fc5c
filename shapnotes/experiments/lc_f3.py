"""LC-F3: a small MNIST network with ReLU, ShapLU, SA and the activations that a user has today (Li and Cui, figure 3).

The paper: 784-100-50-10, hidden activations, softmax and cross entropy; 1,000 training images, 4 epochs, batches of 10,
re-ordered each epoch, 10 initialisations; Adam(1e-3, .9, .999) and SGD at several rates. It was written in Flux, whose
dense layers start with Glorot-uniform weights and zero biases. It leaves open which thousand images were taken and
which rates SGD had. Here: the first thousand (`images: first`), or a thousand drawn for each seed (`images: drawn`).
"""

import json
from itertools import pairwise
from math import nan

import torch
from torch import nn

from shapnotes import datasets
from shapnotes.experiments.statistics import mean_and_error, paired_interval
from shapnotes.experiments.sweep import Batch
from shapnotes.experiments.training import train_together
from shapnotes.nn import SALinear, ShapLULinear

ID = "LC-F3"
TITLE = "Training accuracy on 1,000 MNIST images"

ACTIVATIONS = ("relu", "shaplu", "sa", "gelu", "silu", "leaky_relu")
OPTIMISERS = ("Adam 0.001", "SGD 0.5", "SGD 0.1", "SGD 0.05", "SGD 0.01")


def batches(scale: str) -> list[Batch]:
    """All runs of a scale: every activation under every optimiser, ten seeds."""
    if scale == "smoke":
        return [Batch(_config(a, "Adam 0.001", epochs=1, hidden=[8]), (0, 1)) for a in ("relu", "shaplu", "sa")]
    full = [Batch(_config(a, o), tuple(range(10))) for o in OPTIMISERS for a in ACTIVATIONS]
    # What the paper leaves open, varied for its own three activations under Adam.
    choices = ({"images": "drawn"}, {"init": "torch"})
    return full + [Batch(_config(a, "Adam 0.001", **c), tuple(range(10))) for c in choices for a in ACTIVATIONS[:3]]


def _config(activation: str, optimiser: str, *, epochs=4, hidden=(100, 50), images="first", init="flux") -> dict:
    return {
        "activation": activation,
        "optimiser": optimiser,
        "epochs": epochs,
        "hidden": list(hidden),
        "images": images,
        "init": init,
    }


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train one network a seed, all of them together."""
    smoke = config["hidden"] == [8]
    train, test = (datasets.digits(), datasets.digits()) if smoke else (datasets.mnist("train"), datasets.mnist("test"))
    x, y = train.x.flatten(1).to(device), train.y.to(device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    models = [network([x.shape[1], *config["hidden"], 10], config, g).to(device) for g in generators]
    if config["images"] == "first":
        chosen = torch.arange(1000).expand(len(seeds), -1)
    else:
        chosen = torch.stack([torch.randperm(len(x), generator=g)[:1000] for g in generators])
    curves = train_together(
        models,
        (x[chosen], y[chosen]),
        (test.x.flatten(1).to(device), test.y.to(device)),
        optimiser=lambda p: optimiser(config["optimiser"], p),
        epochs=config["epochs"],
        batch_size=10,
        generators=generators,
        measure_every=10,
    )
    return [{"steps": c.steps, "train_accuracy": c.train_accuracy, "test_accuracy": c.test_accuracy} for c in curves]


def summary(runs: list[dict]) -> list[str]:
    """A line a configuration: mean training accuracy in the first epoch, its lead over ReLU, final test accuracy."""
    lines = [f"{'optimiser':11} {'activation':10} {'images':6} {'init':5}   first epoch        minus ReLU        test"]
    for key, group in _by_configuration(runs).items():
        config = json.loads(key)
        relu = _by_configuration(runs).get(_key(config | {"activation": "relu"}), [])
        early, test = mean_and_error(early_accuracy(group).values()), mean_and_error(final_accuracy(group).values())
        lead = paired_interval(early_accuracy(group), early_accuracy(relu)) if relu else (nan, nan)
        cells = "  ".join(f"{mean:6.3f} ± {spread:.3f}" for mean, spread in (early, lead, test))
        lines.append(
            f"{config['optimiser']:11} {config['activation']:10} {config['images']:6} {config['init']:5} {cells}"
        )
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to the paper's four statements: the verdict, our numbers, the paper's.

    About 86 % on the test images for ReLU, ShapLU and SA alike (here: within 2 points, under Adam); ShapLU and SA ahead
    of ReLU early under Adam, and under SGD with a large rate (here: the 95 % intervals of both paired leads in the
    first epoch lie above zero); similar convergence under SGD with a small rate (both leads smaller than 2 points).
    """
    groups = _by_configuration(runs)

    def of(activation: str, optimiser: str) -> list[dict]:
        return groups[_key(_config(activation, optimiser))]

    tests = {a: mean_and_error(final_accuracy(of(a, "Adam 0.001")).values()) for a in ACTIVATIONS[:3]}
    leads = {
        (o, a): paired_interval(early_accuracy(of(a, o)), early_accuracy(of("relu", o)))
        for o in ("Adam 0.001", "SGD 0.5", "SGD 0.01")
        for a in ("shaplu", "sa")
    }
    kept = [all(abs(mean - 0.86) < 0.02 for mean, _ in tests.values())]
    kept += [all(leads[o, a][0] > leads[o, a][1] for a in ("shaplu", "sa")) for o in ("Adam 0.001", "SGD 0.5")]
    kept += [all(abs(leads["SGD 0.01", a][0]) < 0.02 for a in ("shaplu", "sa"))]
    word = "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced"
    ours = "test " + ", ".join(f"{a} {mean:.3f} ± {error:.3f}" for a, (mean, error) in tests.items())
    ours += "; lead in the first epoch " + ", ".join(
        f"{a} under {o} {mean:+.3f} ± {half:.3f}" for (o, a), (mean, half) in leads.items()
    )
    paper = (
        "test about 0.86 for all; ShapLU and SA ahead early under Adam and large-rate SGD, similar under small rates"
    )
    return word, ours, paper


def early_accuracy(runs: list[dict]) -> dict[int, float]:
    """The mean training accuracy over the first epoch (100 steps) of each seed."""
    means = {}
    for one in runs:
        result = one["result"]
        early = [a for step, a in zip(result["steps"], result["train_accuracy"], strict=True) if 0 < step <= 100]
        means[one["seed"]] = sum(early) / len(early)
    return means


def final_accuracy(runs: list[dict]) -> dict[int, float]:
    """The final accuracy on the test images of each seed."""
    return {one["seed"]: one["result"]["test_accuracy"] for one in runs}


def _by_configuration(runs: list[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for one in runs:
        groups.setdefault(_key(one["config"]), []).append(one)
    return groups


def _key(config: dict) -> str:
    return json.dumps(config, sort_keys=True)


def network(widths: list[int], config: dict, generator: torch.Generator) -> nn.Sequential:
    """A perceptron of these widths with the configuration's activation and initialisation."""
    linear = {"sa": SALinear, "shaplu": ShapLULinear}.get(config["activation"], nn.Linear)
    activation = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "leaky_relu": nn.LeakyReLU}.get(
        config["activation"]
    )
    layers: list[nn.Module] = []
    for depth, (fan_in, fan_out) in enumerate(pairwise(widths)):
        last = depth == len(widths) - 2
        layer = (nn.Linear if last else linear)(fan_in, fan_out)
        glorot = config["init"] == "flux"
        bound = (6 / (fan_in + fan_out)) ** 0.5 if glorot else fan_in**-0.5
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
            layer.bias.mul_(0 if glorot else 1)
        layers += [layer] if last or activation is None else [layer, activation()]
    return nn.Sequential(*layers)


def optimiser(name: str, parameters) -> torch.optim.Optimizer:
    """ "Adam 0.001" and the like, with PyTorch's other settings, which are the papers'."""
    kind, rate = name.split()
    return {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}[kind](parameters, lr=float(rate))
