"""The definition: all coalitions of a neuron's inputs."""

import torch
from torch import Tensor

from shapnotes.coalitions import masks, member_sums, sizes, value_weights
from shapnotes.neuron.owen import gain

MAX_PLAYERS = 20


def values(terms: Tensor, offset: Tensor) -> Tensor:
    """Exact values of max(offset + sum of terms, 0), by enumeration: terms [rows, n], offset [rows] -> [rows, n].

    Differentiable, in float64 inside. Cost: 2**n additions and maxima per row.
    """
    n = terms.shape[1]
    present = masks(n, device=terms.device).to(torch.float64)
    table = gain(offset.double(), present @ terms.double().T)  # [2**n, rows], less that of the empty coalition
    a, w = (weights.to(terms.device)[sizes(n, device=terms.device)] for weights in value_weights(n))
    found = (member_sums(a[:, None] * table) - w @ table).T
    return (found - torch.where(terms == 0, found.detach(), 0)).to(terms.dtype)  # exactly 0, and with its gradient
