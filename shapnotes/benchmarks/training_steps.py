"""A training step with each activation, beside the step with ReLU."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import by_turn, in_brackets, ratio, turn_range
from shapnotes.benchmarks.record import Record
from shapnotes.benchmarks.record import record as recorded
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments._models.resnet20 import resnet20
from shapnotes.nn import SALinear, ShapLULinear

ACTIVATIONS = ("relu", "gelu", "shaplu", "shaplu, full", "sa")
TURN_SECONDS = 0.05  # of steps with ReLU; what is shorter is decided by what else the machine does


class Network(NamedTuple):
    """One that is trained: the shape of an input, the batch, the batch on a GPU, how many times rarer it is timed."""

    shape: tuple[int, ...]
    batch: int
    gpu_batch: int
    rarer: int


NETWORKS = {  # of LC-F3, of LC-F4 at the scales "cpu" and "paper", of LC-F5
    "784-100-50-10": Network((784,), 10, 10, 1),
    "3072-128-64-64-10": Network((3072,), 128, 128, 1),
    "3072-1024-512-512-10": Network((3072,), 128, 128, 1),
    "ResNet-20 v2": Network((3, 32, 32), 32, 128, 3),
}


def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """What a training step costs with each activation, over the step with ReLU (Li and Cui's 20 %, LC-P1).

    Forward, cross entropy, backward and Adam, for the networks of LC-F3 (784-100-50-10, batch 10), LC-F4
    (3072-1024-512-512-10, and 3072-128-64-64-10 at the scale "cpu", batch 128) and LC-F5 (ResNet-20 v2, batch 32, on a
    GPU 128). All activations are timed in turn, 15 times (the ResNet 5 times), each for as many steps as ReLU takes in
    a twentieth of a second; a ratio is that of the medians, with the smallest and largest ratio of one turn beside it,
    and the mean over the turns with its 95 % interval. The short form has batches of two.
    """
    repeats, turn = (2, TURN_SECONDS / 50) if short else (15, TURN_SECONDS)
    rows = []
    for network, (shape, batch, gpu_batch, rarer) in NETWORKS.items():
        batch = 2 if short else gpu_batch if device.startswith("cuda") else batch
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(batch, *shape, generator=generator).to(device)
        y = torch.randint(10, (batch,), generator=generator).to(device)
        steps = [training_step(_model(network, name, generator).to(device), x, y) for name in ACTIVATIONS]
        ((once,),) = in_turn(steps[:1], 1, x.device)
        times = in_turn(steps, max(1, repeats // rarer), x.device, calls=max(1, round(turn / once)))
        for name, taken in zip(ACTIVATIONS, times, strict=True):
            each = by_turn(taken, times[0])
            rows.append(
                {
                    "network": network,
                    "batch": batch,
                    "activation": name,
                    "seconds": median(taken),
                    "over_relu": ratio(taken, times[0]),
                    "range": turn_range(taken, times[0]),
                    "over_relu_interval": list(interval(each)) if len(each) > 1 else None,
                }
            )
    return recorded("training", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per network and activation."""
    lines = [f"{'network':24} {'activation':13} seconds  over ReLU  (range)"]
    for row in record["rows"]:
        lines.append(
            f"{row['network']:24} {row['activation']:13} {row['seconds']:7.4f} {row['over_relu']:10.2f}  "
            f"{in_brackets(row['range'])}"
        )
    return lines


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward, cross entropy, backward and Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    return step


def _model(network: str, activation: str, generator: torch.Generator) -> nn.Module:
    if network.startswith("ResNet"):
        model: nn.Module = resnet20(activation, generator)
        return in_memory_by_pixel(model)
    return _perceptron(activation, list(map(int, network.split("-"))))


def _perceptron(activation: str, widths: list[int]) -> nn.Sequential:
    linear: dict[str, Callable[[int, int], nn.Module]] = {
        "shaplu": ShapLULinear,
        "shaplu, full": partial(ShapLULinear, full_gradient=True),
        "sa": SALinear,
    }
    between: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
    layers: list[nn.Module] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for fan_in, fan_out in pairwise(widths[:-1]):
            layers.append(linear.get(activation, nn.Linear)(fan_in, fan_out))
            if activation in between:
                layers.append(between[activation]())
        return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def in_memory_by_pixel(model: nn.Module) -> nn.Module:
    """The model with its images in memory pixel by pixel (`channels_last`), which is faster on a CPU."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # not in its stub
