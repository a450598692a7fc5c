"""The weights of many perceptrons, and the parts of their evaluation that all strategies share."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, relu

from shapnotes.shapnet.inner.block import Members


class Weights(NamedTuple):
    """The weights of a block's perceptrons.

    Attributes
    ----------
    first : Tensor
        W, [modules, width, k * channels].
    bias : Tensor
        [modules, width, 1].
    hidden : tuple of pairs of Tensor
        Weight [modules, width, fan-in] and bias [modules, width, 1] of each further hidden layer.
    last : Tensor
        V, [modules, outputs, width].
    negative_slope : float
        Of the activation.
    """

    first: Tensor
    bias: Tensor
    hidden: tuple[tuple[Tensor, Tensor], ...]
    last: Tensor
    negative_slope: float

    def activated(self, sums: Tensor, inplace: bool = True) -> Tensor:
        if self.negative_slope:
            return leaky_relu(sums, self.negative_slope, inplace)
        return relu(sums, inplace)

    def after_first_layer(self, sums: Tensor) -> Tensor:
        """f from the first layer's sums on, which are overwritten: [modules, width, n] -> [modules, outputs, n]."""
        for weight, bias in self.hidden:
            sums = torch.baddbmm(bias, weight, self.activated(sums))
        return torch.bmm(self.last, self.activated(sums))

    def by_player(self, k: int) -> Tensor:
        """The first layer's weights, those of each player by themselves: [modules * k, width, channels]."""
        modules, width, _ = self.first.shape
        return self.first.view(modules, width, k, -1).transpose(1, 2).reshape(modules * k, width, -1)

    def relative(self, members: Members, present: Tensor, absent: Tensor | None) -> tuple[Tensor, Tensor]:
        """The first layer's sums at the reference r, [modules, width, 1], and x - r, [modules, k * channels, batch]."""
        if absent is None:
            return self.bias, members.gathered(present)
        return self.bias + self.first @ members.gathered(absent), members.gathered(present - absent)
