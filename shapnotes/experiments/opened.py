"""A ReLU ShapNet evaluated in two other ways: for methods that follow activations, and for many coalitions of an input.

Both compute the network's own numbers. Deep SHAP has to see each ReLU as a module, with the batch first. And v(S),
asked for tens of thousands of coalitions S of one input, need not be computed from the start each time: in a butterfly
a player's representation after t stages depends on 2^t players only, so that there are few different ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shapnotes.coalitions import masks
from shapnotes.shapnet import ShapNet
from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.inner.perceptrons import Perceptrons
from shapnotes.shapnet.transform import contraction

TABULATED = 2**16  # coalitions of the players that a module depends on, up to which all its answers are kept
AT_ONCE = 1024


class Transparent(nn.Module):
    """The same function as a ShapNet, with the batch as every first axis and a module for every call of ReLU.

    net : a ShapNet of perceptrons with ReLU, without residual; it is shared, not copied. Its channels are one a feature

    Called with x [batch, features] it returns H(x) [batch, outputs]. Cost: 2^k evaluations of each module.
    """

    def __init__(self, net: ShapNet):
        super().__init__()
        self.net = _plain(net)
        blocks = [block for stage in net.stages for block in stage.blocks]
        self.relus = nn.ModuleList(nn.ReLU() for block in blocks for _ in block.widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        relus = iter(self.relus)
        z, reference = x[..., None], self.net.baseline.to(x.dtype)[:, None]
        for stage in self.net.stages:
            answers = []
            for block in stage.blocks:
                sets = torch.tensor(block.sets, device=x.device)
                here = masks(block.k, device=x.device)[:, None, :, None]  # coalitions, modules, players, channels
                rows = torch.where(here, z[:, None, sets], reference[sets]).flatten(3)
                h = torch.einsum("bsmi,mhi->bsmh", rows, block.first) + block.bias[..., 0]
                for weight, bias in zip(block.weights, block.biases, strict=True):
                    h = torch.einsum("bsmi,mhi->bsmh", next(relus)(h), weight) + bias[..., 0]
                worths = torch.einsum("bsmi,moi->bmso", next(relus)(h), block.last).flatten(1, 2)
                matrix = contraction(block.sets, self.net.n_players, CoalitionValues(worths, with_empty=True))
                answers.append(matrix.to(worths) @ worths)
            z = sum(answers)
            reference = z.new_zeros(z.shape[1:])
        return z.sum(1)


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
    _plain(net)
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
    parts = sums[0][:, None].split(max(1, AT_ONCE // len(sums[1])))  # few enough to stay in the cache
    return torch.cat([_rest(block, m, (part + sums[1]).flatten(0, 1)) for part in parts]).unflatten(
        0, (len(sums[0]), len(sums[1]))
    )


def _rest(block: Perceptrons, m: int, sums: Tensor) -> Tensor:
    """Module m from its first layer's sums on: [rows, width] -> [rows, outputs]. The sums are overwritten."""
    h = sums.relu_()
    for weight, bias in zip(block.weights, block.biases, strict=True):
        h = torch.addmm(bias[m, :, 0], h, weight[m].T).relu_()
    return h @ block.last[m].T


def _plain(net: ShapNet) -> ShapNet:
    blocks = [block for stage in net.stages for block in stage.blocks]
    if net.residual or net.in_channels != 1 or any(getattr(block, "negative_slope", True) for block in blocks):
        raise ValueError(
            "a ShapNet of perceptrons with ReLU is needed, with one channel a feature, without residual or slope"
        )
    return net
