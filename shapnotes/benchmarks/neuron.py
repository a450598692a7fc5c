"""One hidden layer explained without sampling, beside sampled values, Deep SHAP and Kernel SHAP."""

import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from shapnotes import datasets
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.benchmarks.rivals import deep_shap, kernel_shap
from shapnotes.neuron import hidden_layer_shapley_values
from shapnotes.regression import regression_shapley_values
from shapnotes.sampling import sample_shapley_values

Found = TypeVar("Found")

HIDDEN, DENSE, ACCURACY = 100, 64, 1e-5
METHODS = ("edgeworth", "normal", "li-cui")
PERMUTATIONS, PAIRS, KERNEL_SAMPLES = 100, 20_000, 20_000


def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """Processor seconds and errors of the values of a perceptron's inputs, for one MNIST image and all ten classes.

    The perceptron (784 pixels, 100 hidden units, ten outputs) is trained on 10,000 digits for three epochs. Exact
    values are those of the lattice, to 1e-5 of a hidden unit's mean value. An error is the mean absolute one over the
    pixels that are not blank and the outputs, over the mean absolute exact value. Blank pixels are null players, which
    all methods but Deep SHAP leave out; 64 images without blank pixels are timed as well.

    Sampled values (antithetic permutations, paired regression) are measured at so many evaluations as are affordable;
    how many they need for Edgeworth's error is extrapolated by the law of their variance, which falls like one over the
    evaluations. Kernel SHAP explains one output, and is compared on that. The short form has digits of 64 pixels, 10
    hidden units and few samples.

    Seconds are those of the processor, all threads together, of one call; the median of five where they are few.
    """
    pairs, permutations, samples = (400, 4, 300) if short else (PAIRS, PERMUTATIONS, KERNEL_SAMPLES)
    generator = torch.Generator().manual_seed(0)
    model, x = _digits(short, generator)
    model, x = model.to(device), x.to(device)
    inputs = x.shape[1]
    moving = x[0].nonzero()[:, 0]
    dense = torch.rand(DENSE, inputs, generator=generator).to(device) + 0.1
    seconds, exact = _timed(partial(hidden_layer_shapley_values, model, x, method="lattice", accuracy=ACCURACY), device)
    exact = exact[0, moving]
    rows: list[Row] = [_row("lattice", seconds, None)]

    def error(values: Tensor, outputs: int | None = None) -> float:
        reference = exact[:, :outputs]
        return float((values[moving].to(reference) - reference).abs().mean() / reference.abs().mean())

    for method in METHODS:
        seconds, values = _timed(partial(hidden_layer_shapley_values, model, x, method=method), device)
        rows.append(_row(method, seconds, error(values[0])))
    best = rows[1]
    for method in METHODS:
        seconds, _ = _timed(partial(hidden_layer_shapley_values, model, dense, method=method), device)
        rows.append(_row(f"{method}, {DENSE} dense images", seconds, None))
    played = _Counted(model, x, moving)
    alive = x[:, moving]
    seconds, (values, _) = _timed(
        lambda: sample_shapley_values(played, alive, permutations=permutations, generator=generator, progress=False),
        device,
        1,
    )
    rows.append(_sampled("antithetic permutations", seconds, error(_spread(values[0], moving, inputs)), played, best))
    seconds, (values, _) = _timed(
        lambda: regression_shapley_values(played, alive, evaluations=2 * pairs, generator=generator, progress=False),
        device,
        1,
    )
    rows.append(_sampled("paired regression", seconds, error(_spread(values[0], moving, inputs)), played, best))
    state = np.random.get_state()  # the global generator, from which shap draws its samples
    try:
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shap, about systems with few samples
            seconds, found = _timed(deep_shap(model, x), device)
            rows.append(_row("Deep SHAP", seconds, error(torch.as_tensor(found)[0]), best))
            seconds, found = _timed(kernel_shap(played, alive, samples), device, 1)
            values = _spread(torch.as_tensor(found).reshape(len(moving), 1), moving, inputs)
            rows.append(_sampled("Kernel SHAP", seconds, error(values, 1), played, best, samples))
    finally:
        np.random.set_state(state)
    return recorded("neuron", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per method."""
    lines = [
        "method                        seconds     error  over edgeworth  evaluations  for its error  times as long"
    ]
    for row in record["rows"]:
        line = f"{row['what']:27} {row['seconds']:9.4f}"
        line += " " * 10 if row["error"] is None else f" {row['error']:9.1e}"
        if row["seconds_over_edgeworth"] is not None:
            line += f" {row['seconds_over_edgeworth']:15.1f}"
        if row["evaluations"] is not None:
            line += f" {row['evaluations']:12d} {row['evaluations_for_its_error']:14.1e} {row['times_as_long']:14.1e}"
        lines.append(line.rstrip())
    return lines


def _row(what: str, seconds: float, error: float | None, best: Row | None = None) -> Row:
    return {
        "what": what,
        "seconds": seconds,
        "error": error,
        "seconds_over_edgeworth": best and seconds / best["seconds"],
        "evaluations": None,
        "evaluations_for_its_error": None,
        "times_as_long": None,
        "error_at_its_time": None,
    }


def _sampled(
    what: str, seconds: float, error: float, played: "_Counted", best: Row, evaluations: int | None = None
) -> Row:
    """A method of sampling: what it takes until its error is Edgeworth's, by the law of its variance."""
    more = (error / best["error"]) ** 2
    count = played.rows() if evaluations is None else evaluations
    return _row(what, seconds, error, best) | {
        "evaluations": count,
        "evaluations_for_its_error": count * more,
        "times_as_long": seconds * more / best["seconds"],
        "error_at_its_time": error * (seconds / best["seconds"]) ** 0.5,
    }


class _Counted(nn.Module):
    """The model as a function of the pixels that are not blank, which counts its evaluations since it was asked."""

    def __init__(self, model: nn.Sequential, x: Tensor, moving: Tensor) -> None:
        super().__init__()
        first, _, last = model
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        self.first, self.last = nn.Linear(len(moving), first.out_features), last
        self.first.weight.data, self.first.bias.data = first.weight.data[:, moving], first.bias.data
        self.requires_grad_(False).eval().to(x)
        self.count = 0

    def forward(self, rows: Tensor) -> Tensor:
        self.count += len(rows)
        answers: Tensor = self.last(torch.relu(self.first(rows)))
        return answers

    def rows(self) -> int:
        """Evaluations since the last time."""
        count, self.count = self.count, 0
        return count


def _timed(function: Callable[[], Found], device: str, calls: int = 5) -> tuple[float, Found]:
    """Processor seconds of a call, the median of some or of those that began within a second, and what it returns."""
    times: list[float] = []
    while len(times) < calls and sum(times) < 1:
        start = time.process_time()
        found = function()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(time.process_time() - start)
    return median(times), found


def _spread(values: Tensor, moving: Tensor, inputs: int) -> Tensor:
    """[moving, outputs] as [inputs, outputs]."""
    return values.new_zeros(inputs, values.shape[1]).index_copy(0, moving, values)


def _digits(short: bool, generator: torch.Generator) -> tuple[nn.Sequential, Tensor]:
    """A trained perceptron, and one image [1, pixels]."""
    data = datasets.digits() if short else datasets.mnist()
    x, y = data.x[:10_000].flatten(1).float(), data.y[:10_000]
    x = x / x.max()
    hidden = 10 if short else HIDDEN
    layers = [nn.utils.skip_init(nn.Linear, x.shape[1], hidden), nn.utils.skip_init(nn.Linear, hidden, 10)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(x), generator=generator).split(50):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.requires_grad_(False).eval(), x[:1]
