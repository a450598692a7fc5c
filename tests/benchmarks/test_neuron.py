"""What sampling would take for the error of the values of a hidden layer."""

import pytest

from shapnotes.benchmarks import neuron


def test_what_sampling_would_take_follows_from_what_it_took():
    rows = {row["what"]: row for row in neuron.measure(short=True)["rows"]}
    best = rows["edgeworth"]
    for what in ("antithetic permutations", "paired regression", "Kernel SHAP"):
        row = rows[what]
        more = (row["error"] / best["error"]) ** 2
        assert row["evaluations_for_its_error"] == pytest.approx(row["evaluations"] * more)
        assert row["times_as_long"] == pytest.approx(row["seconds"] * more / best["seconds"])
        assert row["error_at_its_time"] == pytest.approx(row["error"] * (row["seconds"] / best["seconds"]) ** 0.5)
        assert row["error"] > best["error"]
    assert rows["paired regression"]["evaluations"] == 2 * 400 + 2 + 1 + 4
    assert best["error"] < rows["normal"]["error"] < rows["li-cui"]["error"] < rows["Deep SHAP"]["error"]
