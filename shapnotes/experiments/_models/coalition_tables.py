"""All coalitions of one input of a ShapNet, from tables of its modules' worths."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shapnotes.experiments._models.transparent import plain
from shapnotes.shapnet import ShapNet
from shapnotes.shapnet.inner.perceptrons import Perceptrons

TABULATED = 2**16  # coalitions of the players that a module depends on, up to which all its answers are kept
ROWS_AT_ONCE = 1024  # rows of two players' tables that go through a module together


@dataclass(frozen=True)
class _Known:
    """A player's representation in every coalition of the players that it depends on; the first is the highest bit."""

    players: tuple[int, ...]
    rows: Tensor  # [2^players, channels]; the first, of nobody, is the reference


@torch.no_grad()
def coalition_values(net: ShapNet, x: Tensor) -> Callable[[Tensor], Tensor]:
    """v(S) = H(x_S) of one input, for any coalitions S, of a ShapNet whose modules have one or two players.

    net : a ShapNet of perceptrons with ReLU, without residual. In each stage but the last a player is in one module;
          the players of a module depend on different features, as in a butterfly. One stage may have any pairs
    x   : [features], one channel each

    Returns a function from masks, bool [rows, features], to v [rows, outputs]. Features at the baseline are ignored.

    Cost: for the tables, one evaluation of a module for every coalition of the features it depends on, in all stages
    but the last; then a row takes look-ups, and for each module of the last stage that depends on more than 16 features
    its layers after the first.
    """
    plain(net)
    reference = net.baseline.to(x.dtype)
    known = [
        _Known((i,), torch.stack([r, one])[:, None]) if one != r else _Known((), r.view(1, 1))
        for i, (r, one) in enumerate(zip(reference, x, strict=True))
    ]
    for stage in net.stages[:-1]:
        known = _after(stage, known)
    tables: dict[tuple[int, ...], Tensor] = {}
    others = []
    for block in net.stages[-1].blocks:
        for m, players in enumerate(block.sets):
            on, sums = _first_layer(block, m, [known[i] for i in players])
            if sum(map(len, on)) <= TABULATED.bit_length() - 1:
                worths = _all_rows(block, m, sums).flatten(0, -2)
                key = tuple(i for group in on for i in group)
                tables[key] = tables.get(key, 0.0) + worths - worths[:1]
            else:
                nobody = _rest(block, m, sum(s[:1] for s in sums))
                others.append((block, m, on, sums, nobody))
    groups = list(dict.fromkeys([*tables, *(group for _, _, on, _, _ in others for group in on)]))
    powers = torch.zeros(len(x), len(groups), dtype=torch.float64)
    for j, group in enumerate(groups):
        for place, player in enumerate(reversed(group)):
            powers[player, j] = 2**place

    @torch.no_grad()
    def values(coalitions: Tensor) -> Tensor:
        row = dict(zip(groups, (coalitions.double() @ powers).long().unbind(1), strict=True))
        total = torch.zeros((), dtype=x.dtype)
        for group, table in tables.items():
            total = total + table[row[group]]
        for block, m, on, sums, nobody in others:
            here = sum(s[row[group]] for group, s in zip(on, sums, strict=True))
            total = total + _rest(block, m, here) - nobody
        return total

    return values


def _after(stage: nn.Module, known: list[_Known]) -> list[_Known]:
    """What is known of every player after a stage of modules with one or two players."""
    after: dict[int, _Known] = {}
    for block in stage.blocks:
        for m, players in enumerate(block.sets):
            on, sums = _first_layer(block, m, [known[i] for i in players])
            both = tuple(i for group in on for i in group)
            if len(set(both)) < len(both) or set(players) & after.keys():
                raise ValueError(f"the modules of a stage must depend on different features; {players} does not")
            f = _all_rows(block, m, sums)
            if len(players) == 1:
                after[players[0]] = _Known(both, f - f[:1])
                continue
            # Row 0 of a table is that of an absent player: its representation is the reference.
            alone, other, nobody = f[:, :1], f[:1], f[:1, :1]
            values = ((f - other) + (alone - nobody)) / 2, ((f - alone) + (other - nobody)) / 2
            after |= {i: _Known(both, value.flatten(0, 1)) for i, value in zip(players, values, strict=True)}
    return [after[i] for i in range(len(known))]


def _first_layer(block: Perceptrons, m: int, known: list[_Known]) -> tuple[list[tuple[int, ...]], list[Tensor]]:
    """Whom the players of module m depend on, and what each adds to its first layer: [coalitions, width]."""
    if len(known) > 2:
        raise ValueError(f"modules of one or two players can be tabulated; got one of {len(known)}")
    weights = block.first[m].chunk(len(known), 1)
    sums = [one.rows @ weight.T for one, weight in zip(known, weights, strict=True)]
    sums[0] = sums[0] + block.bias[m, :, 0]
    return [one.players for one in known], sums


def _all_rows(block: Perceptrons, m: int, sums: list[Tensor]) -> Tensor:
    """Module m for every pair of rows: [rows, rows, outputs], or [rows, outputs] for one player."""
    if len(sums) == 1:
        return _rest(block, m, sums[0])
    parts = sums[0][:, None].split(max(1, ROWS_AT_ONCE // len(sums[1])))  # few enough to stay in the cache
    return torch.cat([_rest(block, m, (part + sums[1]).flatten(0, 1)) for part in parts]).unflatten(
        0, (len(sums[0]), len(sums[1]))
    )


def _rest(block: Perceptrons, m: int, sums: Tensor) -> Tensor:
    """Module m from its first layer's sums on: [rows, width] -> [rows, outputs]. The sums are overwritten."""
    h = sums.relu_()
    for weight, bias in zip(block.weights, block.biases, strict=True):
        h = torch.addmm(bias[m, :, 0], h, weight[m].T).relu_()
    return h @ block.last[m].T
