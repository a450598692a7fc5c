"""Exact values are timed beside the bare model, and shap where it can."""

from shapnotes.benchmarks import exact_values


def test_models_are_timed_in_three_ways():
    record = exact_values.measure(short=True)
    assert [row["network"] for row in record["rows"]] == ["6-8-1", "7-8-8-2"]
    for row in record["rows"]:
        for way in ("opaque", "linear"):
            low, high = row[f"{way}_range"]
            assert 0 < low <= row[f"{way}_over_bare"] <= high
        assert row["chunk_size"] == 2 ** row["n"]
    one, several = record["rows"]
    assert one["shap_over_ours"] > 0 and several["shap_over_ours"] is None  # shap explains one output
    lines = exact_values.table(record)
    assert f"{one['opaque_over_bare']:.2f}" in lines[1] and lines[1].endswith(f"{one['shap_over_ours']:.1f}")
    assert lines[2].endswith(f"{several['linear_over_bare']:.2f}")
