"""What the record says of figure 4: six activations under Adam, at equal epochs and at equal time."""

from collections.abc import Callable

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above
from shapnotes.experiments._harness.statistics import (
    Interval,
    deviation,
    interval,
    paired_interval,
    ratio_of_deviations,
)
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments._models.perceptron import NAMES
from shapnotes.experiments.cifar_perceptron import study
from shapnotes.experiments.cifar_perceptron.study import ACTIVATIONS, EARLY, NETWORK, REPEATS


def usable(runs: list[dict]) -> bool:
    """Whether there are two pairs of SA and ReLU: fewer have no interval."""
    seeds = [{run["seed"] for run in select(level(runs), activation)} for activation in ("sa", "relu")]
    return len(seeds[0] & seeds[1]) > 1


def finding(runs: list[dict]) -> Finding:
    """What the record says of the text about figure 4, which gives no number."""
    runs = level(runs)
    sa, relu = (select(runs, activation) for activation in ("sa", "relu"))
    end, whole = (lead(sa, relu, of_seed) for of_seed in (at_end, over_all))
    ratio, low, high = ratio_of_deviations(*(at_end(group).values() for group in (sa, relu)))
    statements = (
        Statement(
            "SA improves training accuracy",
            "95 % interval of the paired lead over ReLU after the last epoch is above 0",
            end and above(end),
            found=end.shown("+.3f") if end else "",
        ),
        Statement(
            "SA improves convergence",
            "95 % interval of the paired lead in the mean training accuracy over all epochs is above 0",
            whole and above(whole),
            found=whole.shown("+.3f") if whole else "",
        ),
        Statement(
            "SA improves stability: a smaller standard deviation",
            "95 % interval, by Fisher's F, of the ratio of the standard deviations after the last epoch is below 1",
            True if high < 1 else False if low > 1 else None,
            found=f"{ratio:.2f} ({low:.2f} to {high:.2f})" if ratio == ratio else "",
        ),
    )
    table = []
    for activation in ACTIVATIONS:
        if group := select(runs, activation):
            for what, quantity in (("training", "train_accuracy"), ("test", "test_curve")):
                reached = interval(at_end(group, quantity).values())
                table.append(Comparison(f"{what} accuracy", NAMES[activation], reached))
                ahead = lead(group, relu, at_end, quantity)
                if ahead and activation != "relu":
                    name = f"{NAMES[activation]} minus ReLU"
                    table.append(Comparison(f"{what} accuracy", name, ahead, form="+.3f"))
    shown = (f"{one.shown('+.3f')} {when}" for one, when in ((end, "at the end"), (whole, "over all epochs")) if one)
    decides = "SA minus ReLU in training accuracy " + ", ".join(shown)
    return Finding(statements, tuple(table), decides, reduced(runs, REPEATS["paper"], ("sa", "relu")))


def summary(runs: list[dict]) -> list[str]:
    """A line per activation: accuracies after the last epoch, their lead over ReLU, and the spread over the repeats."""
    runs = level(runs)
    lines = [setting(runs), f"{'activation':10} training       minus ReLU      sd     test           minus ReLU"]
    relu = select(runs, "relu")
    for activation in ACTIVATIONS:
        if group := select(runs, activation):
            cells = []
            for quantity in ("train_accuracy", "test_curve"):
                ahead = lead(group, relu, at_end, quantity) if activation != "relu" else None
                cells += [interval(at_end(group, quantity).values()).shown(), ahead.shown("+.3f") if ahead else ""]
            spread = deviation(at_end(group).values())
            lines.append(
                f"{activation:10} {cells[0]:13}  {cells[1]:14}  {spread:.3f}  {cells[2]:13}  {cells[3]}".rstrip()
            )
    return lines


def reduced(runs: list[dict], repeats: int, activations: tuple[str, ...]) -> str:
    """What is smaller than in the paper, in words; `activations` are those that its claim is about."""
    config, epochs = runs[0]["config"], runs[0]["result"]["epochs"]
    parts = [f"a network {widths(config)} in place of {NETWORK}"] if widths(config) != NETWORK else []
    parts += [f"{epochs} epochs"] if epochs < EARLY else []
    for activation in activations:
        seeds = {run["seed"] for run in runs if run["config"]["activation"] == activation}
        parts += [f"{len(seeds)} of {repeats} repeats ({NAMES[activation]})"] if len(seeds) < repeats else []
    return "; ".join(parts)


def setting(runs: list[dict]) -> str:
    """What was run: network, epochs, repeats, images."""
    config = runs[0]["config"]
    data = "digits" if config["data"] == "digits" else "CIFAR-10"
    encoding = ", JPEG re-encoded" if "JPEG" in runs[0]["result"]["images"] else ""
    repeats = len({run["seed"] for run in runs})
    return f"{widths(config)}, {runs[0]['result']['epochs']} epochs, {repeats} repeats, {data}{encoding}"


def widths(config: dict) -> str:
    """The widths of a configuration's network, as in the name of `NETWORK`."""
    return "-".join(map(str, [64 if config["data"] == "digits" else 3072, *config["hidden"], 10]))


def level(runs: list[dict]) -> list[dict]:
    """The runs at equal epochs: cut to as many as all of them have.

    Those that have not come to EARLY epochs yet are left out where others have: a run that has only begun does not
    shorten the others.
    """
    epochs = [run["result"]["epochs"] for run in runs]
    least = EARLY if max(epochs, default=0) >= EARLY else 0
    common = min((count for count in epochs if count >= least), default=0)

    def cut(result: dict) -> dict:
        spare = result["epochs"] - common  # every list has one entry more with every epoch
        kept = {key: value[: len(value) - spare] if isinstance(value, list) else value for key, value in result.items()}
        end = {"test_accuracy": kept["test_curve"][-1]} if "test_curve" in kept else {}
        return kept | end | {"epochs": common}

    return [run | {"result": cut(run["result"])} for run in runs if run["result"]["epochs"] >= least]


def select(runs: list[dict], activation: str, optimiser: str = "Adam 0.001") -> list[dict]:
    """The runs of an activation under an optimiser."""
    wanted = {"activation": activation, "optimiser": optimiser}
    return [run for run in runs if wanted.items() <= run["config"].items()]


def lead(runs: list[dict], relu: list[dict], of_seed: Callable[..., dict[int, float]], *which: str) -> Interval | None:
    """By how much runs are ahead of those with ReLU, over pairs of seeds; None without a pair.

    of_seed : `at_end` or `over_all`; which: the quantity, as these take it
    """
    ahead, behind = of_seed(runs, *which), of_seed(relu, *which)
    return paired_interval(ahead, behind) if ahead.keys() & behind.keys() else None


def at_end(runs: list[dict], quantity: str = "train_accuracy") -> dict[int, float]:
    """The accuracy after the last epoch of each seed; quantity: "train_accuracy" or "test_curve"."""
    return {run["seed"]: run["result"][quantity][-1] for run in runs}


def over_all(runs: list[dict], quantity: str = "train_accuracy") -> dict[int, float]:
    """The mean accuracy over the ends of all epochs of each seed: high for those that learn early."""
    return {run["seed"]: sum(run["result"][quantity][1:]) / run["result"]["epochs"] for run in runs}


def step_cost(bench: dict, activation: str, network: str = NETWORK) -> Interval:
    """How long a step takes, in steps with ReLU, by the record of `shapnotes bench training`: the mean over its turns.

    network : the widths of the network that was trained, `widths(config)`
    """
    costs = {row["activation"]: row["over_relu_interval"] for row in bench["rows"] if row["network"] == network}
    if activation not in costs:
        raise ValueError(f"no step of {network} with {activation!r} was timed; there are {', '.join(costs) or 'none'}")
    return Interval(*costs[activation])


def at_time(runs: list[dict], time: float, cost: float, quantity: str = "test_curve") -> dict[int, float]:
    """The accuracy of each seed when equal time has passed, however many steps that is.

    time : in steps with ReLU; cost : how long a step of these runs takes, in the same unit (`step_cost`). Curves are
    interpolated linearly between epochs. Raises ValueError where the runs ended earlier.
    """
    return {run["seed"]: _interpolated(run["result"]["steps"], run["result"][quantity], time / cost) for run in runs}


def _interpolated(steps: list[int], values: list[float], at: float) -> float:
    if not 0 <= at <= steps[-1]:
        raise ValueError(f"the runs have {steps[-1]} steps; at this time they would be at step {at:.0f}")
    after = next(i for i, step in enumerate(steps) if step >= at)
    before = max(after - 1, 0)
    part = (at - steps[before]) / (steps[after] - steps[before]) if after else 0.0
    return values[before] + part * (values[after] - values[before])


CLAIM = Claim(
    "LC-F4",
    "CIFAR-10 perceptron under Adam",
    finding,
    study="LC-F4",
    summary=summary,
    usable=usable,
    about=study.__doc__ or "",
)
