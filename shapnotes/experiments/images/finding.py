"""SN-Tab2: Deep ShapNets for images beside a comparable convolutional network (Shapley Explanation Networks, Table 2).

The paper: Adam with its defaults, batches of 64, 10 epochs on MNIST and FashionMNIST and 60 on CIFAR-10; channels 1 (or
3), six times 128, and 10. Of its comparable network it says that channels, layers and so parameters are as many and
that its activation is the leaky ReLU; not its windows and dilations, nor how pixels become outputs. Here it has the
same convolutions and leaky ReLUs and a sum over the image: by Proposition 13.1 (b) a ShapNet of one stage is that
network, and with more stages the two differ in what they pass on. Both start from the same weights and see the same
images in the same order, so that they are compared in pairs. The networks are those of `image-networks`; how many
epochs of the paper's they have had stands beside each number. FashionMNIST is left out where it is not at hand; our
CIFAR-10 went through JPEG once more.

One network of the paper's size has been trained, a Deep ShapNet on MNIST for five of the ten epochs of table 2. It has
no partner yet, so it enters no pair and no row here; chapter 13 prints its accuracies.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, every, matches
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.images import study
from shapnotes.experiments.images.study import EPOCHS, WIDTHS

WIDTH = max(WIDTHS["paper"])
MODELS = {"shapnet": "Deep ShapNet", "cnn": "comparable network"}
TITLES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR-10"}
IMAGES = "60,000 (CIFAR-10: 50,000)"
PAPER = {  # accuracy, in the order of MODELS
    "mnist": (0.9950, 0.9917),
    "fashion_mnist": (0.9195, 0.9168),
    "cifar10": (0.8206, 0.7996),
}


def epochs(runs: list[dict], data: str) -> int:
    """After how many epochs the two models are compared: as many as all runs of them have had."""
    counts = [run["result"]["epochs"] for run in runs if _model(run["config"], data)]
    return min(min(counts, default=0), EPOCHS.get(data, 2))


def accuracies(runs: list[dict], data: str, model: str) -> dict[int, float]:
    """The accuracy of each seed after that many epochs."""
    at = epochs(runs, data)
    return {
        run["seed"]: run["result"]["test_accuracy"][run["result"]["measured_at"].index(at)]
        for run in runs
        if _model(run["config"], data) == model and at in run["result"]["measured_at"]
    }


def _model(config: dict, data: str) -> str | None:
    """Which of MODELS a configuration is, on this data; None for other data, and with a penalty.

    A rehearsal has scikit-learn's digits in the place of MNIST.
    """
    there = config["data"] == data or (config["data"], data) == ("digits", "mnist")
    return config["model"] if there and config.get("penalty", "none") == "none" else None


def lead(runs: list[dict], data: str) -> Interval | None:
    """By how much the ShapNet is ahead, over pairs of runs; None without a pair, a half-width of nan for one pair."""
    ours, theirs = (accuracies(runs, data, model) for model in MODELS)
    return paired_interval(ours, theirs) if ours.keys() & theirs.keys() else None


def usable(runs: list[dict]) -> bool:
    """Whether there is a pair of networks on any data."""
    return any(lead(runs, data) for data in PAPER)


def finding(runs: list[dict]) -> Finding:
    """What the record says of Table 2: on each data set the ShapNet is ahead, and accuracies are the paper's.

    The latter is not asked of networks that are narrower than the paper's or were trained for fewer epochs.
    """
    table, statements, short, smaller = [], [], [], []
    widths = {run["config"]["channels"][1] for run in runs}
    for data, paper in PAPER.items():
        there = lead(runs, data)
        at = epochs(runs, data)
        if there is None:
            short.append(f"{TITLES[data]} not run")
            continue
        if at < EPOCHS[data]:
            short.append(f"{TITLES[data]}: {at} of {EPOCHS[data]} epochs")
        whole, near = widths == {WIDTH} and at == EPOCHS[data], []
        for (model, name), theirs in zip(MODELS.items(), paper, strict=True):
            ours = interval(accuracies(runs, data, model).values())
            near.append(matches(ours, theirs) if whole else None)
            table.append(Comparison(f"{TITLES[data]}, {at} epochs", name, ours, theirs, near[-1], ".4f"))
        table.append(
            Comparison(f"{TITLES[data]}, {at} epochs", "lead of the ShapNet", there, paper[0] - paper[1], None, "+.4f")
        )
        statements.append(
            Statement(
                f"{TITLES[data]}: the ShapNet is ahead", "95 % interval of the paired lead is above 0", above(there)
            )
        )
        if whole:
            criterion = "both means are at most √2 of their 95 % half-widths from the paper's"
            statements.append(Statement(f"{TITLES[data]}: accuracies as in the table", criterion, every(near), True))
        else:
            smaller.append(TITLES[data])
    short = study.smaller(max(widths), IMAGES) + short
    leads = {data: lead(runs, data) for data in PAPER}
    pairs = {
        data: len(accuracies(runs, data, "shapnet").keys() & accuracies(runs, data, "cnn").keys()) for data in PAPER
    }
    decides = "lead " + ", ".join(
        f"{TITLES[data]} {one.shown('+.4f')} ({pairs[data]} pairs)" for data, one in leads.items() if one
    )
    if smaller:
        decides += (
            f"; accuracies are not compared with the table's, because the experiment is smaller ({', '.join(smaller)})"
        )
    return Finding(tuple(statements), tuple(table), decides, "; ".join(short), numbers="accuracy on test images")


def summary(runs: list[dict]) -> list[str]:
    """A line per data set and model: our accuracy with its interval over runs, the paper's, and the lead."""
    lines = [f"{'data':14} {'model':19} epochs runs  accuracy          paper"]
    for data in dict.fromkeys(run["config"]["data"] for run in runs):
        for i, (model, name) in enumerate(MODELS.items()):
            if by_seed := accuracies(runs, data, model):
                paper = f"{PAPER[data][i]:.4f}" if data in PAPER else ""
                shown = interval(by_seed.values()).shown(".4f")
                lines.append(f"{data:14} {name:19} {epochs(runs, data):6} {len(by_seed):4}  {shown}   {paper}".rstrip())
        there = lead(runs, data)
        if there is not None:
            lines.append(f"{data:14} lead of the ShapNet               {there.shown('+.4f')}")
    return lines


CLAIM = Claim(
    "SN-Tab2",
    "Images: Deep ShapNets and comparable networks",
    finding,
    study="image-networks",
    summary=summary,
    usable=usable,
    about=__doc__ or "",
)
