"""SN-F7: what image ShapNets lose with pixels of the image, from the record of SN-F5 (figure 7).

The caption: with a penalty the accuracy is "often" above that without one, in three orders of removal; l-infinity helps
when the top 50 pixels or so are gone.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.regularised_images import trainings
from shapnotes.experiments.regularised_images.study import ORDERS, REMOVED
from shapnotes.experiments.regularised_images.trainings import Claims, in_trainings, of, over_trainings


def above(found: dict[str, dict], name: str) -> dict[str, float]:
    """In which share of the steps a network keeps more accuracy than that without a penalty, for each order."""
    steps = range(1, len(REMOVED) - 1)  # with no pixel gone, or with all, there is nothing to compare
    ours, plain = (found[which]["removed"] for which in (name, "none"))
    return {o: sum(ours[o]["accuracy"][i] > plain[o]["accuracy"][i] for i in steps) / len(steps) for o in ORDERS}


def _often(name: str):
    return lambda found: sum(share > 0.5 for share in above(found, name).values()) >= 2


def _helps_first(found: dict[str, dict]) -> bool:
    few = [i for i, pixels in enumerate(REMOVED) if 0 < pixels <= 50]
    linf, plain = (found[name]["removed"]["top"]["accuracy"] for name in ("linf", "none"))
    return all(linf[i] > plain[i] for i in few)


_OFTEN = "above the network without a penalty in more than half of the steps, in at least two of the three orders"

CLAIMS: Claims = {
    "l1 often makes the model more robust": (_OFTEN, _often("l1")),
    "l-infinity often does": (_OFTEN, _often("linf")),
    "l-infinity helps when the top 50 pixels are gone": (
        "above the network without a penalty at each step up to 50 pixels, the most important first",
        _helps_first,
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 7's caption, which has no numbers."""
    fifty = REMOVED.index(50)
    table = [
        Comparison(f"accuracy without 50 pixels, {order}", name, _left(runs, name, order, fifty))
        for order in ORDERS
        for name in of(runs)
    ]
    kept = {name: _left(runs, name, "top", fifty).mean for name in of(runs)}
    decides = "accuracy without the top 50 pixels: " + ", ".join(f"{name} {value:.2f}" for name, value in kept.items())
    return Finding(in_trainings(runs, CLAIMS), tuple(table), decides, trainings.reduced(runs))


def _left(runs: list[dict], name: str, order: str, step: int):
    return over_trainings(runs, name, lambda result: result["removed"][order]["accuracy"][step])


def summary(runs: list[dict]) -> list[str]:
    """A line per network and order: the accuracy when so many pixels are gone, the mean over trainings."""
    lines = [f"{'network':10} {'order':7}" + "".join(f"{pixels:6}" for pixels in REMOVED)]
    for name in of(runs):
        for order in ORDERS:
            left = (_left(runs, name, order, step).mean for step in range(len(REMOVED)))
            lines.append(f"{name:10} {order:7}" + "".join(f"{accuracy:6.2f}" for accuracy in left))
    return lines


CLAIM = Claim(
    "SN-F7",
    "Removing pixels from regularised networks",
    finding,
    study="SN-F5",
    summary=summary,
    usable=trainings.usable,
    about=__doc__ or "",
)
