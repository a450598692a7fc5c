"""Modules that are small perceptrons: their parameters, and how these are drawn; no arithmetic."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from shapnotes.shapnet.inner.answers import CoalitionValues, Values
from shapnotes.shapnet.inner.block import Block, Sets
from shapnotes.shapnet.inner.dispatch import Call, module_values
from shapnotes.shapnet.inner.initialisation import value_variance
from shapnotes.shapnet.inner.weights import Weights


class Perceptrons(Block):
    r"""A perceptron for each of many modules of k players.

    .. math::
        f = V a(\ldots a(W x + b)), \qquad W x = \sum_i W_i x_i, \qquad
        a(s) = \max(s, 0) + \epsilon \min(s, 0)

    :math:`W_i` belongs to player i, :math:`\epsilon` is the `negative_slope`. f has no last bias: a constant is worth
    nothing to anybody.

    With a `variance` weights are normal: hidden ones of variance 2 / ((1 + slope^2) fan-in), as He et al. derive, those
    of V of variance / (width * `value_variance(k, ...)`), with which the Shapley values nearly keep the size of the
    inputs. Without it weights and biases are uniform within 1 / sqrt(fan-in), as in PyTorch's linear layers.

    Parameters
    ----------
    sets : sequence of tuples of int
        The players of each module, all equally many.
    n_players : int
        How many players there are.
    channels : int
        Length of a player's vector.
    hidden : sequence of int
        Widths of the hidden layers, at least one.
    outputs : int
        Outputs of f.
    negative_slope : float
        Slope of a where its argument is negative.
    variance : float, optional
        At initialisation, the mean square of a value over that of its player's :math:`x_i - r_i`; or None.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Raises
    ------
    ValueError
        Without a hidden layer.
    """

    bias_variance = 0.5  # of the biases of hidden layers at initialisation, with a `variance`

    def __init__(
        self,
        sets: Sets,
        n_players: int,
        channels: int,
        hidden: Sequence[int],
        outputs: int,
        negative_slope: float = 0.0,
        variance: float | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__(sets, n_players, channels)
        if not hidden:
            raise ValueError("hidden is empty; an inner perceptron needs at least one hidden layer, as hidden=(100,)")
        self.widths, self.negative_slope, self.variance = (*hidden, outputs), negative_slope, variance
        modules = len(sets)
        self.first = nn.Parameter(torch.empty(modules, hidden[0], self.k * channels))
        self.bias = nn.Parameter(torch.empty(modules, hidden[0], 1))
        self.weights = nn.ParameterList(torch.empty(modules, width, fan_in) for fan_in, width in pairwise(hidden))
        self.biases = nn.ParameterList(torch.empty(modules, width, 1) for width in hidden[1:])
        self.last = nn.Parameter(torch.empty(modules, outputs, hidden[-1]))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        weights, biases = (self.first, *self.weights), (self.bias, *self.biases)
        if self.variance is None:
            for weight, bias in zip((*weights, self.last), (*biases, None), strict=True):
                bound = weight.shape[2] ** -0.5
                weight.uniform_(-bound, bound, generator=generator)
                if bias is not None:
                    bias.uniform_(-bound, bound, generator=generator)
            return
        gain = 2 / (1 + self.negative_slope**2)
        for weight in weights:
            weight.normal_(0, (gain / weight.shape[2]) ** 0.5, generator=generator)
        for bias in biases:
            bias.normal_(0, self.bias_variance**0.5, generator=generator)
        with torch.device("cpu"):  # whatever device is PyTorch's default
            value = value_variance(self.k, len(biases), self.negative_slope, self.bias_variance)
        self.last.normal_(0, (self.variance / (self.last.shape[2] * value)) ** 0.5, generator=generator)

    def select(self, modules: Sequence[int]) -> Block:
        for name, parameter in list(self.named_parameters()):
            owner, _, key = name.rpartition(".")
            holder = self.get_submodule(owner) if owner else self
            setattr(holder, key, nn.Parameter(parameter.detach()[modules], requires_grad=parameter.requires_grad))
        return super().select(modules)

    def a_weight(self) -> Tensor:
        return self.first

    def forward(self, present: Tensor, absent: Tensor | None) -> Values | CoalitionValues:
        return module_values(Call(self.members(), present, absent, self._weights()))

    def coalition_values(self, present: Tensor, absent: Tensor | None) -> CoalitionValues:
        answer = module_values(Call(self.members(), present, absent, self._weights(), of_coalitions=True))
        assert isinstance(answer, CoalitionValues)
        return answer

    def _weights(self) -> Weights:
        further = len(self.widths) > 2  # an empty zip of parameter lists takes a tenth of a small block's time
        hidden = tuple(zip(self.weights, self.biases, strict=True)) if further else ()
        return Weights(self.first, self.bias, hidden, self.last, self.negative_slope)

    def extra_repr(self) -> str:
        widths = " -> ".join(map(str, (self.first.shape[2] // self.k, *self.widths)))
        return f"{len(self.sets)} modules of {self.k} players: {self.k} * {widths}"
