"""Inner functions of Shapley modules: many modules of k players each, asked at once for the worths of coalitions.

A block is given all players' vectors, [players, channels, batch], and their reference, [players, channels, 1] (None for
zero), and answers with [modules * answers, outputs * batch]; `transform.contraction` says which answers there are. The
batch is the last axis throughout, the long one of every product.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from shapnotes.coalitions import masks
from shapnotes.game import checked_output
from shapnotes.shapnet.initialisation import value_variance

SMALL = 2**21  # multiplications that take less time than the calls it takes to avoid them

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
        rows = torch.tensor(sets)[:, :, None] * channels + torch.arange(channels)
        self.register_buffer("rows", rows.flatten(1), persistent=False)  # [modules, k * channels]
        self.register_buffer("seen", self._seen() if 2**self.k * rows.numel() <= SMALL else None, persistent=False)

    def only(self, modules: list[int]) -> "Block":
        """This block with some of its modules, in place."""
        device = self.rows.device
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
        return both.index_select(0, seen).view(*self.rows.shape, -1)

    def _seen(self) -> Tensor:
        """Which rows of present and absent vectors each module is given, coalition by coalition."""
        here = masks(self.k, device=self.rows.device).T.repeat_interleave(self.rows.shape[1] // self.k, 0)
        return torch.where(here, self.rows[:, :, None], self.rows[:, :, None] + self.n_rows).flatten()


class Enumerated(Block):
    """Any function, evaluated on all 2^k coalitions of its players.

    f : [rows, k * channels] -> [rows, outputs], deterministic, each row by itself; all modules share it
    """

    def __init__(self, sets: Sets, n_players: int, channels: int, f: Callable[[Tensor], Tensor]):
        super().__init__(sets, n_players, channels)
        if not callable(f):
            raise TypeError(f"an inner function takes rows [rows, k * channels]; got {type(f).__name__}")
        self.f = f

    def forward(self, present: Tensor, absent: Tensor | None) -> Tensor:
        rows = self.mixed(present, absent).transpose(1, 2).flatten(0, 1)
        worths = checked_output(self.f(rows), len(rows)).reshape(len(self.sets), 2**self.k, present.shape[2], -1)
        return (worths - worths[:, :1]).transpose(2, 3).flatten(0, 1).flatten(1)


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
    ):
        super().__init__(sets, n_players, channels)
        if not hidden or min(*hidden, channels, outputs) < 1:
            raise ValueError(
                f"an inner perceptron needs at least one hidden layer, and widths of at least 1; got hidden="
                f"{tuple(hidden)}, {channels} channels, {outputs} outputs"
            )
        if not negative_slope >= 0:
            raise ValueError(f"negative_slope must be at least 0, which is ReLU; got {negative_slope}")
        self.widths, self.negative_slope, self.variance = (*hidden, outputs), negative_slope, variance
        modules = len(sets)
        self.first = nn.Parameter(torch.empty(modules, hidden[0], self.k * channels))
        self.bias = nn.Parameter(torch.empty(modules, hidden[0], 1))
        self.weights = nn.ParameterList(torch.empty(modules, width, fan_in) for fan_in, width in pairwise(hidden))
        self.biases = nn.ParameterList(torch.empty(modules, width, 1) for width in hidden[1:])
        self.last = nn.Parameter(torch.empty(modules, outputs, hidden[-1]))
        self.reset_parameters()

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
        value = value_variance(self.k, len(biases), self.negative_slope, self.bias_variance)
        self.last.normal_(0, (self.variance / (self.last.shape[2] * value)) ** 0.5, generator=generator)

    def only(self, modules: list[int]) -> "Perceptrons":
        for name, parameter in list(self.named_parameters()):
            owner, _, key = name.rpartition(".")
            holder = self.get_submodule(owner) if owner else self
            setattr(holder, key, nn.Parameter(parameter.detach()[modules], requires_grad=parameter.requires_grad))
        return super().only(modules)

    def forward(self, present: Tensor, absent: Tensor | None) -> Tensor:
        batch = present.shape[2]
        if 2**self.k * self.first.numel() * batch <= SMALL:
            worths = self._rest(torch.bmm(self.first, self.mixed(present, absent)).add_(self.bias))
        else:
            sums, constant = self._shared_sums(present, absent)
            worths = self._rest(sums) - self._rest(constant)
        modules, outputs, _ = self.last.shape
        return worths.view(modules, outputs, -1, batch).transpose(1, 2).reshape(-1, outputs * batch)

    def _shared_sums(self, present: Tensor, absent: Tensor | None) -> tuple[Tensor, Tensor]:
        """The first layer's sums in all coalitions but the empty one, and in that, from k products a module."""
        modules, width, _ = self.first.shape
        constant = self.bias.clone()
        if absent is not None:
            present = present - absent
            constant = constant + self.first @ absent.flatten(0, 1)[self.rows]
        x = present.flatten(0, 1).index_select(0, self.rows.flatten()).view(modules * self.k, -1, present.shape[2])
        weight = self.first.view(modules, width, self.k, -1).transpose(1, 2).reshape(modules * self.k, width, -1)
        return coalition_sums(constant, torch.bmm(weight, x).view(modules, self.k, width, -1)), constant

    def _rest(self, sums: Tensor) -> Tensor:
        """f from the first layer's sums on, which are overwritten: [modules, width, columns] -> [.., outputs, ..]."""
        for layer in range(len(self.widths) - 2):
            sums = torch.baddbmm(self.biases[layer], self.weights[layer], self._activated(sums))
        return torch.bmm(self.last, self._activated(sums))

    def _activated(self, sums: Tensor) -> Tensor:
        return nn.functional.leaky_relu_(sums, self.negative_slope) if self.negative_slope else sums.relu_()

    def extra_repr(self) -> str:
        widths = " -> ".join(map(str, (self.first.shape[2] // self.k, *self.widths)))
        return f"{len(self.sets)} modules of {self.k} players: {self.k} * {widths}"


def coalition_sums(constant: Tensor, terms: Tensor) -> Tensor:
    """constant + the terms of the members, in every coalition of k players but the empty one.

    constant [modules, width, 1], terms [modules, k, width, batch]; returns [modules, width, (2^k - 1) * batch].
    """
    modules, k, width, batch = terms.shape
    term, written = terms.unbind(1), _may_be_written(constant, terms)
    table = terms.new_empty(modules, width, 2**k - 1, batch) if written else None
    sums = [constant]
    for coalition in range(1, 2**k):
        last = coalition.bit_length() - 1
        out = table[:, :, coalition - 1] if written else None
        sums.append(torch.add(sums[coalition ^ 1 << last], term[last], out=out))
    return table.flatten(2) if written else torch.cat(sums[1:], 2)


def _may_be_written(*tensors: Tensor) -> bool:
    """Whether results may go straight where they belong, without a copy: there is no graph, no vmap, no compiler."""
    if torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return not any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors)
