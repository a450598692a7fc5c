"""SN-F11: digit flipping for more pairs of digits (Shapley Explanation Networks, figure 11: "the same conclusion")."""

from shapnotes.experiments._harness.finding import Comparison, Finding, every
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.removal import comparison, study
from shapnotes.experiments.removal.comparison import better, of, over_trainings, whole
from shapnotes.experiments.removal.methods import METHODS, RIVALS
from shapnotes.experiments.removal.study import PAIRS, named

IN_FIGURE_4 = "9->1"  # whose numbers stand there


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 11: in each pair, ours is ahead of all five."""
    own = whole(runs, tuple(PAIRS))
    statements = tuple(
        comparison.in_trainings(
            [ahead(one, pair) for one in own.values()],
            f"{named(pair)}: best of six",
            "ahead of each of the five by a 95 % interval over the images of each network",
            comparison.over_networks(runs, pair) if own else "",
        )
        for pair in PAIRS
    )
    table = tuple(
        Comparison(named(pair), METHODS[method], over_trainings(runs, pair, method), form=".1f")
        for pair in PAIRS
        if pair != IN_FIGURE_4
        for method in METHODS
        if own and all(of(one, pair, method) for one in own.values())
    )
    best = [pair for pair in PAIRS if own and all(ahead(one, pair) is True for one in own.values())]
    apart = [pair for pair in PAIRS if own and comparison.ahead_over_networks(runs, pair)]
    over_images, over_networks = (
        f"{len(pairs)} of {len(PAIRS)} pairs ({', '.join(map(named, pairs))})" if pairs else "no pair"
        for pairs in (best, apart)
    )
    decides = f"ahead of all five over images of each network in {over_images}, over networks in {over_networks}"
    return Finding(
        statements,
        table,
        decides,
        comparison.reduced(runs, tuple(PAIRS)),
        numbers=f"change of log-odds (more is better), mean over {comparison.over_images(runs)}, ± over networks; of "
        f"{named(IN_FIGURE_4)} under SN-F4",
    )


def ahead(runs: list[dict], pair: str) -> bool | None:
    """Whether our explanations of one training flip a pair better than all five methods; None where one is level."""
    return every([{1: True, 0: None, -1: False}[better(runs, pair, method)] for method in RIVALS])


def summary(runs: list[dict]) -> list[str]:
    """A line per pair: the mean change of log-odds by every method, over trainings."""
    lines = ["change of log-odds, mean over images with its interval over trainings"]
    for pair in PAIRS:
        there = [m for m in METHODS if any(of(one, pair, m) for one in comparison.by_training(runs).values())]
        cells = {m: over_trainings(runs, pair, m) for m in there}
        if cells:
            shown = ", ".join(f"{METHODS[m]} {one.shown('.3g')}" for m, one in cells.items())
            lines.append(f"{pair}: {shown}")
    return lines


CLAIM = Claim(
    "SN-F11",
    "Digit flipping, four pairs",
    finding,
    study="SN-F4",
    summary=summary,
    usable=comparison.usable,
    about=study.__doc__ or "",  # as SN-F4
)
