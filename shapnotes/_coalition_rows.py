"""The rows of all coalitions of a model's players, a chunk at a time: whole inputs, or what a linear first layer makes.

A chunk holds every coalition of the first `low` players, each joined by one coalition of the others. Where f is an
`nn.Linear`, or an `nn.Sequential` that begins with one, the first layer is never applied to a coalition: the product of
each player is computed once, and the products are added up along the coalitions.
"""

import torch
from torch import Tensor, nn

from shapnotes._runtime.tracing import all_are_hooked, all_are_hooked_backwards, as_its_class
from shapnotes.coalitions import subset_sums
from shapnotes.game import Game, Model


def coalition_rows(game: Game, inputs: Tensor, players: Tensor, low: int, reuse: bool) -> tuple["CoalitionRows", Model]:
    """The rows of a block of inputs, and what is to be evaluated on them: the model, or all of it but its first layer.

    inputs  : [block], which inputs of the game
    players : [block, n], who is enumerated for each input; the first `low` of them vary inside a chunk
    reuse   : whether each chunk is written over the last one, in one buffer; not where autograd needs them
    """
    if linear := _leading_linear(game):
        return _partial_sums(game, inputs, players, low, reuse, *linear)
    return _masked_rows(game, inputs, players, low, reuse)


class CoalitionRows:
    """Rows, a chunk at a time: all coalitions of the low players, each joined by one coalition of the others.

    A chunk is named by the coalition of the others, as an integer. Each player adds `present` or `absent`, both
    [inputs, players, d], to the row that is `start` [inputs, 1, d]. The coalitions of the low players are summed up
    once; a chunk is this table, shifted by what the others add. With `reuse` all chunks are written into one buffer.
    """

    def __init__(
        self, present: Tensor, absent: Tensor, start: Tensor, shape: torch.Size, low: int, reuse: bool
    ) -> None:
        parts = low - low // 2, low // 2, min(8, present.shape[1] - low)  # the third has most of the others' coalitions
        ready = sum(parts)
        first, last, near = subset_sums(present[:, :ready], absent[:, :ready], parts)
        self.table = (last[:, :, None] + first[:, None]).flatten(1, 2)
        self.shifts = (start + near).unbind(1)
        self.far = list(zip(absent[:, ready:].unbind(1), present[:, ready:].unbind(1), strict=True))
        self.buffer = torch.empty_like(self.table) if reuse else None
        self.shape = (-1, *shape)

    def __call__(self, code: int) -> Tensor:
        """[inputs * 2**low, *shape]; with `reuse` good until the next call."""
        shift, others = self.shifts[code % len(self.shifts)], code // len(self.shifts)
        for j, one in enumerate(self.far):
            shift = shift + one[others >> j & 1]
        return torch.add(self.table, shift[:, None], out=self.buffer).view(self.shape)


def _masked_rows(game: Game, inputs: Tensor, players: Tensor, low: int, reuse: bool) -> tuple[CoalitionRows, Model]:
    """The rows of an opaque model, and the model: x where a player is present, the baseline elsewhere.

    A feature has one owner; all other terms are zero there, and adding zeros is exact.
    """
    x, baseline = (t[inputs].flatten(1)[:, None] for t in (game.x, game.baseline))
    owns = game.membership(players)
    of_nobody = baseline * (1 - owns.sum(1, keepdim=True))
    return CoalitionRows(x * owns, baseline * owns, of_nobody, game.x.shape[1:], low, reuse), game.f


def _partial_sums(
    game: Game, inputs: Tensor, players: Tensor, low: int, reuse: bool, linear: nn.Linear, rest: list[nn.Module]
) -> tuple[CoalitionRows, Model]:
    """The first layer's output where that layer is linear, and the rest of the model.

    W x_S + b = (W r + b) + the sum of the products W (x - r) of the members of S.
    """
    x, baseline = (t[inputs].flatten(1) for t in (game.x, game.baseline))
    products = nn.functional.linear((x - baseline)[:, None] * game.membership(players), linear.weight)
    rows = CoalitionRows(
        products, torch.zeros_like(products), linear(baseline)[:, None], products.shape[2:], low, reuse
    )
    return rows, _Buffered(rest) if reuse else nn.Sequential(*rest)


class _Buffered:
    """Layers run in memory that is kept from chunk to chunk: linear ones into buffers, ReLUs inside those.

    What a layer writes is then where the last chunk left it, in the cache, and is read from there by the next layer.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers = [(layer, as_its_class(layer)) for layer in layers]
        self.buffers: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> Tensor:
        ours = True  # whether z lies in memory that nobody else sees
        for i, (layer, plain) in enumerate(self.layers):
            if plain and type(layer) is nn.Linear and z.dim() == 2:
                if i not in self.buffers:
                    self.buffers[i] = z.new_empty(z.shape[0], layer.out_features)
                if layer.bias is None:
                    z = torch.mm(z, layer.weight.T, out=self.buffers[i])
                else:
                    z = torch.addmm(layer.bias, z, layer.weight.T, out=self.buffers[i])
                ours = True
            elif plain and type(layer) is nn.ReLU and ours:
                z = z.relu_()
            else:
                z, ours = layer(z), False
        return z


def _leading_linear(game: Game) -> tuple[nn.Linear, list[nn.Module]] | None:
    """The linear layer that f begins with and the others, when the shared products give the same as calling f."""
    if not isinstance(game.f, nn.Module):
        return None
    layers = list(game.f) if type(game.f) is nn.Sequential else [game.f]
    flat = type(layers[0]) is nn.Flatten and (layers[0].start_dim, layers[0].end_dim) == (1, -1)
    before, rest = (layers[:1], layers[1:]) if flat else ([], layers)
    if not rest or type(linear := rest[0]) is not nn.Linear or (not flat and game.x.dim() != 2):
        return None
    if not all(map(as_its_class, [game.f, *before, linear])) or torch.is_autocast_enabled(game.x.device.type):
        return None
    if all_are_hooked_backwards() or (all_are_hooked() and not _same_without_hooks(game, layers)):
        return None
    return linear, rest[1:]


@torch.no_grad()
def _same_without_hooks(game: Game, layers: list[nn.Module]) -> bool:
    """Whether hooks of all modules leave what layers compute as it is, tried at the first input and its baseline."""
    rows = torch.cat([game.x[:1], game.baseline[:1]])
    z = rows.clone()
    for layer in layers:
        z = type(layer).forward(layer, z)
    return torch.equal(z, game(rows))
