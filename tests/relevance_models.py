"""Small models for the tests of relevance, and equation 2 by loops, one neuron at a time."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def neuron(weight: list[list[float]], bias: list[float] | None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
    if bias is not None:
        layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return layer


def one_neuron_at_a_time(
    x: list[float], weight: list[list[float]], counts: list[list[float]], bias: list[float], r: list[float], eps: float
) -> list[float]:
    """Equation 2 for the inputs of a layer; counts[j][k] is proportional to how often neuron j has input k."""
    handed = [0.0] * len(x)
    for w, c, b, r_y in zip(weight, counts, bias, r, strict=True):
        n = sum(c)
        terms = [w_i * x_i for w_i, x_i in zip(w, x, strict=True)]
        if eps == 0 and not any(terms) and b == 0:
            b = 1e-300  # the limit from above; that from below is the same
        total = sum(terms) + b
        for k in range(len(x)):
            handed[k] += (terms[k] + c[k] * b / n) / (total + math.copysign(eps, total)) * r_y
    return handed


def as_matrix(layer: nn.Module, shape: torch.Size) -> Tensor:
    """The matrix of a linear layer without its bias, a column an input: [out, in]."""
    unit = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    return (layer(unit) - layer(torch.zeros_like(unit))).flatten(1).T.detach()


def by_loops(layer: nn.Module, x: Tensor, r: Tensor, eps: float = 0.0) -> Tensor:
    """One input at a time through one linear layer, its matrix found by probing."""
    weight = as_matrix(layer, x.shape[1:])
    state = {name: p.clone() for name, p in layer.named_parameters()}
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1)
        counts = as_matrix(layer, x.shape[1:])
        for name, p in layer.named_parameters():
            p.copy_(state[name])
        bias = layer(torch.zeros_like(x[:1])).flatten()
    rows = [
        one_neuron_at_a_time(*(t.tolist() for t in (one, weight, counts, bias, r_y)), eps)
        for one, r_y in zip(x.flatten(1), r.flatten(1), strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(x.shape)


def seeded(make, seed: int = 0) -> nn.Module:
    """A module in float64 and evaluation mode whose parameters and statistics all differ from their defaults."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().double().eval()
        for norm in model.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                    tensor.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b, bias), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """Two branches and their sum, an activation used twice and in place, a view."""

    def __init__(self, channels: int = 3, add=lambda a, b: a + b):
        super().__init__()
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4 * channels, 2)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.norm(self.first(x)))
        h = self.relu(self.add(self.second(h), h))
        return self.head(self.pool(h).view(h.size(0), -1))


class Does(nn.Module):
    """A model whose forward is a function of the module and its input."""

    def __init__(self, forward):
        super().__init__()
        self.does, self.layer, self.relu = forward, neuron([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]), nn.ReLU()
        self.offset = nn.Parameter(torch.ones(2).double())

    def forward(self, x):
        return self.does(self, x)
