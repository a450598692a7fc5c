"""Bounds of exact Shapley values that hold: the widest sub-cube first, until they meet or the budget is spent."""

from dataclasses import replace
from math import fsum
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shapnotes._chain import Linear, Reshape, chain_of
from shapnotes._runtime.chunking import rows_at_once
from shapnotes._runtime.memory import keep_freed_memory
from shapnotes.bounds.bands import EPS, UNDERFLOW, Answer, Start, contributions, start_of
from shapnotes.bounds.cubes import Cubes, all_coalitions, joined
from shapnotes.game import Game, in_dtype

LEAST_AT_ONCE = 64  # sub-cubes that are split at a time, of which there may be a few better ones among the new
PART_AT_ONCE = 4  # or a quarter of those that are open
BANDS = 12  # tensors of a band that are held at once, about


class ShapleyBounds(NamedTuple):
    """Bounds of exact Shapley values, and what they took.

    Parameters
    ----------
    lower, upper : Tensor
        [batch, *features, *outputs]. Every exact value is between them, or equal to one.
    evaluations : Tensor
        int64 [batch], the sub-cubes that were bounded.
    met : Tensor
        bool [batch], whether nothing but rounding is left between them.
    """

    lower: Tensor
    upper: Tensor
    evaluations: Tensor
    met: Tensor


@torch.no_grad()
def shapley_bounds(
    model: nn.Module, x: Tensor, baseline: Tensor | float | None = None, *, budget: int = 2**14
) -> ShapleyBounds:
    r"""Lower and upper bounds that hold for the exact Shapley values of a network of linear layers and ReLUs.

    .. math::
        \phi_k = \sum_C &\frac{p!\, a!}{(p + a + 1)!} \\
        &\times \mathbb{E}_{S \in C}\, [v(S \cup \{k\}) - v(S)]

    over sub-cubes C that together hold every coalition of the others once: p players are present in all coalitions of
    C, a absent in all, and the others free. Given that player k comes after the p and before the a, every free player
    comes before it with chance (p + 1) / (p + a + 2), which is what the expectation is taken over. In each
    sub-cube the contribution is bounded from both sides by functions that are linear in who is present; these hold for
    every coalition, and so does their average. The sub-cube whose bounds are furthest apart, times its weight, is split
    next, into those with one more player present and absent: the one that moves most of what is undecided. A
    sub-cube without free players is exact. At last, efficiency: a value is at least what the upper bounds of the others
    leave of :math:`f(x) - f(r)`, and at most what their lower bounds leave.

    The bounds are computed in float64 and hold for the function that the model's weights describe in exact arithmetic:
    whatever rounding may have done is added outward. What the model returns in float32 differs from that function by
    its own rounding.

    Parameters
    ----------
    model : nn.Module
        `nn.Sequential` of `nn.Linear`, `nn.Conv2d`, `nn.ReLU`, `nn.LeakyReLU`, `nn.AvgPool2d`, `nn.AdaptiveAvgPool2d`
        and `nn.Flatten`, in any order; [rows, *features] -> [rows, *outputs].
    x : Tensor
        [batch, *features], floating point.
    baseline : Tensor or float, optional
        The value that stands for absent: None (0), a number, or a tensor that broadcasts to x.
    budget : int
        How many sub-cubes to bound at most, for each input; at least one per player that differs from the baseline.

    Returns
    -------
    ShapleyBounds
        (lower, upper, evaluations, met), the first two [batch, *features, *outputs], on x's device and in x's dtype,
        rounded outward. A player at its baseline is exactly 0.

    Raises
    ------
    ValueError, TypeError
        For a model with other layers, unusable inputs, or a budget that is too small.

    Cost
    ----
    One evaluation carries bounds of three numbers per unit, each with n + 1 coefficients: about 12 (n + 1) evaluations
    of the model. They always meet after n * (2**n - 1) evaluations, which is more expensive than to enumerate the
    coalitions; so with few players `shapley_values` is faster, unless rounding must be excluded. What a budget buys
    falls quickly with n and with depth: see the book.

    Source
    ------
    Ours, after the idea of Boetius and others (2026) to bound Shapley values by branch and bound.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> with torch.no_grad():
    ...     _ = model[0].weight.fill_(1.0), model[0].bias.fill_(-2.0)
    >>> bounds = shapley_bounds(model, torch.tensor([[2.0, 3.0]]))
    >>> bounds.lower[0, :, 0], bounds.met
    (tensor([1.0000, 2.0000]), tensor([True]))
    """
    if isinstance(budget, bool) or not isinstance(budget, Integral):
        raise TypeError(f"budget must be a whole number of sub-cubes; got {budget!r}")
    game = Game(model, x, baseline)
    probe = game.probe()
    chain = chain_of(game, probe, name="shapley_bounds", maxima=False)
    moved = game.non_missing()
    most = int(moved.sum(1).max())
    if budget < most:
        raise ValueError(
            f"budget must be at least {most}, one sub-cube for each player that differs from the baseline; got {budget}"
        )
    keep_freed_memory()
    shape = probe.output.shape[1:]
    lower = torch.zeros(len(x), game.n, shape.numel(), dtype=torch.float64, device=x.device)
    upper = torch.zeros_like(lower)
    evaluations, met = [], []
    widest = probe.largest_bytes * (8 // min(8, x.element_size())) * 3 * BANDS
    for i in range(len(x)):
        players = torch.nonzero(moved[i]).flatten()
        start = start_of(chain, game.x[i].double(), game.baseline[i].double(), players)
        if len(players) == 0:
            evaluations.append(0)
            met.append(True)
            continue
        at_once = max(1, rows_at_once(start.base[None], widest) // (1 + len(players)))
        search = _Search(start, at_once)
        search.spend(int(budget))
        lower[i, players], upper[i, players] = search.bounds()
        evaluations.append(search.spent)
        met.append(not bool(search.open.any()))
    shape_of_all = (*x.shape, *shape)
    return ShapleyBounds(
        _outward(lower.reshape(shape_of_all), x.dtype, -1),
        _outward(upper.reshape(shape_of_all), x.dtype, 1),
        torch.tensor(evaluations, device=x.device),
        torch.tensor(met, device=x.device),
    )


class _Search:
    """The sub-cubes of one input: those that are open may be split, the widest first."""

    def __init__(self, start: Start, at_once: int) -> None:
        """at_once : how many sub-cubes are bounded together"""
        self.start, self.at_once, self.spent = start, at_once, 0
        self.importance = _importance(start)
        self.cubes = all_coalitions(len(start.effects), start.base.device)
        self.lower, self.upper, self.by, self.open = self._bounded(self.cubes)
        self.total = _total(start)

    def spend(self, budget: int) -> None:
        while self.spent + 2 <= budget:
            gap = torch.where(self.open, (self.upper - self.lower).amax(1), -1.0)
            count = int(self.open.sum())
            count = min(count, (budget - self.spent) // 2, max(LEAST_AT_ONCE, count // PART_AT_ONCE))
            if count == 0:
                return
            widest = gap.topk(count).indices
            kept = torch.ones_like(self.open)
            kept[widest] = False
            new = self.cubes.part(widest).split(self.by[widest])
            old = self.lower[kept], self.upper[kept], self.by[kept], self.open[kept]
            self.cubes = joined([self.cubes.part(kept), new])
            parts = zip(old, self._bounded(new), strict=True)
            self.lower, self.upper, self.by, self.open = (torch.cat(pair) for pair in parts)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Of every player's value, with efficiency: [n, outputs] each."""
        lower, upper = (self._summed(bound) for bound in (self.lower, self.upper))
        lower, upper = lower - (2 * EPS * lower.abs() + UNDERFLOW), upper + (2 * EPS * upper.abs() + UNDERFLOW)
        least, most = self.total
        left, spare = least - (upper.sum(0) - upper), most - (lower.sum(0) - lower)
        size = upper.abs().sum(0) + lower.abs().sum(0) + torch.maximum(least.abs(), most.abs())
        slack = (len(lower) + 16) * EPS * size + UNDERFLOW
        return torch.maximum(lower, left - slack), torch.minimum(upper, spare + slack)

    def _summed(self, bound: Tensor) -> Tensor:
        """Sums over the sub-cubes of each player, rounded once: [cubes, outputs] -> [n, outputs]."""
        sizes = torch.bincount(self.cubes.player, minlength=len(self.start.effects)).tolist()
        parts = bound[self.cubes.player.argsort()].split(sizes)
        sums = [[fsum(of_output) for of_output in part.T.tolist()] for part in parts]
        return torch.tensor(sums, dtype=torch.float64, device=bound.device).view(len(sizes), -1)

    def _bounded(self, cubes: Cubes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bounds of the weighted contributions [cubes, outputs], by whom to split, and what is open [cubes]."""
        self.spent += len(cubes.player)
        parts = []
        for first in range(0, len(cubes.player), self.at_once):
            part = cubes.part(slice(first, first + self.at_once))
            answer = contributions(self.start, part)
            parts.append((answer.lower, answer.upper, self._by(part, answer), answer.open))
        lower, upper, by, is_open = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        weight = cubes.weights()[:, None]
        lower, upper = weight * lower, weight * upper
        lower = lower - (4 * EPS * lower.abs() + UNDERFLOW)
        return lower, upper + (4 * EPS * upper.abs() + UNDERFLOW), by, is_open

    def _by(self, cubes: Cubes, answer: Answer) -> Tensor:
        """The free player that moves most of what is undecided and moved by the player of the sub-cube: [cubes]."""
        effects = self.start.effects.flatten(1).abs()
        at_stake = (answer.undecided + 1e-3) * effects[cubes.player] * self.importance
        moved = at_stake @ effects.T
        return torch.where(cubes.free, moved, -1.0).argmax(1)


def _importance(start: Start) -> Tensor:
    """How far the outputs can move, together, per unit of the first layer: products of sizes of weights, [units]."""
    with torch.enable_grad():
        z = torch.ones_like(start.base)[None].requires_grad_()
        y = z
        for step in start.rest:
            if isinstance(step, Linear):
                y = step.apply(y, step.weight.abs())
            elif isinstance(step, Reshape):
                y = step(y)
        (found,) = torch.autograd.grad(y.sum(), z)
    return found.flatten()


def _total(start: Start) -> tuple[Tensor, Tensor]:
    """Bounds of f(x) - f(baseline), which is the contribution of all players as one: [outputs] each."""
    together = replace(start, effects=start.effects.sum(0, keepdim=True))
    answer = contributions(together, all_coalitions(1, start.base.device))
    return answer.lower[0], answer.upper[0]


def _outward(values: Tensor, dtype: torch.dtype, way: int) -> Tensor:
    """Bounds in another dtype, which are no tighter: lower for way -1, higher for way 1."""
    rounded = in_dtype(values, dtype)
    info = torch.finfo(dtype)
    wider = (values + way * (values.abs() * info.eps + info.smallest_normal)).to(dtype)
    return torch.where((rounded.double() - values) * way >= 0, rounded, wider)
