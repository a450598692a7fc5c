"""LC-T2: the CIFAR-10 perceptron of LC-F4 under twelve optimiser settings, SA against ReLU (Li and Cui, table 2).

Network, data, scales and what the paper leaves open are those of LC-F4; 8 repeats here. The seeds are others than
LC-F4's, so that Adam(1e-3), which both have, is run twice independently. "Almost every" is taken for eleven of twelve,
the paper's own count of means; "many" for six, a "wide margin" for a point.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below, matches
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Batch, Claim, Study
from shapnotes.experiments._models.perceptron import NAMES
from shapnotes.experiments.cifar_perceptron.study import EARLY, EPOCHS, configuration, groups, run
from shapnotes.experiments.cifar_perceptron.under_adam import at_end, level, reduced, select, setting

# The paper's validation accuracy of SA and of ReLU.
PAPER = {
    "SGD 0.1": (0.5736, 0.5586),
    "SGD 0.05": (0.5703, 0.5619),
    "SGD 0.01": (0.5662, 0.5572),
    "SGD 0.005": (0.5451, 0.5460),
    "Adam 0.002": (0.5327, 0.4559),
    "Adam 0.001": (0.5578, 0.5102),
    "Adam 0.0005": (0.5761, 0.5389),
    "Adam 0.0001": (0.5857, 0.5692),
    "RMSprop 0.001": (0.5369, 0.4891),
    "RMSprop 0.0005": (0.5579, 0.5209),
    "RMSprop 0.0001": (0.5743, 0.5589),
    "RMSprop 0.00005": (0.5773, 0.5718),
}

REPEATS = {"paper": 8, "cpu": 4, "smoke": 2}
FIRST_SEED = 100
ARMS = ("sa", "relu")  # in the order of PAPER
WIDE = 0.01  # a "wide margin" here
UNLIKE = 3  # of 24 means whose intervals hold with 95 %, more than so many miss in 3 of 100 tables


def batches(scale: str) -> list[Batch]:
    """All runs of a scale: SA and ReLU under every setting.

    At the scale "paper" in stages: 0, four repeats of ten epochs; 1, eight repeats; 2, twenty epochs.
    """
    seeds = groups(range(FIRST_SEED, FIRST_SEED + REPEATS[scale]))
    steps = (
        [(seeds[:1], EARLY), (seeds, EARLY), (seeds, EPOCHS[scale])] if scale == "paper" else [(seeds, EPOCHS[scale])]
    )
    return [
        Batch(configuration(scale, activation, optimiser), group, epochs, stage)
        for stage, (chosen, epochs) in enumerate(steps)
        for optimiser in PAPER
        for activation in ("sa", "relu")
        for group in chosen
    ]


def usable(runs: list[dict]) -> bool:
    """Whether each of the twelve settings has two pairs."""
    return len(leads(level(runs))) == len(PAPER)


def finding(runs: list[dict]) -> Finding:
    """What the record says of table 2: twelve comparisons, each by its own 95 % interval.

    The table's accuracies are not asked of a smaller network, or of fewer epochs.
    """
    runs = level(runs)
    gains, whole = leads(runs), not reduced(runs, 0, ())
    ahead, behind = (sum(side(one) is True for one in gains.values()) for side in (above, below))
    wide, narrow = (sum(side(one, WIDE) is True for one in gains.values()) for side in (above, below))
    means = {(name, a): interval(_ends(runs, a, name).values()) for name in gains for a in ARMS}
    near = {key: matches(mean, PAPER[key[0]][ARMS.index(key[1])]) if whole else None for key, mean in means.items()}
    unlike = sum(one is not True for one in near.values())
    spans = span_difference(runs)
    most, few = len(PAPER) - 1, len(PAPER) // 2
    theirs = [max(column) - min(column) for column in zip(*PAPER.values(), strict=True)]  # best minus worst setting
    statements = [
        Statement(
            "SA is ahead of ReLU in almost every setting",
            f"95 % interval of the paired lead is above 0 in at least {most} of {len(PAPER)}, the paper's own count of "
            f"means. {by_chance(len(PAPER))}",
            _enough(ahead, behind, most),
            found=f"above 0 in {ahead}, below 0 in {behind}",
        ),
        Statement(
            "often by wide margins",
            f"95 % interval of the lead is above {WIDE} in at least {few} of {len(PAPER)}",
            _enough(wide, narrow, few),
            found=f"above {WIDE} in {wide}, below {WIDE} in {narrow}",
        ),
        Statement(
            "SA varies much less from setting to setting",
            "95 % interval, over seeds, of SA's best setting minus its worst, less the same of ReLU, is below 0",
            spans and below(spans),
            found=f"{spans.shown('+.3f')}, in the table {theirs[0] - theirs[1]:+.3f}" if spans else "",
        ),
    ]
    if whole:
        statements.append(
            Statement(
                "by the table's accuracies",
                f"of {2 * len(PAPER)} means at most {UNLIKE} are further than √2 of their 95 % half-widths from the "
                f"table's; {unlike} are, by chance {2 * len(PAPER) * 0.05:.1f} would be",
                False if unlike > UNLIKE else True if len(near) == 2 * len(PAPER) else None,
                size=True,
            )
        )
    table = [
        Comparison(name, NAMES[a], mean, PAPER[name][ARMS.index(a)], near[name, a], ".4f")
        for (name, a), mean in means.items()
    ]
    table += [
        Comparison(name, "SA minus ReLU", one, PAPER[name][0] - PAPER[name][1], form="+.4f")
        for name, one in gains.items()
    ]
    table.sort(key=lambda line: list(PAPER).index(line.setting))  # what belongs together, side by side
    decides = f"SA ahead in {ahead} of {len(gains)} settings, behind in {behind}, by 95 % intervals"
    decides += "" if whole else "; the table's accuracies are not compared, because the experiment is smaller"
    return Finding(tuple(statements), tuple(table), decides, _reduced(runs), numbers="accuracy on test images")


def _enough(there: int, against: int, wanted: int) -> bool | None:
    """Whether so many of the settings are on a side: False where too many are on the other."""
    return True if there >= wanted else False if against > len(PAPER) - wanted else None


def by_chance(count: int) -> str:
    """What so many comparisons at once give by chance."""
    return f"If SA and ReLU were alike, {count * 0.05:.1f} of {count} intervals would not include 0"


def _reduced(runs: list[dict]) -> str:
    """What is smaller than in the paper, in words."""
    least = [min(len(select(runs, arm, name)) for arm in ARMS) for name in PAPER]
    there = [count for count in least if count > 1]
    parts = [f"{len(there)} of {len(PAPER)} settings"] if len(there) < len(PAPER) else []
    few = min(there, default=0)
    parts += [f"{few} of {REPEATS['paper']} repeats"] if few < REPEATS["paper"] else []
    return "; ".join([*filter(None, [reduced(runs, 0, ())]), *parts])


def summary(runs: list[dict]) -> list[str]:
    """A line per setting: accuracies on the test images of SA and ReLU, the lead, and the paper's lead."""
    runs = level(runs)
    lines = [setting(runs), f"{'optimiser':15} SA             ReLU           SA minus ReLU   the paper's"]
    for name, one in leads(runs).items():
        sa, relu = (interval(_ends(runs, arm, name).values()).shown() for arm in ARMS)
        lines.append(f"{name:15} {sa}  {relu}  {one.shown('+.3f')}  {PAPER[name][0] - PAPER[name][1]:+.3f}")
    return [*lines, by_chance(len(lines) - 2)]


def leads(runs: list[dict]) -> dict[str, Interval]:
    """SA minus ReLU in accuracy on the test images after the last epoch, over pairs of seeds, by setting.

    Settings of which fewer than two seeds have both activations are left out.
    """
    intervals = {}
    for name in PAPER:
        sa, relu = (_ends(runs, arm, name) for arm in ARMS)
        if len(sa.keys() & relu.keys()) > 1:
            intervals[name] = paired_interval(sa, relu)
    return intervals


def span_difference(runs: list[dict], without: tuple[str, ...] = ()) -> Interval | None:
    """SA's best setting minus its worst, less the same of ReLU, over the seeds that all settings have.

    None without two such seeds; without: settings that are left out.
    """
    names = [name for name in leads(runs) if name not in without]
    ends = {arm: [_ends(runs, arm, name) for name in names] for arm in ARMS}
    seeds = set.intersection(*(set(one) for of_arm in ends.values() for one in of_arm)) if names else set()
    spans = {
        arm: {seed: max(one[seed] for one in of_arm) - min(one[seed] for one in of_arm) for seed in seeds}
        for arm, of_arm in ends.items()
    }
    return paired_interval(*(spans[arm] for arm in ARMS)) if len(seeds) > 1 else None


def _ends(runs: list[dict], activation: str, optimiser: str) -> dict[int, float]:
    return at_end(select(runs, activation, optimiser), "test_curve")


STUDY = Study("LC-T2", "CIFAR-10 perceptron under twelve optimiser settings", batches, run)
CLAIM = Claim(
    "LC-T2",
    "CIFAR-10 perceptron under twelve optimiser settings",
    finding,
    study="LC-T2",
    summary=summary,
    usable=usable,
    about=__doc__ or "",
)
