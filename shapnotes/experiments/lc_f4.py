"""LC-F4: a CIFAR-10 perceptron with dropout, with ReLU, SA and today's activations, under Adam (Li and Cui, figure 4).

The paper: 3072-1024-512-512-10, dropout of 0.2 after each hidden activation, Glorot-uniform weights, batches of 128,
Adam(1e-3, .9, .999), 20 repeats; its table 2, LC-T2, has the same network under other optimisers. It was written in
Keras, whose defaults stand for what the paper leaves open: biases start at zero, pixels lie in [0, 1], and so on under
`optimiser`. The number of epochs is not given. Here it is 20, and the record has both accuracies after every epoch, so
that an earlier end can be read from it; runs that have not come to the end yet are compared where the shortest is.

The training accuracy is measured after each epoch on the first 5,000 training images, without dropout. (Keras shows the
mean over the epoch's batches, with dropout and with weights that move; figure 4 does not say which it is.)

The scale "cpu" keeps the images, the batches, dropout, initialisation and optimisers; it has an eighth of the paper's
width, 6 epochs and 4 repeats. It is another, smaller experiment, and its verdict says so.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import torch
from scipy.stats import f
from torch import Tensor, nn

from shapnotes import datasets
from shapnotes.experiments import lc_f3
from shapnotes.experiments.checkpoint import Checkpoint
from shapnotes.experiments.statistics import mean_and_error, paired_interval
from shapnotes.experiments.sweep import Batch
from shapnotes.experiments.training import curves_by_epoch

ID = "LC-F4"
TITLE = "CIFAR-10 perceptron under Adam"

GROWS = True

ACTIVATIONS = ("relu", "sa", "shaplu", "gelu", "silu", "leaky_relu")
NETWORK = "3072-1024-512-512-10"
FULL = {"data": "cifar10", "hidden": [1024, 512, 512]}
SIZES = {
    "paper": FULL,
    "cpu": FULL | {"hidden": [128, 64, 64]},
    "smoke": {"data": "digits", "hidden": [8, 8, 8]},
}
EPOCHS = {"paper": 20, "cpu": 6, "smoke": 1}
REPEATS = {"paper": 20, "cpu": 4, "smoke": 2}
TOGETHER = 4  # repeats that are trained side by side
DROPOUT = 0.2
BATCH_SIZE = 128
MEASURED = 5000  # training images


def batches(scale: str) -> list[Batch]:
    """All runs of a scale under Adam(1e-3): first (stage 0) the paper's activations and GELU, then the others."""
    return [
        Batch(configuration(scale, activation, "Adam 0.001"), seeds, EPOCHS[scale], int(i >= 4))
        for i, activation in enumerate(ACTIVATIONS)
        for seeds in groups(range(REPEATS[scale]))
    ]


def groups(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """Seeds, as many as are trained side by side in each."""
    return [tuple(seeds[i : i + TOGETHER]) for i in range(0, len(seeds), TOGETHER)]


def configuration(scale: str, activation: str, optimiser: str) -> dict:
    """One configuration of this experiment or of LC-T2."""
    return {"activation": activation, "optimiser": optimiser, "dropout": DROPOUT, **SIZES[scale]}


def run(
    config: dict, seeds: tuple[int, ...], device: str, *, epochs: int, checkpoint: Checkpoint
) -> Iterator[list[dict]]:
    """Train one network a seed, all of them together."""
    train, test = _data(config["data"])
    x, y = train.x.flatten(1).to(device), train.y.to(device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    widths = [x.shape[1], *config["hidden"], len(train.class_names)]
    models = [Perceptron(widths, config["activation"], g).to(device) for g in generators]
    for curves in curves_by_epoch(
        models,
        (x, y),
        (test.x.flatten(1).to(device), test.y.to(device)),
        optimiser=partial(optimiser, config["optimiser"]),
        epochs=epochs,
        batch_size=BATCH_SIZE,
        generators=generators,
        measure_every=-(-len(x) // BATCH_SIZE),
        measure_on=MEASURED,
        follow_test=True,
        noise=masks(config["hidden"], config["dropout"]),
        checkpoint=checkpoint,
    ):
        yield [vars(curve) | {"epochs": len(curve.steps) - 1, "images": train.note} for curve in curves]


@cache
def _data(name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    if name == "digits":
        return datasets.digits(), datasets.digits()
    return datasets.cifar10("train"), datasets.cifar10("test")


class Perceptron(nn.Module):
    """Hidden layers with an activation, and a last layer; with masks, a hidden layer's output is multiplied by its own.

    widths     : [in, *hidden, out]
    activation : one of ACTIVATIONS
    generator  : of the weights, Glorot-uniform; biases start at zero

    forward(x, *masks): x [batch, in]; none, or one mask [batch, width] for each hidden layer. Returns [batch, out].
    """

    def __init__(self, widths: Sequence[int], activation: str, generator: torch.Generator):
        super().__init__()
        flat = lc_f3.network(list(widths), {"activation": activation, "init": "flux"}, generator)
        parts = (len(flat) - 1) // (len(widths) - 2)  # 1 where the layer is its own activation, else 2
        self.hidden = nn.ModuleList(flat[i : i + parts] for i in range(0, len(flat) - 1, parts))
        self.last = flat[-1]

    def forward(self, x: Tensor, *masks: Tensor) -> Tensor:
        if masks and len(masks) != len(self.hidden):
            raise ValueError(f"{len(self.hidden)} hidden layers need a mask each, or none; got {len(masks)} masks")
        for i, layer in enumerate(self.hidden):
            x = layer(x) * masks[i] if masks else layer(x)
        return self.last(x)


def masks(widths: Sequence[int], rate: float) -> Callable[[torch.Generator, int], list[Tensor]]:
    """What dropout multiplies layers of these widths by: 0 with probability `rate`, else 1 / (1 - rate).

    Returns a function of a generator and a number of rows, for `train_together`: one tensor [rows, width] a layer.
    """

    def draw(generator: torch.Generator, rows: int) -> list[Tensor]:
        empty = (torch.empty(rows, width, device=generator.device) for width in widths)
        return [tensor.bernoulli_(1 - rate, generator=generator).div_(1 - rate) for tensor in empty]

    return draw


def optimiser(name: str, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """ "Adam 0.001" and the like, with Keras's other settings, which are the paper's where it gives any.

    They are: epsilon 1e-7 (PyTorch: 1e-8), the mean square of RMSprop over .9 of its past (PyTorch: .99), no momentum.
    """
    kind, rate = name.split()
    kinds = {
        "SGD": torch.optim.SGD,
        "Adam": partial(torch.optim.Adam, eps=1e-7, fused=True),
        "RMSprop": partial(torch.optim.RMSprop, alpha=0.9, eps=1e-7),
    }
    return kinds[kind](parameters, lr=float(rate))


def summary(runs: list[dict]) -> list[str]:
    """A line an activation: accuracies at the end, their lead over ReLU, and the spread over the repeats."""
    lines = [setting(runs), f"{'activation':10}  training         minus ReLU       sd     test             minus ReLU"]
    relu = of(runs, "relu")
    for activation in ACTIVATIONS:
        if not (group := of(runs, activation)):
            continue
        cells = []
        for quantity in ("train_accuracy", "test_curve"):
            lead = paired_interval(at_end(group, quantity), at_end(relu, quantity))
            cells.append((mean_and_error(at_end(group, quantity).values()), lead))
        (train, lead), (test, test_lead) = cells
        deviation = train[1] * len(group) ** 0.5
        lines.append(
            f"{activation:10}  {_pm(train, '')}  {_pm(lead)}  {deviation:.3f}  {_pm(test, '')}  {_pm(test_lead)}"
        )
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to what the paper says of figure 4: the verdict, our numbers, the paper's.

    "A significant improvement in training accuracy, convergence and stability (i.e. smaller std dev)" of SA over ReLU:
    1. the 95 % interval of the paired lead in training accuracy at the end lies above zero;
    2. so does that of the lead in the mean training accuracy over all epochs;
    3. the standard deviation of the final training accuracy over the repeats is smaller than ReLU's: the 95 %
       interval of their ratio, that of the F distribution, lies below one.
    """
    sa, relu = of(runs, "sa"), of(runs, "relu")
    paper = f"{NETWORK}, 20 repeats: SA improves training accuracy, convergence and its standard deviation"
    if len(at_end(sa).keys() & at_end(relu).keys()) < 2:
        return word([False], runs, batches("paper")), f"{setting(runs)}: no two repeats of SA and ReLU yet", paper
    end = paired_interval(at_end(sa), at_end(relu))
    whole = paired_interval(over_all(sa), over_all(relu))
    ratio, low, high = deviations(at_end(sa), at_end(relu))
    kept = [end[0] > end[1], whole[0] > whole[1], high < 1]
    ours = (
        f"{setting(runs)}: {sum(kept)} of 3 statements hold; SA minus ReLU in training accuracy {_pm(end)} at the end, "
        f"{_pm(whole)} over all epochs; ratio of the standard deviations {ratio:.2f} ({low:.2f} to {high:.2f}); "
        f"test minus ReLU at the end "
    )
    others = [(a, of(runs, a)) for a in ACTIVATIONS[1:]]
    test = {a: paired_interval(at_end(g, "test_curve"), at_end(relu, "test_curve")) for a, g in others if g}
    ours += ", ".join(f"{activation} {_pm(lead)}" for activation, lead in test.items())
    return word(kept, runs, batches("paper")), ours, paper


def word(kept: list[bool], runs: list[dict], full: list[Batch]) -> str:
    """The verdict in a word; only all runs at the paper's scale can make it more than "not run at full scale"."""
    wanted = sum(len(batch.seeds) for batch in full)
    if len(runs) < wanted or any(run["scale"] != "paper" for run in runs):
        return "not run at full scale"
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced"


def setting(runs: list[dict]) -> str:
    """What was run, for people who only read one line: network, epochs, repeats, images."""
    config = runs[0]["config"]
    inside, outside = ("64", "digits") if config["data"] == "digits" else ("3072", "CIFAR-10")
    network = "-".join([inside, *map(str, config["hidden"]), "10"])
    smaller = "" if network == NETWORK else f" in place of {NETWORK}"
    encoding = ", JPEG re-encoded" if "JPEG" in runs[0]["result"]["images"] else ""
    repeats = len({run["seed"] for run in runs})
    return f"{network}{smaller}, {config['epochs']} epochs, {repeats} repeats, {outside}{encoding}"


def level(runs: list[dict]) -> list[dict]:
    """The runs cut to as many epochs as all of them have."""
    if len({run["result"]["epochs"] for run in runs}) < 2:
        return runs
    epochs = min(run["result"]["epochs"] for run in runs)

    def cut(result: dict) -> dict:
        curves = {key: result[key][: epochs + 1] for key in ("steps", "train_accuracy", "test_curve")}
        return result | curves | {"epochs": epochs, "test_accuracy": curves["test_curve"][-1]}

    return [run | {"result": cut(run["result"])} for run in runs]


def of(runs: list[dict], activation: str, optimiser: str = "Adam 0.001") -> list[dict]:
    """The runs of an activation under an optimiser."""
    wanted = {"activation": activation, "optimiser": optimiser}
    return [run for run in runs if all(run["config"][key] == value for key, value in wanted.items())]


def at_end(runs: list[dict], quantity: str = "train_accuracy") -> dict[int, float]:
    """The accuracy after the last epoch of each seed; quantity: "train_accuracy" or "test_curve"."""
    return {run["seed"]: run["result"][quantity][-1] for run in runs}


def over_all(runs: list[dict], quantity: str = "train_accuracy") -> dict[int, float]:
    """The mean accuracy over the ends of all epochs of each seed: high for those that learn early."""
    return {run["seed"]: mean_and_error(run["result"][quantity][1:])[0] for run in runs}


def deviations(one: dict[int, float], other: dict[int, float], level: float = 0.95) -> tuple[float, float, float]:
    """The ratio of two standard deviations over the seeds, and an interval for it: of normal, independent samples."""
    own, others = (mean_and_error(values.values())[1] * len(values) ** 0.5 for values in (one, other))
    ratio = own / others if others else float("nan")
    freedom = len(one) - 1, len(other) - 1
    low, high = (float(f.ppf(p, *freedom)) ** 0.5 for p in ((1 + level) / 2, (1 - level) / 2))
    return ratio, ratio / low, ratio / high


def step_cost(bench: dict, activation: str, network: str = NETWORK) -> float:
    """How long a step takes, in steps with ReLU, by the record of `shapnotes bench training`."""
    costs = {row["activation"]: row["over_relu"] for row in bench["rows"] if row["network"] == network}
    if activation not in costs:
        raise ValueError(f"no step of {network} with {activation!r} was timed; there are {', '.join(costs) or 'none'}")
    return costs[activation]


def at_time(runs: list[dict], time: float, cost: float, quantity: str = "test_curve") -> dict[int, float]:
    """The accuracy of each seed when equal time has passed, however many steps that is.

    time : in steps with ReLU; cost : how long a step of these runs takes, in the same unit (`step_cost`). Curves are
    interpolated linearly between epochs. Raises ValueError where the runs ended earlier.
    """
    return {run["seed"]: _interpolated(run["result"]["steps"], run["result"][quantity], time / cost) for run in runs}


def _interpolated(steps: list[int], values: list[float], at: float) -> float:
    if not 0 <= at <= steps[-1]:
        raise ValueError(f"the runs have {steps[-1]} steps; at this time they would be at step {at:.0f}")
    after = next(i for i, step in enumerate(steps) if step >= at)
    before = max(after - 1, 0)
    part = (at - steps[before]) / (steps[after] - steps[before]) if after else 0.0
    return values[before] + part * (values[after] - values[before])


def _pm(pair: tuple[float, float], sign: str = "+") -> str:
    return f"{pair[0]:{sign}.3f} ± {pair[1]:.3f}"
