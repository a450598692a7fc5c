r"""From the mean and variance of what a layer is given to those of what it puts out.

Every unit is taken to be normal and independent of the others. For a linear layer that gives

    mean W m + b,      variance W^2 s^2 (the squares of the weights),

which is exact in the first layer, whose inputs are independent. The larger of two normal variables X and Y has, with
means m and l, d = m - l, t the standard deviation of X - Y, Phi and phi at d / t, and Q = 1 - Phi (Clark, 1961),

    mean      m Phi + l Q + t phi,
    variance  Var X Phi + Var Y Q + d^2 Phi Q + d t phi (Q - Phi) - t^2 phi^2.

A ReLU is the larger of a unit and 0, a leaky one the larger of a unit and a multiple of it. The largest of a window's
units is found two at a time, in rounds, each larger one taken to be normal and independent in turn.
"""

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes._chain import BELOW_ALL, Linear, Maximum, Rectifier, Reshape, Step

STILL = 1e-28  # t^2 / d^2 below which the larger is known
ROOT = (2 * pi) ** 0.5


class Moments(NamedTuple):
    """Of independent normal units: [rows, *units] each, float64."""

    mean: Tensor
    variance: Tensor


def after(step: Step, given: Moments) -> Moments:
    """The moments behind a step of those before it."""
    mean, variance = given
    match step:
        case Linear():
            return Moments(step(mean), step.apply(variance, step.weight.square()))
        case Reshape():
            return Moments(step(mean), step(variance))
        case Rectifier(slope):
            below = Moments(slope * mean, slope**2 * variance)
            return larger(given, below, (1 - slope) ** 2 * variance)
        case Maximum():
            # What lies around an image is below all, and does not move.
            return _largest(Moments(step.windows(mean, BELOW_ALL), step.windows(variance, 0.0)))


def larger(one: Moments, other: Moments, apart: Tensor) -> Moments:
    """Of the larger of two normal variables, the variance of whose difference is `apart`."""
    d = one.mean - other.mean
    still = apart <= STILL * d.detach().square() + torch.finfo(d.dtype).tiny
    t = torch.where(still, 1.0, apart).sqrt()
    z = d / t
    first, second = torch.special.ndtr(z), torch.special.ndtr(-z)
    density = t * torch.exp(-z.square() / 2) / ROOT
    mean = one.mean * first + other.mean * second + density
    variance = one.variance * first + other.variance * second
    variance = variance + d * (d * first * second + density * (second - first)) - density.square()
    ahead = d >= 0
    return Moments(
        torch.where(still, torch.maximum(one.mean, other.mean), mean),
        torch.where(still, torch.where(ahead, one.variance, other.variance), variance.clamp(min=0)),
    )


def _largest(units: Moments) -> Moments:
    """Of the largest unit along the last axis."""
    mean, variance = units
    while mean.shape[-1] > 1:
        half, odd = divmod(mean.shape[-1], 2)
        first, second = (Moments(mean[..., part], variance[..., part]) for part in (slice(half), slice(half, 2 * half)))
        winner = larger(first, second, first.variance + second.variance)
        if odd:
            winner = Moments(*(torch.cat([w, u[..., -1:]], -1) for w, u in zip(winner, (mean, variance), strict=True)))
        mean, variance = winner
    return Moments(mean[..., 0], variance[..., 0])
