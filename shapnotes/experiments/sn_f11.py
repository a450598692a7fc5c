"""SN-F11: digit flipping for more pairs of digits (Shapley Explanation Networks, figure 11: "the same conclusion").

There is no run of its own: batches and runs are those of `sn_f4`, and so is the record.
"""

from shapnotes.experiments import sn_f4
from shapnotes.experiments.record import mean_and_error
from shapnotes.experiments.sn_f4 import METHODS, PAIRS, RIVALS, better, marks, of

ID = "SN-F11"
TITLE = "Digit flipping, four pairs"

CHECKPOINTS = True
batches, run = sn_f4.batches, sn_f4.run


def summary(runs: list[dict]) -> list[str]:
    """A line a pair: the mean change of log-odds by every method."""
    return ["change of log-odds, mean ± standard error over images", *_lines(runs, METHODS)]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to figure 11: in each pair, ours is ahead of all five (95 % interval beyond zero)."""
    ours = f"{sn_f4.scope(runs, tuple(PAIRS))}. " + "; ".join(_lines(runs, ("ours", *RIVALS)))
    ours += "; ahead of all five in " + (", ".join(p for p in PAIRS if ahead(runs, p)) or "no pair")
    paper = "the network's own explanations change the log-odds most, in all pairs"
    if not sn_f4.complete(runs, tuple(PAIRS)):
        return "not run at full scale", ours, paper
    kept = [ahead(runs, pair) for pair in PAIRS]
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced", ours, paper


def ahead(runs: list[dict], pair: str) -> bool:
    """Whether our explanations flip a pair better than all five methods."""
    there = all(of(runs, pair, method) for method in ("ours", *RIVALS))
    return there and all(better(runs, pair, method) == 1 for method in RIVALS)


def _lines(runs: list[dict], methods) -> list[str]:
    lines = []
    for pair in PAIRS:
        cells = []
        for method in methods:
            if of(runs, pair, method):
                mean, error = mean_and_error(marks(runs, pair, method).tolist())
                cells.append(f"{METHODS[method]} {mean:.3g} ± {error:.1g}")
        if cells:
            lines.append(f"{pair}: {', '.join(cells)}")
    return lines
