"""The definition: all coalitions of a neuron's inputs."""

import torch
from torch import Tensor

from shapnotes.coalitions import masks, member_sums, sizes, value_weights

MAX_PLAYERS = 20


def values(terms: Tensor, offset: Tensor) -> Tensor:
    """Exact values of max(offset + sum of terms, 0), by enumeration: terms [rows, n], offset [rows] -> [rows, n].

    Differentiable, in float64 inside. Cost: 2**n additions and maxima per row.
    """
    n = terms.shape[1]
    present = masks(n, device=terms.device).to(torch.float64)
    table = torch.relu(present @ terms.double().T + offset.double())  # [2**n, rows]
    a, w = (weights.to(terms.device)[sizes(n, device=terms.device)] for weights in value_weights(n))
    return (member_sums(a[:, None] * table) - w @ table).T.to(terms.dtype)
