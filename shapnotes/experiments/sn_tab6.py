"""SN-Tab6: how much the distances of SN-Tab3 vary (Shapley Explanation Networks, Table 6: "the same runs").

The table has the standard deviation of the error over trials, for the same models and methods. There is no run of its
own: batches and runs are those of `sn_tab3`, and so is the record.

Numbers that are not negative with mean m and n of them have a standard deviation of at most m sqrt(n), which they reach
when all but one are zero. Tables 3 and 6 together can be held against that.
"""

from shapnotes.experiments import sn_tab3
from shapnotes.experiments.sn_tab3 import METHODS, NETWORKS, PAPER, PAPER_SPREAD, TRAINED, TRIALS, of

ID = "SN-Tab6"
TITLE = "Spread of the distance from the exact values"

batches, run = sn_tab3.batches, sn_tab3.run


def summary(runs: list[dict]) -> list[str]:
    """A line a model and method: our standard deviation, the paper's, and whether that fits its mean.

    Where no run has the first choice's sizes, those of other sizes are shown.
    """
    lines = [f"{'setting':13} {'explained':15} {'method':13} ours                   paper"]
    for setting, model in PAPER:
        key = {"setting": setting, "model": model}
        found = of(runs, setting, model) or [run for run in runs if key.items() <= run["config"].items()]
        for method, theirs in zip(METHODS, PAPER_SPREAD[setting, model], strict=True):
            if found and method in found[0]["result"]["error"]:
                note = "" if possible(setting, model, method) else "  too large for its mean"
                cells = f"{sn_tab3._pair(spread(found, method)):21}  {theirs:<9.3g}{note}"
                lines.append(f"{setting:13} {NETWORKS[model]:15} {METHODS[method]:13} {cells}".rstrip())
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to Table 6: the verdict, our numbers, the paper's.

    Three statements. A Deep ShapNet's own explanations vary less in their error than those of Deep SHAP, in all
    settings; in the trained ones their standard deviation is the paper's within a factor of two; and a Shallow
    ShapNet's own do not vary beyond rounding, as its theorem says (the paper's numbers for two settings do).
    """
    cells = {key: of(runs, *key) for key in PAPER}
    ours = "; ".join(
        f"{setting}, {NETWORKS[model]}: "
        + ", ".join(f"{METHODS[m]} {sn_tab3._pair(spread(cells[setting, model], m))}" for m in METHODS)
        for setting, model in PAPER
        if cells[setting, model]
    )
    wrong = [key for key in PAPER for method in METHODS if not possible(*key, method)]
    paper = sn_tab3.printed(PAPER_SPREAD)
    paper += f"; {len(wrong)} of {len(PAPER) * len(METHODS)} are too large for the mean in Table 3"
    ours = f"standard deviation over explanations ± its jackknife error over rounds: {ours}"
    if not sn_tab3.complete(runs):
        return "not run at full scale", ours, paper
    kept = list(statements(runs).values())
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced", ours, paper


def statements(runs: list[dict]) -> dict[str, bool]:
    """Which of the three statements of `verdict` hold in a complete record."""
    deep = {setting: {m: spread(of(runs, setting, "deep"), m)[0] for m in METHODS} for setting in TRIALS}
    ratios = [deep[setting]["ours"] / PAPER_SPREAD[setting, "deep"][0] for setting in TRAINED]
    shallow = [of(runs, setting, "shallow") for setting in TRIALS]
    sizes = [max(s for run in group for s in run["result"]["size"]) for group in shallow]
    steady = [spread(group, "ours")[0] < sn_tab3.ROUNDING * size for group, size in zip(shallow, sizes, strict=True)]
    return {
        "less spread than Deep SHAP": all(row["ours"] < row["deep_shap"] for row in deep.values()),
        "within a factor of two": all(1 / 2 < ratio < 2 for ratio in ratios),
        "Shallow ShapNet within rounding": all(steady),
    }


def spread(runs: list[dict], method: str) -> tuple[float, float]:
    """The standard deviation of the error over all explanations, and its jackknife error over rounds."""
    rounds: dict[int, list[float]] = {}
    for one in runs:
        rounds.setdefault(one["seed"] // sn_tab3.FOLDS, []).extend(one["result"]["error"][method])
    whole = _deviation([v for values in rounds.values() for v in values])
    if len(rounds) < 3:
        return whole, float("nan")
    without = [_deviation([v for r, values in rounds.items() if r != out for v in values]) for out in rounds]
    centre = sum(without) / len(without)
    return whole, ((len(without) - 1) / len(without) * sum((v - centre) ** 2 for v in without)) ** 0.5


def possible(setting: str, model: str, method: str) -> bool:
    """Whether the paper's standard deviation can be that of as many numbers >= 0 with the paper's mean."""
    column = list(METHODS).index(method)
    return PAPER_SPREAD[setting, model][column] <= PAPER[setting, model][column] * TRIALS[setting] ** 0.5


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else float("nan")
