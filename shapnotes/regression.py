"""Estimated Shapley values by weighted regression on pairs of coalitions (Kernel SHAP), with standard errors."""

from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes._kernel_coalitions import Pairs, kernel_pairs
from shapnotes._runtime.chunking import check_chunk_size, recomputed
from shapnotes._runtime.memory import keep_freed_memory
from shapnotes._runtime.progress import Bar, progress_bar
from shapnotes.exact import MAX_EVALUATIONS, exact_values
from shapnotes.game import Game, Model, in_dtype
from shapnotes.players import Groups
from shapnotes.sampling import check_generator

PER_PLAYER = 6  # evaluations at least: three pairs per player, so that errors of the fit can be told from the fit
USUAL = 2048  # evaluations beyond 2 per player, where nobody says how many
LARGEST_STEP = 9.0  # by which factor evaluations grow at most from what standard errors of few of them say
HELD_BYTES = 2**28  # of the pairs of one regression, and of what f answers to them
NUMBERS_AT_ONCE = 2**20  # of a block of rows of the regression


def regression_shapley_values(
    f: Model,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    groups: Groups | None = None,
    evaluations: int | None = None,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: bool | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Shapley values estimated by regression on coalitions and their complements, with their standard errors.

    .. math::
        \begin{aligned}
        \phi = \arg\min_{\phi} &\sum_{S} k(|S|) \Bigl[ v(S) \\
        &- v(\emptyset) - \sum_{i \in S} \phi_i \Bigr]^2 \\
        \text{subject to} \quad &\sum_i \phi_i = v(N) - v(\emptyset),
        \end{aligned}

        k(s) = \frac{n - 1}{\binom{n}{s}\, s\, (n - s)}

    The sum is over all coalitions but the empty and the full one; here it is estimated from some of them, each together
    with its complement. Write :math:`\phi_i = \Delta / n + \gamma_i` with :math:`\Delta = v(N) - v(\emptyset)`. In the
    differences and sums of a coalition and its complement the problem falls apart, and only the differences know
    :math:`\gamma`:

    .. math::
        \begin{aligned}
        \gamma = \arg\min_{\gamma} &\sum_{S} k(|S|) \\
        &\quad \bigl[ d(S) - c(S) \cdot \gamma \bigr]^2,
        \end{aligned}

        c_i(S) = \mathbb{1}[i \in S] - \frac{|S|}{n},

        \begin{aligned}
        d(S) = {} &\tfrac12 \bigl[ v(S) - v(N \setminus S) \bigr] \\
        &- \Bigl( \frac{|S|}{n} - \frac12 \Bigr) \Delta
        \end{aligned}

    So a game with interactions of at most two players is fitted without error from any pairs that determine
    :math:`\gamma`: the difference of a product of two players' presence and of that of their absence is linear. Since
    the components of :math:`c(S)` add up to 0, so do those of :math:`\gamma`, and the values sum exactly to
    :math:`f(x) - f(r)`. A null player's value is estimated as any other's.

    Sizes of coalitions come in the kernel's proportions. Those of which there are few are taken whole, and of the
    others no pair comes twice. With :math:`w_S` the weight of a pair, and :math:`A` the sum of
    :math:`w_S\, c(S)\, c(S)^T`, the standard error is the delta method's, for pairs that are drawn without replacement
    (:math:`u_S` is the share of the pairs of its size that were not drawn):

    .. math::
        \begin{aligned}
        \mathrm{se}(\phi_i)^2 = \sum_S u_S \bigl[ &w_S\, (A^{-1} c(S))_i \\
        &\cdot e(S) \bigr]^2,
        \end{aligned}

        e(S) = \frac{d(S) - c(S) \cdot \gamma}{1 - w_S\, c(S)^T A^{-1} c(S)}

    :math:`e(S)` is the error at a pair of the regression on all others. Without the denominator few pairs would seem to
    be more certain than they are; with it standard errors are a little too large where there are only a few pairs per
    player. An interval of 1.96 of them covers as stated from some twenty evaluations per player on (with the fewest, a
    skewed player's 95 % interval may hold the exact value in only 88 % of cases). The regression's bias falls like one
    over the evaluations, and soon is much smaller than its standard error.

    Each input has its own pairs, so errors of different inputs are independent. Gradients flow to x, the baseline and
    the parameters of f when autograd is on, as in `sample_shapley_values`.

    Parameters
    ----------
    f, x, baseline, groups, chunk_size, progress
        As in `shapley_values`.
    evaluations : int, optional
        Of f, per input and beside the two at x and at the baseline: even, and at least 6 n, or 2**n - 2, from which on
        the values are exact. n is counted over the players that differ from the baseline. None for 2 n + 2048 (at least
        6 n), or with a tolerance as many as that takes.
    tolerance : float, optional
        The largest standard error of an input that is small enough, in the unit of f's output. Regressions on new pairs
        are added and averaged until it is reached, or until they have taken the `evaluations`. An input that would need
        2**n - 2 is computed exactly.
    generator : torch.Generator, optional
        Where the pairs are drawn from; the estimate does not depend on chunk_size.

    Returns
    -------
    tuple of Tensor
        (values, standard_errors), each [batch, *features, *outputs] ([batch, n, *outputs] with groups), on x's device
        and in x's dtype. Standard errors are 0 where values are exact.

    Raises
    ------
    ValueError, TypeError
        As `shapley_values`, and for unusable evaluations, tolerances or generators; for a tolerance that would take
        2**36 evaluations and more.
    GapError
        When f is random or mixes rows, as in `sample_shapley_values`.

    Cost
    ----
    The evaluations, 2 per input and up to 17 in all; n**2 multiply-adds per evaluation and n**3 per regression. Memory
    is that of one chunk of rows, of some matrices [n, n], and of 256 MiB at most of pairs and answers: more evaluations
    are several regressions, averaged. Where a gradient is wanted, that of all answers.

    Source
    ------
    Lundberg and Lee (2017), theorem 2; Covert and Lee (2021) for pairs; Fumagalli, Witter and Musco (2026) for what
    they make exact; MacKinnon and White (1985) for the denominator.

    Examples
    --------
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> regression_shapley_values(lambda z: z[:, 0] * z[:, 1], x)
    (tensor([[3., 3.]]), tensor([[0., 0.]]))
    """
    wanted = _checked(evaluations, tolerance)
    check_generator(generator)
    check_chunk_size(chunk_size)
    game = Game(f, x, baseline, groups)
    probe, chunk_size = game.inspect(chunk_size)
    keep_freed_memory()
    graph = probe.output.requires_grad
    taking_part = game.taking_part(graph)
    counts = taking_part.sum(1).tolist()
    for n in counts:
        wanted.refuse_too_few(n)
    zero = x.new_zeros(game.n, probe.output[0].numel(), dtype=torch.float64)
    means, errors = [zero] * len(x), [zero] * len(x)
    exactly = [i for i, n in enumerate(counts) if wanted.first(n) >= _all(n)]
    bar = progress_bar(sum(wanted.first(n) for n in counts), "coalitions", progress)
    with bar, torch.set_grad_enabled(graph):
        for i in sorted({*range(len(x))} - {*exactly}):
            players = torch.nonzero(taking_part[i]).flatten()
            found = _estimated(_Coalitions(game, i, players, chunk_size, bar), wanted, generator)
            if found is None:
                exactly.append(i)
            else:
                means[i], errors[i] = (zero.index_copy(0, players, part) for part in found)
    if exactly:
        some = Game(f, x[exactly], game.baseline[exactly], groups)
        for i, values in zip(exactly, exact_values(some, chunk_size, progress)[0], strict=True):
            means[i] = values.reshape(zero.shape).double()
    shape = (len(x), *game.player_shape, *probe.output.shape[1:])
    values, standard_errors = (in_dtype(torch.stack(parts).reshape(shape), x.dtype) for parts in (means, errors))
    return values, standard_errors


def _all(n: int) -> int:
    """How many coalitions of n players there are, but for the empty and the full one."""
    return (1 << n) - 2 if n else 0


class _Wanted(NamedTuple):
    """How many evaluations an input may take, and which standard error is small enough."""

    evaluations: int | None
    tolerance: float | None

    def first(self, n: int) -> int:
        """Evaluations to begin with; those of all coalitions where they are as many."""
        usual = max(PER_PLAYER * n, 2 * n + USUAL)
        if self.evaluations is not None:
            usual = self.evaluations if self.tolerance is None else min(usual, self.evaluations)
        return min(usual, _all(n))

    def refuse_too_few(self, n: int) -> None:
        least = min(PER_PLAYER * n, _all(n))
        if self.evaluations is not None and self.evaluations < least:
            raise ValueError(
                f"evaluations={self.evaluations} are too few for {n} players that differ from the baseline: the "
                f"regression takes {least} at least"
                + (f", {PER_PLAYER} per player" if least < _all(n) else ", all coalitions")
                + "; give it more, or make fewer players with groups="
            )


def _checked(evaluations: int | None, tolerance: float | None) -> _Wanted:
    if evaluations is not None and (
        isinstance(evaluations, bool) or not isinstance(evaluations, Integral) or evaluations < 2 or evaluations % 2
    ):
        raise ValueError(
            "evaluations must be an even whole number (coalitions come in pairs with their complement), or None; got "
            f"{evaluations!r}"
        )
    if tolerance is not None and (
        isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < tolerance or not isfinite(tolerance)
    ):
        raise ValueError(
            "tolerance must be a positive number, the largest standard error in the unit of f's output, or None; got "
            f"{tolerance!r}"
        )
    return _Wanted(None if evaluations is None else int(evaluations), None if tolerance is None else float(tolerance))


class _Coalitions:
    """The game at input i of those players that take part, the others at the baseline."""

    def __init__(self, game: Game, i: int, players: Tensor, chunk_size: int, bar: Bar) -> None:
        self.game, self.one, self.players, self.chunk_size, self.bar = game, slice(i, i + 1), players, chunk_size, bar
        self.n = len(players)
        rows = torch.cat([game.baseline[self.one], game.x[self.one]])
        ends = torch.cat([game.worths(part) for part in rows.split(chunk_size)]).reshape(2, -1).double()
        self.change = ends[1] - ends[0]  # [outputs]

    def worths(self, present: Tensor) -> Tensor:
        """bool [rows, n] -> [rows, *outputs]"""
        if self.n < self.game.n:
            present = present.new_zeros(len(present), self.game.n).index_copy(1, self.players, present)
        return self.game.worths(self.game.masked(present[None], self.one)[0])

    def differences(self, present: Tensor) -> Tensor:
        """Half of what a coalition is worth more than its complement: bool [pairs, n] -> float64 [pairs, outputs]."""
        graph = self.change.requires_grad
        # One tensor, made before any rows are, as in `sampling`.
        worths = self.change.new_empty(2, len(present), len(self.change))
        for half in (0, 1):
            for first in range(0, len(present), self.chunk_size):
                some = present[first : first + self.chunk_size]
                rows = ~some if half else some
                answers = recomputed(self.worths, rows) if graph else self.worths(rows)
                worths[half, first : first + len(some)] = answers.reshape(len(some), -1)
                self.bar.update(len(some))
        return (worths[0] - worths[1]) / 2


def _estimated(
    coalitions: _Coalitions, wanted: _Wanted, generator: torch.Generator | None, held_bytes: int = HELD_BYTES
) -> tuple[Tensor, Tensor] | None:
    """Values and standard errors of one input, float64 [n, outputs] each; None where it should be computed exactly.

    Independent regressions are averaged in proportion to their evaluations.
    """
    n, outputs, device = coalitions.n, len(coalitions.change), coalitions.change.device
    least = PER_PLAYER * n
    at_once = max(least, 2 * (held_bytes // (n + 24 * outputs)))
    limit, tolerance = wanted
    until, used = wanted.first(n), 0
    mean = variance = coalitions.change.new_zeros(n, outputs)
    while True:
        count = (until - used) // max(1, (until - used) // at_once) // 2 * 2
        pairs = kernel_pairs(n, count // 2, generator, device)
        values, variances = _regression(pairs, coalitions.differences(pairs.present), coalitions.change)
        share = count / (used + count)
        mean, variance = mean + share * (values - mean), (1 - share) ** 2 * variance + share**2 * variances
        used += count
        if until - used >= least:
            continue
        largest = float(variance.detach().max().sqrt())
        if tolerance is None or largest <= tolerance:
            return mean, variance.sqrt()
        needed = used * (largest / tolerance) * (largest / tolerance)
        if limit is None and min(needed, _all(n)) > MAX_EVALUATIONS:
            raise ValueError(
                f"a standard error of {tolerance:.3g} would take about {needed:.2g} evaluations of f; after {used} it "
                f"is {largest:.3g}. Take a larger tolerance, or say with evaluations= how many there may be"
            )
        if needed >= _all(n) and (limit is None or used + _all(n) <= limit):
            return None
        until = used + max(least, int(min(1.1 * needed - used, (LARGEST_STEP - 1) * used)) // 2 * 2)
        until = until if limit is None else min(until, limit)
        if until - used < least:
            return mean, variance.sqrt()


def _regression(pairs: Pairs, differences: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Values and the squares of their standard errors, float64 [n, outputs] each.

    differences [pairs, outputs] are half of what a coalition is worth more than its complement; change [outputs] is
    what the full one is worth more than the empty one.
    """
    n = pairs.present.shape[1]
    blocks = range(0, len(differences), max(1, NUMBERS_AT_ONCE // n))

    def over_blocks(part: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
        """Sums of what `part` makes of c(S), w_S, d(S) and u_S, a block of pairs at a time."""
        sums: list[Tensor] = []
        for first in blocks:
            some = slice(first, first + blocks.step)
            present = pairs.present[some].double()
            size = present.mean(1, keepdim=True)
            deviations = differences[some] - (size - 0.5) * change
            found = part(present - size, pairs.weight[some, None], deviations, pairs.unseen[some, None])
            sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else list(found)
        return sums

    squares, products = over_blocks(lambda c, w, d, u: ((w * c).T @ c, (w * c).T @ d))
    # The same along (1, ..., 1), where it is 0: then it has an inverse, which maps what has the sum 0 to what has.
    inverse = torch.linalg.inv(squares + squares.trace() / (n - 1) / n)
    found = inverse @ products
    found = found - found.mean(0)

    def variances(c: Tensor, w: Tensor, d: Tensor, u: Tensor) -> tuple[Tensor]:
        influence = w * (c @ inverse)
        left_out = (d - c @ found) / (1 - (influence * c).sum(1, keepdim=True))
        return ((influence.square() * u).T @ left_out.square(),)

    return found + change / n, over_blocks(variances)[0]
