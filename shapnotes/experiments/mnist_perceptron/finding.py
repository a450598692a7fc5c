"""What the record says of figure 3: early accuracies of six activations, and the final ones."""

from collections.abc import Callable

from shapnotes.experiments._harness.finding import SIMILAR, Comparison, Finding, Statement, above, every, similar
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments._models.perceptron import NAMES
from shapnotes.experiments.mnist_perceptron import study
from shapnotes.experiments.mnist_perceptron.study import HIDDEN, PAPER, REPEATS, STATED

SMALLER = ("SGD 0.1", "SGD 0.05", "SGD 0.01")  # the paper speaks of a smaller rate and does not say which
PACES = ("Adam 0.001", "SGD 0.5", *SMALLER)


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 3 and the text about it."""
    tests = {a: interval(final_accuracy(group).values()) for a in STATED if (group := select(runs, a, "Adam 0.001"))}
    leads = {(o, a): one for o in PACES for a in STATED[1:] if (one := lead(runs, a, o))}
    between = {o: one for o in PACES if (one := lead(runs, "sa", o, over="shaplu"))}
    small = [leads.get((o, "shaplu")) for o in SMALLER]

    def both(optimiser: str, judged: Callable[[Interval], bool | None]) -> bool | None:
        return every([judged(leads[optimiser, a]) if (optimiser, a) in leads else None for a in STATED[1:]])

    def shown(optimiser: str) -> str:
        there = {NAMES[a]: one for (o, a), one in leads.items() if o == optimiser}
        return ", ".join(f"{name} {one.shown('+.3f')}" for name, one in there.items())

    near = {a: similar(Interval(test.mean - PAPER, test.half)) for a, test in tests.items()}
    statements = (
        Statement(
            "ShapLU and SA learn faster than ReLU under Adam",
            "95 % intervals of both paired leads in training accuracy, mean over the first epoch, are above 0",
            both("Adam 0.001", above),
            found=shown("Adam 0.001"),
        ),
        Statement(
            "they learn faster under SGD with a large rate",
            "the same intervals at SGD's rate 0.5 are above 0",
            both("SGD 0.5", above),
            found=shown("SGD 0.5"),
        ),
        Statement(
            "similar convergence of ShapLU and ReLU under SGD with a smaller rate",
            f"95 % intervals of the paired lead in the first epoch at 0.1, 0.05 and 0.01 (the paper gives no rate): "
            f"yes if all lie within {-SIMILAR} and {SIMILAR}, no if none reaches in",
            _alike(small),
            found=", ".join(one.shown("+.3f") for one in small if one),
        ),
        Statement(
            "SA performs similarly to ShapLU",
            "95 % intervals of SA's paired lead over ShapLU in the first epoch, under Adam and at SGD's 0.5, 0.1, 0.05 "
            f"and 0.01: yes if all lie within {-SIMILAR} and {SIMILAR}, no if none reaches in",
            _alike([between.get(o) for o in PACES]),
            found=", ".join(one.shown("+.3f") for one in between.values()),
        ),
        Statement(
            "all three end near 86 % on the test images under Adam",
            f"95 % interval of each mean lies within {SIMILAR} of {PAPER} (the paper names no optimiser)",
            every([near.get(a) for a in STATED]),
            size=True,
            found=", ".join(f"{NAMES[a]} {test.shown()}" for a, test in tests.items()),
        ),
    )
    table = [Comparison(optimiser, f"{NAMES[a]} minus ReLU", one, form="+.3f") for (optimiser, a), one in leads.items()]
    table += [Comparison(optimiser, "SA minus ShapLU", one, form="+.3f") for optimiser, one in between.items()]
    numbers = "training accuracy, mean over the first epoch"
    return Finding(statements, tuple(table), _decides(leads), _reduced(runs), numbers=numbers)


def _decides(leads: dict[tuple[str, str], Interval]) -> str:
    """ShapLU's leads, and what they say where the paper gives no rate."""
    shown = {o: one.shown("+.3f") for (o, a), one in leads.items() if a == "shaplu"}
    given = ", ".join(f"{one} ({o})" for o, one in shown.items() if o not in SMALLER)
    words = {True: "alike", False: "not alike", None: "undecided"}
    smaller = ", ".join(
        f"{shown[o]} ({o.removeprefix('SGD ')}: {words[similar(leads[o, 'shaplu'])]})" for o in SMALLER if o in shown
    )
    told = f"lead of ShapLU in the first epoch {given}"
    return told + (f"; at smaller rates, of which the paper names none: {smaller}" if smaller else "")


def _alike(differences: list[Interval | None]) -> bool | None:
    """Whether differences are small at every rate; None also where the answer depends on the rate."""
    answers = {similar(one) if one else None for one in differences}
    return answers.pop() if len(answers) == 1 else None


def _reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    sizes = {tuple(run["config"]["hidden"]) for run in runs} - {HIDDEN}
    parts = [f"hidden layers of {', '.join(map(str, size))} in place of 100, 50" for size in sizes]
    counts = {(o, a): len(select(runs, a, o)) for o in PACES for a in STATED}
    parts += [f"{n} of {REPEATS} runs ({NAMES[a]}, {o})" for (o, a), n in counts.items() if n < REPEATS]
    return "; ".join(parts)


def summary(runs: list[dict]) -> list[str]:
    """A line per configuration: mean training accuracy in the first epoch, its lead over ReLU, final test accuracy."""
    lines = [f"{'optimiser':11} {'activation':10} {'images':6} {'init':5} first epoch    minus ReLU      test"]
    settings = dict.fromkeys(
        (c["optimiser"], c["activation"], c["images"], c["init"]) for c in (run["config"] for run in runs)
    )
    for optimiser, activation, images, init in settings:
        group = select(runs, activation, optimiser, images, init)
        one = lead(runs, activation, optimiser, images, init)
        early, test = (interval(of_seed(group).values()) for of_seed in (early_accuracy, final_accuracy))
        lines.append(
            f"{optimiser:11} {activation:10} {images:6} {init:5} {early.shown()}  "
            f"{one.shown('+.3f') if one and activation != 'relu' else '':14}  {test.shown()}"
        )
    return lines


def select(runs: list[dict], activation: str, optimiser: str, images: str = "first", init: str = "flux") -> list[dict]:
    """The runs of one configuration."""
    wanted = {"activation": activation, "optimiser": optimiser, "images": images, "init": init}
    return [run for run in runs if wanted.items() <= run["config"].items()]


def lead(
    runs: list[dict], activation: str, optimiser: str, images: str = "first", init: str = "flux", over: str = "relu"
) -> Interval | None:
    """How far an activation is ahead of another in the first epoch, over pairs of seeds; None without a pair."""
    ahead, behind = (early_accuracy(select(runs, a, optimiser, images, init)) for a in (activation, over))
    return paired_interval(ahead, behind) if ahead.keys() & behind.keys() else None


def early_accuracy(runs: list[dict]) -> dict[int, float]:
    """The mean training accuracy over the first epoch (100 steps) of each seed."""
    means = {}
    for one in runs:
        result = one["result"]
        early = [a for step, a in zip(result["steps"], result["train_accuracy"], strict=True) if 0 < step <= 100]
        means[one["seed"]] = sum(early) / len(early)
    return means


def final_accuracy(runs: list[dict]) -> dict[int, float]:
    """The final accuracy on the test images of each seed."""
    return {one["seed"]: one["result"]["test_accuracy"] for one in runs}


CLAIM = Claim(
    "LC-F3",
    "Training accuracy on 1,000 MNIST images",
    finding,
    study="LC-F3",
    summary=summary,
    about=study.__doc__ or "",
)
