"""Exact Shapley values by enumeration: all 2**n coalitions, streamed through the model a chunk at a time.

A chunk of rows holds every coalition of the first few players, the low ones, beside one fixed coalition of the others.
What f answers is gathered in a table small enough for the cache and contracted with the weights of
`coalitions.value_weights`: players that vary inside the table need its weighted sum over all tables, the high players,
which are fixed in it, its weighted total.
"""

from collections.abc import Callable, Iterator
from math import prod
from numbers import Integral

import psutil
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shapnotes._runtime.memory import keep_freed_memory
from shapnotes._runtime.progress import Bar, progress_bar
from shapnotes._runtime.tracing import all_are_hooked, as_its_class
from shapnotes.coalitions import cached_tensors, member_sums, sizes, subset_sums, value_weights
from shapnotes.explanation import Explanation, check_closure
from shapnotes.game import Game, Model, Probe, checked_output, in_dtype
from shapnotes.players import Groups

HOPELESS = 2**36  # evaluations of f; about a day at a million rows a second
TABLE = 2**19  # values contracted at once: few enough to stay in the cache, many enough to hide the cost of a call


def shapley_values(
    f: Model,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    groups: Groups | None = None,
    chunk_size: int | None = None,
    progress: bool | None = None,
) -> Tensor:
    r"""The exact Shapley values of a model's output, by evaluating it on every coalition of players.

    .. math::
        \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - 1 - |S|)!}{n!}\, [v(S \cup \{i\}) - v(S)],

        v(S) = f(x_S, r_{N \setminus S})

    where :math:`N` are the :math:`n` players, :math:`r` is the baseline, and the worth :math:`v(S)` is the prediction
    when the players in :math:`S` keep their value in x and all others take the baseline's. The values of all players
    sum to :math:`f(x) - f(r)`, in the unit of f's output.

    Gradients flow to x, the baseline and the parameters of f when autograd is on; each chunk is then evaluated again in
    the backward pass, so that memory stays that of one chunk.

    Parameters
    ----------
    f : callable
        [rows, *features] -> [rows, *outputs]; deterministic, each row by itself. It is given a tensor, perhaps the
        same buffer again with other contents (clone what you want to keep), and returns a tensor or a NumPy array, as
        scikit-learn's `predict_proba` does.
    x : Tensor
        [batch, *features], floating point.
    baseline : Tensor or float, optional
        The value that stands for absent: None (0), a number, or a tensor that broadcasts to x.
    groups : tensor, array, sequence or mapping, optional
        None (each feature is a player), or features that come and go together: labels 0..n-1, or names, that broadcast
        to *features; or for each player its flat feature numbers, a slice or a bool mask, in a list or a dictionary.
    chunk_size : int, optional
        The most rows f is given at once; chosen from the free memory when None.
    progress : bool, optional
        Whether to show a bar; None shows it for runs of more than ten seconds.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], or [batch, n, *outputs] with groups, on x's device and in x's dtype; sums are
        accumulated in float64.

    Raises
    ------
    ValueError, TypeError
        For unusable arguments, too many players, and an f that returns NaN or infinity for a coalition.
    GapError
        When the values do not add up to f(x) - f(baseline), which happens when f is random or mixes rows.

    Cost
    ----
    2**n evaluations of f per input, n counted over its players that differ from the baseline, whatever else is in the
    batch: the others are exactly zero and are not enumerated, except for a gradient to x or the baseline. In addition,
    one evaluation of each input, of each baseline and of one row. When f is an `nn.Linear` or an `nn.Sequential` that
    begins with one, the first layer is never applied to a coalition: its n partial products are computed once and added
    up along the coalitions.

    Source
    ------
    Shapley (1953), equation 13; Shapley Explanation Networks, Definition 1.

    Examples
    --------
    >>> shapley_values(lambda z: z[:, 0] * z[:, 1], torch.tensor([[2.0, 3.0]]))
    tensor([[3., 3.]])
    """
    return exact_values(Game(f, x, baseline, groups), chunk_size, progress)[0]


def shapley_from_table(values: Tensor) -> Tensor:
    r"""The exact Shapley values of a game given as a table of the worths of all coalitions.

    .. math::
        \phi_i = \sum_{S \ni i} a(|S|)\, v(S) - \sum_S w(|S|)\, v(S)

    with the weights of `coalitions.value_weights`. The values sum over players to :math:`v(N) - v(\emptyset)`, that is
    values[-1] - values[0]. Differentiable; sums are accumulated in float64.

    Parameters
    ----------
    values : Tensor
        [2**n, *outputs], the worths; bit i of the row number says whether player i is present (row 0: nobody).

    Returns
    -------
    Tensor
        [n, *outputs], in the dtype of the table; whole numbers give float64.

    Raises
    ------
    ValueError, TypeError
        For a table without 2**n rows, or with something else than finite real numbers.

    Cost
    ----
    About 3 * 2**n multiply-adds per output, for all players together.

    Source
    ------
    Shapley (1953), equation 13, regrouped by coalition.

    Examples
    --------
    >>> shapley_from_table(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    tensor([0.5000, 0.5000])
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"values must be a tensor [2**n, *outputs]; got {type(values).__name__}")
    rows = len(values) if values.dim() else 0
    if rows < 2 or rows & (rows - 1):
        raise ValueError(f"values needs 2**n rows, one a coalition, for n >= 1; got shape {tuple(values.shape)}")
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"values must be real numbers; got {values.dtype}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("values holds NaN or infinity; a game must have a value for every coalition")
    dtype = values.dtype if values.is_floating_point() else torch.float64
    n = rows.bit_length() - 1
    a, w = (weights.to(values.device)[sizes(n, device=values.device)] for weights in value_weights(n))
    table = values.to(torch.float64).flatten(1) if values.dim() > 1 else values.to(torch.float64)[:, None]
    phi = member_sums(a[:, None] * table) - w @ table
    return in_dtype(phi.reshape(n, *values.shape[1:]), dtype)


def explain(
    f: Model,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    groups: Groups | None = None,
    chunk_size: int | None = None,
    progress: bool | None = None,
) -> Explanation:
    """`shapley_values` together with the predictions that they lie between, as an `Explanation`.

    Parameters
    ----------
    f, x, baseline, groups, chunk_size, progress
        As in `shapley_values`, and so are gradients, errors and cost.

    Returns
    -------
    Explanation
        Attributions [batch, *features, *outputs], or [batch, n, *outputs] with groups; the predictions at x and at the
        baseline [batch, *outputs]; x as its inputs.

    Source
    ------
    Shapley (1953), equation 13; Shapley Explanation Networks, Definition 1.

    Examples
    --------
    >>> explain(lambda z: z[:, 0] * z[:, 1], torch.tensor([[2.0, 3.0]])).gap()
    tensor([0.])
    """
    values, empty, full = exact_values(Game(f, x, baseline, groups), chunk_size, progress)
    return Explanation(values, full, empty, inputs=x)


def exact_values(game: Game, chunk_size: int | None, progress: bool | None) -> tuple[Tensor, Tensor, Tensor]:
    """The values of `shapley_values` with the predictions at the baseline and at x that they lie between."""
    check_chunk_size(chunk_size)
    x, baseline = game.x, game.baseline
    probe, largest_bytes, eps = game.probe()
    chunk_size = int(chunk_size or rows_at_once(x, largest_bytes))
    graph = probe.requires_grad
    moved = game.non_missing()
    # A player at its baseline has value zero but not gradient zero, so with a gradient to x all players are enumerated.
    everyone = graph and (x.requires_grad or baseline.requires_grad)
    enumerated = torch.ones_like(moved) if everyone else moved
    counts = enumerated.sum(1).tolist()
    _refuse_hopeless(counts)
    keep_freed_memory()
    empty = game.predictions(baseline, chunk_size)
    full = game.predictions(x, chunk_size) if len(x) > 1 else probe.detach()

    blocks = list(_blocks(enumerated, chunk_size))
    recompute = graph and (len(blocks) > 1 or 1 << max(counts) > chunk_size)
    shape, outputs = probe.shape[1:], prod(probe.shape[1:])
    found = []
    bar = progress_bar(sum(1 << n for n in counts), "rows", progress)
    with bar, torch.set_grad_enabled(graph):
        for inputs, players in blocks:
            low = min(players.shape[1], chunk_size.bit_length() - 1)
            found.append(_enumerate(game, inputs, players, low, outputs, graph, recompute, bar))
        phi = x.new_zeros(len(x), game.n, outputs, dtype=torch.float64)
        if blocks:
            rows = torch.cat([inputs[:, None].expand_as(players).flatten() for inputs, players in blocks])
            columns = torch.cat([players.flatten() for _, players in blocks])
            phi = phi.index_put((rows, columns), torch.cat([values.flatten(0, 1) for values in found]))
        if everyone:  # whoever is at the baseline: exactly 0, with its gradient
            phi = torch.where(moved[:, :, None], phi, phi - phi.detach())
    detached = phi.detach()
    check_closure(
        detached.sum(1).reshape(len(x), *shape),
        empty,
        full,
        scale=detached.abs().sum(1).reshape(len(x), *shape),
        eps=eps,
    )
    return in_dtype(phi.reshape(len(x), *game.player_shape, *shape), x.dtype), empty, full


def _blocks(enumerated: Tensor, chunk_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs that share chunks: which ones, [inputs], and who is enumerated for each, [inputs, players].

    Inputs of a block have as many players, each its own. So an input costs 2**players, whatever else is in the batch.
    """
    counts = enumerated.sum(1)
    for n in counts.unique().tolist():
        if n > 0:
            for inputs in torch.nonzero(counts == n).flatten().split(max(1, chunk_size >> n)):
                yield inputs, torch.nonzero(enumerated[inputs])[:, 1].view(-1, n)


def _enumerate(
    game: Game, inputs: Tensor, players: Tensor, low: int, outputs: int, graph: bool, recompute: bool, bar: Bar
) -> Tensor:
    """The values of `players` [block, n], indices, for a block of inputs: float64 [block, n, outputs].

    Three kinds of players: `low` ones vary inside a chunk of rows, the next `middle` ones from chunk to chunk, and when
    all of their coalitions are in, the table is contracted; the rest, the high ones, vary from table to table.
    """
    if linear := _leading_linear(game):
        rows, rest = _partial_sums(game, inputs, players, low, not graph, *linear)  # autograd needs rows of their own
    else:
        rows, rest = _masked_rows(game, inputs, players, low, not graph)

    def evaluate(code: int) -> Tensor:
        chunk = rows(code)
        return checked_output(rest(chunk), len(chunk)).reshape(-1, 2**low, outputs)

    first = evaluate(0) if not recompute else recomputed(evaluate, 0)
    n, device = players.shape[1], first.device
    in_table = max(low, min(n, (TABLE // max(len(first) * outputs, 1)).bit_length() - 1))
    middle = in_table - low
    # Measured from v(nobody): a constant in f's output then costs no digits.
    origin = first[:, :1].to(torch.float64, copy=True)
    table = None if graph else first.new_empty(len(first), 2**middle, 2**low, outputs, dtype=torch.float64)
    chunks = [first] * 2**middle if graph else table.unbind(1)
    accumulated: Tensor | None = None
    constant, high_values = 0.0, [0.0] * (n - in_table)
    for high in range(2 ** (n - in_table)):
        for code in range(high << middle, high + 1 << middle):
            bar.update(len(first) << low)
            value = first if code == 0 else recomputed(evaluate, code) if recompute else evaluate(code)
            if graph:
                chunks[code % 2**middle] = value
            else:  # copied at once, since it may lie in memory that the next chunk writes over
                chunks[code % 2**middle].copy_(value)
        values = torch.cat(chunks, 1) - origin if graph else table.flatten(1, 2).sub_(origin)
        weights = _table_weights(n, in_table, high.bit_count(), device)
        a = weights[0, :, None]
        accumulated = a * values if accumulated is None else torch.addcmul(accumulated, a, values)
        with_table, everywhere = (weights @ values).unbind(1)
        constant = constant + everywhere
        for j in range(n - in_table):
            if high >> j & 1:
                high_values[j] = high_values[j] + with_table
    low_values = member_sums(accumulated.transpose(0, 1)) if in_table else []
    return torch.stack([*low_values, *high_values], 1) - constant[:, None]


@cached_tensors
def _table_weights(n: int, in_table: int, others: int, device: torch.device) -> Tensor:
    """`value_weights(n)` over all coalitions of a table, each joined by `others` more players: [2, 2**in_table]."""
    size = others + (sizes(in_table) if in_table else torch.zeros(1, dtype=torch.int64))
    return torch.stack(value_weights(n))[:, size].to(device)


def recomputed(evaluate: Callable[..., Tensor], *chunk: object) -> Tensor:
    """One chunk whose intermediate results are dropped, and made again when gradients are wanted."""
    return checkpoint(evaluate, *chunk, use_reentrant=False, preserve_rng_state=False)


class _Rows:
    """Rows, a chunk at a time: all coalitions of the low players, each joined by one coalition of the others.

    A chunk is named by the coalition of the others, as an integer. Each player adds `present` or `absent`, both
    [inputs, players, d], to the row that is `start` [inputs, 1, d]. The coalitions of the low players are summed up
    once; a chunk is this table, shifted by what the others add. With `reuse` all chunks are written into one buffer.
    """

    def __init__(self, present: Tensor, absent: Tensor, start: Tensor, shape: torch.Size, low: int, reuse: bool):
        parts = low - low // 2, low // 2, min(8, present.shape[1] - low)  # the third has most of the others' coalitions
        ready = sum(parts)
        first, last, near = subset_sums(present[:, :ready], absent[:, :ready], parts)
        self.table = (last[:, :, None] + first[:, None]).flatten(1, 2)
        self.shifts = (start + near).unbind(1)
        self.far = list(zip(absent[:, ready:].unbind(1), present[:, ready:].unbind(1), strict=True))
        self.buffer = torch.empty_like(self.table) if reuse else None
        self.shape = (-1, *shape)

    def __call__(self, code: int) -> Tensor:
        shift, others = self.shifts[code % len(self.shifts)], code // len(self.shifts)
        for j, one in enumerate(self.far):
            shift = shift + one[others >> j & 1]
        return torch.add(self.table, shift[:, None], out=self.buffer).view(self.shape)


def _masked_rows(game: Game, inputs: Tensor, players: Tensor, low: int, reuse: bool) -> tuple[_Rows, Model]:
    """The rows of an opaque model, and the model: x where a player is present, the baseline elsewhere.

    A feature has one owner; all other terms are zero there, and adding zeros is exact.
    """
    x, baseline = (t[inputs].flatten(1)[:, None] for t in (game.x, game.baseline))
    owns = game.membership(players)
    rows = _Rows(x * owns, baseline * owns, baseline * (1 - owns.sum(1, keepdim=True)), game.x.shape[1:], low, reuse)
    return rows, game.f


def _partial_sums(
    game: Game, inputs: Tensor, players: Tensor, low: int, reuse: bool, linear: nn.Linear, rest: list[nn.Module]
) -> tuple[_Rows, Model]:
    """The first layer's output where that layer is linear, and the rest of the model.

    W x_S + b = (W r + b) + the sum of the products W (x - r) of the members of S.
    """
    x, baseline = (t[inputs].flatten(1) for t in (game.x, game.baseline))
    products = nn.functional.linear((x - baseline)[:, None] * game.membership(players), linear.weight)
    rows = _Rows(products, torch.zeros_like(products), linear(baseline)[:, None], products.shape[2:], low, reuse)
    return rows, _Buffered(rest) if reuse else nn.Sequential(*rest)


class _Buffered:
    """Layers run in memory that is kept from chunk to chunk: linear ones into buffers, ReLUs inside those.

    What a layer writes is then where the last chunk left it, in the cache, and is read from there by the next layer.
    """

    def __init__(self, layers: list[nn.Module]):
        self.layers = [(layer, type(layer) if as_its_class(layer) else None) for layer in layers]
        self.buffers: dict[int, Tensor] = {}

    def __call__(self, z: Tensor) -> Tensor:
        ours = True  # whether z lies in memory that nobody else sees
        for i, (layer, kind) in enumerate(self.layers):
            if kind is nn.Linear and z.dim() == 2:
                if i not in self.buffers:
                    self.buffers[i] = z.new_empty(z.shape[0], layer.out_features)
                if layer.bias is None:
                    z = torch.mm(z, layer.weight.T, out=self.buffers[i])
                else:
                    z = torch.addmm(layer.bias, z, layer.weight.T, out=self.buffers[i])
                ours = True
            elif kind is nn.ReLU and ours:
                z = z.relu_()
            else:
                z, ours = layer(z), False
        return z


def _leading_linear(game: Game) -> tuple[nn.Linear, list[nn.Module]] | None:
    """The linear layer that f begins with and the others, when the shared products give the same as calling f."""
    layers = list(game.f) if type(game.f) is nn.Sequential else [game.f]
    skip = 1 if type(layers[0]) is nn.Flatten and (layers[0].start_dim, layers[0].end_dim) == (1, -1) else 0
    if len(layers) <= skip or type(layers[skip]) is not nn.Linear or (skip == 0 and game.x.dim() != 2):
        return None
    on_the_way = [game.f, *layers[: skip + 1]]
    if not all(map(as_its_class, on_the_way)) or torch.is_autocast_enabled(game.x.device.type):
        return None
    if all_are_hooked() and not _same_without_hooks(game, layers):
        return None
    return layers[skip], layers[skip + 1 :]


@torch.no_grad()
def _same_without_hooks(game: Game, layers: list[nn.Module]) -> bool:
    """Whether hooks of all modules leave what layers compute as it is, tried at the first input and its baseline."""
    rows = torch.cat([game.x[:1], game.baseline[:1]])
    z = rows.clone()
    for layer in layers:
        z = type(layer).forward(layer, z)
    return torch.equal(z, game(rows))


def first_look(game: Game, chunk_size: int | None = None) -> tuple[Probe, int]:
    """A probe of the model, and how many rows to give it at once; it is refused where it mixes rows."""
    probe = game.probe()
    chunk_size = int(chunk_size or rows_at_once(game.x, probe.largest_bytes))
    game.refuse_mixing(chunk_size, probe.eps)
    return probe, chunk_size


def rows_at_once(x: Tensor, widest_bytes: int) -> int:
    """How many rows to give a model at once, a power of two.

    `widest_bytes` is the largest tensor made for one row. On a CPU that tensor should stay in the cache (a larger chunk
    is slower); on a GPU it should fill the machine. In neither may a few such tensors exceed a quarter of what is free.
    """
    row = max(widest_bytes, x[0].numel() * x.element_size())
    if x.device.type == "cuda":
        free = torch.cuda.mem_get_info(x.device)[0]
        rows = min(2**20, 2**28 // row)
    else:
        free = psutil.virtual_memory().available
        rows = min(2**16, 2**22 // row)
    rows = max(1, min(max(rows, 2**8), free // (16 * row)))
    return 1 << (rows.bit_length() - 1)


def check_chunk_size(chunk_size: int | None) -> None:
    if chunk_size is not None and (
        isinstance(chunk_size, bool) or not isinstance(chunk_size, Integral) or chunk_size < 1
    ):
        raise ValueError(f"chunk_size must be a whole number of rows, at least 1, or None; got {chunk_size!r}")


def _refuse_hopeless(counts: list[int]) -> None:
    evaluations, n = sum(1 << count for count in counts), max(counts)
    if evaluations > HOPELESS:
        raise ValueError(
            f"{n} players need 2**{n} evaluations of f an input, {evaluations:.2g} in all: "
            f"{evaluations / 8.64e10:.3g} days at a million a second. Use shapnotes.sample_shapley_values, which needs "
            "n - 1 evaluations a permutation and gives standard errors, or make fewer players with groups="
        )
