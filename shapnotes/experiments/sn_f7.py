"""SN-F7: what image ShapNets lose with pixels of the image, from the record of SN-F5 (figure 7).

The caption: with a penalty the accuracy is "often" above that without one, in three orders of removal; l-infinity helps
when the top 50 pixels or so are gone.
"""

from shapnotes.experiments import sn_f5
from shapnotes.experiments.sn_f5 import ORDERS, REMOVED, of, over_trainings, told

ID = "SN-F7"
TITLE = "Removing pixels from regularised networks"
CHECKPOINTS = True

batches, run = sn_f5.batches, sn_f5.run


def above(runs: list[dict], name: str, seed: int = 0) -> dict[str, float]:
    """In which share of the steps a network keeps more accuracy than that without a penalty, for each order."""
    found = of(runs, seed=seed)
    steps = range(1, len(REMOVED) - 1)  # with no pixel gone, or with all, there is nothing to compare
    ours, plain = (found[which]["removed"] for which in (name, "none"))
    return {o: sum(ours[o]["accuracy"][i] > plain[o]["accuracy"][i] for i in steps) / len(steps) for o in ORDERS}


def statements(runs: list[dict], seed: int = 0) -> dict[str, bool]:
    """Whether each penalty on the last representation is above in most steps of most orders; and the top 50."""
    found = of(runs, seed=seed)
    often = {name: sum(share > 0.5 for share in above(runs, name, seed).values()) >= 2 for name in ("l1", "linf")}
    few = [i for i, pixels in enumerate(REMOVED) if 0 < pixels <= 50]
    linf, plain = (found[name]["removed"]["top"]["accuracy"] for name in ("linf", "none"))
    return {
        "l1 is often above": often["l1"],
        "l-infinity is often above": often["linf"],
        "l-infinity helps at the top 50": all(linf[i] > plain[i] for i in few),
    }


def summary(runs: list[dict]) -> list[str]:
    """A line a network and order: the accuracy when so many pixels are gone, the mean over trainings."""
    lines = [f"{'network':10} {'order':7}" + "".join(f"{pixels:6}" for pixels in REMOVED)]
    for name in of(runs):
        for order in ORDERS:
            left = (_left(runs, name, order, step) for step in range(len(REMOVED)))
            lines.append(f"{name:10} {order:7}" + "".join(f"{accuracy:6.2f}" for accuracy in left))
    return lines


def _left(runs: list[dict], name: str, order: str, step: int) -> float:
    return over_trainings(runs, name, lambda r: r["removed"][order]["accuracy"][step])[0]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to figure 7's caption, by `statements`."""
    fifty = REMOVED.index(50)
    ours = "accuracy when 50 pixels are gone, top / least / random: " + "; ".join(
        f"{name} " + " / ".join(f"{_left(runs, name, order, fifty):.2f}" for order in ORDERS) for name in of(runs)
    )
    return told(runs, statements, ours, "curves, without numbers: both penalties often introduce some robustness")
