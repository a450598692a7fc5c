"""Inner functions of Shapley modules: many modules of k players each, asked at once for the worths of coalitions.

A block is given all players' vectors, [players, channels, batch], and their reference, [players, channels, 1] (None for
zero), and answers with [modules * answers, outputs * batch]; `transform.contraction` says which answers there are. The
batch is the last axis throughout, the long one of every product.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from shapnotes.coalitions import cached_matrix, masks, shapley_matrix, shapley_rows
from shapnotes.game import checked_output, refuse_training_mode
from shapnotes.shapnet.inner.initialisation import value_variance
from shapnotes.shapnet.tracing import opaque

SMALL = 2**21  # multiplications that take less time than the calls it takes to avoid them
TILE = 2**19  # hidden numbers at once on a CPU, without gradients: what its cache holds
TILE_ELSEWHERE = 2**28
NARROW = 32  # numbers that a module sees or answers for which one product is faster than k and the additions
LISTED = 4  # players of modules whose coalitions are written out
FUSED = 4  # channels for which a compiler does better with a sum than with a product by itself

Sets = Sequence[Sequence[int]]


class Block(nn.Module):
    """Modules of k players each, and what they see in each coalition.

    sets : the players of each module; n_players : how many there are; channels : length of a player's vector
    """

    def __init__(self, sets: Sets, n_players: int, channels: int):
        super().__init__()
        self.k, self.n_rows, self.channels = len(sets[0]), n_players * channels, channels
        self._take(sets)

    def _take(self, sets: Sets) -> None:
        self.sets, channels = list(sets), self.channels
        self.register_buffer("players", torch.tensor(sets).flatten(), persistent=False)  # module after module
        small = 2**self.k * self.players.numel() * channels <= SMALL
        self.register_buffer("seen", self._seen() if small else None, persistent=False)

    def only(self, modules: list[int]) -> "Block":
        """This block with some of its modules, in place."""
        device = self.players.device
        self._take([self.sets[m] for m in modules])
        return self.to(device)

    def mixed(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The inputs of each module in each coalition: [modules, k * channels, 2^k * batch], nobody first."""
        present = present.flatten(0, 1)
        if absent is None:
            both = nn.functional.pad(present, (0, 0, 0, self.n_rows))
        else:
            both = torch.cat([present, absent.flatten(0, 1).expand_as(present)])
        seen = self._seen() if self.seen is None else self.seen
        return both.index_select(0, seen).view(len(self.sets), self.k * self.channels, -1)

    def given(self, vectors: Tensor) -> Tensor:
        """The vectors of each module's players, one after the other: [modules, k * channels, batch]."""
        return vectors.index_select(0, self.players).view(len(self.sets), self.k * self.channels, -1)

    def _in_tiles(self, answers: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
        """answers(x) for so many inputs at a time that what is made on the way stays in the cache; not for a graph.

        width : numbers that a module makes for one coalition of an input
        """
        inputs = max(1, (TILE if x.device.type == "cpu" else TILE_ELSEWHERE) // (2**self.k * len(self.sets) * width))
        if x.shape[-1] <= inputs or torch.is_grad_enabled():
            return answers(x)
        return torch.cat([answers(some) for some in x.split(inputs, -1)], -1)

    def _seen(self) -> Tensor:
        """Which rows of present and absent vectors each module is given, coalition by coalition."""
        here = masks(self.k, device=self.players.device).T.repeat_interleave(self.channels, 0)
        rows = self.players[:, None] * self.channels + torch.arange(self.channels, device=self.players.device)
        rows = rows.view(len(self.sets), -1, 1)
        return torch.where(here, rows, rows + self.n_rows).flatten()


class Enumerated(Block):
    """Any function, evaluated on all 2^k coalitions of its players.

    f : [rows, k * channels] -> [rows, outputs], deterministic, each row by itself; all modules share it. A network in
        which chance or other rows have a say while it trains, as in dropout, is refused until it is in eval()
    """

    def __init__(self, sets: Sets, n_players: int, channels: int, f: Callable[[Tensor], Tensor]):
        super().__init__(sets, n_players, channels)
        if not callable(f):
            raise TypeError(f"an inner function takes rows [rows, k * channels]; got {type(f).__name__}")
        self.f = f

    def forward(self, present: Tensor, absent: Tensor | None) -> Tensor:
        refuse_training_mode(self.f)

        def worths(present: Tensor) -> Tensor:
            rows = self.mixed(present, absent).transpose(1, 2).flatten(0, 1)
            worths = checked_output(self.f(rows), len(rows))
            worths = worths.reshape(len(self.sets), 2**self.k, present.shape[2], -1)
            return (worths - worths[:, :1]).transpose(2, 3)

        return self._in_tiles(worths, present, self.k * self.channels).flatten(0, 1).flatten(1)


class Perceptrons(Block):
    """A perceptron for each of many modules of k players.

        f = V a(... a(W x + b)),      W x = sum_i W_i x_i,      a(s) = max(s, 0) + slope min(s, 0)

    W_i belongs to player i, so that the 2^k masked inputs share k products W_i (x_i - r_i), which are added up along
    the coalitions; only where all of it is small the inputs are masked instead, which takes fewer calls. f has no last
    bias: a constant is worth nothing to anybody.

    sets, n_players, channels : as in `Block`
    hidden         : widths of the hidden layers, at least one
    outputs        : outputs of f
    negative_slope : slope of a where its argument is negative
    variance       : at initialisation, the mean square of a value over that of its player's x_i - r_i; None leaves it
                     to weights and biases that are uniform within 1 / sqrt(fan-in), as in PyTorch's linear layers
    generator      : draws the weights; None is PyTorch's global one

    With a `variance` weights are normal. Hidden ones have variance 2 / ((1 + slope^2) fan-in), as He et al. derive;
    those of V variance / (width * `value_variance(k, ...)`), which makes the Shapley values keep the size of the
    inputs.
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

    def only(self, modules: list[int]) -> "Perceptrons":
        for name, parameter in list(self.named_parameters()):
            owner, _, key = name.rpartition(".")
            holder = self.get_submodule(owner) if owner else self
            setattr(holder, key, nn.Parameter(parameter.detach()[modules], requires_grad=parameter.requires_grad))
        return super().only(modules)

    def forward(self, present: Tensor, absent: Tensor | None) -> Tensor:
        _, outputs, width = self.last.shape
        if len(self.widths) == 2 and self.k <= LISTED:  # one hidden layer
            if torch.compiler.is_compiling():
                return self._values_listed(present, absent)
            if present.shape[2] >= width and self.k * max(self.channels, outputs) <= NARROW:
                return self._values_by_product(present, absent)
        return self.worths(present, absent)

    def worths(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The worths of coalitions, [modules * answers, outputs * batch]."""
        (modules, outputs, _), batch = self.last.shape, present.shape[2]
        if 2**self.k * self.first.numel() * batch <= SMALL:
            worths = self._rest(torch.baddbmm(self.bias, self.first, self.mixed(present, absent)))
            worths = worths.view(modules, outputs, -1, batch)
        else:
            worths = self._worths_from_sums(present, absent)
        return worths.transpose(1, 2).reshape(-1, outputs * batch)

    def _worths_from_sums(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The worths of all coalitions but the empty one, from k products a module and additions.

        Returns [modules, outputs, 2^k - 1, batch].
        """
        constant, x = self._opened(present, absent)
        (modules, outputs, _), width = self.last.shape, self.first.shape[1]
        weight, nobody = self._of_players(), self._rest(constant.clone())[..., None]

        def worths(x: Tensor) -> Tensor:
            terms = torch.bmm(weight, x.reshape(modules * self.k, self.channels, -1))
            sums = coalition_sums(constant, terms.view(modules, self.k, width, -1))
            return self._rest(sums).view(modules, outputs, 2**self.k - 1, -1) - nobody

        return self._in_tiles(worths, x, max(self.widths))

    def _values_by_product(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The values of each module's players from one hidden layer, in two products.

        The first is with weights that are zero where a player is absent, one block of rows a coalition; the second with
        the Shapley matrix times the last layer's. Both multiply more than they must, and leave the additions out.
        """
        constant, x = self._opened(present, absent)
        (modules, _, width), coalitions = self.last.shape, 2**self.k
        here = cached_matrix(masks, self.k, x.dtype, x.device)[1:].repeat_interleave(self.channels, 1)
        weight = (self.first[:, None] * here[:, None]).flatten(1, 2)
        bias = constant.repeat(1, coalitions - 1, 1)
        matrix = cached_matrix(shapley_matrix, self.k, x.dtype, x.device)[:, None, :, None]
        last = (matrix * self.last[:, None, :, None]).flatten(3).flatten(1, 2)  # [modules, k * outputs, 2^k * width]
        nobody, last = torch.bmm(last[..., :width], self._activated(constant.clone())), last[..., width:]

        def values(x: Tensor) -> Tensor:
            return torch.baddbmm(nobody, last, self._activated(torch.baddbmm(bias, weight, x)))

        return self._in_tiles(values, x, width).view(modules * self.k, -1)

    def _values_listed(self, present: Tensor, absent: Tensor | None) -> Tensor:
        """The same coalition by coalition, in operations that a compiler makes one pass of.

        A product is left to a library only where there is something to gain: not for one input, or few channels.
        """
        constant, x = self._opened(present, absent)
        (modules, outputs, width), k, channels = self.last.shape, self.k, self.channels
        x = x.view(modules, k, channels, -1)
        alone = x.shape[3] == 1
        if channels <= FUSED or alone:
            weight = self.first.view(modules, width, k, channels)
            terms = [(weight[:, :, i, :, None] * x[:, None, i]).sum(2) for i in range(k)]
        else:
            terms = torch.bmm(self._of_players(), x.flatten(0, 1)).view(modules, k, width, -1).unbind(1)

        def answers(hidden: list[Tensor]) -> list[Tensor]:
            return [(each[:, None] * self.last[..., None]).sum(2) for each in hidden]

        def contracted(worths: list[Tensor]) -> list[Tensor]:
            return [sum(w * each for w, each in zip(row, worths, strict=True)) for row in shapley_rows(k)]

        hidden = [self._activated(each, inplace=False) for each in listed_sums(constant, terms)]
        if alone:
            values = torch.stack(answers(contracted(hidden)), 1)
        elif outputs <= FUSED:
            values = torch.stack(contracted(answers(hidden)), 1)
        else:
            values = torch.bmm(self.last.repeat_interleave(k, 0), torch.stack(contracted(hidden), 1).flatten(0, 1))
        return values.view(modules * k, -1)

    def _opened(self, present: Tensor, absent: Tensor | None) -> tuple[Tensor, Tensor]:
        """The first layer's sum when nobody is there, [modules, width, 1], and what each module is given.

        That is x - r, [modules, k * channels, batch], where r is the reference, which is in the sum.
        """
        constant = self.bias
        if absent is not None:
            present = present - absent
            constant = constant + self.first @ self.given(absent)
        return constant, self.given(present)

    def _of_players(self) -> Tensor:
        """The first layer's weights, those of each player by themselves: [modules * k, width, channels]."""
        modules, width, _ = self.first.shape
        by_player = self.first.view(modules, width, self.k, -1).transpose(1, 2)
        return by_player.reshape(modules * self.k, width, -1)

    def _rest(self, sums: Tensor) -> Tensor:
        """f from the first layer's sums on, which are overwritten: [modules, width, columns] -> [.., outputs, ..]."""
        for layer in range(len(self.widths) - 2):
            sums = torch.baddbmm(self.biases[layer], self.weights[layer], self._activated(sums))
        return torch.bmm(self.last, self._activated(sums))

    def _activated(self, sums: Tensor, inplace: bool = True) -> Tensor:
        if self.negative_slope:
            return nn.functional.leaky_relu(sums, self.negative_slope, inplace)
        return nn.functional.relu(sums, inplace)

    def extra_repr(self) -> str:
        widths = " -> ".join(map(str, (self.first.shape[2] // self.k, *self.widths)))
        return f"{len(self.sets)} modules of {self.k} players: {self.k} * {widths}"


def coalition_sums(constant: Tensor, terms: Tensor) -> Tensor:
    """constant + the terms of the members, in every coalition of k players but the empty one.

    constant [modules, width, 1], terms [modules, k, width, batch]; returns [modules, width, (2^k - 1) * batch].
    """
    modules, k, width, batch = terms.shape
    table = terms.new_empty(modules, width, 2**k - 1, batch) if _may_be_written(constant, terms) else None
    sums = listed_sums(constant, terms.unbind(1), table)
    return torch.cat(sums[1:], 2) if table is None else table.flatten(2)


def listed_sums(constant: Tensor, terms: Sequence[Tensor], table: Tensor | None = None) -> list[Tensor]:
    """The same one by one, the empty coalition first; those of the others are written into a table where there is one.

    constant [modules, width, 1], terms [modules, width, batch] each; table [modules, width, 2^k - 1, batch].
    """
    sums = [constant]
    for coalition in range(1, 2 ** len(terms)):
        last = coalition.bit_length() - 1
        out = None if table is None else table[:, :, coalition - 1]
        sums.append(torch.add(sums[coalition ^ 1 << last], terms[last], out=out))
    return sums


def _may_be_written(*tensors: Tensor) -> bool:
    """Whether results may go straight where they belong, without a copy: there is no graph, no vmap, no compiler."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return not opaque(*tensors)
