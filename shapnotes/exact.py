"""Exact Shapley values by enumeration: all 2**n coalitions, streamed through the model a chunk at a time.

A chunk of rows holds every coalition of the first few players, the low ones, beside one fixed coalition of the others.
What f answers is gathered in a table small enough for the cache and contracted with the weights of
`coalitions.value_weights`: players that vary inside the table need its weighted sum over all tables, the high players,
which are fixed in it, its weighted total.
"""

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor

from shapnotes._coalition_rows import coalition_rows
from shapnotes._runtime.chunking import check_chunk_size, recomputed, rows_at_once
from shapnotes._runtime.memory import keep_freed_memory
from shapnotes._runtime.progress import Bar, progress_bar
from shapnotes.coalitions import cached_tensors, checked_table, member_sums, sizes, value_weights
from shapnotes.explanation import Explanation, check_closure
from shapnotes.game import Game, Model, checked_output, in_dtype
from shapnotes.players import Groups

MAX_EVALUATIONS = 2**36  # of f, together; about a day at a million per second
VALUES_PER_TABLE = 2**19  # few enough to stay in the cache, many enough to hide the cost of a call


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
        \begin{aligned}
        \phi_i = \sum_{S \not\ni i} &\frac{|S|!\,(n - 1 - |S|)!}{n!} \\
        &\times [v(S + i) - v(S)],
        \end{aligned}

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
    table, dtype = checked_table(values)
    n = len(table).bit_length() - 1
    a, w = (weights.to(values.device)[sizes(n, device=values.device)] for weights in value_weights(n))
    table = table.flatten(1) if table.dim() > 1 else table[:, None]
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
    """`shapley_values` with the two predictions whose difference they share out, as an `Explanation`.

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


def exact_values(
    game: Game, chunk_size: int | None, progress: bool | None, values_per_table: int = VALUES_PER_TABLE
) -> tuple[Tensor, Tensor, Tensor]:
    """The values of `shapley_values` with the predictions at the baseline and at x, whose difference they share out."""
    check_chunk_size(chunk_size)
    x, baseline = game.x, game.baseline
    probe, largest_bytes, eps = game.probe()
    chunk_size = int(chunk_size or rows_at_once(x, largest_bytes))
    graph = probe.requires_grad
    moved, enumerated = game.non_missing(), game.taking_part(graph)
    counts = enumerated.sum(1).tolist()
    _refuse_hopeless(counts)
    keep_freed_memory()
    empty = game.predictions(baseline, chunk_size)
    full = game.predictions(x, chunk_size) if len(x) > 1 else probe.detach()

    blocks = list(_blocks(enumerated, chunk_size))
    many_chunks = len(blocks) > 1 or 1 << max(counts) > chunk_size
    recompute = graph and many_chunks
    shape, outputs = probe.shape[1:], prod(probe.shape[1:])
    found = []
    shown = False if progress is None and not many_chunks else progress  # one chunk takes less time than its bar
    with progress_bar(sum(1 << n for n in counts), "rows", shown) as bar, torch.set_grad_enabled(graph):
        for inputs, players in blocks:
            n = players.shape[1]
            low = min(n, chunk_size.bit_length() - 1)
            evaluate = _evaluation(game, inputs, players, low, outputs, graph, recompute)
            found.append(_enumerate(evaluate, n, low, graph, values_per_table, bar))
            del evaluate  # its rows are used again by the next block, and by the next call
        phi = x.new_zeros(len(x), game.n, outputs, dtype=torch.float64)
        if blocks:
            rows = torch.cat([inputs[:, None].expand_as(players).flatten() for inputs, players in blocks])
            columns = torch.cat([players.flatten() for _, players in blocks])
            phi = phi.index_put((rows, columns), torch.cat([values.flatten(0, 1) for values in found]))
        if not torch.equal(enumerated, moved):  # who is missing gets exactly 0; phi - phi.detach() keeps the gradient
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


def _evaluation(
    game: Game, inputs: Tensor, players: Tensor, low: int, outputs: int, graph: bool, recompute: bool
) -> Callable[[int], Tensor]:
    """From the number of a chunk to what f answers to its rows, [block, 2**low, outputs].

    The number is that of a coalition of the players beyond the first `low`; a row joins it with one of the low players.
    """
    rows, rest = coalition_rows(game, inputs, players, low, reuse=not graph)  # autograd needs rows of their own

    def evaluate(code: int) -> Tensor:
        chunk = rows(code)
        return checked_output(rest(chunk), len(chunk)).reshape(-1, 2**low, outputs)

    return (lambda code: recomputed(evaluate, code)) if recompute else evaluate


def _enumerate(
    evaluate: Callable[[int], Tensor], n: int, low: int, graph: bool, values_per_table: int, bar: Bar
) -> Tensor:
    """The values of n players from the answers to all chunks, see `_evaluation`: float64 [block, n, outputs].

    Three kinds of players: `low` ones vary inside a chunk of rows, the next `middle` ones from chunk to chunk, and when
    all of their coalitions are in, the table is contracted; the rest, the high ones, vary from table to table.
    """
    first = evaluate(0)
    block, _, outputs = first.shape
    in_table = max(low, min(n, (values_per_table // max(block * outputs, 1)).bit_length() - 1))
    middle = in_table - low
    # Measured from v(nobody): a constant in f's output then costs no digits.
    origin = first[:, :1].to(torch.float64, copy=True)
    table = first.new_empty(0 if graph else block, 2**middle, 2**low, outputs, dtype=torch.float64)
    total = _StreamingSum(n, in_table, first.new_zeros(block, outputs, dtype=torch.float64))

    def chunks(high: int) -> Iterator[Tensor]:
        for code in range(high << middle, high + 1 << middle):
            bar.update(block << low)
            yield first if code == 0 else evaluate(code)

    for high in range(2 ** (n - in_table)):
        if graph:
            values = torch.cat(list(chunks(high)), 1) - origin
        else:  # copied one by one, since an answer may lie in memory that the next one is written to
            for place, chunk in zip(table.unbind(1), chunks(high), strict=True):
                place.copy_(chunk)
            values = table.flatten(1, 2).sub_(origin)
        total.add(values, high)
    return total.values()


class _StreamingSum:
    """The values of n players from tables of the worths of coalitions, which come one after the other.

    A table holds all coalitions of the first `in_table` players, each joined by one coalition of the others.
    """

    def __init__(self, n: int, in_table: int, zero: Tensor) -> None:
        """zero : [block, outputs]"""
        self.n, self.in_table = n, in_table
        self.weighted: Tensor | None = None  # the tables, times the weights of members: [block, 2**in_table, outputs]
        self.everywhere = zero  # what every player has to give back: [block, outputs]
        self.of_high = [zero] * (n - in_table)  # over the tables in which the player is: [block, outputs] each

    def add(self, table: Tensor, high: int) -> None:
        """table : float64 [block, 2**in_table, outputs]; high : its coalition of the other players, as a number."""
        weights = _table_weights(self.n, self.in_table, high.bit_count(), table.device)
        a = weights[0, :, None]
        self.weighted = a * table if self.weighted is None else torch.addcmul(self.weighted, a, table)
        with_table, everywhere = (weights @ table).unbind(1)
        self.everywhere = self.everywhere + everywhere
        for j in range(self.n - self.in_table):
            if high >> j & 1:
                self.of_high[j] = self.of_high[j] + with_table

    def values(self) -> Tensor:
        """[block, n, outputs], when all tables have been added."""
        assert self.weighted is not None, "no table was added"
        of_low = member_sums(self.weighted.transpose(0, 1)).unbind(0) if self.in_table else ()
        return torch.stack([*of_low, *self.of_high], 1) - self.everywhere[:, None]


@cached_tensors
def _table_weights(n: int, in_table: int, others: int, device: torch.device) -> Tensor:
    """`value_weights(n)` over all coalitions of a table, each joined by `others` more players: [2, 2**in_table]."""
    size = others + (sizes(in_table, device="cpu") if in_table else torch.zeros(1, dtype=torch.int64, device="cpu"))
    return torch.stack(value_weights(n))[:, size].to(device)


def _refuse_hopeless(counts: list[int]) -> None:
    evaluations, n = sum(1 << count for count in counts), max(counts)
    if evaluations > MAX_EVALUATIONS:
        raise ValueError(
            f"{n} players need 2**{n} evaluations of f per input, {evaluations:.2g} in all: "
            f"{evaluations / 8.64e10:.3g} days at a million a second. Use shapnotes.sample_shapley_values, which needs "
            "n - 1 evaluations per permutation and gives standard errors, or make fewer players with groups="
        )
