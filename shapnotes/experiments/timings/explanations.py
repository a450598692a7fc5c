"""SN-Tab5: what an explanation costs, beside Deep SHAP and Kernel SHAP (Shapley Explanation Networks, Table 5).

Seconds of another machine cannot be compared. Ratios are compared, since the paper gives the networks and the methods
(Li and Cui do not say how SA was written: LC-P1). They too depend on machine and versions, so that what is refuted is
so with today's programs. A ratio is that of each method's time to that of the Deep ShapNet's own explanation, in a
plain loop over its modules, which is the form of the layers that the paper's authors released. All are timed in turn by
`shapnotes bench explain`; the models are in `shapnotes/benchmarks/explanations.py`, and the plain networks have not the
paper's residual connections. ± is over its eleven turns (the paper averages 1,000 runs). Ours, without the loop, is
faster still and does not enter.

Times of Kernel SHAP on the DNN (eq. param.) scatter: with 40 and with 77 samples single turns lie between once and
about four times the loop's, and 40 samples took longer than 77. That a direction is refuted rests on Deep SHAP, whose
turns are close together. It is a concession of the paper's, that explanations of smaller networks may be faster: in our
runs they were not.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, every, within_factor
from shapnotes.experiments._harness.statistics import Interval
from shapnotes.experiments._harness.study import Claim

TURNS = 11  # of each contender in `shapnotes bench explain`; the paper averages 1,000 runs
FACTOR = 1.5  # within which a ratio counts as the table's


def finding(bench: dict) -> Finding:
    """What the timings say of Table 5: which methods take longer than the ShapNet's own explanation."""
    rows = [row for row in bench["rows"] if row["paper_over_loop"] and row["method"] != "loop"]
    ratios = {(row["model"], row["method"]): Interval(*row["over_loop_interval"]) for row in rows}
    paper = {(row["model"], row["method"]): row["paper_over_loop"] for row in rows}
    longer = {key: above(ratio, 1.0) for key, ratio in ratios.items()}
    same = {key: None if answer is None else answer == (paper[key] > 1) for key, answer in longer.items()}
    statements = []
    for model in dict.fromkeys(model for model, _ in ratios):
        keys = [key for key in ratios if key[0] == model]
        wanted = sum(paper[key] > 1 for key in keys)
        statements.append(
            Statement(
                f"in the table {_of(wanted, len(keys))} to explain the {model} than the Deep ShapNet's own explanation "
                "takes",
                "the 95 % interval of each of our ratios is on the table's side of 1",
                every([same[key] for key in keys]),
            )
        )
    near = every([within_factor(ratio, paper[key], FACTOR) for key, ratio in ratios.items()])
    criterion = f"the 95 % interval of each is within a factor of {FACTOR} of the table's"
    statements.append(Statement("by the table's ratios", criterion, near, size=True))
    table = tuple(
        Comparison(model, method, ratio, paper[model, method], same[model, method], ".2f")
        for (model, method), ratio in ratios.items()
    )
    sides = [answer is True for answer in same.values()]
    decides = f"{sum(sides)} of {len(sides)} ratios on the table's side of 1"
    other = [
        f"{method} on the {model} {ratios[model, method].shown('.2f')}, in the table {paper[model, method]:.2f}"
        for (model, method), answer in same.items()
        if answer is False
    ]
    favour = ", in favour of the ShapNet" if all(paper[key] < 1 for key, a in same.items() if a is False) else ""
    decides += f"; {len(other)} on the other{favour}: {'; '.join(other)}" if other else ""
    undecided = [*same.values()].count(None)
    decides += f"; {undecided} undecided" if undecided else ""
    return Finding(
        tuple(statements),
        table,
        decides,
        fewer=f"{TURNS} turns in place of 1,000 runs, today's programs, and DNNs without residual connections",
        numbers="time of the method over that of the Deep ShapNet's own explanation in a loop over its modules",
        agreement="same side of 1?",
    )


def _of(longer: int, methods: int) -> str:
    """How many methods take longer, in words."""
    if longer == methods:
        return f"all {methods} methods take longer"
    return f"{longer} of {methods} methods take{'s' * (longer == 1)} longer, the others less time,"


CLAIM = Claim("SN-Tab5", "Time to explain", finding, bench="bench_explain.json", about=__doc__ or "")
