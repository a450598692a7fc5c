"""What the record says of one hidden layer: the order of the methods, and how far sampling is behind."""

from collections.abc import Iterable

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, below
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.one_layer import study
from shapnotes.experiments.one_layer.study import REPEATS

NAMES = {
    "li-cui, as printed": "Li and Cui, equation 1 as printed",
    "li-cui": "the same without b / n, closed",
    "normal": "normal per rate",
    "edgeworth": "Edgeworth",
}
BEHIND = NAMES | {"li-cui": "equation 1 without b / n, closed"}  # by itself, not below a line on equation 1
SMALL = 0.002  # of the mean size of a value


def by_seed(runs: Iterable[dict], name: str) -> dict[int, float]:
    """The mean error over the images of each training: `name` as in the record, "neurons, normal"."""
    return {run["seed"]: sum(e) / len(e) for run in runs if (e := run["result"]["errors"].get(name))}


def error(runs: list[dict], name: str) -> Interval:
    """The mean error over trainings."""
    return interval(by_seed(runs, name).values())


def sampled(runs: list[dict]) -> list[str]:
    """Names of the estimates by random orders, fewest first."""
    names = {name for run in runs for name in run["result"]["errors"] if name.endswith("permutations")}
    return sorted(names, key=lambda name: int(name.split()[1]))


def orders(name: str) -> str:
    """An estimate by random orders, in words: of "outputs, 16 permutations", which are eight opposite pairs."""
    count = int(name.split()[1])
    return f"{count} random orders, {count // 2} and their reverses,"


def finding(runs: list[dict]) -> Finding:
    """Edgeworth is nearer than normal, that nearer than Li and Cui's formula; and sampling is behind Edgeworth."""

    def asked(claim: str, one: str, other: str) -> Statement:
        lead = paired_interval(by_seed(runs, one), by_seed(runs, other))
        return Statement(claim, told, below(lead), found=lead.shown("+.5f"))

    *_, most = sampled(runs)
    told = "95 % interval of the paired difference, the nearer one's error less the other's, is below 0"
    statements = [
        asked(f"{what}: {NAMES[one]} is nearer than {BEHIND[other]}", f"{what}, {one}", f"{what}, {other}")
        for what in ("neurons", "outputs")
        for one, other in (("edgeworth", "normal"), ("normal", "li-cui"))
    ]
    statements.append(asked(f"outputs: {orders(most)} are further off than Edgeworth", "outputs, edgeworth", most))
    small = error(runs, "outputs, edgeworth")
    statements.append(
        Statement(
            f"outputs: Edgeworth's error is below {100 * SMALL:g} % of the size",
            "95 % interval is below it",
            below(small, SMALL),
        )
    )
    table = [
        Comparison(what, name, error(runs, f"{what}, {key}"), form=".5f")
        for what in ("neurons", "outputs")
        for key, name in NAMES.items()
    ]
    table += [
        Comparison("outputs", orders(name).removesuffix(","), error(runs, name), form=".4f") for name in sampled(runs)
    ]
    beside = ", ".join(f"{name} {error(runs, f'outputs, {key}').shown('.5f')}" for key, name in BEHIND.items())
    kept = len({run["seed"] for run in runs})
    reduced = "" if kept >= REPEATS else f"{kept} of {REPEATS} trainings"
    return Finding(
        tuple(statements),
        tuple(table),
        f"error in parts of the values' size, outputs: {beside}; the statements are about the closed form",
        reduced,
        numbers="mean distance from the exact values, over their mean size",
    )


def summary(runs: list[dict]) -> list[str]:
    """A line per method: its mean error on neurons and outputs."""
    lines = [f"{line.setting:8} {line.model:24} {line.ours.shown(line.form)}" for line in finding(runs).table]
    accuracy = interval([run["result"]["test_accuracy"] for run in runs])
    return [*lines, f"right on {accuracy.shown('.4f')} of the test images"]


def usable(runs: list[dict]) -> bool:
    """Whether there are two trainings to take an interval over."""
    return len({run["seed"] for run in runs}) > 1


CLAIM = Claim(
    "X-N1",
    "One hidden layer on MNIST",
    finding,
    study="X-N1",
    summary=summary,
    usable=usable,
    about=study.__doc__ or "",
)
