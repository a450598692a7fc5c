"""SN-F4: digit flipping, and removal of the least and of the most salient (Shapley Explanation Networks, figure 4)."""

from shapnotes.experiments._harness.finding import Comparison, Finding
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.removal import study
from shapnotes.experiments.removal.comparison import (
    against,
    ahead_over_networks,
    better,
    by_training,
    in_trainings,
    lead,
    marks,
    of,
    over_images,
    over_networks,
    over_trainings,
    reduced,
    usable,
    whole,
)
from shapnotes.experiments.removal.methods import METHODS, RIVALS
from shapnotes.experiments.removal.study import TEST_IMAGES

TASKS = {  # claim: the task, the quantity, how many methods are ahead
    "best in digit flipping": ("9->1", "change", 0),
    "second in least-k removal": ("removal", "change", 1),
    "best in top-k removal": ("removal", "remaining", 0),
}
ASKED = {  # how many of the five are ahead, in words
    0: "each of the five methods is worse than ours",
    1: "one of the five methods is better than ours and each of the others worse",
}
MEASURED = {  # claim: what its numbers are, and how they are printed
    "best in digit flipping": ("digit flipping: change of log-odds (more is better)", ".1f"),
    "second in least-k removal": ("least-k removal: change of the output, in parts of it (less is better)", ".3f"),
    "best in top-k removal": ("top-k removal: output that remains (less is better)", ".1f"),
}


def holds(runs: list[dict], task: str, quantity: str, ahead: int) -> bool | None:
    """Whether in one training so many of the paper's five methods are ahead of ours, and all others behind.

    None where a method that is level, with zero in the interval, could be on either side of it.
    """
    sides = [better(runs, task, method, quantity) for method in RIVALS]
    most = sides.count(-1) + sides.count(0)
    if not sides.count(-1) <= ahead <= most:
        return False
    return None if 0 in sides else True


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 4 and its caption; the figure's own heights cannot be read from the text."""
    own = whole(runs, ("9->1", "removal"))
    statements = tuple(
        in_trainings(
            [holds(one, *where) for one in own.values()],
            claim,
            ASKED[where[2]] + ", by a 95 % interval over the images of each network",
            _found(runs, claim) if own else "",
        )
        for claim, where in TASKS.items()
    )
    table = tuple(
        Comparison(MEASURED[claim][0], METHODS[m], over_trainings(runs, task, m, quantity), form=MEASURED[claim][1])
        for claim, (task, quantity, _) in TASKS.items()
        for m in METHODS
        if all(of(one, task, m) for one in own.values()) and own
    )
    return Finding(
        statements,
        table + _beside_patches(runs),
        _decides(runs, own),
        reduced(runs, ("9->1", "removal")),
        numbers=f"means over {over_images(runs)}, in removal also over the shares of pixels gone; ± over networks",
    )


def _beside_patches(runs: list[dict]) -> tuple[Comparison, ...]:
    """How ours compare with sampled Shapley values on the images that these have, a line per test."""
    if not all(of(one, task, "shapley") for one in by_training(runs).values() for task, *_ in TASKS.values()):
        return ()
    name = f"ours against {METHODS['shapley']}, on its images (+: ours better)"
    return tuple(
        Comparison(test, name, lead(runs, task, "shapley", quantity), form=f"+{form}")
        for (task, quantity, _), (test, form) in zip(TASKS.values(), MEASURED.values(), strict=True)
    )


def _first(own: dict[int, list[dict]], claim: str) -> int:
    """In how many networks ours are ahead of all five methods, over images."""
    task, quantity, _ = TASKS[claim]
    return sum(holds(one, task, quantity, 0) is True for one in own.values())


def _found(runs: list[dict], claim: str) -> str:
    """In how many networks ours are first, where the paper has them second; and what is so over networks."""
    (task, quantity, ahead), (_, form) = TASKS[claim], MEASURED[claim]
    told = over_networks(runs, task, quantity, f"+{form}")
    own = whole(runs, ("9->1", "removal"))
    return f"first in {_first(own, claim)}; {told}" if ahead else told


def _decides(runs: list[dict], own: dict[int, list[dict]]) -> str:
    if not own:
        return "no network with all methods"
    tests = {claim: MEASURED[claim][0].partition(":")[0] for claim in TASKS}
    images = [
        f"{_first(own, claim)} ({test}{'; the paper: second' if TASKS[claim][2] else ''})"
        for claim, test in tests.items()
    ]
    apart = [test for claim, test in tests.items() if ahead_over_networks(runs, *TASKS[claim][:2])]
    return (
        f"networks, of {len(own)}, in which ours are ahead of all five methods over the images: {', '.join(images)}. "
        f"By the interval over networks ours are ahead of all five in {', '.join(apart) or 'no test'}"
    )


def summary(runs: list[dict]) -> list[str]:
    """A line per training, test and method: the mean, and our explanations less it with t and Cohen's d_z."""
    lines = [
        "training, test            method               images  mean       ours minus it, 95 %            t      d_z"
    ]
    for seed, own in by_training(runs).items():
        for task in TEST_IMAGES:
            for quantity in ("change", "remaining") if task == "removal" else ("change",):
                for method in METHODS:
                    if of(own, task, method):
                        lines.append(_line(own, seed, task, method, quantity))
        gaps = {m: [of(own, t, m)["gap"] for t in TEST_IMAGES if of(own, t, m)] for m in METHODS}
        shown = ", ".join(f"{METHODS[m]} {max(values):.1g}" for m, values in gaps.items() if values)
        lines.append(f"{seed}: largest mean gap of a sum, in parts of the sizes: {shown}")
    return lines


def _line(runs: list[dict], seed: int, task: str, method: str, quantity: str) -> str:
    values = marks(runs, task, method, quantity)
    test = f"{seed}, {f'removal, {quantity}' if task == 'removal' else task}"
    line = f"{test:25} {METHODS[method]:20} {len(values):6d}  {float(values.mean()):<9.4g}  "
    if method != "ours" and of(runs, task, "ours"):
        paired = against(runs, task, method, quantity)
        span = f"{paired.mean:.4g} ({paired.low:.4g} to {paired.high:.4g})"
        line += f"{span:28} {paired.t:7.2f} {paired.effect_size:6.2f}"
    return line.rstrip()


CLAIM = Claim(
    "SN-F4",
    "Digit flipping and removal on MNIST",
    finding,
    study="SN-F4",
    summary=summary,
    usable=usable,
    about=study.__doc__ or "",
)
