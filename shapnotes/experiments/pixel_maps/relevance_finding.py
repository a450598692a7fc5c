"""What the record says of figure 6: what relevance per unit of grey agrees with."""

from functools import reduce
from itertools import combinations
from operator import getitem

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below, every
from shapnotes.experiments._harness.statistics import Interval, interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.pixel_maps import relevance as study
from shapnotes.experiments.pixel_maps.maps import agreement, unpacked
from shapnotes.experiments.pixel_maps.relevance import ANYWHERE, INK, PAPER

ALIKE = 0.9  # correlation from which on two maps count as the same here


def over_seeds(runs: list[dict], *keys: str) -> Interval:
    """An entry of the results, with its interval over the networks; the mean of the entry where it is a list."""
    values = [reduce(getitem, keys, one["result"]) for one in runs]
    return interval(sum(v) / len(v) if isinstance(v, list) else v for v in values)


def blanked(runs: list[dict], part: str) -> list[Interval]:
    """For each class: how its probability changes without the brightest pixels of its map, over the networks."""
    return [interval(changes) for changes in zip(*(run["result"]["blanked"][part] for run in runs), strict=True)]


def between_seeds(runs: list[dict]) -> float:
    """Mean agreement of the maps of two seeds."""
    maps = [unpacked(one["result"]["maps"]) for one in runs]
    agreements = [float(agreement(a, b)) for a, b in combinations(maps, 2)]
    return sum(agreements) / len(agreements) if agreements else float("nan")


def finding(runs: list[dict]) -> Finding:
    """What the record says of the text about figure 6, which has no number."""
    eps = str(runs[0]["config"]["eps"])
    approve, reject = (blanked(runs, part) for part in ("approve", "reject"))
    near = {
        "sampled Shapley values": over_seeds(runs, "eps", eps, "shapley"),
        "increase, measured": over_seeds(runs, "increase", ANYWHERE),
        "increase where there is ink": over_seeds(runs, "increase", INK),
    }
    without = (
        "without a map's brightest twentieth of the pixels, on other images, the 95 % interval over networks of its"
    )
    correlation = f"95 % interval over networks of the mean correlation of the two is above {ALIKE}"
    statements = (
        Statement(
            "bright Approve pixels raise the probability of their digit",
            f"{without} change is below 0 for each of {len(approve)} digits",
            every([below(change) for change in approve]),
        ),
        Statement(
            "bright Reject pixels lower it",
            f"{without} change is above 0 for each of {len(reject)} digits",
            every([above(change) for change in reject]),
        ),
        Statement(
            "the maps are those of approximate Shapley values",
            correlation + ", with maps of sampled values",
            above(near["sampled Shapley values"], ALIKE),
        ),
        Statement(
            "brightness is proportional to the increase in probability if the pixel grows by 1",
            correlation + ", with the increase as it is measured",
            above(near["increase, measured"], ALIKE),
        ),
    )
    table = [Comparison("correlation of the maps with", what, one) for what, one in near.items()]
    for part, changes in (("approve", approve), ("reject", reject)):
        table += [
            Comparison(
                f"change of the probability without the brightest {part.title()} pixels",
                f"digit {c}",
                change,
                form="+.3f",
            )
            for c, change in enumerate(changes)
        ]
    shown = ", ".join(f"{one.shown()} ({what})" for what, one in near.items())
    return Finding(statements, tuple(table), f"correlation of the maps with {shown}", reduced(runs))


def reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    return "" if runs[0]["config"]["data"] == PAPER["data"] else f"{runs[0]['config']['data']} in place of MNIST"


def summary(runs: list[dict]) -> list[str]:
    """The networks, the softmax's error, what eps takes and does, and what statements rest on, over the networks."""
    first = runs[0]["result"]

    def shown(*keys: str, form: str = ".4f") -> str:
        return over_seeds(runs, *keys).shown(form)

    lines = [
        f"accuracy: training {shown('accuracy', 'train')}, test {shown('accuracy', 'test')}",
        f"softmax: standard error {shown('monte_carlo', 'mean_error', form='.5f')}, root mean square of deviations "
        f"from exact values in such errors {shown('monte_carlo', 'rms_deviation_in_errors')}",
    ]
    for eps, entry in first["eps"].items():
        lost = [f"{layer} {over_seeds(runs, 'eps', eps, 'lost', layer).mean:.2g}" for layer in reversed(entry["lost"])]
        lines.append(f"eps {eps}: lost on the way down to layer {', '.join(lost)}")
        lines.append(f"eps {eps}: agreement with Shapley values {shown('eps', eps, 'shapley')}")
    lines += [f"agreement with the increase, {where}: {shown('increase', where)}" for where in first["increase"]]
    lines += [
        f"a class's probability without its brightest {name} pixels: change {shown('blanked', name)}"
        for name in first["blanked"]
    ]
    lines.append(f"agreement with maps of the class's own images: {shown('own_images')}")
    return [*lines, f"agreement between networks: {between_seeds(runs):.4f}"]


CLAIM = Claim(
    "LC-F6", "Relevance per unit of grey on MNIST", finding, study="LC-F6", summary=summary, about=study.__doc__ or ""
)
