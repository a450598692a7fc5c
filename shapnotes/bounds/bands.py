r"""Linear bounds of units over sub-cubes of coalitions, from layer to layer, with rounding directed outward.

A band says of every unit h, for all coalitions s in {0, 1}^n of a sub-cube,

    lower_0 + sum_i lower_i s_i  <=  h(s)  <=  upper_0 + sum_i upper_i s_i.

A linear layer takes the lower bound where a weight is positive and the upper one where it is negative. A ReLU that may
be on or off between l and u is below the chord from (l, relu(l)) to (u, relu(u)), and above every line through 0 with a
slope from 0 to 1.

Three bands go through the layers together: of the units without the player, of those with it, and of the difference d
that it makes. For a ReLU the difference of outputs has two bounds each way. It lies between 0 and d, whatever else is
unknown; and between the difference of the two units' own bounds, which knows nothing of d, but much in small sub-cubes.
For every unit that one is taken which is tighter on the average of the sub-cube.

**Rounding.** A sum of m products in float64 errs by at most m eps / 2 times the sum of their sizes, to first order, in
whatever order it is taken (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). `_widened` moves both
constants outward by twice as much and some, after every step. What is lost below 1e-300 is covered by a constant.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes._chain import Linear, Rectifier, Reshape, Step, effects, up_to_first_linear
from shapnotes.bounds.cubes import Cubes

EPS = 2.0**-52
UNDERFLOW = 1e-300


class Band(NamedTuple):
    """Bounds of units: [cubes, 1 + n, *units] each, the constants first."""

    lower: Tensor
    upper: Tensor

    def size(self) -> Tensor:
        """The sum of the sizes of a bound's numbers: [cubes, *units]."""
        return torch.maximum(self.lower.abs().sum(1), self.upper.abs().sum(1))

    def extremes(self) -> tuple[Tensor, Tensor]:
        """What no coalition goes below, and above: [cubes, *units] each."""
        slack = _rounding(self.lower.shape[1]) * self.size() + UNDERFLOW
        low = self.lower[:, 0] + self.lower[:, 1:].clamp(max=0).sum(1) - slack
        return low, self.upper[:, 0] + self.upper[:, 1:].clamp(min=0).sum(1) + slack

    def average(self, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the average over the coalitions of a sub-cube, chance [cubes]: [cubes, *units] each."""
        slack = _rounding(self.lower.shape[1]) * self.size() + UNDERFLOW
        low, high = (_at(bound, chance) for bound in self)
        return low - slack, high + slack


def _at(bound: Tensor, chance: Tensor) -> Tensor:
    """A bound at the average coalition, to rounding: [cubes, 1 + n, *units], [cubes] -> [cubes, *units]."""
    return bound[:, 0] + chance.view(-1, *[1] * (bound.dim() - 2)) * bound[:, 1:].sum(1)


def _rounding(terms: int) -> float:
    """Relative to the sum of sizes: more than sums of so many products, and a few steps more, can be off by."""
    return (terms + 16) * EPS


def _widened(lower: Tensor, upper: Tensor, slack: Tensor) -> Band:
    """A band that is wider by slack [cubes, *units] on both sides; the tensors are written over."""
    lower[:, 0] -= slack + UNDERFLOW
    upper[:, 0] += slack + UNDERFLOW
    return Band(lower, upper)


# --- the beginning ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """A chain up to its first linear layer, at one input: everything there is a sum over present players.

    base    : [*units], at the baseline
    effects : [n, *units], what each player adds
    size    : [*units], of all that is summed up
    terms   : how many are summed up
    rest    : the steps that follow
    """

    base: Tensor
    effects: Tensor
    size: Tensor
    terms: int
    rest: list[Step]

    def bands(self, cubes: Cubes) -> tuple[Band, Band]:
        """Of units without the player, then with it, [2 cubes, 1 + n, *units]; and of the difference, [cubes, ...]."""
        effects = self.effects.flatten(1)
        own = effects[cubes.player]
        slack = (_rounding(self.terms) * self.size).expand(2 * len(own), *self.size.shape)
        terms = torch.cat([own.new_zeros(len(own), 1, own.shape[1]), cubes.free[..., None] * effects], 1)
        terms[:, 0] = self.base.flatten() + cubes.present.double() @ effects
        units = torch.cat([terms, terms])
        units[len(own) :, 0] += own
        change = torch.zeros_like(terms)
        change[:, 0] = own
        units, change = (
            band.unflatten(2, self.size.shape) if self.size.dim() != 1 else band for band in (units, change)
        )
        return _widened(units, units.clone(), slack), _widened(change, change.clone(), slack[: len(own)])


def start_of(chain: list[Step], x: Tensor, baseline: Tensor, players: Tensor) -> Start:
    """From an input and its baseline, float64 [*features] each, of which only `players`, flat numbers [n], differ."""
    leading, rest = up_to_first_linear(chain)
    alone = effects(leading, x - baseline, players)
    base, size, terms = baseline[None], baseline.abs()[None], len(players)
    for step in leading:
        base = step(base)
        if isinstance(step, Linear):
            size, terms = step.apply(size, step.weight.abs()), terms + step.terms
            size = size if step.bias is None else size + step.bias.abs()
        else:
            size = step(size)
    return Start(base[0], alone, size[0] + alone.abs().sum(0), terms, rest)


# --- from layer to layer ----------------------------------------------------------------------------------------------


def _linear(band: Band, step: Linear) -> Band:
    cubes, terms = band.lower.shape[:2]
    positive, negative = step.weight.clamp(min=0), step.weight.clamp(max=0)
    low, high = (bound.flatten(0, 1) for bound in band)
    lower = step.apply(low, positive) + step.apply(high, negative)
    upper = step.apply(high, positive) + step.apply(low, negative)
    slack = step.apply(band.size(), step.weight.abs())
    lower, upper = (bound.unflatten(0, (cubes, terms)) for bound in (lower, upper))
    if step.bias is not None:
        lower[:, 0] += step.bias
        upper[:, 0] += step.bias
        slack = slack + step.bias.abs()
    return _widened(lower, upper, _rounding(2 * step.terms + terms) * slack)


def _without_bias(step: Linear) -> Linear:
    return Linear(step.apply, step.weight, None, step.terms)


def _reshaped(band: Band, step: Reshape) -> Band:
    lower, upper = (step(bound.flatten(0, 1)).unflatten(0, bound.shape[:2]) for bound in band)
    return Band(lower, upper)


class _Chord(NamedTuple):
    """A line above max(slope t, t) on [low, high]: rate t + constant."""

    rate: Tensor
    constant: Tensor


def _chord(low: Tensor, high: Tensor, slope: float) -> _Chord:
    """Exact where the sign of t is known. Everywhere else any rate will do, with the constant that both ends need."""
    ends = [(t, torch.maximum(t, slope * t)) for t in (low, high)]
    rate = ((ends[1][1] - ends[0][1]) / (high - low).clamp(min=UNDERFLOW)).clamp(slope, 1.0)
    constant = torch.maximum(*(value - rate * t for t, value in ends))
    constant = constant + 4 * EPS * (low.abs() + high.abs()) + UNDERFLOW
    on, off = low >= 0, high <= 0
    rate = torch.where(on, 1.0, torch.where(off, slope, rate))
    return _Chord(rate, torch.where(on | off, 0.0, constant))


def _times(bound: Tensor, line: _Chord) -> Tensor:
    """rate * bound + constant, for rates that are not negative."""
    bound = bound * line.rate[:, None]
    bound[:, 0] += line.constant
    return bound


def _rectified(band: Band, low: Tensor, high: Tensor, slope: float) -> Band:
    """max(slope t, t) of units between low and high [cubes, *units]."""
    upper = _times(band.upper, _chord(low, high, slope))
    rate = torch.full_like(low, slope).masked_fill(low + high > 0, 1.0)
    lower = band.lower * rate[:, None]
    size = torch.maximum(lower.abs().sum(1), upper.abs().sum(1))
    return _widened(lower, upper, _rounding(4) * size)


def _change_rectified(change: Band, after: Band, low: Tensor, high: Tensor, slope: float, chance: Tensor) -> Band:
    """The difference that the player makes after a ReLU: the better of two bounds, for every unit of every sub-cube.

    change    : its difference before
    after     : the units after, without the player and then with it
    low, high : the range of the same units before
    """
    half = len(change.lower)
    # Between slope d and d: max(slope d, d) is below its chord, and min(slope d, d) = -max(-slope d, -d) above another.
    least, most = change.extremes()
    upper = _times(change.upper, _chord(least, most, slope))
    lower = -_times(-change.lower, _chord(-most, -least, slope))
    on, off = ((t[:half] & t[half:])[:, None] for t in (low >= 0, high <= 0))  # in both: d itself, or slope d
    upper = torch.where(on, change.upper, torch.where(off, slope * change.upper, upper))
    lower = torch.where(on, change.lower, torch.where(off, slope * change.lower, lower))
    apart_upper = after.upper[half:] - after.lower[:half]
    apart_lower = after.lower[half:] - after.upper[:half]
    upper = torch.where((_at(apart_upper, chance) < _at(upper, chance))[:, None], apart_upper, upper)
    lower = torch.where((_at(apart_lower, chance) > _at(lower, chance))[:, None], apart_lower, lower)
    size = torch.maximum(lower.abs().sum(1), upper.abs().sum(1)) + after.size().unflatten(0, (2, half)).sum(0)
    return _widened(lower, upper, _rounding(4) * size)


class Answer(NamedTuple):
    """Of sub-cubes: bounds [cubes, outputs] of the player's average contribution; and where they come from.

    undecided : [cubes, units], for which units of the first ReLUs it is open whether they are on
    open      : bool [cubes], whether that is so for any unit anywhere: else the bounds differ by rounding alone
    """

    lower: Tensor
    upper: Tensor
    undecided: Tensor
    open: Tensor


def contributions(start: Start, cubes: Cubes) -> Answer:
    """Bounds of the average, over a sub-cube's coalitions, of what its player adds."""
    chance = cubes.chance()
    units, change = start.bands(cubes)
    first: Tensor | None = None
    anywhere = torch.zeros_like(cubes.player, dtype=torch.bool)
    for step in start.rest:
        if isinstance(step, Linear):
            units, change = _linear(units, step), _linear(change, _without_bias(step))
        elif isinstance(step, Reshape):
            units, change = _reshaped(units, step), _reshaped(change, step)
        else:
            assert isinstance(step, Rectifier), "max pooling was refused"
            low, high = units.extremes()
            doubt = ((low < 0) & (high > 0)).unflatten(0, (2, len(chance))).any(0).flatten(1)
            first = doubt if first is None else first
            anywhere = anywhere | doubt.any(1)
            after = _rectified(units, low, high, step.slope)
            units, change = after, _change_rectified(change, after, low, high, step.slope, chance)
    lower, upper = (bound.flatten(1) for bound in change.average(chance))
    if first is None:
        first = torch.zeros_like(start.size).flatten().bool().expand(len(chance), -1)
    return Answer(lower, upper, first, anywhere & cubes.free.any(1))
