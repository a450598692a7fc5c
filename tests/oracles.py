"""Slow, plain computations of the same numbers by other routes: what the package is compared with."""

from itertools import permutations
from math import factorial

import torch
from torch import Tensor


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """How far two routes to the same number may differ in each precision."""
    return {
        torch.float64: {"rtol": 1e-11, "atol": 1e-12},
        torch.float32: {"rtol": 1e-4, "atol": 2e-5},
        torch.bfloat16: {"rtol": 5e-2, "atol": 5e-2},
    }[dtype]


def by_permutations(table: Tensor) -> Tensor:
    """The definition: average marginal contribution over all n! orders. [2**n, ...] -> [n, ...]."""
    n = len(table).bit_length() - 1
    phi = torch.zeros(n, *table.shape[1:], dtype=torch.float64)
    for order in permutations(range(n)):
        coalition = 0
        for player in order:
            joined = coalition | 1 << player
            phi[player] += (table[joined] - table[coalition]).double()
            coalition = joined
    return phi / factorial(n)


def by_dividends(table: Tensor) -> Tensor:
    """Another route: Moebius coefficients d(S) = sum over T in S of (-1)^(|S|-|T|) v(T), shared equally in S."""
    n = len(table).bit_length() - 1
    phi = torch.zeros(n, *table.shape[1:], dtype=torch.float64)
    for coalition in range(1, 2**n):
        dividend = torch.zeros(table.shape[1:], dtype=torch.float64)
        for part in range(2**n):
            if part & ~coalition == 0:
                dividend += (-1) ** (coalition.bit_count() - part.bit_count()) * table[part].double()
        for player in range(n):
            if coalition >> player & 1:
                phi[player] += dividend / coalition.bit_count()
    return phi


def by_regression(present: Tensor, weight: Tensor, worths: Tensor, change: Tensor) -> Tensor:
    """Kernel SHAP as it is written: weighted least squares on coalitions, with a multiplier for the sum of the values.

    present bool [rows, n], weight [rows], worths [rows, outputs] less that of the empty coalition, change [outputs]
    that of the full one. Returns [n, outputs].
    """
    z, (rows, n) = present.double(), present.shape
    system = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    right = torch.zeros(n + 1, worths.shape[1], dtype=torch.float64)
    for row in range(rows):
        system[:n, :n] += weight[row] * z[row, :, None] * z[row]
        right[:n] += weight[row] * z[row, :, None] * worths[row]
    system[:n, n] = system[n, :n] = 1
    right[n] = change
    return torch.linalg.solve(system, right)[:n]


def table_of(f, x: Tensor, baseline: Tensor, labels: list[int]) -> Tensor:
    """All 2**n values of the game of f at one input, a row at a time: [2**n, *outputs]."""
    n = max(labels) + 1
    rows = []
    for coalition in range(2**n):
        row = baseline.clone().flatten()
        for feature, player in enumerate(labels):
            if coalition >> player & 1:
                row[feature] = x.flatten()[feature]
        rows.append(f(row.reshape(1, *x.shape))[0])
    return torch.stack(rows)


def model_values(f, x: Tensor, baseline: Tensor, labels: list[int] | None = None) -> Tensor:
    """Shapley values of a batch by the definition: [batch, n, *outputs]."""
    labels = list(range(x[0].numel())) if labels is None else labels
    baselines = baseline.expand_as(x)
    return torch.stack([by_permutations(table_of(f, one, r, labels)) for one, r in zip(x, baselines, strict=True)])
