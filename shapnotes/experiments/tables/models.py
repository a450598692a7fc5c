"""The tables of Shapley Explanation Networks and five models of them: what its Tables 1, 3 and 4 are about.

**Yeast and Breast Cancer.** Appendix I.2: ten rounds; in each the rows are parted at random, 75 % to train and 25 % to
test, the inputs are standardised with the training statistics, and five-fold cross-validation on the training rows
gives five models. We read that as: a model is trained on four fifths of the training rows and tested on the 25 %; the
fifth left out is for a second look. Seed 5 r + k is fold k of round r. The statistics are of all training rows of the
round. What is left when the rows are divided by five is in every training set, so that these have one size.

**The synthetic task.** Section 3: inputs uniform on [-1/2, 1/2]^16, which nothing says are standardised. Here they are
not; standardising them is a departure. How many rows there are the paper does not say. Each round draws its own, and
the rounds are divided as above.

**Deep ShapNet.** On Yeast and Breast Cancer the sizes of I.2, but for two that do not fit: it gives the first stage 25
outputs from one hidden layer of 50, and the second stage 100 inputs, two features of 50. We exchange the two (hidden
25, outputs 50). The last stage has one output per class: 2 for Breast Cancer, where I.2 says 10. For the synthetic task
I.1 names four stages of eight modules with one hidden layer of 100; its vectors between stages have no length there.
With 20 the network has 149,600 parameters, nearest to those of I.1's network "equivalent in parameters", 154,735.

**DNN.** Residual layers of one width, h + relu(W h + b); eleven hidden layers for equal parameters and eight for equal
computation, as in I.1. For the 16 features of the synthetic task I.1 gives the widths, 123 and 1800. For equal
parameters ours is 121, which comes nearest to the Deep ShapNet above. The width 1800 takes 39 times as many
multiplications as that, all four coalitions of a pair counted; it was chosen for equal time. Equal multiplications give
a width of 288. For the two real tables the paper gives no widths; ours come nearest to the Deep ShapNet's parameters,
and to its multiplications ("roughly four times as much computation as a vanilla DNN").

**Shallow ShapNet** and **GAM.** The paper does not describe theirs. Ours: one module for every pair of features, or for
every feature, with one hidden layer of 100.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import cycle, islice, pairwise

import torch
from torch import Tensor, nn

from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.training import fit_together
from shapnotes.experiments._models.residual import ResidualNetwork
from shapnotes.experiments.tables.splits import Fold
from shapnotes.shapnet import DeepShapNet, ShallowShapNet, all_pairs, butterfly, singletons

ALONE = {"shallow": 20_000}  # parameters from which networks side by side leave the cache; 1,000,000 for other models

MODELS = {
    "deep": "Deep ShapNet",
    "dnn_computation": "DNN (eq. comp.)",
    "dnn_parameters": "DNN (eq. param.)",
    "shallow": "Shallow ShapNet",
    "gam": "GAM",
}

# Features, channels between stages, outputs, hidden widths of each stage.
DEEP = {
    "synthetic": (16, (20,), 1, ((100,),)),
    "yeast": (8, (50, 50), 10, ((25,), (100, 100), (150, 150))),
    "breast_cancer": (30, (50, 50, 75, 100), 2, ((25,), (100, 100), (150, 150), (200, 200), (250, 250))),
}

SETS = {"shallow": all_pairs, "gam": singletons}
HIDDEN_LAYERS = {"dnn_computation": 8, "dnn_parameters": 11}
COMPUTATION = 1800  # the paper's width for equal computation with 16 features


def network(
    model: str,
    data: str,
    generator: torch.Generator,
    init: str = "linear",
    width: int | None = None,
    outputs: int | None = None,
) -> nn.Module:
    """A model of MODELS for a data set of DEEP, its weights drawn from `generator`.

    init    : "linear", uniform weights as in PyTorch's linear layers; for ShapNets also "variance", with
              `keep_variance`
    width   : of the hidden layers of all but the Deep ShapNet; when None 100 for ShapNets, and for a DNN what brings it
              nearest to the Deep ShapNet
    outputs : in place of those in DEEP
    """
    features, channels, usual, hidden = DEEP[data]
    outputs, keep = outputs or usual, init == "variance"
    if model == "deep":
        built = DeepShapNet(features, channels, outputs, hidden, keep_variance=keep)
    elif model in SETS:
        built = ShallowShapNet(SETS[model](features), outputs, (width or 100,), keep_variance=keep)
    else:
        width = width or equivalent_width(model, data)
        built = ResidualNetwork(features, width, HIDDEN_LAYERS[model], outputs)
    built.reset_parameters(generator)
    return built


def size(model: str, data: str, width: int | None = None) -> int:
    """The number of parameters of such a network, without building it."""
    features, _, outputs, _ = DEEP[data]
    if model == "deep":
        return deep_parameters(data)
    if model in SETS:
        width = width or 100
        return sum(width * (len(players) + 1 + outputs) for players in SETS[model](features))
    return _dnn_cost(model, data, width or equivalent_width(model, data), True)


def together(model: str, data: str, seeds: tuple[int, ...], width: int | None = None) -> list[tuple[int, ...]]:
    """The seeds that are best trained side by side: all, or of large networks each by itself."""
    apart = size(model, data, width) > ALONE.get(model, 1_000_000)
    return [(seed,) for seed in seeds] if apart else [seeds]


def stacked(folds: Sequence[Fold], device: str = "cpu") -> tuple[Tensor, Tensor]:
    """The training rows of several runs: inputs [runs, rows, features] and targets [runs, rows]."""
    return tuple(torch.stack(parts).to(device) for parts in zip(*(fold.train for fold in folds), strict=True))


SCHEDULES = {"constant": None, "falling": lambda done: 1 - done}


def fit(
    networks: Sequence[nn.Module],
    train: tuple[Tensor, Tensor],
    generators: Sequence[torch.Generator],
    config: dict,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[nn.Module]:
    """Networks trained side by side as in appendix I.2: Adam with PyTorch's defaults.

    train      : as `stacked` answers
    config     : with "epochs" and "batch_size", with "rate" where that is not Adam's 0.001, and with "schedule",
                 "falling", where it falls linearly to 0 over all steps
    loss       : squared error for real targets and cross entropy for classes when None
    checkpoint : where the state is kept, to go on from
    """
    return fit_together(
        networks,
        train,
        loss=loss or (squared_error if train[1].is_floating_point() else nn.functional.cross_entropy),
        optimiser=partial(torch.optim.Adam, lr=config.get("rate", 1e-3), fused=True),
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        generators=generators,
        schedule=SCHEDULES[config.get("schedule", "constant")],
        checkpoint=checkpoint,
    )


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """The mean of (H(x) - y)^2, for predictions [batch, 1] and targets [batch]."""
    return (predictions[:, 0] - targets).square().mean()


class Shifted(nn.Module):
    """A network plus a constant for each output, learned from zero. It changes no explanation."""

    def __init__(self, net: nn.Module, outputs: int):
        super().__init__()
        self.net = net
        self.constant = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.constant


@cache
def equivalent_width(model: str, data: str) -> int:
    """The width that brings a DNN nearest to the Deep ShapNet in what it is to equal."""
    biases = model == "dnn_parameters"
    aim = deep_parameters(data) if biases else deep_multiplications(data)
    width = 1
    while _dnn_cost(model, data, width + 1, biases) <= aim:
        width += 1
    return min(width, width + 1, key=lambda w: abs(_dnn_cost(model, data, w, biases) - aim))


def _dnn_cost(model: str, data: str, width: int, biases: bool) -> int:
    """Weights, which are multiplications per input, with or without biases."""
    features, _, outputs, _ = DEEP[data]
    widths = [features, *[width] * HIDDEN_LAYERS[model], outputs]
    return sum((fan_in + biases) * fan_out for fan_in, fan_out in pairwise(widths))


def deep_parameters(data: str) -> int:
    """Those of the Deep ShapNet; its inner functions have no last bias."""
    return sum(_weights(widths) + sum(widths[1:-1]) for _, widths in _modules(data))


def deep_multiplications(data: str) -> int:
    """Those of the Deep ShapNet for one input, each module evaluated on all its coalitions."""
    return sum(2**k * _weights(widths) for k, widths in _modules(data))


def _weights(widths: list[int]) -> int:
    return sum(fan_in * fan_out for fan_in, fan_out in pairwise(widths))


def _modules(data: str) -> Iterator[tuple[int, list[int]]]:
    """Of every module of the Deep ShapNet: how many features, and the widths of its perceptron."""
    features, channels, outputs, hidden = DEEP[data]
    stages = butterfly(features)
    ends = [1, *islice(cycle(channels), len(stages) - 1), outputs]
    for sets, (fan_in, fan_out), inner in zip(stages, pairwise(ends), cycle(hidden), strict=False):
        for players in sets:
            yield len(players), [len(players) * fan_in, *inner, fan_out]


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
