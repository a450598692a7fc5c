"""SN-F7: what image ShapNets lose with pixels of the image, from the record of SN-F5 (figure 7).

The caption: with a penalty the accuracy is "often" above that without one, in three orders of removal; l-infinity helps
when the top 50 pixels or so are gone.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.regularised_images import trainings
from shapnotes.experiments.regularised_images.study import ORDERS, REMOVED, TITLES
from shapnotes.experiments.regularised_images.trainings import Asked, Claims, Numbers, of, over_all, over_trainings


def _more_often(name: str) -> Numbers:
    """In which share of all steps of the three orders it keeps more than the network without a penalty."""
    steps = range(1, len(REMOVED) - 1)  # with no pixel gone, or with all, there is nothing to compare

    def of_training(results: dict[str, dict]) -> dict[str, float]:
        ours, plain = (results[which]["removed"] for which in (name, "none"))
        more = [ours[o]["accuracy"][i] > plain[o]["accuracy"][i] for o in ORDERS for i in steps]
        return {"": sum(more) / len(more)}

    return of_training


def _helps_first(results: dict[str, dict]) -> dict[str, float]:
    linf, plain = (results[name]["removed"]["top"]["accuracy"] for name in ("linf", "none"))
    return {f"{pixels} pixels": linf[i] - plain[i] for i, pixels in enumerate(REMOVED) if 0 < pixels <= 50}


_OFTEN = "the share of all steps, in three orders, with more accuracy than without a penalty is above one half"

WITHOUT = "accuracy without 50 pixels: those of largest attribution (top), of least, or at random"

CLAIMS: Claims = {
    "ℓ1 often makes the model more robust": Asked(_OFTEN, _more_often("l1"), 0.5, ".3f"),
    "ℓ∞ often does": Asked(_OFTEN, _more_often("linf"), 0.5, ".3f"),
    "ℓ∞ helps when the top 50 pixels are gone": Asked(
        "the most important pixels first, the accuracy is above that without a penalty at each step up to 50 pixels",
        _helps_first,
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 7's caption, which has no numbers."""
    fifty = REMOVED.index(50)
    table = [Comparison(order, TITLES[name], _left(runs, name, order, fifty)) for order in ORDERS for name in of(runs)]
    kept = {name: _left(runs, name, "top", fifty) for name in of(runs)}
    shown = (f"{TITLES[name]} {value.shown('.2f')}" for name, value in kept.items())
    decides = "accuracy without the top 50 pixels: " + ", ".join(shown)
    return Finding(over_all(runs, CLAIMS), tuple(table), decides, trainings.reduced(runs), numbers=WITHOUT)


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
