"""Ratios of times that were taken in turn, with their range over the turns, as numbers and as text."""

from collections.abc import Sequence
from statistics import median


def ratio(times: Sequence[float], reference: Sequence[float]) -> float:
    """How many times as long as the reference: that of the medians.

    >>> ratio([2.0, 9.0, 4.0], [1.0, 2.0, 2.0])
    2.0
    """
    return median(times) / median(reference)


def by_turn(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """How many times as long as the reference, in each turn.

    >>> by_turn([2.0, 9.0, 4.0], [1.0, 2.0, 2.0])
    [2.0, 4.5, 2.0]
    """
    return [mine / other for mine, other in zip(times, reference, strict=True)]


def turn_range(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """The smallest and the largest ratio of one turn.

    >>> turn_range([2.0, 9.0, 4.0], [1.0, 2.0, 2.0])
    [2.0, 4.5]
    """
    ratios = by_turn(times, reference)
    return [min(ratios), max(ratios)]


def in_brackets(ends: Sequence[float]) -> str:
    """A range as a table shows it.

    >>> in_brackets([1.0, 2.5])
    '(1.00 to 2.50)'
    """
    low, high = ends
    return f"({low:.2f} to {high:.2f})"
