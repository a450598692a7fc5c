"""Perceptrons with one of several activations, and their optimisers."""

from itertools import pairwise

import torch
from torch import nn

from shapnotes.nn import SALinear, ShapLULinear

NAMES = {"relu": "ReLU", "shaplu": "ShapLU", "sa": "SA", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "leaky ReLU"}


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
