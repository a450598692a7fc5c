"""Small random networks with awkward numbers, and their exact values in more digits than the package computes in."""

from fractions import Fraction
from itertools import pairwise
from math import factorial

import numpy as np
import torch
from torch import Tensor, nn


def random_network(rng: np.random.Generator, n: int, dtype: torch.dtype) -> nn.Sequential:
    """One to three hidden layers of ReLUs, leaky or not; some weights 0, some layers whole numbers, all of any size."""
    sizes = [n, *rng.integers(1, 7, rng.integers(0, 4)), rng.integers(1, 3)]
    layers: list[nn.Module] = []
    for into, out in pairwise(int(size) for size in sizes):
        layer = nn.Linear(into, out, bias=bool(rng.integers(4)), dtype=dtype)
        whole = rng.integers(3) == 0  # then many sums are exactly on the kink
        with torch.no_grad():
            for p in layer.parameters():
                numbers = rng.integers(-2, 3, p.shape) if whole else rng.normal(size=p.shape) * 10 ** rng.uniform(-3, 3)
                p.copy_(torch.as_tensor(numbers * (rng.random(p.shape) < 0.9)))
        layers += [layer, nn.LeakyReLU(float(rng.choice([0.25, 0.01, 1.0]))) if rng.integers(3) == 0 else nn.ReLU()]
    return nn.Sequential(*(layers[:-1] if rng.integers(4) else layers))


def exact_values(model: nn.Sequential, x: Tensor, baseline: Tensor, number: type) -> np.ndarray:
    """Shapley values of one input by the definition, in any kind of numbers: [n, outputs].

    number : np.longdouble, with 11 more bits than float64 on most machines, or Fraction, exact and slow
    """
    kind = object if number is Fraction else number

    def exact(t: Tensor) -> np.ndarray:
        wide = np.vectorize(Fraction, otypes=[object])(t.detach().double().numpy()) if kind is object else None
        return t.detach().double().numpy().astype(kind) if wide is None else wide

    n = len(x)
    present = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
    z = np.where(present, exact(x), exact(baseline))
    for layer in model:
        if isinstance(layer, nn.Linear):
            z = z @ exact(layer.weight).T + (0 if layer.bias is None else exact(layer.bias))
        else:
            z = np.maximum(z, number(getattr(layer, "negative_slope", 0)) * z)
    size = present.sum(1)
    found = []
    for k in range(n):
        without = np.flatnonzero(~present[:, k])
        weights = [number(factorial(int(s)) * factorial(n - 1 - int(s))) / number(factorial(n)) for s in size[without]]
        contributions = z[without | 1 << k] - z[without]
        found.append((np.array(weights, dtype=kind)[:, None] * contributions).sum(0))
    return np.array(found)
