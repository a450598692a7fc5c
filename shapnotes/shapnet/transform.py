"""The Shapley transform: gather active sets, evaluate their coalitions, contract to values, scatter and add.

Shallow and deep ShapNets are this one layer with other active sets. Its modules, one per active set, are never visited
one by one: those of a size are one batched product, and contracting and scattering are one matrix.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from shapnotes._runtime.tensors import check_finite, is_recording
from shapnotes.coalitions import shapley_matrix
from shapnotes.shapnet.cascade import PlayerStage
from shapnotes.shapnet.door import (
    check_fits,
    check_tensor,
    is_several,
    is_whole,
    real_number,
    whole,
    whole_numbers,
)
from shapnotes.shapnet.inner.answers import CoalitionValues, Values
from shapnotes.shapnet.inner.any_function import AnyFunction, Inner
from shapnotes.shapnet.inner.block import Block
from shapnotes.shapnet.inner.perceptrons import Perceptrons
from shapnotes.shapnet.traced import is_traced

MAX_MODULE_PLAYERS = 16  # 65536 coalitions

ActiveSet = tuple[int, ...]
ActiveSets = Iterable[Iterable[int]]


class ShapleyTransform(PlayerStage):
    r"""From a representation to the Shapley values of functions of it, each of a few players: one layer of a ShapNet.

    .. math::
        Z_i = \sum_{j : i \in \mathcal{A}_j} \phi_i(f_j, x)

    :math:`f_j` is a function of the players in its active set :math:`\mathcal{A}_j`, and :math:`\phi_i` the Shapley
    value of player i when absent players take their reference r. By linearity Z is the Shapley value of the one
    function :math:`\sum_j f_j` (Lemma 1), so that :math:`\sum_i Z_i = \sum_j [f_j(x) - f_j(r)]`.

    Parameters
    ----------
    active_sets : iterable of iterables of int
        The :math:`\mathcal{A}_j`, of any sizes up to 16, overlapping or not; players are counted from 0.
    n_players : int
        How many players there are.
    in_channels : int
        Length of the vector that each player carries.
    out_channels : int
        Outputs of the :math:`f_j`.
    hidden : sequence of int
        Widths of the hidden layers of the :math:`f_j`, which are perceptrons, each with weights of its own.
    negative_slope : float
        Of their leaky ReLUs; 0 is ReLU.
    inner : callable or sequence of callable, optional
        Instead of perceptrons, a function [rows, k * in_channels] -> [rows, outputs] that all sets share, or a sequence
        of them, one per set; a row holds the vectors of a set's players one after the other.
    variance : float, optional
        At initialisation, the mean square of Z over that of x - r, see the book's chapter 11; None starts the
        perceptrons as PyTorch's linear layers start.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Raises
    ------
    ValueError, TypeError
        For what does not fit; where it is called also for NaN and infinity. As a stage of a network, which looks at its
        inputs itself, it does not look again (`checks`).

    Notes
    -----
    Called with x [batch, n_players, in_channels] and the reference [n_players, in_channels], None for zero, it returns
    Z [batch, n_players, out_channels]. A player at its reference has the value zero, exactly and in every precision;
    gradients are those of the value.

    `blocks` are modules with equally many players, evaluated together. A block answers with the values of coalitions
    or, if it has a closed form for them, with the values of the players.

    Cost
    ----
    2**k evaluations of the :math:`f_j`, of which the first layer is shared where that pays; the values take
    n_players / hidden as long as the last layer.

    Source
    ------
    Shapley Explanation Networks, Definitions 3, 4 and 7, Lemma 1.
    """

    order: Tensor | None

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
        self.n_players, self.in_channels = whole(n_players, "n_players"), whole(in_channels, "in_channels")
        outputs, hidden = whole(out_channels, "out_channels"), whole_numbers(hidden, "hidden")
        self.out_channels = outputs if inner is None else None  # functions of the user's own have as many as they have
        negative_slope = real_number(negative_slope, "negative_slope")
        variance = None if variance is None else real_number(variance, "variance")
        self.active_sets = checked_sets(active_sets, self.n_players)
        memberships = Counter(player for players in self.active_sets for player in players)
        if variance is not None:
            variance *= len(memberships) / memberships.total()  # the values of a player's modules add up
        sizes = self.n_players, self.in_channels
        self.blocks = nn.ModuleList(
            Perceptrons(sets, *sizes, hidden, outputs, negative_slope, variance, generator)
            if f is None
            else AnyFunction(sets, *sizes, f)
            for sets, f in _batches(self.active_sets, inner)
        )
        self._contractions: dict[tuple[object, ...], Tensor] = {}
        self._arrange()

    def a_weight(self) -> Tensor | None:
        for block in self.each_block():
            if (weight := block.a_weight()) is not None:
                return weight
        return None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        for block in self.each_block():
            block.reset_parameters(generator)

    def refuse_mixing(self, x: Tensor, reference: Tensor | None) -> None:
        for block in self.each_block():
            block.refuse_mixing(x, reference)

    def each_block(self) -> Iterator[Block]:
        return cast(Iterator[Block], iter(self.blocks))

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
        z = self._added_up([block(present, absent) for block in self.each_block()])
        z = z.view(self.n_players, -1, x.shape[0])
        # A player at its reference gets exactly 0. z - z.detach() is 0 but keeps the gradient.
        moved = (present if absent is None else present != absent).any(1, keepdim=True)
        graph = z.requires_grad or is_recording()
        return torch.where(moved, z, z - z.detach() if graph else 0.0).permute(2, 0, 1)

    def _added_up(self, answers: Sequence[Values | CoalitionValues]) -> Tensor:
        """The values of all players, [n_players, outputs * batch], from what the blocks answer."""
        if self.order is not None and all(isinstance(answer, Values) for answer in answers):
            return torch.cat([answer.numbers for answer in answers]).index_select(0, self.order)
        values = [self._contraction(j, answer) @ answer.numbers for j, answer in enumerate(answers)]
        return sum(values[1:], values[0])

    def _check(self, x: Tensor, reference: Tensor | None) -> None:
        """Refuse what a network refuses at its door."""
        if not len(x):
            raise ValueError(f"x must hold at least one input; got shape {tuple(x.shape)}")
        weight = self.a_weight()
        weight = x if weight is None else weight
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

    def select(self, modules: set[int], active_sets: Sequence[ActiveSet]) -> "ShapleyTransform":
        """A copy with some of the modules: those places, block after block, that hold `active_sets`."""
        made = copy.deepcopy(self)
        made.active_sets, first = list(active_sets), 0
        blocks: list[Block] = []
        for block in made.each_block():
            selected = [m for m in range(len(block.sets)) if first + m in modules]
            first += len(block.sets)
            blocks += [block.select(selected)] if selected else []
        made.blocks = nn.ModuleList(blocks)
        made._arrange()
        return made

    def _arrange(self) -> None:
        """Where each player's values are among those of all modules, if every player is in one set."""
        blocks = list(self.each_block())
        self.has_own_functions = any(isinstance(block, AnyFunction) for block in blocks)
        players = [player for block in blocks for members in block.sets for player in members]
        order = None
        if len(players) == len(set(players)) == self.n_players:
            order = torch.tensor(players, device=blocks[0].players.device).argsort()
        self.register_buffer("order", order, persistent=False)

    def _contraction(self, j: int, answer: Values | CoalitionValues) -> Tensor:
        """`contraction` of block j's modules, cached for each kind of answer, dtype and device."""
        kind = answer.with_empty if isinstance(answer, CoalitionValues) else None
        key = j, kind, answer.numbers.dtype, answer.numbers.device
        if key not in self._contractions:
            sets = cast(Block, self.blocks[j]).sets
            with torch.inference_mode(False):  # a tensor made in inference mode could never take part in a gradient
                matrix = contraction(sets, self.n_players, answer).to(answer.numbers.device, answer.numbers.dtype)
            if is_traced(matrix) and not torch.compiler.is_compiling():
                return matrix  # which is of no use once the transform or the trace is over
            self._contractions[key] = matrix
        return self._contractions[key]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_contractions": {}}

    def extra_repr(self) -> str:
        counts = ", ".join(f"{n} of {k}" for k, n in sorted(Counter(map(len, self.active_sets)).items()))
        return f"{self.n_players} players, active sets: {counts}"


def contraction(sets: Sequence[ActiveSet], n_players: int, answer: Values | CoalitionValues) -> Tensor:
    """The matrix from the answer of modules of k players to the values of all players: float64 [n_players, rows].

    It contracts the values of coalitions to those of players and adds these up over modules.
    """
    of_module = values_from(answer, len(sets[0]))
    matrix = torch.zeros(n_players, len(sets), of_module.shape[1], dtype=torch.float64, device="cpu")
    players, module = torch.tensor(sets, device="cpu"), torch.arange(len(sets), device="cpu")[:, None]
    matrix[players, module] = of_module
    return matrix.flatten(1)


def values_from(answer: Values | CoalitionValues, k: int) -> Tensor:
    """The matrix from one module's answer to the values of its k players: float64 [k, rows of a module]."""
    if isinstance(answer, Values):
        return torch.eye(k, dtype=torch.float64, device="cpu")
    return shapley_matrix(k) if answer.with_empty else shapley_matrix(k)[:, 1:]


def listed_sets(active_sets: ActiveSets) -> list[ActiveSet]:
    """The active sets as tuples of whole numbers, or a TypeError."""
    if not is_several(active_sets) or not all(map(is_several, active_sets := list(active_sets))):
        raise TypeError(f"active_sets must hold sets of players, as [(0, 1), (2,)]; got {active_sets!r}")
    sets = [tuple(players) for players in active_sets]
    if strange := [player for players in sets for player in players if not is_whole(player)]:
        raise TypeError(f"players are whole numbers, counted from 0; got {strange[0]!r}, a {type(strange[0]).__name__}")
    return [tuple(map(int, players)) for players in sets]


def checked_sets(active_sets: ActiveSets, n_players: int) -> list[ActiveSet]:
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
        if len(players) > MAX_MODULE_PLAYERS:
            raise ValueError(
                f"an active set has {len(players)} players, that is 2**{len(players)} coalitions an input; "
                f"{MAX_MODULE_PLAYERS} players are the most: use more sets, of fewer players each"
            )
    return sets


def _batches(
    sets: list[ActiveSet], inner: Inner | Sequence[Inner] | None
) -> list[tuple[list[ActiveSet], Inner | None]]:
    """The sets that are evaluated together, with their function: those of one size, or each with its own function."""
    if inner is None or callable(inner):
        return [([s for s in sets if len(s) == size], inner) for size in sorted({len(s) for s in sets})]
    if not is_several(inner):
        raise TypeError(f"inner must be a function of rows [rows, k * channels], or one a set; got {inner!r}")
    inner = list(inner)
    if len(inner) != len(sets):
        raise ValueError(f"{len(inner)} inner functions for {len(sets)} active sets; give one a set, or one for all")
    return [([players], f) for players, f in zip(sets, inner, strict=True)]
