"""Intervals are Student's, corrected where splits share their rows, and ratios of spreads are Fisher's."""

import pytest
from scipy import stats

from shapnotes.experiments._harness.statistics import (
    Interval,
    deviation,
    interval,
    of_share,
    paired_interval,
    ratio_of_deviations,
)

VALUES = [0.3, 0.5, 0.1, 0.4, 0.45]


def test_the_interval_is_students():
    found = interval(VALUES)
    low, high = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert found.low == pytest.approx(low) and found.high == pytest.approx(high)
    assert interval(VALUES, level=0.5).half < found.half


def test_shared_rows_make_it_wider():
    """Ten splits, a quarter of the rows to test: the factor that Nadeau and Bengio's correction gives is 2.08."""
    plain, corrected = interval(VALUES * 2), interval(VALUES * 2, shared=0.25 / 0.75)
    assert (
        corrected.half / plain.half
        == pytest.approx(((1 / 10 + 1 / 3) / (1 / 10)) ** 0.5)
        == pytest.approx(2.0817, 1e-4)
    )
    assert corrected.mean == plain.mean


def test_pairs_are_of_the_seeds_that_both_have():
    ahead, behind = {0: 1.0, 1: 2.0, 2: 4.0, 7: 100.0}, {2: 1.0, 1: 1.0, 0: 0.5, 8: -100.0}
    assert paired_interval(ahead, behind) == interval([0.5, 1.0, 3.0])
    assert paired_interval(ahead, behind, shared=1.0).half == interval([0.5, 1.0, 3.0], shared=1.0).half
    with pytest.raises(ValueError, match="no seed is in both groups"):
        paired_interval({0: 1.0}, {1: 1.0})


def test_in_another_unit_the_half_width_stays_positive():
    assert Interval(0.002, 0.001).times(1000) == Interval(2.0, 1.0) and Interval(2.0, 1.0).times(-1) == Interval(
        -2.0, 1.0
    )


def test_a_single_number_has_no_interval():
    one = interval([4.0])
    assert one.mean == 4 and one.half != one.half and one.shown() == "4.000"
    assert Interval(1.0, 0.5).shown("+.1f") == "+1.0 ± 0.5"


def test_refusals():
    with pytest.raises(ValueError, match="at least one number; got none"):
        interval([])
    for shared in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="shared must be test rows over training rows, 0 or more"):
            interval(VALUES, shared=shared)


def test_a_ratio_of_deviations_covers_as_it_says():
    """Over many pairs of normal samples the interval holds the true ratio, 2, in 95 of 100."""
    import numpy as np

    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        ratio, low, high = ratio_of_deviations(2 * draw.normal(size=6), draw.normal(size=9))
        assert low < ratio < high
        inside += low < 2 < high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_interval_of_a_share():
    assert of_share(0.5, 100) == pytest.approx(0.098, abs=1e-3) and of_share(1.0, 100) == 0
    assert deviation([1.0, 2.0, 3.0]) == 1 and deviation([1.0]) != deviation([1.0])
