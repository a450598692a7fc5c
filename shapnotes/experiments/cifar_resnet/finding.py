"""What the record says of figure 5: training accuracy at each learning rate, and both ends."""

from shapnotes.experiments._harness.finding import (
    SIMILAR,
    Comparison,
    Finding,
    Statement,
    above,
    every,
    matches,
    similar,
)
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.cifar_perceptron.under_adam import level
from shapnotes.experiments.cifar_resnet import study
from shapnotes.experiments.cifar_resnet.study import ARMS, SETTINGS

FINAL = 0.925  # accuracy on the test images, of both
NAMES = {"sa": "SA", "relu": "ReLU"}
POINT = 0.01  # of accuracy


def usable(runs: list[dict]) -> bool:
    """Whether there are two pairs: fewer have no interval."""
    return len(_pairs(level(runs))) > 1


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 5 and the text about it.

    The final accuracy is not asked of a smaller network, fewer images or fewer epochs.
    """
    runs = level(runs)
    whole = not _smaller(runs)
    gains = leads(runs)
    ends = {arm: interval(final_accuracy(runs, arm).values()) for arm in ARMS if final_accuracy(runs, arm)}
    near = {arm: matches(end, FINAL) if whole else None for arm, end in ends.items()}
    apart = paired_interval(*(final_accuracy(runs, arm) for arm in ARMS)) if gains else None
    shown = ", ".join(f"{one.shown('+.4f')} ({when})" for when, one in gains.items())
    done, epochs = runs[0]["result"]["epochs"], SETTINGS["paper"][2]
    part, end = (
        (f", of which {done} of {epochs} epochs were run", f", after epoch {done}") if done < epochs else ("", "")
    )
    statements = [
        Statement(
            f"SA is ahead in training accuracy during the entire training{part}",
            "95 % interval of the paired lead, averaged over the epochs at a learning rate, is above 0 at each rate "
            f"that was reached; these are {len(gains)} of {len(study.RATES)}",
            every([above(one) for one in gains.values()]) if gains else None,
            found=shown,
        ),
        Statement(
            f"test accuracies at the end{end} are not significantly different",
            f"95 % interval of the paired difference includes 0, and lies within {SIMILAR} of it; no if it excludes 0",
            _as_one(apart) if apart else None,
            found=f"with {len(_pairs(runs))} pairs, {apart.shown('+.4f')}{_hides(apart)}" if apart else "",
        ),
    ]
    if whole:
        criterion = f"both means are at most √2 of their 95 % half-widths from {FINAL}"
        answer = every([near.get(arm) for arm in ARMS])
        statements.append(Statement("both end near 92.5 %", criterion, answer, size=True))
    table = [Comparison(f"training accuracy, {when}", "SA minus ReLU", one, form="+.4f") for when, one in gains.items()]
    table += [
        Comparison("test accuracy at the end", NAMES[arm], end, FINAL, near[arm], ".4f") for arm, end in ends.items()
    ]
    if apart:
        table.append(Comparison("test accuracy at the end", "SA minus ReLU", apart, form="+.4f"))
    decides = f"lead of SA in training accuracy {shown}"
    decides += "" if whole else "; the accuracy at the end is not compared, because the experiment is smaller"
    return Finding(tuple(statements), tuple(table), decides, _reduced(runs), numbers="accuracy")


def _as_one(difference: Interval) -> bool | None:
    """Whether a difference is not significant, and is small: a wide interval does not decide."""
    return similar(difference) if above(difference) is None else False


def _hides(difference: Interval) -> str:
    """That an interval is so wide that a difference worth knowing could hide in it, in words."""
    return ", which could hide a point" if difference.half > POINT else ""


def _reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words; its number of epochs is that of the example."""
    pairs, there = SETTINGS["paper"][1], len(_pairs(runs))
    return "; ".join(_smaller(runs) + ([f"{there} of {pairs} pairs"] if there < pairs else []))


def _smaller(runs: list[dict]) -> list[str]:
    """How each run is smaller than the paper's."""
    config, (full, _, epochs) = runs[0]["config"], SETTINGS["paper"]
    names = {"width": "channels", "images": "training images", "test_images": "test images"}
    parts = [f"{config[k]:,} {name} in place of {full[k]:,}" for k, name in names.items() if config[k] != full[k]]
    done = runs[0]["result"]["epochs"]
    return parts + ([f"{done} epochs in place of the example's {epochs}"] if done < epochs else [])


def summary(runs: list[dict]) -> list[str]:
    """Final accuracies of both arms, the lead in training accuracy at each learning rate, and the ratio of times."""
    runs = level(runs)
    lines = ["activation   runs   final training    final test"]
    for arm in ARMS:
        if curves := _curves(runs, arm, "train_accuracy"):
            ends = interval(curve[-1] for curve in curves.values()), interval(final_accuracy(runs, arm).values())
            lines.append(f"{arm:10} {len(curves):6d}   " + "   ".join(end.shown(".4f") for end in ends))
    if _pairs(runs):
        lines.append("training accuracy of SA minus ReLU's, mean over the epochs at a rate and 95 % interval:")
        lines += [f"  {when}: {one.shown('+.4f')}" for when, one in leads(runs).items()]
        seconds = [sum(map(_seconds, runs_of)) for runs_of in (_of_pairs(runs, arm) for arm in ARMS)]
        lines.append(f"time to train, SA over ReLU: {seconds[0] / seconds[1]:.2f}")
    return lines


def leads(runs: list[dict]) -> dict[str, Interval]:
    """For each learning rate: SA's lead in training accuracy over pairs of seeds, its mean over the epochs there.

    Runs at equal epochs, as `level` makes them; without a pair there is none.
    """
    if not _pairs(runs):
        return {}
    epochs = runs[0]["result"]["epochs"]
    starts = [first for first, _ in runs[0]["config"]["rates"] if first < epochs]
    intervals = {}
    for start, end in zip(starts, [*starts[1:], epochs], strict=True):
        means = [
            {seed: sum(c[start:end]) / (end - start) for seed, c in _curves(runs, arm, "train_accuracy").items()}
            for arm in ARMS
        ]
        intervals[f"epochs {start + 1} to {end}"] = paired_interval(*means)
    return intervals


def final_accuracy(runs: list[dict], arm: str) -> dict[int, float]:
    """The accuracy on the test images after the last epoch of each seed."""
    return {seed: curve[-1] for seed, curve in _curves(runs, arm, "test_accuracy").items()}


def _curves(runs: list[dict], arm: str, key: str) -> dict[int, list[float]]:
    return {run["seed"]: run["result"][key] for run in runs if run["config"]["activation"] == arm}


def _pairs(runs: list[dict]) -> set[int]:
    """The seeds that both arms have."""
    arms = [_curves(runs, arm, "test_accuracy").keys() for arm in ARMS]
    return set(arms[0] & arms[1])


def _of_pairs(runs: list[dict], arm: str) -> list[dict]:
    return [run for run in runs if run["config"]["activation"] == arm and run["seed"] in _pairs(runs)]


def _seconds(run: dict) -> float:
    """What the epochs of a run took; older runs, which were trained in one go, tell it of all epochs together."""
    return sum(run["result"].get("epoch_seconds") or [run["seconds"]])


CLAIM = Claim(
    "LC-F5",
    "ResNet-20 v2 on CIFAR-10, normalised after the activation",
    finding,
    study="LC-F5",
    summary=summary,
    usable=usable,
    about=study.__doc__ or "",
)
