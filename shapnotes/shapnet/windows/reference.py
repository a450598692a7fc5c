"""The values of windows by their definition, in tensor operations that differentiate, map and compile.

This is what a second derivative, a transform of `torch.func` and a program of `torch.compile` are made of, and what
every other backend is compared with.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from shapnotes.coalitions import cached_matrix, shapley_matrix
from shapnotes.shapnet.windows.geometry import Geometry, regions


def window_values(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, negative_slope: float) -> Tensor:
    """Each pixel's Shapley values in the windows that hold it, added up; exactly zero where the pixel is zero.

    x [batch, height, width, in], weight [in, k, out], bias [out]; returns [batch, height, width, out].
    """
    height, width = map(int, x.shape[1:3])
    terms = torch.unflatten(x @ weight.flatten(1), 3, weight.shape[1:]).unbind(3)  # k of [batch, height, width, out]
    z = torch.zeros_like(terms[0])
    for region in regions(geometry, height, width):
        pixels = [(slice(None), *region.pixels(i)) for i in range(len(region.players))]
        players = [terms[j][at] for j, at in zip(region.players, pixels, strict=True)]
        for at, values in zip(pixels, neuron_values(players, bias, negative_slope).unbind(), strict=True):
            z[at] += values
    # Zero at a pixel that is zero; z - z.detach() is 0 but keeps the gradient.
    return torch.where((x != 0).any(-1, keepdim=True), z, z - z.detach())


def neuron_values(terms: Sequence[Tensor], bias: Tensor, negative_slope: float) -> Tensor:
    """The Shapley values of a(bias + sum of terms) for k terms [*shape, out] and a bias [out]: [k, *shape, out]."""
    sums = [bias.expand_as(terms[0])]
    for term in terms:
        sums += [s + term for s in sums]  # in the order of coalitions: the upper half has this player
    matrix = cached_matrix(shapley_matrix, len(terms), bias.dtype, bias.device)
    outputs = leaky_relu(torch.stack(sums), negative_slope)
    return (matrix @ outputs.flatten(1)).view(len(terms), *terms[0].shape)
