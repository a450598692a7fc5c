"""Perceptrons by the definition: mask their inputs, evaluate all 2^k, and leave values to the contraction.

The fewest calls, so also the fastest way where all of it is small.
"""

import torch
from torch import Tensor

from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.inner.block import Members
from shapnotes.shapnet.inner.weights import Weights


def coalition_values(members: Members, present: Tensor, absent: Tensor | None, weights: Weights) -> CoalitionValues:
    """The outputs for all 2^k coalitions; present [n_players, channels, batch], absent [n_players, channels, 1]."""
    sums = torch.baddbmm(weights.bias, weights.first, members.masked(present, absent))
    outputs = weights.after_first_layer(sums)  # [modules, outputs, 2^k * batch]
    modules, channels, _ = outputs.shape
    by_coalition = outputs.view(modules, channels, 2**members.k, -1).transpose(1, 2)
    return CoalitionValues(by_coalition.reshape(modules * 2**members.k, -1), with_empty=True)
