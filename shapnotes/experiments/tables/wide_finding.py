"""What the record says of networks that see every feature: four claims of ours."""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below
from shapnotes.experiments._harness.statistics import Interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.tables import accuracy_finding, rivals
from shapnotes.experiments.tables import wide as study
from shapnotes.experiments.tables.accuracy import ROUNDS
from shapnotes.experiments.tables.models import DEEP
from shapnotes.experiments.tables.splits import TITLES
from shapnotes.experiments.tables.wide import LARGEST, MNIST, SEEN, SIZES, named, of

CLOSE = 0.1  # of the size of exact values
ALIKE = 0.005  # of accuracy

ONE_STAGE = [size for size in SIZES if len(size) == 1]


def finding(runs: list[dict], part: str) -> Finding:
    """What the record says of one of `CLAIM.parts`."""
    return {"1": _closeness, "2": _speed, "3": _digits, "4": _seen}[part](runs)


def _closeness(runs: list[dict]) -> Finding:
    """One stage: the distance from exact values, in parts of their size, which holds the noise of sampled ones."""
    cells = {(data, size): cell for data in DEEP for size in SIZES if (cell := of(runs, data, "wide", size))}
    table, statements, errors = [], [], {}
    for (data, size), cell in cells.items():
        error = rivals.mean(cell, rivals.relative)
        table.append(Comparison(TITLES[data], named(cell[0]["config"]), error))
        if size in ONE_STAGE:
            claim = f"{TITLES[data]}: {named(cell[0]['config'])} is near exact values"
            criterion = f"the mean error is below {CLOSE:g} of their mean size, by the interval over rounds"
            statements.append(Statement(claim, criterion, below(error, CLOSE)))
            errors[f"{TITLES[data]}, {named(cell[0]['config'])}"] = error
    decides = "no runs"
    if errors:
        where, worst = max(errors.items(), key=lambda one: one[1].high)
        decides = f"the largest of {len(errors)} errors, {where}: {worst.shown()} of the values"
    reduced, numbers = (
        _reduced(runs, len(cells), len(DEEP) * len(SIZES)),
        "error of the explanation / size of exact values",
    )
    return Finding(tuple(statements), tuple(table), decides, reduced, numbers=numbers)


def _speed(runs: list[dict]) -> Finding:
    """The time to explain one input over that of the table's Deep ShapNet."""
    cells = [cell for data in DEEP for size in SIZES if (cell := of(runs, data, "wide", size))]
    table, statements, ratios = [], [], {}
    for cell in cells:
        config, ratio = cell[0]["config"], rivals.mean(cell, rivals.slowness)
        table.append(Comparison(TITLES[config["data"]], named(config), ratio, form=".2f"))
        claim = f"{TITLES[config['data']]}: {named(config)} explains one input in less time than the Deep ShapNet does"
        statements.append(
            Statement(claim, "the ratio of times is below 1, by the interval over rounds", below(ratio, 1))
        )
        ratios[f"{TITLES[config['data']]}, {named(config)}"] = ratio
    decides = "no runs"
    if ratios:
        ends = (pick(ratios.items(), key=lambda one: one[1].mean) for pick in (min, max))
        shown = " to ".join(f"{ratio.shown('.2f')} ({where})" for where, ratio in ends)
        decides = f"time over the Deep ShapNet's, for one input: {shown}"
    reduced, numbers = _reduced(runs, len(cells), len(DEEP) * len(SIZES)), "time over the Deep ShapNet's, for one input"
    return Finding(tuple(statements), tuple(table), decides, reduced, numbers=numbers)


def _digits(runs: list[dict]) -> Finding:
    """MNIST: one stage beside a perceptron of its width, two beside one of as many parameters."""
    cells = [of(runs, "mnist", *one) for one in MNIST]
    table = [
        Comparison("MNIST", named(c[0]["config"]), rivals.mean(c, lambda result: result["test"]), form=".4f")
        for c in cells
        if c
    ]
    answers: list[bool | None] = [None, None, None]
    found = ["", "", ""]
    decides, short = "no runs of MNIST", ""
    if all(cells):
        one, two, small, large = ({run["seed"]: run["result"]["test"] for run in cell} for cell in cells)
        alike, ahead, behind = paired_interval(one, small), paired_interval(two, one), paired_interval(two, large)
        answers = [_within(alike, ALIKE), above(ahead), above(behind, -ALIKE)]
        found = [difference.shown("+.4f") for difference in (alike, ahead, behind)]
        decides = f"two stages less one {ahead.shown('+.4f')}, less the large perceptron {behind.shown('+.4f')}"
        seeds = min(map(len, cells))
        short = f"{seeds} seeds" if seeds < 3 else ""
    claims = {
        "one stage predicts as a perceptron of its width": f"within {ALIKE:g} of 0",
        "two stages predict better than one": "above 0",
        "two stages predict no worse than a perceptron of as many parameters": f"above -{ALIKE:g}",
    }
    statements = (
        Statement(claim, f"the interval of the difference over seeds is {where}", answer, found=told)
        for (claim, where), answer, told in zip(claims.items(), answers, found, strict=True)
    )
    return Finding(tuple(statements), tuple(table), decides, short, numbers="accuracy on test images")


def _seen(runs: list[dict]) -> Finding:
    """What a neuron sees: all features beside pairs, in prediction and in the error of the explanation."""
    table, predictions, explanations, leads, farther, found = [], [], [], [], [], 0
    for data, counts in SEEN.items():
        cells = {seen: of(runs, data, "wide", LARGEST, seen=seen) for seen in counts}
        cells[DEEP[data][0]] = of(runs, data, "wide", LARGEST)
        cells = {seen: cell for seen, cell in cells.items() if cell}
        found += len(cells)
        for seen, cell in cells.items():
            error = rivals.mean(cell, rivals.relative)
            label = f"{TITLES[data]}, {seen} seen of {DEEP[data][0]}"
            table.append(Comparison(label, "error of the explanation / size", error))
            form = ".5f" if data == "synthetic" else ".3f"
            what = "squared error" if data == "synthetic" else "accuracy"
            table.append(
                Comparison(label, "accuracy (synthetic task: squared error)", rivals.mean(cell, _test), form=form)
            )
        if {2, DEEP[data][0]} <= cells.keys():
            pairs, every = cells[2], cells[DEEP[data][0]]
            ahead, signed = accuracy_finding.lead(every, pairs), form.replace(".", "+.")
            answer = below(ahead) if data == "synthetic" else above(ahead)
            where = "below 0" if data == "synthetic" else "above 0"
            claim = f"{TITLES[data]}: seeing every feature predicts better than seeing two"
            criterion, found_lead = f"the interval of the difference over rounds is {where}", ahead.shown(signed)
            predictions.append(Statement(claim, criterion, answer, found=found_lead))
            nearer = rivals.paired(every, pairs, rivals.relative)
            claim = f"{TITLES[data]}: seeing every feature gives explanations nearer to exact values"
            criterion = "the interval, over rounds, of the paired difference of error / size is below 0"
            explanations.append(Statement(claim, criterion, below(nearer), found=nearer.shown("+.3f")))
            leads.append(f"{TITLES[data]}, {what} {ahead.shown(signed)}")
            if below(nearer) is False:
                one, two = (rivals.mean(cell, rivals.relative).shown() for cell in (every, pairs))
                farther.append(f"Error of the explanation on {TITLES[data]} {one}, with two {two}")
    decides = f"every feature less two: {'; '.join(leads)}" if leads else "no runs"
    decides += f". {'; '.join(farther)}" if farther else ""
    decides += _at_a_falling_rate(runs)
    short = _missing(found, sum(map(len, SEEN.values())) + len(SEEN))
    return Finding((*predictions, *explanations), tuple(table), decides, short)


def _at_a_falling_rate(runs: list[dict]) -> str:
    """Every feature less two on the synthetic task, at the rate that falls to 0, which the statements do not ask."""
    every, pairs = (of(runs, "synthetic", "wide", LARGEST, schedule="falling", **seen) for seen in ({}, {"seen": 2}))
    if not every or not pairs:
        return ""
    ahead = accuracy_finding.lead(every, pairs).shown("+.5f")
    nearer = rivals.paired(every, pairs, rivals.relative).shown("+.3f")
    task = TITLES["synthetic"]
    return f". At a rate that falls to 0, on the {task}: squared error {ahead}, error of the explanation {nearer}"


def _test(result: dict) -> float:
    return result["test"]


def _missing(found: int, all_of_them: int) -> str:
    return f"{found} of {all_of_them} networks" if found < all_of_them else ""


def _within(difference: Interval, bound: float) -> bool | None:
    """Whether a difference is within a bound of 0: None where its interval crosses the bound."""
    if -bound < difference.low and difference.high < bound:
        return True
    return False if difference.low > bound or difference.high < -bound else None


def _reduced(runs: list[dict], found: int, all_of_them: int) -> str:
    if missing := _missing(found, all_of_them):
        return missing
    rounds = min(len(of(runs, data, "wide", size)) for data in DEEP for size in SIZES)
    return f"{rounds} of {ROUNDS} rounds" if rounds < ROUNDS else ""


CLAIM = Claim(
    "X-W",
    "Networks that see every feature at once",
    finding,
    study="wide",
    summary=study.summary,
    parts=("1", "2", "3", "4"),
    about=study.__doc__ or "",
)
