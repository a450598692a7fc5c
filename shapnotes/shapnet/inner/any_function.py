"""Modules of any function: evaluated on all 2^k coalitions of its players."""

from collections.abc import Callable

import torch
from torch import Tensor

from shapnotes._runtime.tensors import all_finite
from shapnotes.explanation import refuse_nonfinite
from shapnotes.game import Game, checked_output, refuse_training_mode
from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.inner.block import Block, Sets
from shapnotes.shapnet.inner.tiles import in_tiles

Inner = Callable[[Tensor], Tensor]


class AnyFunction(Block):
    """A function that all modules of the block share.

    Parameters
    ----------
    sets, n_players, channels
        As in `Block`.
    f : callable
        [rows, k * channels] -> [rows, outputs], deterministic, each row by itself. A network in which chance or other
        rows have a say while it trains, as in dropout, is refused until it is in eval().

    Raises
    ------
    TypeError
        For an f that cannot be called.
    """

    def __init__(self, sets: Sets, n_players: int, channels: int, f: Inner):
        super().__init__(sets, n_players, channels)
        if not callable(f):
            raise TypeError(f"an inner function takes rows [rows, k * channels]; got {type(f).__name__}")
        self.f = f

    def forward(self, present: Tensor, absent: Tensor | None) -> CoalitionValues:
        refuse_training_mode(self.f)
        modules, coalitions, members = len(self.sets), 2**self.k, self.members()

        def coalition_values(present: Tensor) -> Tensor:
            rows = members.masked(present, absent).transpose(1, 2).flatten(0, 1)
            outputs = checked_output(self.f(rows), len(rows)).reshape(modules, coalitions, present.shape[2], -1)
            if not all_finite(outputs):
                refuse_nonfinite()
            return (outputs - outputs[:, :1]).transpose(2, 3)

        numbers = coalitions * modules * self.k * self.channels
        values = in_tiles(coalition_values, present, numbers)  # [modules, coalitions, outputs, batch]
        return CoalitionValues(values.flatten(0, 1).flatten(1), with_empty=True)

    @torch.no_grad()
    def refuse_mixing(self, x: Tensor, reference: Tensor | None) -> None:
        """Refuse a function in which chance or other rows have a say, as a model is refused (`Game.inspect`).

        x [batch, n_players, channels], a few inputs, and the reference [n_players, channels], None for zero. The values
        of such a function add up to what the network predicts, so that nothing else shows it.
        """
        rows = x[:, self.players].reshape(len(x) * len(self.sets), -1)
        absent = None if reference is None else reference[self.players].reshape(len(self.sets), -1).repeat(len(x), 1)
        Game(self.f, rows, absent).inspect()
