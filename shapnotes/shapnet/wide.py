"""Wide ShapNets: stages of ReLU neurons that see every player, whose values are handed on."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from shapnotes.neuron import relu_values
from shapnotes.neuron.owen import gain
from shapnotes.shapnet.cascade import PlayerStage, ShapNet
from shapnotes.shapnet.compiled import separate_program
from shapnotes.shapnet.door import is_whole, whole, whole_numbers
from shapnotes.shapnet.inner.initialisation import value_variance

METHODS = ("normal", "edgeworth", "enumeration")  # those with gradients that give an absent player exactly nothing
COUNTED_PLAYERS = 32  # beyond, the variance of a value over that of its term is that of infinitely many, to 0.1 %


class WideStage(PlayerStage):
    r"""ReLU neurons that see all players, and the Shapley values of their answers.

    .. math::
        Z_k = V \phi_k, \qquad
        \phi_{kh} = \phi_k\big(S \mapsto \max(o_h + \textstyle\sum_{i \in S} t_{hi}, 0)\big),

        t_{hi} = w_{hi} \cdot (z_i - r_i), \qquad o_h = b_h + \textstyle\sum_i w_{hi} \cdot r_i

    h counts the neurons and V is a readout, or none. A neuron takes in players by a sum, so its game is that of a
    neuron of single numbers, the terms :math:`t_{hi}`, whatever the players' vectors are. By linearity (Lemma 1) Z is
    the Shapley value of :math:`V \max(W z + b, 0)`, approximately, in so far as `method` is; its sum over players is
    exact.

    Parameters
    ----------
    n_players, in_channels : int
        Players, and the length of the vector that each has.
    neurons : int
        How many.
    out_channels : int, optional
        Rows of V; None is no readout: each neuron's value is a channel.
    method : str
        How values are computed, one of METHODS.
    nodes : int
        Of the quadrature over the rate, the chance with which other features are present.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.
    """

    def __init__(
        self,
        n_players: int,
        in_channels: int,
        neurons: int,
        out_channels: int | None = None,
        *,
        method: str = "normal",
        nodes: int = 8,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.n_players, self.in_channels = n_players, in_channels
        self.out_channels = neurons if out_channels is None else out_channels
        self.method, self.nodes = method, nodes
        self.weight = nn.Parameter(torch.empty(neurons, n_players, in_channels))
        self.bias = nn.Parameter(torch.empty(neurons))
        self.readout = None if out_channels is None else nn.Parameter(torch.empty(out_channels, neurons))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights that keep the size of what passes, from `generator`; biases start at 0.

        Let a channel have the mean square :math:`s^2`, and weights the variance :math:`u`: a term has the variance
        :math:`c u s^2`, with c channels, and a value :math:`f_n` times that, f from 1/2 for one player to
        (2 - log 2) / 4 for many, since a value is about the term times how often the neuron is on. So values keep the
        size with :math:`u = 1 / (c f_n)`. Before a readout it is the answer that is to keep it, the sum of all
        players' values: :math:`u = 2 / (c n)` (He et al., 2015) and 1 / neurons for the readout.
        """
        neurons, n, channels = self.weight.shape
        if self.readout is None:
            counted = min(n, COUNTED_PLAYERS)
            variance = 1 / (channels * value_variance(counted) * counted / 2)
        else:
            variance = 2 / (channels * n)
            self.readout.normal_(0, neurons**-0.5, generator=generator)
        self.weight.normal_(0, sqrt(variance), generator=generator)
        self.bias.zero_()

    def forward(self, z: Tensor, reference: Tensor | None = None) -> Tensor:
        moved, offset = self._moved(z, reference)
        terms = (moved.transpose(0, 1) @ self.weight.permute(1, 2, 0)).permute(1, 2, 0)  # [batch, neurons, players]
        offset = offset.expand(terms.shape[:2])
        single = terms.dtype.itemsize < 4  # no normal distribution function of half precision
        if single:
            terms, offset = terms.float(), offset.float()
        values = relu_values(terms, offset.to(terms.dtype), method=self.method, nodes=self.nodes).values
        values = values.to(z.dtype).transpose(1, 2) if single else values.transpose(1, 2)
        return values if self.readout is None else values @ self.readout.T

    def total(self, z: Tensor, reference: Tensor | None = None) -> Tensor:
        """The sum of Z over players without the values: the neurons' change of output, [batch, out_channels]."""
        moved, offset = self._moved(z, reference)
        change = gain(offset, moved.flatten(1) @ self.weight.flatten(1).T)
        return change if self.readout is None else change @ self.readout.T

    def _moved(self, z: Tensor, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """z less the reference, and what each neuron is given where all are absent, [neurons]."""
        if reference is None:
            return z, self.bias
        return z - reference, self.bias + self.weight.flatten(1) @ reference.flatten()

    def extra_repr(self) -> str:
        return f"{self.n_players} players, {len(self.weight)} neurons, method={self.method!r}, nodes={self.nodes}"


class WideShapNet(ShapNet):
    r"""A cascade of layers of ReLU neurons that see every feature, which predicts by adding up its explanation.

    .. math::
        H(x) &= \sum_k h_k(x), \\
        h &= V \circ T_L \circ \cdots \circ T_1, \\
        T_l(z)_{kh} &= \phi_k\big(\max(b_h + \textstyle\sum_i w_{hi} \cdot z_i, 0)\big)

    :math:`T_l` gives feature k a vector with one channel per neuron, its Shapley value in that neuron's game, where
    absent features have their reference: the baseline at the first stage and 0 at all later ones. V is linear and the
    same for all features; by Lemma 1 it makes values of the neurons values of the outputs.

    A neuron's game has as many players as there are features. Its values are those of an approximation, `method`,
    closed so that they sum to the neuron's answer less that at the reference; a feature at its reference is given
    exactly nothing. The latter is all that Theorem 3 and Corollary 4 need, so they hold here: local accuracy,
    missingness, and a feature that is absent at one stage is absent at all later ones.

    **One stage** is an ordinary perceptron: since the values sum to the answer, whatever the method,
    :math:`H(x) = V [\max(W x + b, 0) - \max(W r + b, 0)]`, and h are its Shapley values, approximately. With more
    stages H is another function, and h is in general not its Shapley value.

    **Biases** are free. A stage is a sum over players of what each has through W, and b moves the kink away from the
    reference; as what neurons say at the reference is subtracted, :math:`H(r) = 0` whatever b is. A neuron with a large
    positive b is linear, and hands on its terms; one with a negative b needs several features to be on at all.

    Parameters
    ----------
    n_features : int
        n.
    channels : int or sequence of int
        Neurons of each stage, or of the only one.
    out_features : int
        Outputs of the network.
    in_channels : int
        Length of the vector that each feature carries.
    baseline : Tensor, float or sequence of float, optional
        The first stage's reference r: None (0), a number, or what broadcasts to one input.
    method : str
        "normal" or "edgeworth", see `relu_shapley_values`; "enumeration", for up to 20 features, is exact.
    nodes : int
        Of the quadrature over the rate, the chance with which other features are present, for the first two.
    generator : torch.Generator, optional
        Draws the weights, under which representations and H keep the size of the inputs; None is PyTorch's global one.

    Raises
    ------
    ValueError, TypeError
        For sizes, methods and baselines that do not fit, and for inputs as `ShapNet` does.

    Notes
    -----
    Called with x [batch, n_features] or [batch, n_features, in_channels] it returns H(x) [batch, out_features].
    `explain(x)` has h(x) and `layers(x)` the representation of every stage, the last one after V. A prediction by
    itself adds up the last stage before its values are computed, which is the same up to rounding.

    Cost
    ----
    n * in_channels * neurons multiplications per stage, and about 2 * nodes * n * neurons normal distribution functions
    where values are wanted: of all stages for an explanation, of all but the last for a prediction.

    Source
    ------
    Ours; a stage is what Shapley Explanation Networks, Definition 4, calls a Shapley transform, of functions of all
    players.

    Examples
    --------
    >>> net, x = WideShapNet(50, (10, 100), 3), torch.ones(2, 50)
    >>> net.explain(x).attributions.shape
    torch.Size([2, 50, 3])
    >>> [tuple(z.shape) for z in net.layers(x)]
    [(2, 50, 10), (2, 50, 3)]
    """

    def __init__(
        self,
        n_features: int,
        channels: int | Sequence[int],
        out_features: int,
        in_channels: int = 1,
        baseline: Tensor | float | Sequence[float] | None = None,
        method: str = "normal",
        nodes: int = 8,
        *,
        generator: torch.Generator | None = None,
    ):
        n_features, out_features = whole(n_features, "n_features"), whole(out_features, "out_features")
        in_channels, nodes = whole(in_channels, "in_channels"), whole(nodes, "nodes")
        neurons = whole_numbers([channels] if is_whole(channels) else channels, "channels")
        if not neurons:
            raise ValueError("channels is empty; give the number of neurons of each stage, at least one, as (20, 20)")
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}")
        stages = [
            WideStage(
                n_features,
                before,
                count,
                out_features if number == len(neurons) else None,
                method=method,
                nodes=nodes,
                generator=generator,
            )
            for number, (before, count) in enumerate(pairwise((in_channels, *neurons)), start=1)
        ]
        super().__init__(stages, in_channels, baseline)
        self._total_program: Any = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have `torch.compile` make programs of what the network computes, as `ShapNet.compile`; in place.

        One of explanations and layers, and one of predictions, which need no values of the last stage.

        Parameters
        ----------
        *args, **kwargs : optional
            For `torch.compile`.
        """
        super().compile(*args, **kwargs)
        self._total_program = separate_program(self._total, *args, **kwargs)

    def _prediction(self, z: Tensor) -> Tensor:
        if self.pruning is not None or self._has_hooks():
            return super()._prediction(z)
        compiled = self._total_program is not None and self._program_serves(z, None)
        prediction: Tensor = (self._total_program if compiled else self._total)(z)
        return prediction

    def _total(self, z: Tensor) -> Tensor:
        """H(x) [batch, out_features] from the first representation, without the values of the last stage."""
        *stages, last = self._each_stage()
        for number, stage in enumerate(stages):
            z = self._after_stage(number, stage, z)
        assert isinstance(last, WideStage)
        return last.total(z, self._reference_of(len(stages), z))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_total_program": None}
