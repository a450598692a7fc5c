"""Perceptrons whose 2^k masked inputs share k products W_i (x_i - r_i), added up along the coalitions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.inner.block import Members
from shapnotes.shapnet.inner.tiles import in_tiles
from shapnotes.shapnet.inner.weights import Weights
from shapnotes.shapnet.traced import is_traced


def coalition_values(
    members: Members, present: Tensor, absent: Tensor | None, weights: Weights, at_once: int | None = None
) -> CoalitionValues:
    """The outputs for all coalitions but the empty one, from k products per module and additions.

    present [n_players, channels, batch], absent [n_players, channels, 1]. at_once : as in `tiles.in_tiles`
    """
    constant, x = weights.relative(members, present, absent)
    (modules, outputs, _), width, k = weights.last.shape, weights.first.shape[1], members.k
    first, nobody = weights.by_player(k), weights.after_first_layer(constant.clone())[..., None]

    def values(x: Tensor) -> Tensor:
        terms = torch.bmm(first, x.reshape(modules * k, members.channels, -1)).view(modules, k, width, -1)
        return weights.after_first_layer(coalition_sums(constant, terms)).view(modules, outputs, 2**k - 1, -1) - nobody

    widest = max(width, outputs, *(weight.shape[1] for weight, _ in weights.hidden))
    by_output = in_tiles(values, x, 2**k * modules * widest, at_once)  # [modules, outputs, 2^k - 1, batch]
    return CoalitionValues(by_output.transpose(1, 2).reshape(modules * (2**k - 1), -1), with_empty=False)


def coalition_sums(constant: Tensor, terms: Tensor) -> Tensor:
    """constant + the terms of the members, in every coalition of k players but the empty one.

    constant [modules, width, 1], terms [modules, k, width, batch]; returns [modules, width, (2^k - 1) * batch].
    """
    modules, k, width, batch = terms.shape
    table = terms.new_empty(modules, width, 2**k - 1, batch) if _may_be_written(constant, terms) else None
    sums = listed_sums(constant, terms.unbind(1), table)
    return torch.cat(sums[1:], 2) if table is None else table.flatten(2)


def listed_sums(constant: Tensor, terms: Sequence[Tensor], table: Tensor | None = None) -> list[Tensor]:
    """The same one by one, the empty coalition first; those of the others are written into a table where there is one.

    constant [modules, width, 1], terms [modules, width, batch] each; table [modules, width, 2^k - 1, batch].
    """
    sums = [constant]
    for coalition in range(1, 2 ** len(terms)):
        last = coalition.bit_length() - 1
        out = None if table is None else table[:, :, coalition - 1]
        sums.append(torch.add(sums[coalition ^ 1 << last], terms[last], out=out))
    return sums


def _may_be_written(*tensors: Tensor) -> bool:
    """Whether results may go straight where they belong, without a copy: there is no graph, no vmap, no compiler."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return not is_traced(*tensors)
