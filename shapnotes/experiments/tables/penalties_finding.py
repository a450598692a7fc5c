"""What the record says of Table 4: the shape of explanations with penalties, and what they cost."""

import json

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below
from shapnotes.experiments._harness.statistics import Interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.tables import penalties as study
from shapnotes.experiments.tables.accuracy_finding import lead, mean
from shapnotes.experiments.tables.penalties import NAMES, PAPER, PENALTIES, SPARSE, SPARSE_OF_LARGEST, configuration
from shapnotes.experiments.tables.splits import TITLES

UNHARMED = 0.003  # of accuracy: the largest loss in the paper's table


def of(runs: list[dict], data: str, penalty: str, **choice) -> list[dict]:
    """The runs of one configuration, the first choice where none is named."""
    config = configuration(data, penalty, **choice)
    return [run for run in runs if run["config"] == config]


def against_none(runs: list[dict], config: dict, quantity: str) -> Interval:
    """The paired difference of a configuration from no penalty, with its interval over rounds."""
    pair = [run for run in runs if run["config"] == config], of(runs, config["data"], "none")
    return lead(*(_defined(part, quantity) for part in pair), quantity)


def average(runs: list[dict], quantity: str) -> Interval | None:
    """The mean over rounds, with its interval; None where no run has one."""
    defined = _defined(runs, quantity)
    return mean(defined, quantity) if defined else None


def _defined(runs: list[dict], quantity: str) -> list[dict]:
    return [run for run in runs if run["result"][quantity] is not None]


CV, ACCURACY = "cv", "test"
COLUMNS = {CV: "coefficient of variation", SPARSE: "share within 0.001 of 0", ACCURACY: "accuracy"}
FORMS = {CV: ".3f", SPARSE: ".5f", ACCURACY: ".3f"}
DIRECTIONS = (  # which way the paper's table goes from no penalty: table, penalty, quantity, side
    ("yeast", "linf", CV, -1),
    ("yeast", "l1", CV, 1),
    ("yeast", "linf", SPARSE, 1),
    ("yeast", "l1", SPARSE, 1),
    ("breast_cancer", "linf", CV, -1),
    ("breast_cancer", "linf", SPARSE, 1),
    ("breast_cancer", "l1", SPARSE, 1),
)
IN_TEXT = (("linf", CV), ("l1", SPARSE))  # of these directions the paper's text speaks too: penalty, quantity


def finding(runs: list[dict]) -> Finding:
    """What the record says of Table 4: the directions in which the penalties move its numbers, and the accuracy.

    Of sizes nothing is said: strength and threshold were chosen by the table.
    """
    cells = {(data, penalty): of(runs, data, penalty) for data in PAPER for penalty in PENALTIES}
    count = len(DIRECTIONS) + 4
    judged = [_direction(runs, *one, count) for one in DIRECTIONS]
    judged += [_unharmed(runs, data, penalty, count) for data in PAPER for penalty in ("linf", "l1")]
    table = [
        Comparison(
            f"{TITLES[data]}, {COLUMNS[quantity]}", NAMES[penalty], ours, PAPER[data][penalty][i], form=FORMS[quantity]
        )
        for data in PAPER
        for i, quantity in enumerate(COLUMNS)
        for penalty in PENALTIES
        if (ours := average(cells[data, penalty], quantity)) is not None
    ]
    short = [
        f"{TITLES[data]}, {NAMES[penalty]}: {len(cell)} of 50 runs"
        for (data, penalty), cell in cells.items()
        if len(cell) < 50
    ]
    moved = judged[: len(DIRECTIONS)]
    held, undecided = (sum(one.held is answer for one in moved) for answer in (True, None))
    wrong = [
        f"on {TITLES[data]} {NAMES[penalty]} {'lowers' if side > 0 else 'raises'} the {COLUMNS[quantity]}, {one.found}"
        + ("" if (penalty, quantity) in IN_TEXT else " (a direction of the table alone, not of the paper's text)")
        + _elsewhere(runs, data, penalty, quantity, side)
        for (data, penalty, quantity, side), one in zip(DIRECTIONS, moved, strict=True)
        if one.held is False
    ]
    kept, open_ = (sum(one.held is answer for one in judged[len(DIRECTIONS) :]) for answer in (True, None))
    decides = f"{held} of {len(DIRECTIONS)} directions as in the table"
    decides += f"; {len(wrong)} against it: {', '.join(wrong)}" if wrong else ""
    decides += f"; {undecided} undecided" if undecided else ""
    decides += f". Accuracy: {kept} of 4 hold" + (f", {open_} undecided" if open_ else "")
    return Finding(
        tuple(judged), tuple(table), f"{decides}. Strength and threshold were chosen by the table", "; ".join(short)
    )


OVER = "the 95 % interval, over rounds, of the paired difference from no penalty is"


def _direction(runs: list[dict], data: str, penalty: str, quantity: str, side: int, count: int) -> Statement:
    """That a penalty moves a number to the paper's side."""
    verb, where, judge = ("raises", "above", above) if side > 0 else ("lowers", "below", below)
    lead = _lead(runs, data, penalty, quantity)
    claim = f"{TITLES[data]}: {NAMES[penalty]} {verb} the {COLUMNS[quantity]}"
    criterion, found = f"{OVER} {where} 0; one such comparison of {count}, not corrected", _shown(lead, quantity)
    return Statement(claim, criterion, None if lead is None else judge(lead), found=found)


def _elsewhere(runs: list[dict], data: str, penalty: str, quantity: str, side: int) -> str:
    """What the record says of the same direction at the strengths that were not chosen."""
    configs = [configuration(data, penalty, strength=s) for s in study.OTHERS]
    judge = above if side > 0 else below
    said = {True: "as in the table", False: "the same", None: "undecided"}
    strengths: dict[str, list[str]] = {}
    for config in configs:
        if any(run["config"] == config for run in runs):
            answer = said[judge(against_none(runs, config, quantity))]
            strengths.setdefault(answer, []).append(f"{config['strength']:g}")
    return "".join(f", {answer} with the strength {' and '.join(some)}" for answer, some in strengths.items())


def _unharmed(runs: list[dict], data: str, penalty: str, count: int) -> Statement:
    """That a penalty costs no more accuracy than in the paper."""
    lead = _lead(runs, data, penalty, ACCURACY)
    criterion = (
        f"{OVER} above -{UNHARMED:g}, the largest loss in the table; one such comparison of {count}, not corrected"
    )
    return Statement(
        f"{TITLES[data]}: {NAMES[penalty]} costs no accuracy",
        criterion,
        None if lead is None else above(lead, -UNHARMED),
        found=_shown(lead, ACCURACY),
    )


def _shown(lead: Interval | None, quantity: str) -> str:
    return "" if lead is None else lead.shown(FORMS[quantity].replace(".", "+."))


def _lead(runs: list[dict], data: str, penalty: str, quantity: str) -> Interval | None:
    there = of(runs, data, penalty) and of(runs, data, "none")
    return against_none(runs, configuration(data, penalty), quantity) if there else None


def summary(runs: list[dict]) -> list[str]:
    """A line per configuration: means, and in brackets the difference from no penalty, with their intervals."""
    columns = {CV: "variation", SPARSE: "within .001", SPARSE_OF_LARGEST: "within 1 % of largest", ACCURACY: "accuracy"}
    head = " ".join(f"{name:34}" for name in columns.values())
    lines = [f"{'data':13} {'penalty':7} {'strength':8} {'layers':6} runs  {head}  undefined"]
    for key in dict.fromkeys(json.dumps(run["config"], sort_keys=True) for run in runs):
        config = json.loads(key)
        group = [run for run in runs if run["config"] == config]
        cells = []
        for quantity in columns:
            ours = average(group, quantity)
            cell = "-" if ours is None else ours.shown(".4f")
            if config["penalty"] != "none" and ours is not None and of(runs, config["data"], "none"):
                cell += f" ({against_none(runs, config, quantity).shown('+.4f')})"
            cells.append(f"{cell:34}")
        undefined = sum(run["result"]["undefined"] for run in group) / len(group)
        name = f"{config['data']:13} {config['penalty']:7} {config.get('strength', ''):<8} {config.get('layers', ''):6}"
        lines.append(f"{name} {len(group):4}  {' '.join(cells)}  {undefined:.4f}")
    return lines


CLAIM = Claim(
    "SN-Tab4", "Flat or sparse explanations", finding, study="SN-Tab4", summary=summary, about=study.__doc__ or ""
)
