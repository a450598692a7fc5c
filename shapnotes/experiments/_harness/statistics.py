"""What ± means: the half-width of a 95 % interval for a mean, by Student's t, everywhere in the book and the records.

Runs that are independent, other seeds or newly drawn data, need nothing else. Random splits of one table are not
independent: they share their rows, and the plain interval is too narrow by a factor of two or so. Nadeau and Bengio
(2003) put 1 / J + (test rows) / (training rows) in the place of 1 / J in the variance of the mean over J splits.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scipy.stats import f, t

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and the half-width of its interval; the half-width is nan for a single number."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def times(self, factor: float) -> "Interval":
        """The same in another unit."""
        return Interval(factor * self.mean, abs(factor) * self.half)

    def shown(self, form: str = ".3f") -> str:
        """The mean and ± the half-width; of a single number just that.

        >>> Interval(0.5, 0.25).shown(".2f"), Interval(0.5, float("nan")).shown("+.2f")
        ('0.50 ± 0.25', '+0.50')
        >>> Interval(-0.001, 0.25).shown(".2f")  # z: what rounds to 0 has no minus
        '0.00 ± 0.25'
        """
        sign, digits = form[: form.startswith("+")], form.removeprefix("+")
        return f"{self.mean:{sign}z{digits}}" + ("" if self.half != self.half else f" ± {self.half:{digits}}")


def interval(values: Iterable[float], *, shared: float = 0.0, level: float = LEVEL) -> Interval:
    """The mean of repeated runs and its interval, t s sqrt(1 / J + shared), with J - 1 degrees of freedom.

    values : one number per run
    shared : for random splits of one table, test rows over training rows; 0 for independent runs

    Source: Student (1908); Nadeau and Bengio (2003), the corrected resampled t test.

    >>> interval([1.0, 2.0, 3.0]).shown()
    '2.000 ± 2.484'
    """
    values = list(values)
    if not values:
        raise ValueError("an interval needs at least one number; got none")
    if not shared >= 0:
        raise ValueError(f"shared must be test rows over training rows, 0 or more; got {shared!r}")
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, float("nan"))
    return Interval(mean, _student(len(values), level) * deviation(values) * (1 / len(values) + shared) ** 0.5)


def paired_interval(
    ahead: Mapping[int, float], behind: Mapping[int, float], *, shared: float = 0.0, level: float = LEVEL
) -> Interval:
    """The mean difference over the seeds that both have, with its interval."""
    both = sorted(ahead.keys() & behind.keys())
    if not both:
        raise ValueError("no seed is in both groups, so that there is nothing to compare")
    return interval((ahead[seed] - behind[seed] for seed in both), shared=shared, level=level)


def deviation(values: Iterable[float]) -> float:
    """The standard deviation of a sample, which divides by its size less one; nan for a single number."""
    values = list(values)
    if len(values) < 2:
        return float("nan")
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5


def ratio_of_deviations(
    one: Iterable[float], other: Iterable[float], level: float = LEVEL
) -> tuple[float, float, float]:
    """The ratio of the standard deviations of two normal, independent samples, and the ends of its interval.

    Source: the distribution of the ratio of two sample variances (Fisher's F).
    """
    one, other = list(one), list(other)
    below = deviation(other)
    ratio = deviation(one) / below if below else float("nan")
    freedom = len(one) - 1, len(other) - 1
    low, high = (float(f.ppf(p, *freedom)) ** 0.5 for p in ((1 + level) / 2, (1 - level) / 2))
    return ratio, ratio / low, ratio / high


def of_share(share: float, count: int, level: float = LEVEL) -> float:
    """The half-width of the interval for a share of `count` independent images: it says nothing of other networks."""
    return float(t.ppf((1 + level) / 2, 10**6)) * (share * (1 - share) / count) ** 0.5


def _student(count: int, level: float) -> float:
    return float(t.ppf((1 + level) / 2, count - 1))
