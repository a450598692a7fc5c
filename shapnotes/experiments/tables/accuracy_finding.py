"""What the record says of each row of Table 1."""

import json
from typing import NamedTuple

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below, every, matches
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.tables import accuracy as study
from shapnotes.experiments.tables import splits
from shapnotes.experiments.tables.accuracy import DNNS, PAPER, ROUNDS, ROWS, WIDTHS, configuration
from shapnotes.experiments.tables.baselines import BASELINES
from shapnotes.experiments.tables.models import MODELS
from shapnotes.experiments.tables.splits import FOLDS

FIRST_WIDTH = 100  # hidden units in each module of the Shallow ShapNet, where no width is named
FLOOR = 0.0025  # the variance of the synthetic task's noise
# How far, in accuracy, the Deep and the Shallow ShapNet are behind a DNN, at most, in the paper's table.
COMPARABLE = 0.013
CHOICES = ("samples", "reading", "inputs", "constant", "init", "width", "rate", "schedule")
TOLD = {  # values of choices, in words
    "sum": "sum of inputs in the target",
    "standardised": "standardised inputs",
    "centred": "mean taken from the targets",
    "learned": "learned constant",
    "variance": "first weights that keep the size",
    "falling": "rate that falls to 0",
}
NAMES = MODELS | BASELINES


def of(runs: list[dict], data: str, model: str, **choice) -> list[dict]:
    """The runs of one configuration; the first where no other choice is named."""
    config = configuration(data, model, **choice)
    return [run for run in runs if run["config"] == config]


def by_round(runs: list[dict], quantity: str = "test") -> dict[int, float]:
    """The mean over the folds of each round; quantity: "test", "held_out" or "train"."""
    rounds: dict[int, list[float]] = {}
    for run in runs:
        rounds.setdefault(run["seed"] // FOLDS, []).append(run["result"][quantity])
    return {r: sum(values) / len(values) for r, values in rounds.items()}


def mean(runs: list[dict], quantity: str = "test") -> Interval:
    """The mean over rounds, with its interval."""
    return interval(by_round(runs, quantity).values(), shared=_shared(runs))


def lead(ahead: list[dict], behind: list[dict], quantity: str = "test") -> Interval:
    """The mean difference over the seeds that both have, with its interval over rounds."""
    seeds = {run["seed"] for run in ahead} & {run["seed"] for run in behind}
    both = [[run for run in runs if run["seed"] in seeds] for runs in (ahead, behind)]
    return paired_interval(*(by_round(runs, quantity) for runs in both), shared=_shared(both[0]))


def _shared(runs: list[dict]) -> float:
    return splits.shared(runs[0]["config"]["data"], [run["seed"] for run in runs]) if runs else 0.0


def finding(runs: list[dict], data: str) -> Finding:
    """What the record says of one row of Table 1; `data`: a key of PAPER.

    The two real tables: each ShapNet is comparable with each DNN, behind it by no more than the widest such gap in the
    paper's table. The synthetic task: the error of each ShapNet is below that of each DNN; of the Shallow ShapNet that
    is asked at each width that was run, since the paper gives none, and holds or fails where it does so at all. And all
    means are the paper's.
    """
    cells = {model: of(runs, data, model) for model in MODELS}
    missing = [MODELS[model] for model, cell in cells.items() if not cell]
    rounds = min(len(by_round(cell)) for cell in cells.values())
    reduced = f"no runs of {', '.join(missing)}" if missing else f"{rounds} of 10 rounds" if rounds < ROUNDS else ""
    pairs = [(net, dnn) for net in ("deep", "shallow") for dnn in DNNS if cells[net] and cells[dnn]]
    narrow = {w: cell for w in WIDTHS if data == "synthetic" and (cell := of(runs, data, "shallow", width=w))}
    scale, form = (1000, ".2f") if data == "synthetic" else (1, ".3f")  # errors in thousandths
    tried = {net: {FIRST_WIDTH: cells[net]} | (narrow if net == "shallow" else {}) for net in ("deep", "shallow")}
    judged = [
        _judged(data, net, dnn, {width: lead(cell, cells[dnn]) for width, cell in tried[net].items()})
        for net, dnn in pairs
    ]
    table, near = [], []
    for (model, cell), paper in zip(cells.items(), PAPER[data], strict=True):
        if cell:
            ours = mean(cell)
            near.append(_agrees(data, ours, paper))
            line = (_setting(cell), MODELS[model], ours.times(scale), scale * paper, near[-1], form)
            table.append(Comparison(*line))
    criterion = (
        "each mean is at most √2 of its 95 % half-widths from the paper's, whose error is taken to be as large; "
        "undecided where that is more than the models of the table differ by"
    )
    if data == "synthetic":
        criterion += f"; at {ROWS:,} rows, a choice of ours"
        table += _lines(runs, data, {"eq. multiplications": ("dnn_computation", {"width": 288})}, scale, form)
        widths = {f"{MODELS['shallow']}, width {width}": ("shallow", {"width": width}) for width in WIDTHS}
        table += _lines(runs, data, widths, scale, form)
    table += _lines(runs, data, {BASELINES[kind]: (kind, {}) for kind in BASELINES}, scale, form)
    sizes = Statement(f"all {len(MODELS)} means are as in the table", criterion, None if missing else every(near), True)
    named = {MODELS[model]: cell for model, cell in cells.items()}
    named |= {f"{MODELS['shallow']} of width {width}": cell for width, cell in narrow.items()}
    few = [
        f"{len(cell)} of {ROUNDS * FOLDS} runs of the {name}"  # one fold of each round
        for name, cell in named.items()
        if not reduced and len(cell) < ROUNDS * FOLDS
    ]
    numbers = "squared error in thousandths" if data == "synthetic" else "accuracy"
    decides = _decides(data, pairs, judged)
    return Finding((*judged, sizes), tuple(table), decides, reduced, fewer=", ".join(few), numbers=numbers)


def _decides(data: str, pairs: list[tuple[str, str]], judged: list[Statement]) -> str:
    """For how many differences it is so, and those that are refuted or undecided."""
    asked = "below 0" if data == "synthetic" else f"above -{COMPARABLE:g}"
    kept = sum(one.held is True for one in judged)
    unit = ", in thousandths," if data == "synthetic" else ""
    told = f"of {len(judged)} differences of a ShapNet and a DNN{unit} the whole interval of {kept} is {asked}"
    for answer, word in ((False, "refuted"), (None, "undecided")):
        rest = [
            f"{MODELS[net]} less {MODELS[dnn]} {one.found}"
            for (net, dnn), one in zip(pairs, judged, strict=True)
            if one.held is answer
        ]
        told += f"; {word}: {', '.join(rest)}" if rest else ""
    return told


def _agrees(data: str, ours: Interval, paper: float) -> bool | None:
    """Whether a mean is the paper's; None where that would be said of any model of the table."""
    agree = matches(ours, paper)
    return None if agree and 2**0.5 * ours.half > max(PAPER[data]) - min(PAPER[data]) else agree


def _judged(data: str, net: str, dnn: str, leads: dict[int, Interval]) -> Statement:
    """One of four comparisons of a ShapNet with a DNN; of several widths of the ShapNet all have to agree."""
    over = "the 95 % interval, over rounds, of the paired difference"
    if data == "synthetic":
        claim, bound = f"the {MODELS[net]}'s error is below that of the {MODELS[dnn]}", "(in thousandths) is below 0"
        answers = {below(lead) for lead in leads.values()}
    else:
        claim = f"the {MODELS[net]} is comparable with the {MODELS[dnn]}"
        bound = f"is above -{COMPARABLE:g}, the most that either is behind a DNN in the paper's table, on Breast Cancer"
        answers = {above(lead, -COMPARABLE) for lead in leads.values()}
    several = len(leads) > 1
    also = f" both with {' and with '.join(map(str, leads))} hidden units; if the answers differ, undecided"
    held = answers.pop() if len(answers) == 1 else None
    shown = [lead.times(1000).shown("+.2f") if data == "synthetic" else lead.shown("+.3f") for lead in leads.values()]
    found = ", ".join(one + f" ({width} hidden units)" * several for width, one in zip(leads, shown, strict=True))
    return Statement(
        claim, f"{over} {bound}{also if several else ''}; one such comparison of four, not corrected", held, found=found
    )


def _lines(runs: list[dict], data: str, models: dict[str, tuple[str, dict]], scale: int, form: str) -> list[Comparison]:
    """Lines of models that the paper's table does not have."""
    cells = {name: of(runs, data, model, **choice) for name, (model, choice) in models.items()}
    return [
        Comparison(_setting(cell), name, mean(cell).times(scale), form=form) for name, cell in cells.items() if cell
    ]


def _setting(cell: list[dict]) -> str:
    return f"{len(cell)} runs"


class Row(NamedTuple):
    """What the record has of one configuration: its name, how many runs, our mean, the paper's or nan, and `above`.

    above : the paired difference from the Deep ShapNet; of what departs from the first choice, from the first choice
            of the same model; nan where there is none
    """

    name: str
    runs: int
    ours: Interval
    paper: float
    above: Interval


def rows(runs: list[dict], data: str, shown: list[dict] | None = None) -> list[Row]:
    """A row per configuration, model by model.

    shown : the runs that get rows; all when None
    """
    keys = dict.fromkeys(json.dumps(run["config"], sort_keys=True) for run in (runs if shown is None else shown))
    configs = [config for config in map(json.loads, keys) if config["data"] == data]
    return [_row(runs, config) for config in sorted(configs, key=lambda config: list(NAMES).index(config["model"]))]


def _row(runs: list[dict], config: dict) -> Row:
    data, model = config["data"], config["model"]
    differs = {k: config[k] for k in CHOICES if k in config and config[k] != configuration(data, model).get(k)}
    other = configuration(data, model if differs else "deep")
    group, behind = ([run for run in runs if run["config"] == c] for c in (config, other))
    paper = PAPER[data][list(MODELS).index(model)] if model in MODELS and not differs else float("nan")
    above = lead(group, behind) if behind and other != config else Interval(float("nan"), float("nan"))
    name = ", ".join([NAMES[model], *(_told(choice, value) for choice, value in differs.items())])
    return Row(name, len(group), mean(group), paper, above)


def _told(choice: str, value: object) -> str:
    """A choice in words."""
    if choice == "samples":
        return f"{value:,} rows"
    return f"{choice} {value:g}" if choice in ("width", "rate") else TOLD[value]


def summary(runs: list[dict]) -> list[str]:
    """A line per configuration: see `rows`; errors are in thousandths."""
    lines = []
    for data in PAPER:
        if table := rows(runs, data):
            factor, digits = (1000, 2) if data == "synthetic" else (1, 3)
            measure = "error x 1000" if data == "synthetic" else "accuracy"
            lines.append(f"{data}, {measure}".ljust(38) + "runs  ours             paper  above")
            for name, count, ours, paper, above in table:
                theirs = "" if paper != paper else f"{factor * paper:.{digits}f}"
                ahead = "" if above.mean != above.mean else _scaled(above, factor).shown(f"+.{digits}f")
                shown = _scaled(ours, factor).shown(f".{digits}f")
                lines.append(f"  {name:36}{count:4}  {shown:15}  {theirs:5}  {ahead}".rstrip())
    return lines


def _scaled(one: Interval, factor: float) -> Interval:
    return Interval(factor * one.mean, factor * one.half)


CLAIM = Claim(
    "SN-Tab1",
    "Three tables, five models",
    finding,
    study="SN-Tab1",
    summary=summary,
    parts=tuple(PAPER),
    about=study.__doc__ or "",
)
