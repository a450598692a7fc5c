"""The Shapley transform: gather active sets, evaluate their coalitions, contract to values, scatter and add.

Shallow and deep ShapNets are this one layer with other active sets. Its modules, one an active set, are never visited
one by one: those of a size are one batched product, and contracting and scattering are one matrix.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from shapnotes.coalitions import shapley_matrix
from shapnotes.shapnet.door import (
    check_finite,
    check_fits,
    check_tensor,
    is_several,
    is_whole,
    real_number,
    whole,
    whole_numbers,
)
from shapnotes.shapnet.inner.blocks import Enumerated, Perceptrons
from shapnotes.shapnet.tracing import opaque

LARGEST = 16  # players of a module: 65536 coalitions

ActiveSets = Iterable[Iterable[int]]
Inner = Callable[[Tensor], Tensor]


class ShapleyTransform(nn.Module):
    """From a representation to the Shapley values of functions of it, each of a few players: one layer of a ShapNet.

        Z_i = sum over modules j with i in A_j of phi_i(f_j, x),      f_j : players in A_j -> channels

    phi_i is the Shapley value of player i when absent players take their reference r. By linearity Z is the Shapley
    value of the one function sum_j f_j (Lemma 1), so that sum_i Z_i = sum_j [f_j(x) - f_j(r)].

    active_sets    : the A_j, of any sizes up to 16, overlapping or not; players are counted from 0
    n_players      : how many players there are
    in_channels    : length of the vector that each player carries
    out_channels   : outputs of the f_j
    hidden         : widths of the hidden layers of the f_j, which are perceptrons, each with weights of its own
    negative_slope : of their leaky ReLUs; 0 is ReLU
    inner          : instead of perceptrons, a function [rows, k * in_channels] -> [rows, outputs] that all sets share,
                     or a sequence of them, one a set; a row holds the vectors of a set's players one after the other
    variance       : at initialisation, the mean square of Z over that of x - r, see `initialisation.value_variance`;
                     None starts the perceptrons as PyTorch's linear layers start
    generator      : draws the weights; None is PyTorch's global one

    Called with x [batch, n_players, in_channels] and the reference [n_players, in_channels], None for zero, it returns
    Z [batch, n_players, out_channels]. A player at its reference has the value zero, exactly and in every precision;
    gradients are those of the value. What does not fit, NaN and infinity are refused, with a ValueError or TypeError;
    as a stage of a network, which looks at its inputs itself, it does not look again (`checks`).

    A block, of modules with equally many players, is any nn.Module with the interface that `inner` describes. It
    answers with the worths of coalitions, or, if it has a closed form for them, with the values of the players.

    Cost: 2^k evaluations of the f_j, of which the first layer is shared where that pays; the values take
    n_players / hidden as long as the last layer.

    Source: Shapley Explanation Networks, Definitions 3, 4 and 7, Lemma 1.
    """

    def __init__(
        self,
        active_sets: ActiveSets,
        n_players: int,
        in_channels: int = 1,
        out_channels: int = 1,
        hidden: Sequence[int] = (100,),
        *,
        negative_slope: float = 0.0,
        inner: Inner | Sequence[Inner] | None = None,
        variance: float | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.checks = True
        self.n_players, self.in_channels = whole(n_players, "n_players"), whole(in_channels, "in_channels")
        out_channels, hidden = whole(out_channels, "out_channels"), whole_numbers(hidden, "hidden")
        negative_slope = real_number(negative_slope, "negative_slope")
        variance = None if variance is None else real_number(variance, "variance")
        self.active_sets = checked_sets(active_sets, self.n_players)
        memberships = Counter(player for players in self.active_sets for player in players)
        if variance is not None:
            variance *= len(memberships) / memberships.total()  # the values of a player's modules add up
        sizes = self.n_players, self.in_channels
        self.blocks = nn.ModuleList(
            Perceptrons(sets, *sizes, hidden, out_channels, negative_slope, variance, generator)
            if f is None
            else Enumerated(sets, *sizes, f)
            for sets, f in _batches(self.active_sets, inner)
        )
        self._contractions: dict[tuple, Tensor] = {}
        self._arrange()

    def forward(self, x: Tensor, reference: Tensor | None = None) -> Tensor:
        if self.checks:
            check_tensor(x)
        if x.dim() != 3 or x.shape[1:] != (self.n_players, self.in_channels):
            raise ValueError(
                f"a transform of {self.n_players} players with {self.in_channels} channels each takes [batch, "
                f"{self.n_players}, {self.in_channels}]; got shape {tuple(x.shape)}"
            )
        if self.checks:
            self._check(x, reference)
        present = x.permute(1, 2, 0)  # the batch last: the long axis of every product
        absent = None if reference is None else reference[:, :, None]
        answers = [block(present, absent) for block in self.blocks]
        if self.order is not None and all(
            len(a) == sum(map(len, b.sets)) for a, b in zip(answers, self.blocks, strict=True)
        ):
            z = torch.cat(answers).index_select(0, self.order)
        else:
            values = [self._contraction(j, answer) @ answer for j, answer in enumerate(answers)]
            z = sum(values[1:], values[0])
        z = z.view(self.n_players, -1, x.shape[0])
        # Who is at the reference changes nothing: zero, without rounding, but with the gradient of the value.
        moved = (present if absent is None else present != absent).any(1, keepdim=True)
        graph = z.requires_grad or torch.jit.is_tracing()
        return torch.where(moved, z, z - z.detach() if graph else 0.0).permute(2, 0, 1)

    def _check(self, x: Tensor, reference: Tensor | None) -> None:
        """Refuse what a network refuses at its door."""
        if not len(x):
            raise ValueError(f"x must hold at least one input; got shape {tuple(x.shape)}")
        weight = getattr(self.blocks[0], "first", x)
        check_fits(x, weight, "transform")
        check_finite(x)
        if reference is not None:
            check_tensor(reference, "reference")
            if reference.shape != x.shape[1:]:
                raise ValueError(
                    f"reference must be one input, {tuple(x.shape[1:])}; got shape {tuple(reference.shape)}"
                )
            check_fits(reference, weight, "transform", "reference")
            check_finite(reference, "reference")

    def only(self, modules: set[int], active_sets: Sequence[tuple[int, ...]]) -> "ShapleyTransform":
        """This transform with some of its modules: those places, block after block, that hold `active_sets`."""
        made = copy.deepcopy(self)
        made.active_sets, blocks, first = list(active_sets), [], 0
        for block in made.blocks:
            kept = [m for m in range(len(block.sets)) if first + m in modules]
            first += len(block.sets)
            blocks += [block.only(kept)] if kept else []
        made.blocks = nn.ModuleList(blocks)
        made._arrange()
        return made

    def _arrange(self) -> None:
        """Where each player's values are among those of all modules, if every player is in one set."""
        players = [player for block in self.blocks for players in block.sets for player in players]
        order = None
        if len(players) == len(set(players)) == self.n_players:
            order = torch.tensor(players, device=self.blocks[0].players.device).argsort()
        self.register_buffer("order", order, persistent=False)

    def _contraction(self, j: int, answers: Tensor) -> Tensor:
        """What block j answers, module by module, contracted to values and added up over modules, as one matrix."""
        key = j, int(answers.shape[0]), answers.dtype, answers.device
        if key not in self._contractions:
            with torch.inference_mode(False):  # a tensor made in inference mode could never take part in a gradient
                matrix = contraction(self.blocks[j].sets, self.n_players, key[1]).to(answers.device, answers.dtype)
            if opaque(matrix) and not torch.compiler.is_compiling():
                return matrix  # which is of no use once the transform or the trace is over
            self._contractions[key] = matrix
        return self._contractions[key]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_contractions": {}}

    def extra_repr(self) -> str:
        counts = ", ".join(f"{n} of {k}" for k, n in sorted(Counter(map(len, self.active_sets)).items()))
        return f"{self.n_players} players, active sets: {counts}"


def contraction(sets: Sequence[Sequence[int]], n_players: int, rows: int) -> Tensor:
    """The matrix from the answers of modules of k players to the values of all players: float64 [n_players, rows].

    A module has rows / modules answers: the worths of 2^k coalitions; or of all but the empty one, measured from it; or
    the values of its k players themselves.
    """
    k, answers = len(sets[0]), rows // len(sets)
    of_module = torch.eye(k, dtype=torch.float64) if answers == k else shapley_matrix(k)[:, -answers:]
    matrix = torch.zeros(n_players, len(sets), answers, dtype=torch.float64)
    matrix[torch.tensor(sets), torch.arange(len(sets))[:, None]] = of_module
    return matrix.flatten(1)


def listed_sets(active_sets: ActiveSets) -> list[tuple[int, ...]]:
    """The active sets as tuples of whole numbers, or a TypeError."""
    if not is_several(active_sets) or not all(map(is_several, active_sets := list(active_sets))):
        raise TypeError(f"active_sets must hold sets of players, as [(0, 1), (2,)]; got {active_sets!r}")
    sets = [tuple(players) for players in active_sets]
    if strange := [player for players in sets for player in players if not is_whole(player)]:
        raise TypeError(f"players are whole numbers, counted from 0; got {strange[0]!r}, a {type(strange[0]).__name__}")
    return [tuple(map(int, players)) for players in sets]


def checked_sets(active_sets: ActiveSets, n_players: int) -> list[tuple[int, ...]]:
    """The same, or a ValueError that says what is wrong with them."""
    sets = listed_sets(active_sets)
    if not sets:
        raise ValueError("active_sets is empty; give at least one set of players, for instance [(0, 1)]")
    for players in sets:
        if not players:
            raise ValueError("an active set is empty; each needs at least one player")
        if len(set(players)) < len(players):
            raise ValueError(f"active set {players} names a player twice")
        if min(players) < 0 or max(players) >= n_players:
            raise ValueError(f"active set {players} is out of range: the players are 0..{n_players - 1}")
        if len(players) > LARGEST:
            raise ValueError(
                f"an active set has {len(players)} players, that is 2**{len(players)} coalitions an input; {LARGEST} "
                "players are the most: use more sets, of fewer players each"
            )
    return sets


def _batches(
    sets: list[tuple[int, ...]], inner: Inner | Sequence[Inner] | None
) -> list[tuple[list[tuple[int, ...]], Inner | None]]:
    """The sets that are evaluated together, with their function: those of one size, or each with its own function."""
    if inner is None or callable(inner):
        return [([s for s in sets if len(s) == size], inner) for size in sorted({len(s) for s in sets})]
    if not is_several(inner):
        raise TypeError(f"inner must be a function of rows [rows, k * channels], or one a set; got {inner!r}")
    inner = list(inner)
    if len(inner) != len(sets):
        raise ValueError(f"{len(inner)} inner functions for {len(sets)} active sets; give one a set, or one for all")
    return [([players], f) for players, f in zip(sets, inner, strict=True)]
