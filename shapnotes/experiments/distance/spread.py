"""SN-Tab6: how much the distances of SN-Tab3 vary (Shapley Explanation Networks, Table 6: "the same runs").

The table has the standard deviation of the error over trials, for the same models and methods.

Numbers that are not negative with mean m and n of them have a standard deviation of at most m sqrt(n), which they reach
when all but one are zero. Tables 3 and 6 together can be held against that, and seven of the forty numbers are larger:
so the two tables are not of the same runs, or one of them is wrong, and a record cannot agree with both.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, below, every, within_factor
from shapnotes.experiments._harness.statistics import Interval, deviation, interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.distance import finding as distance_finding
from shapnotes.experiments.distance.finding import PAPER_SPREAD, TITLES, as_in_2020, named, of
from shapnotes.experiments.distance.study import METHODS, NETWORKS, PAPER, TRAINED, TRIALS
from shapnotes.experiments.tables import splits


def finding(runs: list[dict]) -> Finding:
    """What the record says of Table 6, which cannot be of the runs of Table 3."""
    impossible = [(key, method) for key in PAPER for method in METHODS if not possible(*key, method)]
    table = [
        Comparison(f"{TITLES[setting]}, {NETWORKS[model]}", named(one), spread(rows, one), theirs, form=".1e")
        for (setting, model), row in PAPER_SPREAD.items()
        if (rows := of(runs, setting, model))
        for method, theirs in zip(METHODS, row, strict=True)
        for one in [as_in_2020(rows, method)]
    ]
    count = len(PAPER) * len(METHODS)
    decides = (
        f"{len(impossible)} of the {count} standard deviations are larger than the means of Table 3 allow (E30): the "
        "two tables are not of the same runs, or one of them is wrong"
    )
    return Finding(
        tuple(_statements(runs)),
        tuple(table),
        decides,
        distance_finding.reduced(runs),
        comparable=not impossible,
        numbers="standard deviation of the distance from the exact values",
    )


def _statements(runs: list[dict]) -> list[Statement]:
    deep = {setting: of(runs, setting, "deep") for setting in TRIALS}
    shallow = {setting: of(runs, setting, "shallow") for setting in TRIALS}
    there = all(deep.values()) and all(shallow.values())
    less = {s: difference(rows, "ours", "deep_shap") for s, rows in deep.items() if rows}
    near = [within_factor(spread(deep[s], "ours"), PAPER_SPREAD[s, "deep"][0], 2) for s in TRAINED if deep[s]]
    steady = [
        below(spread(rows, "ours"), distance_finding.ROUNDING * distance_finding.mean(rows, "size").mean)
        for rows in shallow.values()
        if rows
    ]

    def all_of(answers: list[bool | None]) -> bool | None:
        return every(answers) if there else None

    return [
        Statement(
            "a Deep ShapNet's own error varies less than that of Deep SHAP",
            "the 95 % interval of its standard deviation over explanations, less that of Deep SHAP, is below 0 in all "
            "four settings",
            all_of([below(one) for one in less.values()]),
            found=", ".join(f"{TITLES[s]} {one.shown('+.1e')}" for s, one in less.items()),
        ),
        Statement(
            "a Shallow ShapNet's own error does not vary",
            f"the 95 % interval of the standard deviation is below {distance_finding.ROUNDING:g} of the values' mean "
            "size in all four settings",
            all_of(steady),
        ),
        Statement(
            "a Deep ShapNet's own error varies as in the table",
            "its 95 % interval is within a factor of two of the paper's, in the three trained settings",
            all_of(near),
            True,
        ),
    ]


def summary(runs: list[dict]) -> list[str]:
    """A line per model and method: our standard deviation, the paper's, and whether that fits its mean.

    Where no run has the first choice's sizes, those of other sizes are shown.
    """
    lines = [f"{'setting':13} {'explained':15} {'method':19} ours                   paper"]
    for setting, model in PAPER:
        key = {"setting": setting, "model": model}
        group = of(runs, setting, model) or [run for run in runs if key.items() <= run["config"].items()]
        for method, theirs in zip(METHODS, PAPER_SPREAD[setting, model], strict=True):
            one = as_in_2020(group, method)
            if group and one in group[0]["result"]["error"]:
                note = "" if possible(setting, model, method) else "  too large for its mean"
                cells = f"{spread(group, one).shown('.2e'):21}  {theirs:<9.3g}{note}"
                lines.append(f"{setting:13} {NETWORKS[model]:15} {named(one):19} {cells}".rstrip())
    return lines


def spread(runs: list[dict], method: str) -> Interval:
    """The standard deviation of the error over all explanations, and its interval by the jackknife over rounds.

    The pseudo-values J s - (J - 1) s_j, where s_j is without round j, have their standard deviation as any J numbers do
    (Tukey, 1958).
    """
    return _jackknifed(runs, *_deviations(runs, method))


def difference(runs: list[dict], one: str, other: str) -> Interval:
    """By how much the standard deviation of a method is larger than another's, with its interval, as in `spread`."""
    (whole, without), (less, less_without) = (_deviations(runs, method) for method in (one, other))
    return _jackknifed(runs, whole - less, [a - b for a, b in zip(without, less_without, strict=True)])


def _deviations(runs: list[dict], method: str) -> tuple[float, list[float]]:
    """The standard deviation over all explanations, and over those outside each round."""
    rounds: dict[int, list[float]] = {}
    for one in runs:
        rounds.setdefault(one["seed"] // splits.FOLDS, []).extend(one["result"]["error"][method])
    without = [deviation(v for r, values in rounds.items() if r != out for v in values) for out in rounds]
    return deviation(v for values in rounds.values() for v in values), without


def _jackknifed(runs: list[dict], whole: float, without: list[float]) -> Interval:
    """A number of all rounds, with the interval from what it is without each of them."""
    if len(without) < 3:
        return Interval(whole, float("nan"))
    pseudo = [len(without) * whole - (len(without) - 1) * one for one in without]
    setting, seeds = runs[0]["config"]["setting"], [run["seed"] for run in runs]
    return Interval(whole, interval(pseudo, shared=splits.shared(setting, seeds)).half)


def possible(setting: str, model: str, method: str) -> bool:
    """Whether the paper's standard deviation can be that of as many numbers >= 0 with the paper's mean."""
    column = list(METHODS).index(method)
    return PAPER_SPREAD[setting, model][column] <= PAPER[setting, model][column] * TRIALS[setting] ** 0.5


CLAIM = Claim(
    "SN-Tab6",
    "Spread of the distance from the exact values",
    finding,
    study="SN-Tab3",
    summary=summary,
    about=__doc__ or "",
)
