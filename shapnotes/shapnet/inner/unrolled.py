"""The values of perceptrons with one hidden layer, coalition by coalition: what a compiler makes one pass of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shapnotes.coalitions import shapley_rows
from shapnotes.shapnet.inner.answers import Values
from shapnotes.shapnet.inner.block import Members
from shapnotes.shapnet.inner.shared_sums import listed_sums
from shapnotes.shapnet.inner.weights import Weights

MAX_SUMMED_CHANNELS = 4  # for which a compiler does better with a sum than with a product by itself


def values(members: Members, present: Tensor, absent: Tensor | None, weights: Weights) -> Values:
    """The players' values; present [n_players, channels, batch], absent [n_players, channels, 1].

    A product is left to a library only where there is something to gain: not for one input, or few channels.
    """
    constant, x = weights.relative(members, present, absent)
    (modules, outputs, width), k, channels = weights.last.shape, members.k, members.channels
    x = x.view(modules, k, channels, -1)
    one_input = x.shape[3] == 1
    terms: Sequence[Tensor]  # k of [modules, width, batch]
    if channels <= MAX_SUMMED_CHANNELS or one_input:
        first = weights.first.view(modules, width, k, channels)
        terms = [(first[:, :, i, :, None] * x[:, None, i]).sum(2) for i in range(k)]
    else:
        terms = torch.bmm(weights.by_player(k), x.flatten(0, 1)).view(modules, k, width, -1).unbind(1)

    def outputs_of(hidden: list[Tensor]) -> list[Tensor]:
        return [(each[:, None] * weights.last[..., None]).sum(2) for each in hidden]

    def contracted(by_coalition: list[Tensor]) -> list[Tensor]:
        return [_combined(row, by_coalition) for row in shapley_rows(k)]

    hidden = [weights.activated(sums, inplace=False) for sums in listed_sums(constant, terms)]
    if one_input:
        by_player = torch.stack(outputs_of(contracted(hidden)), 1)
    elif outputs <= MAX_SUMMED_CHANNELS:
        by_player = torch.stack(contracted(outputs_of(hidden)), 1)
    else:
        last = weights.last.repeat_interleave(k, 0)
        by_player = torch.bmm(last, torch.stack(contracted(hidden), 1).flatten(0, 1))
    return Values(by_player.view(modules * k, -1))


def _combined(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total = total + weight * tensor
    return total
