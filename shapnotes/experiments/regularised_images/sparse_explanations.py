"""SN-F6: how sparse explanations are with and without a penalty, from the record of SN-F5 (figures 6 and 8 to 10).

The captions: "l1 only puts importance on a few key features", l-infinity "spreads out the contribution". The figures
are pictures of single images; what is compared here are means over test images. The strengths of the penalties are not
in the paper: at the scale "cpu" a tenth and ten times of ours, and more, are measured too.
"""

from collections.abc import Callable

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.images.study import MODELS as TRAINED
from shapnotes.experiments.regularised_images import study as regularised_images_study
from shapnotes.experiments.regularised_images import trainings
from shapnotes.experiments.regularised_images.small_values import SHARE
from shapnotes.experiments.regularised_images.study import TITLES, swept
from shapnotes.experiments.regularised_images.trainings import Asked, Claims, of, over_all, over_trainings

QUANTITIES = {
    "coefficient of variation": lambda result: result["shape"]["cv"],
    "largest attribution, mean over images and classes": lambda result: result["shape"]["largest"],
    "small pixels": lambda result: result["shape"]["small"][-1],
    "accuracy": lambda result: result["accuracy"],
}

CLAIMS: Claims = {
    "ℓ1 puts importance on few pixels": Asked(
        "more pixels than without a penalty are below a hundredth of the largest",
        lambda results: {"": results["l1"]["shape"]["small"][-1] - results["none"]["shape"]["small"][-1]},
    ),
    "ℓ∞ spreads it out": Asked(
        "the coefficient of variation of pixels' sizes without a penalty is above that with ℓ∞",
        lambda results: {"": results["none"]["shape"]["cv"] - results["linf"]["shape"]["cv"]},
    ),
}


def finding(runs: list[dict]) -> Finding:
    """What the record says of the captions of figures 6 and 8 to 10, which have no numbers."""
    table = [
        Comparison(what, TITLES[name], over_trainings(runs, name, number))
        for what, number in QUANTITIES.items()
        for name in of(runs)
    ]
    cv, _, small, _ = QUANTITIES.values()
    variation = _beside(runs, cv, "linf")
    decides = f"coefficient of variation {variation}; share of small pixels {_beside(runs, small, 'l1')}"
    return Finding(over_all(runs, CLAIMS), tuple(table), decides, trainings.reduced(runs), numbers=SHARE)


def _beside(runs: list[dict], number: Callable[[dict], float], penalty: str) -> str:
    """A number without a penalty and with one, in words."""
    without, with_ = (over_trainings(runs, name, number).shown(".2f") for name in ("none", penalty))
    return f"{without} without a penalty, {with_} with {TITLES[penalty]}"


def by_strength(runs: list[dict], kind: str) -> dict[float, dict]:
    """The results of the first training with each strength of a penalty, 0 first."""
    results = of(runs, ["none", kind, *(name for name, (one, _) in swept().items() if one == kind)])
    strengths = {"none": 0.0, kind: TRAINED[kind][3]} | {name: strength for name, (_, strength) in swept().items()}
    return dict(sorted((strengths[name], result) for name, result in results.items()))


def summary(runs: list[dict]) -> list[str]:
    """A line per network: variation, largest attribution, share of small pixels and accuracy, over trainings."""
    lines = [f"{'network':16}    cv  largest  small pixels  accuracy"]
    for name in of(runs, [*regularised_images_study.MODELS, *swept()]):
        cv, largest, small, right = (over_trainings(runs, name, number).mean for number in QUANTITIES.values())
        lines.append(f"{name:16} {cv:5.2f}  {largest:7.3f}  {small:12.3f}  {right:8.3f}")
    return lines


CLAIM = Claim(
    "SN-F6",
    "How sparse explanations are, with penalties and without",
    finding,
    study="SN-F5",
    summary=summary,
    usable=trainings.usable,
    about=__doc__ or "",
)
