"""Blocks of Shapley modules: many modules of k players each, evaluated together, and the players each sees."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shapnotes.coalitions import masks
from shapnotes.shapnet.inner.answers import CoalitionValues, Values

MAX_STORED_ADDRESSES = 2**21  # of the entries of masked inputs; more are made anew at each call

Sets = Sequence[tuple[int, ...]]


class Members(NamedTuple):
    """The players that the modules of a block see.

    Attributes
    ----------
    modules : int
        How many modules there are.
    k : int
        Players of each module.
    channels : int
        Length of a player's vector.
    n_players : int
        Of all modules together.
    players : Tensor
        int64 [modules * k], module after module.
    addresses : Tensor or None
        int64 [modules * k * channels * 2^k], for each entry of a masked input its row among the channels of all
        players, which come twice: present, then absent; None where that would be too many.
    """

    modules: int
    k: int
    channels: int
    n_players: int
    players: Tensor
    addresses: Tensor | None

    def gathered(self, vectors: Tensor) -> Tensor:
        """Each module's players' vectors: [n_players, channels, batch] -> [modules, k * channels, batch]."""
        return vectors.index_select(0, self.players).view(self.modules, self.k * self.channels, -1)

    def masked(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The inputs of each module in each coalition, nobody first: [modules, k * channels, 2^k * batch].

        present [n_players, channels, batch], absent [n_players, channels, 1], None for zero.
        """
        present = present.flatten(0, 1)
        if absent is None:
            both = nn.functional.pad(present, (0, 0, 0, self.n_players * self.channels))
        else:
            both = torch.cat([present, absent.flatten(0, 1).expand_as(present)])
        addresses = self.masked_addresses() if self.addresses is None else self.addresses
        return both.index_select(0, addresses).view(self.modules, self.k * self.channels, -1)

    def masked_addresses(self) -> Tensor:
        """`addresses`, made anew."""
        present = masks(self.k, device=self.players.device).T.repeat_interleave(self.channels, 0)
        rows = self.players[:, None] * self.channels + torch.arange(self.channels, device=self.players.device)
        rows = rows.view(self.modules, -1, 1)
        return torch.where(present, rows, rows + self.n_players * self.channels).flatten()


class Block(nn.Module):
    """Modules of k players each.

    Called with all players' vectors, [n_players, channels, batch], and their reference, [n_players, channels, 1] (None
    for zero), it answers with the values of coalitions or, if it has a closed form for them, of players. The batch is
    the last axis throughout, the long one of every product.

    Parameters
    ----------
    sets : sequence of tuples of int
        The players of each module, all equally many.
    n_players : int
        How many players there are.
    channels : int
        Length of a player's vector.
    """

    players: Tensor
    addresses: Tensor | None

    def __init__(self, sets: Sets, n_players: int, channels: int):
        super().__init__()
        self.k, self.n_players, self.channels = len(sets[0]), n_players, channels
        self._register(sets, None)

    def _register(self, sets: Sets, device: torch.device | None) -> None:
        self.sets = list(sets)
        self.register_buffer("players", torch.tensor(sets, device=device).flatten(), persistent=False)
        few = 2**self.k * self.players.numel() * self.channels <= MAX_STORED_ADDRESSES
        self.register_buffer("addresses", None, persistent=False)
        self.addresses = self.members().masked_addresses() if few else None

    def members(self) -> Members:
        buffers = self._buffers  # faster than attributes, which a module looks up among its parameters first
        players, addresses = buffers["players"], buffers["addresses"]
        assert players is not None
        return Members(len(self.sets), self.k, self.channels, self.n_players, players, addresses)

    def select(self, modules: Sequence[int]) -> "Block":
        """This block with some of its modules, in place."""
        self._register([self.sets[m] for m in modules], self.players.device)
        return self

    def a_weight(self) -> Tensor | None:
        """A parameter, whose device and dtype inputs have to have; None if there is none."""
        return next(self.parameters(), None)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights anew; a function of the user's own is left alone."""

    def refuse_mixing(self, x: Tensor, reference: Tensor | None) -> None:
        """Refuse what is random or mixes rows; only a function of the user's own can be."""

    def forward(self, present: Tensor, absent: Tensor | None) -> Values | CoalitionValues:
        raise NotImplementedError

    def coalition_values(self, present: Tensor, absent: Tensor | None) -> CoalitionValues:
        """The values of coalitions; a ValueError from a block that has those of players only."""
        answer = self(present, absent)
        if isinstance(answer, CoalitionValues):
            return answer
        raise ValueError("these modules answer with values and have no values of coalitions; use by='values'")
