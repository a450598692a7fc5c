"""The values of perceptrons with one hidden layer in two products.

The first is with weights that are zero where a player is absent, one block of rows per coalition; the second with the
Shapley matrix times the last layer's. Both multiply more than they must, and leave the additions out.
"""

import torch
from torch import Tensor

from shapnotes.coalitions import cached_matrix, masks, shapley_matrix
from shapnotes.shapnet.inner.answers import Values
from shapnotes.shapnet.inner.block import Members
from shapnotes.shapnet.inner.tiles import in_tiles
from shapnotes.shapnet.inner.weights import Weights


def values(
    members: Members, present: Tensor, absent: Tensor | None, weights: Weights, at_once: int | None = None
) -> Values:
    """The players' values; present [n_players, channels, batch], absent [n_players, channels, 1].

    at_once : as in `tiles.in_tiles`
    """
    constant, x = weights.relative(members, present, absent)
    (modules, _, width), k, coalitions = weights.last.shape, members.k, 2**members.k
    mask = cached_matrix(masks, k, x.dtype, x.device)[1:].repeat_interleave(members.channels, 1)
    first = (weights.first[:, None] * mask[:, None]).flatten(1, 2)  # [modules, (2^k - 1) * width, k * channels]
    bias = constant.repeat(1, coalitions - 1, 1)
    matrix = cached_matrix(shapley_matrix, k, x.dtype, x.device)[:, None, :, None]
    last = (matrix * weights.last[:, None, :, None]).flatten(3).flatten(1, 2)  # [modules, k * outputs, 2^k * width]
    nobody, last = torch.bmm(last[..., :width], weights.activated(constant.clone())), last[..., width:]

    def values_of_some(x: Tensor) -> Tensor:
        return torch.baddbmm(nobody, last, weights.activated(torch.baddbmm(bias, first, x)))

    return Values(in_tiles(values_of_some, x, coalitions * modules * width, at_once).view(modules * k, -1))
