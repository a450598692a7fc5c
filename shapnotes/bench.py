"""Measured cost, as ratios of times taken in turn in one run."""

import platform
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from statistics import median

import torch
from torch import nn

from shapnotes.coalitions import masks
from shapnotes.exact import rows_at_once, shapley_values
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments._models.resnet20 import resnet20
from shapnotes.nn import SALinear, ShapLULinear

ACTIVATIONS = ("relu", "gelu", "shaplu", "shaplu, full", "sa")
TURN = 0.05  # seconds of steps with ReLU: what is shorter is decided by what else the machine does
# Of LC-F3, of LC-F4 at the scales "cpu" and "paper", of LC-F5: the shape of an input, the batch, the batch on a GPU,
# how many times rarer it is timed.
NETWORKS = {
    "784-100-50-10": ((784,), 10, 10, 1),
    "3072-128-64-64-10": ((3072,), 128, 128, 1),
    "3072-1024-512-512-10": ((3072,), 128, 128, 1),
    "ResNet-20 v2": ((3, 32, 32), 32, 128, 3),
}


def exact(device: str = "cpu", repeats: int = 9) -> dict:
    """What exact values cost beside the bare model, and beside `shap.ExactExplainer`.

    For each model (n inputs, one or two hidden layers, ReLU): the time of evaluating it on 2**n rows that lie ready, a
    chunk at a time, which no method that treats the model as opaque can undercut, against `shapley_values` of an opaque
    function and of the `nn.Sequential` itself, whose first layer is shared. The three are timed in turn, `repeats`
    times; a ratio is that of the medians, with the smallest and largest ratio of one turn beside it. At n = 16 shap
    explains the same input with the same baseline.
    """
    rows = []
    for widths in (
        (16, 256, 1),
        (16, 64, 64, 1),
        (16, 128, 128, 1),
        (16, 128, 128, 10),
        (16, 256, 256, 1),
        (18, 128, 128, 1),
        (20, 128, 128, 1),
    ):
        n, *hidden, outputs = widths
        generator = torch.Generator().manual_seed(n)
        layers = [part for sizes in pairwise(widths[:-1]) for part in (nn.Linear(*sizes), nn.ReLU())]
        layers.append(nn.Linear(hidden[-1], outputs))
        model = nn.Sequential(*layers).to(device).requires_grad_(False)
        x = torch.randn(1, n, generator=generator).to(device)
        chunk_size = min(rows_at_once(x, 4 * max(hidden)), 2**n)
        row = {"n": n, "network": "-".join(map(str, widths)), "chunk_size": chunk_size}
        row |= _against_bare(model, x, chunk_size, repeats if n < 20 else max(3, repeats // 3))
        row["shap_over_ours"] = _against_shap(model, x) if n == 16 and outputs == 1 else None
        rows.append(row)
    return provenance("shapnotes bench exact", device) | {"rows": rows}


def training(device: str = "cpu", repeats: int = 15) -> dict:
    """What a training step costs with each activation, over the step with ReLU (Li and Cui's 20 %, LC-P1).

    Forward, cross entropy, backward and Adam, for the networks of LC-F3 (784-100-50-10, batch 10), LC-F4
    (3072-1024-512-512-10, and 3072-128-64-64-10 at the scale "cpu", batch 128) and LC-F5 (ResNet-20 v2, batch 32, on a
    GPU 128). All activations are timed in turn, `repeats` times (the ResNet a third as often), each for as many steps
    as ReLU takes in a twentieth of a second; a ratio is that of the medians, with the smallest and largest ratio of one
    turn beside it, and the mean over the turns with its 95 % interval.
    """
    rows = []
    for network, (shape, batch, gpu_batch, rarer) in NETWORKS.items():
        batch = gpu_batch if device.startswith("cuda") else batch
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(batch, *shape, generator=generator).to(device)
        y = torch.randint(10, (batch,), generator=generator).to(device)
        if len(shape) == 1:
            models = [_perceptron(name, list(map(int, network.split("-")))) for name in ACTIVATIONS]
        else:
            models = [resnet20(name, generator).to(memory_format=torch.channels_last) for name in ACTIVATIONS]
        steps = [training_step(m.to(device), x, y) for m in models]
        ((once,),) = in_turn(steps[:1], 1, x.device)
        times = in_turn(steps, max(1, repeats // rarer), x.device, calls=max(1, round(TURN / once)))
        for name, taken in zip(ACTIVATIONS, times, strict=True):
            each = [t / r for t, r in zip(taken, times[0], strict=True)]
            rows.append(
                {
                    "network": network,
                    "batch": batch,
                    "activation": name,
                    "seconds": median(taken),
                    "over_relu": median(taken) / median(times[0]),
                    "range": [min(each), max(each)],
                    "over_relu_interval": list(interval(each)) if len(each) > 1 else None,
                }
            )
    return provenance("shapnotes bench training", device) | {"rows": rows}


def _perceptron(name: str, widths: list[int]) -> nn.Sequential:
    linear = {
        "shaplu": ShapLULinear,
        "shaplu, full": partial(ShapLULinear, full_gradient=True),
        "sa": SALinear,
    }.get(name, nn.Linear)
    activation = {"relu": nn.ReLU, "gelu": nn.GELU}.get(name)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths[:-1]):
        layers += [linear(fan_in, fan_out)] + ([activation()] if activation else [])
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def training_step(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """Forward, cross entropy, backward and Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    return step


def _against_bare(model: nn.Sequential, x: torch.Tensor, chunk_size: int, repeats: int) -> dict:
    rows = masks(x.shape[1], device=x.device) * x

    def bare() -> list[torch.Tensor]:
        return [model(chunk) for chunk in rows.split(chunk_size)]

    times = in_turn(
        [
            bare,
            lambda: shapley_values(lambda z: model(z), x, chunk_size=chunk_size),
            lambda: shapley_values(model, x, chunk_size=chunk_size),
        ],
        repeats,
        x.device,
    )
    result = {"bare_seconds": median(times[0])}
    for name, taken in (("opaque", times[1]), ("linear", times[2])):
        each = [t / b for t, b in zip(taken, times[0], strict=True)]
        result |= {
            f"{name}_over_bare": median(taken) / median(times[0]),
            f"{name}_range": [min(each), max(each)],
        }
    return result


def _against_shap(model: nn.Sequential, x: torch.Tensor) -> float:
    import numpy as np
    import shap

    def predict(rows: np.ndarray) -> np.ndarray:
        return model(torch.as_tensor(rows, dtype=x.dtype, device=x.device)).cpu().numpy()

    explainer = shap.ExactExplainer(predict, shap.maskers.Independent(np.zeros((1, x.shape[1]), dtype=np.float32)))
    theirs, ours = in_turn(
        [lambda: explainer(x.cpu().numpy(), silent=True), lambda: shapley_values(model, x)],
        3,
        x.device,
    )
    return median(theirs) / median(ours)


def in_turn(
    functions: list[Callable[[], object]], repeats: int, device: torch.device, calls: int = 1
) -> list[list[float]]:
    """Seconds of each function, called one after the other `repeats` times after one round that is not counted.

    Each is called so many `calls` in a row, of which the mean is taken: what lasts less than a millisecond takes longer
    the first time after something else.
    """
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            for _ in range(calls):
                function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:
                taken.append((time.perf_counter() - start) / calls)
    return times


def provenance(command: str, device: str) -> dict:
    """Where a record comes from: command, date, device, threads and versions."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()} CPU"
    return {
        "command": command,
        "date": date.today().isoformat(),
        "device": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "shapnotes": version("shapnotes"),
            "torch": torch.__version__,
            "numpy": version("numpy"),
        }
        | _shap_version(),
    }


def _shap_version() -> dict:
    try:
        return {"shap": version("shap")}
    except ModuleNotFoundError:
        return {}
