"""What the record says of Table 3: distances beside the size of what they are distances from."""

import json

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below, every, matches
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.distance import study
from shapnotes.experiments.distance.study import METHODS, NETWORKS, PAPER, SELECTIONS, TRAINED, TRIALS, configuration
from shapnotes.experiments.tables import splits
from shapnotes.experiments.tables.splits import FOLDS

TITLES = {"untrained": "untrained networks"} | splits.TITLES
LEVEL = 0.05  # of the own distance: two numbers of the table that are no further apart are level
ROUNDING = 1e-5  # of the size of the values, in single precision

# Table 6: the standard deviations.
PAPER_SPREAD = {
    ("untrained", "deep"): (0.734, 5.23, 7.67e8, 4.25e9, 9.20e-3),
    ("untrained", "shallow"): (7.55e-7, 1.57, 0.124, 8.02e-3, 2.98e-3),
    ("synthetic", "deep"): (3.28e-3, 5.15, 3.13e-3, 8.79e-5, 2.23e-5),
    ("synthetic", "shallow"): (3.09e-4, 1.28, 4.75e-3, 1.62e-4, 6.33e-6),
    ("yeast", "deep"): (0.105, 0.358, 0.0288, 0.0, 0.0),
    ("yeast", "shallow"): (5.35e-7, 0.894, 0.0304, 0.0, 0.0),
    ("breast_cancer", "deep"): (0.0104, 0.0359, 0.0987, 3.61e-3, 1.72e-3),
    ("breast_cancer", "shallow"): (0.0109, 0.246, 0.0141, 1.93e-3, 2.91e-4),
}


def of(runs: list[dict], setting: str, model: str, **choice) -> list[dict]:
    """The runs of one row of the table; `choice` is what departs from the first choice."""
    config = configuration(setting, model, **choice)
    return [run for run in runs if run["config"] == config]


def as_in_2020(runs: list[dict], method: str) -> str:
    """What the paper's column is in these runs: Kernel SHAP with the selection of 2020, where it was run."""
    return f"{method}, 2020" if runs and f"{method}, 2020" in runs[0]["result"]["error"] else method


def methods(runs: list[dict]) -> list[str]:
    """What was measured in these runs, in the order of the table, and then what is not in it."""
    measured = runs[0]["result"]["error"]
    known = [name for method in METHODS for name in (method, *(f"{method}, {how}" for how in SELECTIONS))]
    return [name for name in known if name in measured] + [name for name in measured if name not in known]


def named(method: str) -> str:
    """A method in words."""
    name, _, how = method.partition(", ")
    return f"{METHODS.get(name, name)}{f', {SELECTIONS[how]}' if how else ''}"


def by_round(runs: list[dict], method: str) -> dict[int, float]:
    """The mean error over the inputs of each round; of the method "size" the mean size of the exact values."""
    rounds: dict[int, list[float]] = {}
    for run in runs:
        result = run["result"]
        values = result["size"] if method == "size" else result["error"][method]
        rounds.setdefault(run["seed"] // FOLDS, []).extend(values)
    return {r: sum(values) / len(values) for r, values in rounds.items()}


def mean(runs: list[dict], method: str) -> Interval:
    """The mean error, with its interval over rounds."""
    return interval(by_round(runs, method).values(), shared=_shared(runs))


def relative(runs: list[dict], method: str) -> Interval:
    """The error in parts of the size of the exact values, over rounds."""
    errors, sizes = by_round(runs, method), by_round(runs, "size")
    return interval((errors[r] / sizes[r] for r in errors), shared=_shared(runs))


def lead(runs: list[dict], ahead: str, behind: str) -> Interval:
    """The mean difference of two methods on the same inputs, with its interval over rounds."""
    return paired_interval(by_round(runs, ahead), by_round(runs, behind), shared=_shared(runs))


def _shared(runs: list[dict]) -> float:
    return splits.shared(runs[0]["config"]["setting"], [run["seed"] for run in runs]) if runs else 0.0


def reduced(runs: list[dict]) -> str:
    """Which rows have fewer trials than the paper's, in words."""
    short = {key: len(of(runs, *key)) for key in PAPER if len(of(runs, *key)) < TRIALS[key[0]]}
    return "; ".join(
        f"{TITLES[setting]}, {NETWORKS[model]}: {n} of {TRIALS[setting]}" for (setting, model), n in short.items()
    )


def finding(runs: list[dict]) -> Finding:
    """What the record says of Table 3 and its text."""
    shallow = [run["result"] for setting in TRIALS for run in of(runs, setting, "shallow")]
    relatives = [e / s for one in shallow for e, s in zip(one["error"]["ours"], one["size"], strict=True)]
    exact = Statement(
        "a Shallow ShapNet's own values are exact, but for rounding",
        f"each error is below {ROUNDING:g} of the values' size, in all settings",
        max(relatives) < ROUNDING if relatives else None,
    )
    asked = [(method, setting, side) for method in METHODS for setting in TRIALS if (side := _side(setting, method))]
    directions = [_judged(runs, setting, method, side, len(asked)) for method, setting, side in asked]
    near = [
        matches(mean(deep, "ours"), PAPER[setting, "deep"][0])
        for setting in TRAINED
        if (deep := of(runs, setting, "deep"))
    ]
    sizes = Statement(
        "a Deep ShapNet's own error is that of the table",
        "trained settings: the mean is at most √2 of its 95 % half-widths from the paper's",
        every(near),
        True,
    )
    table = []
    for (setting, model), paper in PAPER.items():
        rows = of(runs, setting, model)
        for method, theirs in zip(METHODS, paper, strict=True) if rows else ():
            one = as_in_2020(rows, method)
            ours, size = mean(rows, one), mean(rows, "size").mean
            agree = max(ours.mean, theirs) < ROUNDING * size or matches(ours, theirs)
            table.append(Comparison(f"{TITLES[setting]}, {NETWORKS[model]}", named(one), ours, theirs, agree, ".1e"))
        if rows:
            table.append(
                Comparison(
                    f"{TITLES[setting]}, {NETWORKS[model]}", "size of the values", mean(rows, "size"), form=".1e"
                )
            )
    shares = [
        f"{TITLES[setting]} {relative(deep, 'ours').shown()}"
        for setting in TRIALS
        if (deep := of(runs, setting, "deep"))
    ]
    titles = TITLES | {"untrained": TITLES["untrained"] + _kept_size(runs)}
    sides = {
        word: [titles[setting] for setting, one in zip(TRIALS, directions, strict=False) if one.held is held]
        for word, held in (("nearer", True), ("further", False), ("undecided", None))
    }
    told = "; ".join(f"{word} in {', '.join(where)}" for word, where in sides.items() if where)
    refuted = {setting for (_, setting, _), one in zip(asked, directions, strict=True) if one.held is False}
    if refuted == {"untrained"}:
        told += "; the directions that are refuted are all of untrained networks, a row that contradicts Table 6 (E30)"
    decides = f"beside Deep SHAP: {told}; a Deep ShapNet's own error in parts of its values: {', '.join(shares)}"
    return Finding(
        (exact, *directions, sizes),
        tuple(table),
        decides,
        reduced(runs),
        numbers="distance from the exact values, mean over inputs (the paper's Equation 8); rounding: below "
        f"{ROUNDING:g} of the values' size",
        agreement="within √2 × ±, or both rounding?",
    )


def _kept_size(runs: list[dict]) -> str:
    """The difference in untrained networks whose first weights keep the size of the values, in words."""
    kept = of(runs, "untrained", "deep", init="variance")
    if not kept:
        return ""
    difference = lead(kept, "ours", "deep_shap")
    answer = {True: "nearer", False: "further", None: "undecided"}[below(difference)]
    shown = f"{answer}, {difference.shown('+.1e')}"
    return f" (with PyTorch's first weights; with those that keep the size {shown})"


def _side(setting: str, method: str) -> int:
    """-1 where the table has a Deep ShapNet's own values nearer than a method's, 1 where further away, 0 if level."""
    row = dict(zip(METHODS, PAPER[setting, "deep"], strict=True))
    own, theirs = row["ours"], row[method]
    return 0 if abs(own - theirs) < LEVEL * own else -1 if own < theirs else 1


def _judged(runs: list[dict], setting: str, method: str, side: int, count: int) -> Statement:
    """That a Deep ShapNet's own values are nearer to the exact ones than a method (side -1), or further away (1)."""
    rows = of(runs, setting, "deep")
    one = as_in_2020(rows, method)
    where = "nearer" if side < 0 else "further away"
    claim = f"{TITLES[setting]}: a Deep ShapNet's own values are {where} than those of {named(one)}"
    criterion = f"the 95 % interval, over rounds, of the paired difference is {'below' if side < 0 else 'above'} 0"
    difference = lead(rows, "ours", one) if rows else None
    held = None if difference is None else (below if side < 0 else above)(difference)
    found = "" if difference is None else difference.shown("+.1e")
    return Statement(claim, f"{criterion}; one such comparison of {count}, not corrected", held, found=found)


def summary(runs: list[dict]) -> list[str]:
    """A line per configuration and method: mean error, in parts of the values, the paper's, and own minus it."""
    lines = [f"{'setting':13} {'explained':15} {'method':19} runs  error               / size  paper     own minus it"]
    for key in dict.fromkeys(json.dumps(run["config"], sort_keys=True) for run in runs):
        config = json.loads(key)
        setting, model = config["setting"], config["model"]
        group = [run for run in runs if run["config"] == config]
        first = config == configuration(setting, model)
        paper = dict(zip(METHODS, PAPER[setting, model], strict=True)) if first else {}
        for method in methods(group):
            theirs = f"{paper[method]:.3g}" if method in paper else ""
            minus = "" if method == "ours" else lead(group, "ours", method).shown("+.1e")
            cells = f"{named(method):19} {len(group):4}  {mean(group, method).shown('.2e'):19} "
            cells += f"{relative(group, method).mean:6.3f}  {theirs:9} {minus}"
            lines.append(f"{setting:13} {NETWORKS[model]:15} {cells}".rstrip())
        outputs = f"{config['outputs']} outputs; " if "outputs" in config else ""
        choice = "" if first else f"{config.get('study', config.get('init', 'departs'))}; "
        off = max(v for run in group for v in run["result"]["truth_error"])
        note = f"{choice}{outputs}values of size {mean(group, 'size').mean:.2e}, the truth expected within {off:.1e}"
        lines.append(f"{'':29} {note}")
    return lines


CLAIM = Claim(
    "SN-Tab3", "Distance from the exact values", finding, study="SN-Tab3", summary=summary, about=study.__doc__ or ""
)
