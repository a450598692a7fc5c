"""SN-Tab5: what is on the table's side of one, and what is named where it is not."""

from shapnotes.experiments.timings import explanations


def bench(ours: float, theirs: float) -> dict:
    """Two methods that explain one network: one is on the table's side of one, of the other the ratio is `ours`."""
    rows = [("Kernel SHAP (def.)", 20.0, 30.0), ("Deep SHAP", ours, theirs)]
    return {
        "rows": [
            {"model": "DNN", "method": name, "over_loop_interval": [ratio, 0.1], "paper_over_loop": paper}
            for name, ratio, paper in rows
        ]
    }


def test_a_ratio_on_the_other_side_is_named():
    found = explanations.finding(bench(1.66, 0.42))
    assert found.verdict == "disagrees" and found.statements[0].held is False
    assert found.decides == (
        "1 of 2 ratios on the table's side of 1; 1 on the other, in favour of the ShapNet: Deep SHAP on "
        "the DNN 1.66 ± 0.10, in the table 0.42"
    )


def test_what_is_the_tables_and_what_is_ours_is_said():
    found = explanations.finding(bench(1.66, 0.42))
    longer = "in the table 1 of 2 methods takes longer, the others less time, to explain the DNN than the"
    assert found.statements[0].claim.startswith(longer)
    both = explanations.finding(bench(1.66, 2.0)).statements[0].claim
    assert both.startswith("in the table all 2 methods take longer to explain the DNN than the")
    assert "each of our ratios is on the table's side of 1" in found.statements[0].criterion
    assert found.agreement == "same side of 1?" and [line.agree for line in found.table] == [True, False]


def test_a_factor_is_judged_by_intervals():
    """20 ± 0.1 beside 30 is at two thirds, which decides nothing; a ratio far from the table's does."""
    assert explanations.finding(bench(0.5, 0.42)).statements[-1].held is None
    assert explanations.finding(bench(1.66, 0.42)).statements[-1].held is False


def test_a_ratio_that_is_undecided_is_on_neither():
    found = explanations.finding(bench(1.05, 0.42))
    assert found.verdict == "open" and found.decides == "1 of 2 ratios on the table's side of 1; 1 undecided"
