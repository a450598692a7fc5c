"""A Deep ShapNet's own explanation beside Deep SHAP and Kernel SHAP, as in SN's Table 5."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import nn

from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import by_turn, in_brackets, ratio, turn_range
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.benchmarks.rivals import Loop, deep_shap, kernel_shap
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments._models.transparent import Transparent
from shapnotes.experiments.timings.explanations import TURNS
from shapnotes.shapnet import DeepShapNet

FEATURES, CHANNELS, BATCH = 16, 20, 64
HIDDEN = {"DNN (eq. comp.)": [1800] * 8, "DNN (eq. param.)": [123] * 11}  # widths of hidden layers
SAMPLES = {"Kernel SHAP (40)": 40, "Kernel SHAP (77)": 77, "Kernel SHAP (def.)": 2 * FEATURES + 2**11}

# Table 5: seconds for 1000 explanations, of the Deep ShapNet and of each DNN.
PAPER = {
    "loop": (20.47, None, None),
    "Deep SHAP": (46.10, 83.38, 8.56),
    "Kernel SHAP (40)": (60.78, 130.04, 11.52),
    "Kernel SHAP (77)": (72.61, 201.88, 13.53),
    "Kernel SHAP (def.)": (598.79, 789.08, 142.85),
}

Taken = dict[tuple[str, str], list[float]]  # seconds by model and method


def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """Seconds of one explanation of 16 features by every method that the table has, and ratios to the ShapNet's own.

    The models are the paper's, untrained: a Deep ShapNet of 32 modules with a hidden layer of 100, and perceptrons with
    8 hidden layers of 1800 ("equivalent in computation") or 11 of 123 ("in parameters"), all with one output. Between
    the stages there are 20 channels, which the paper does not name; the network then has 149,600 parameters, and the
    perceptron of equal parameters 154,735.

    The ShapNet's prediction with its explanation is timed for one input ("ours"), for 64 at once, per input ("ours, 64
    at once"), and for one in a plain loop over modules ("loop", `rivals.Loop`), which is the form of the layers that
    the paper's authors released; so the paper's ratios belong beside those to the loop. Deep SHAP and Kernel SHAP are
    shap's, made beforehand with the reference 0 and timed while they explain one input; they explain many one after the
    other. Kernel SHAP is not regularised, which takes less time. Deep SHAP has to see a module for every activation and
    is given `experiments._models.transparent.Transparent`.

    Each contender is called once per turn, `TURNS` times; a ratio is that of the medians, with the smallest and largest
    ratio of one turn beside it, and the 95 % interval of the mean over turns. The short form has perceptrons with two
    hidden layers of 6, and 20 samples for Kernel SHAP.
    """
    repeats = 2 if short else TURNS
    samples = dict.fromkeys(SAMPLES, 20) if short else SAMPLES
    generator = torch.Generator().manual_seed(0)
    net = DeepShapNet(FEATURES, CHANNELS, 1, hidden=(100,))
    net.reset_parameters(generator)
    net = net.to(device).requires_grad_(False)
    x = torch.randn(BATCH, FEATURES, generator=generator).to(device)
    one, loop = x[:1], Loop(net)
    torch.testing.assert_close(loop(one), net.explain(one).attributions, rtol=1e-3, atol=1e-4)
    contenders: dict[tuple[str, str], Callable[[], object]] = {
        ("Deep ShapNet", "ours"): lambda: net.explain(one),
        ("Deep ShapNet", "ours, 64 at once"): lambda: net.explain(x),
        ("Deep ShapNet", "loop"): lambda: loop(one),
        ("Deep ShapNet", "Deep SHAP"): deep_shap(Transparent(net), one),
    }
    contenders |= {("Deep ShapNet", name): kernel_shap(net, one, n) for name, n in samples.items()}
    for name, widths in HIDDEN.items():
        dnn = perceptron([6, 6] if short else widths, generator).to(device)
        contenders[name, "Deep SHAP"] = deep_shap(dnn, one)
        contenders |= {(name, method): kernel_shap(dnn, one, n) for method, n in samples.items()}
    state = np.random.get_state()  # the global generator, from which shap draws its samples
    try:
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shap, about systems with few samples
            times = in_turn(list(contenders.values()), repeats, x.device)
    finally:
        np.random.set_state(state)
    taken = dict(zip(contenders, times, strict=True))
    taken["Deep ShapNet", "ours, 64 at once"] = [t / BATCH for t in taken["Deep ShapNet", "ours, 64 at once"]]
    rows = [{"model": model, "method": method} | _against(taken, model, method) for model, method in taken]
    return recorded("explain", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per model and method."""
    lines = [
        f"{'model':16} {'method':18}   seconds  over ours (range)               over loop (range)               paper"
    ]
    for row in record["rows"]:
        line = f"{row['model']:16} {row['method']:18} {row['seconds']:9.6f}"
        for name in ("ours", "loop"):
            line += f" {row[f'over_{name}']:10.2f} {in_brackets(row[f'over_{name}_range']):20}"
        paper = row["paper_over_loop"]
        lines.append(line.rstrip() if paper is None else f"{line} {paper:6.2f}")
    return lines


def _against(taken: Taken, model: str, method: str) -> Row:
    """One contender's seconds, and its ratios to the ShapNet's own explanation in its three forms."""
    mine = taken[model, method]
    column = ["Deep ShapNet", *HIDDEN].index(model)
    paper = PAPER.get(method, (None,) * 3)[column]
    row: Row = {"seconds": median(mine), "paper_over_loop": paper and paper / PAPER["loop"][0]}
    for name, other in (("ours", "ours"), ("batch", "ours, 64 at once"), ("loop", "loop")):
        reference = taken["Deep ShapNet", other]
        row[f"over_{name}"] = ratio(mine, reference)
        row[f"over_{name}_range"] = turn_range(mine, reference)
        row[f"over_{name}_interval"] = list(interval(by_turn(mine, reference))) if len(mine) > 1 else None
    return row


def perceptron(widths: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with a ReLU after each but the last, from 16 features to one output, drawn as PyTorch does."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([FEATURES, *widths, 1]):
        layers += [nn.utils.skip_init(nn.Linear, fan_in, fan_out), nn.ReLU()]
        for p in layers[-2].parameters():
            nn.init.uniform_(p, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return nn.Sequential(*layers[:-1])
