"""LC-F3: a small MNIST network with ReLU, ShapLU, SA and the activations that a user has today (Li and Cui, figure 3).

The paper: 784-100-50-10, hidden activations, softmax and cross entropy; 1,000 training images, 4 epochs, batches of 10,
re-ordered each epoch, 10 initialisations; Adam(1e-3, .9, .999) and SGD at several rates. It was written in Flux, whose
dense layers start with Glorot-uniform weights and zero biases. It leaves open which thousand images were taken and
which rates SGD had. Here: the first thousand (`images: first`), or a thousand drawn for each seed (`images: drawn`);
and 0.5, the largest rate that we tried, for a large one, 0.01, the smallest, for a small one.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from shapnotes import datasets
from shapnotes.experiments.finding import Comparison, Finding, Statement, above, below, every, matches
from shapnotes.experiments.statistics import Interval, interval, paired_interval
from shapnotes.experiments.sweep import Batch
from shapnotes.experiments.training import train_together
from shapnotes.nn import SALinear, ShapLULinear

ID = "LC-F3"
TITLE = "Training accuracy on 1,000 MNIST images"

ACTIVATIONS = ("relu", "shaplu", "sa", "gelu", "silu", "leaky_relu")
STATED = ACTIVATIONS[:3]  # those of the paper
OPTIMISERS = ("Adam 0.001", "SGD 0.5", "SGD 0.1", "SGD 0.05", "SGD 0.01")
PACES = ("Adam 0.001", "SGD 0.5", "SGD 0.01")  # what the paper speaks of: Adam, a large rate of SGD and a small one
HIDDEN, REPEATS = (100, 50), 10
PAPER = 0.86  # accuracy on the test images, of all three
SIMILAR = 0.02  # "similar convergence" here: no difference beyond this


def batches(scale: str) -> list[Batch]:
    """All runs of a scale: every activation under every optimiser, ten seeds."""
    if scale == "smoke":
        return [Batch(_config(a, "Adam 0.001", epochs=1, hidden=[8]), (0, 1)) for a in ("relu", "shaplu", "sa")]
    full = [Batch(_config(a, o), tuple(range(REPEATS))) for o in OPTIMISERS for a in ACTIVATIONS]
    # What the paper leaves open, varied for its own three activations under Adam.
    choices = ({"images": "drawn"}, {"init": "torch"})
    return full + [Batch(_config(a, "Adam 0.001", **c), tuple(range(REPEATS))) for c in choices for a in STATED]


def _config(activation: str, optimiser: str, *, epochs=4, hidden=HIDDEN, images="first", init="flux") -> dict:
    return {
        "activation": activation,
        "optimiser": optimiser,
        "epochs": epochs,
        "hidden": list(hidden),
        "images": images,
        "init": init,
    }


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train one network per seed, all of them together."""
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


# --- what the record says ------------------------------------------------------------------------------------------


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 3 and the text about it."""
    tests = {a: interval(final_accuracy(group).values()) for a in STATED if (group := select(runs, a, "Adam 0.001"))}
    leads = {(o, a): one for o in PACES for a in STATED[1:] if (one := lead(runs, a, o))}

    def both(optimiser: str, judged: Callable[[Interval], bool | None]) -> bool | None:
        return every([judged(leads[optimiser, a]) if (optimiser, a) in leads else None for a in STATED[1:]])

    near = {a: matches(test, PAPER) for a, test in tests.items()}
    ahead = "95 % intervals of both paired leads in training accuracy, mean over the first epoch, are above 0"
    statements = (
        Statement("ShapLU and SA learn faster than ReLU under Adam", ahead, both("Adam 0.001", above)),
        Statement("they learn faster under SGD with a large rate (0.5)", ahead, both("SGD 0.5", above)),
        Statement(
            "similar convergence under SGD with a small rate (0.01)",
            f"95 % intervals of both paired leads in the first epoch are between {-SIMILAR} and {SIMILAR}",
            both("SGD 0.01", _similar),
        ),
        Statement(
            "all three end near 86 % on the test images under Adam",
            "each mean is within root 2 of its 95 % half-width of 0.86",
            every([near.get(a) for a in STATED]),
            size=True,
        ),
    )
    table = [Comparison("test accuracy, Adam 0.001", a, test, PAPER, near[a]) for a, test in tests.items()]
    table += [
        Comparison(f"first epoch minus ReLU's, {optimiser}", a, one, form="+.3f")
        for (optimiser, a), one in leads.items()
    ]
    shown = (f"{optimiser} {one.shown('+.3f')}" for (optimiser, a), one in leads.items() if a == "shaplu")
    return Finding(statements, tuple(table), "lead of ShapLU in the first epoch: " + ", ".join(shown), _reduced(runs))


def _similar(difference: Interval) -> bool | None:
    """Whether a difference is small: True where all of its interval is within SIMILAR of 0, False where none is."""
    sides = above(difference, -SIMILAR), below(difference, SIMILAR)
    return False if False in sides else every(sides)


def _reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    sizes = {tuple(run["config"]["hidden"]) for run in runs} - {HIDDEN}
    parts = [f"hidden layers of {', '.join(map(str, size))} in place of 100, 50" for size in sizes]
    counts = {(o, a): len(select(runs, a, o)) for o in PACES for a in STATED}
    parts += [f"{n} of {REPEATS} runs ({a}, {o})" for (o, a), n in counts.items() if n < REPEATS]
    return "; ".join(parts)


def summary(runs: list[dict]) -> list[str]:
    """A line per configuration: mean training accuracy in the first epoch, its lead over ReLU, final test accuracy."""
    lines = [f"{'optimiser':11} {'activation':10} {'images':6} {'init':5} first epoch    minus ReLU      test"]
    settings = dict.fromkeys(
        (c["optimiser"], c["activation"], c["images"], c["init"]) for c in (run["config"] for run in runs)
    )
    for optimiser, activation, images, init in settings:
        group = select(runs, activation, optimiser, images, init)
        one = lead(runs, activation, optimiser, images, init)
        early, test = (interval(of_seed(group).values()) for of_seed in (early_accuracy, final_accuracy))
        lines.append(
            f"{optimiser:11} {activation:10} {images:6} {init:5} {early.shown()}  "
            f"{one.shown('+.3f') if one and activation != 'relu' else '':14}  {test.shown()}"
        )
    return lines


def select(runs: list[dict], activation: str, optimiser: str, images: str = "first", init: str = "flux") -> list[dict]:
    """The runs of one configuration."""
    wanted = {"activation": activation, "optimiser": optimiser, "images": images, "init": init}
    return [run for run in runs if wanted.items() <= run["config"].items()]


def lead(
    runs: list[dict], activation: str, optimiser: str, images: str = "first", init: str = "flux"
) -> Interval | None:
    """By how much an activation is ahead of ReLU in the first epoch, over pairs of seeds; None without a pair."""
    ahead, relu = (early_accuracy(select(runs, a, optimiser, images, init)) for a in (activation, "relu"))
    return paired_interval(ahead, relu) if ahead.keys() & relu.keys() else None


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


# --- networks ------------------------------------------------------------------------------------------------------


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
