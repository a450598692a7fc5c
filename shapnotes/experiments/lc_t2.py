"""LC-T2: the CIFAR-10 perceptron of LC-F4 under twelve optimiser settings, SA against ReLU (Li and Cui, table 2).

Network, data, scales and what the paper leaves open are those of LC-F4; 8 repeats here. The seeds are others than
LC-F4's, so that Adam(1e-3), which both have, is run twice independently.
"""

from shapnotes.experiments.lc_f4 import EPOCHS, NETWORK, at_end, configuration, groups, of, run, setting, word
from shapnotes.experiments.statistics import mean_and_error, paired_interval
from shapnotes.experiments.sweep import Batch

__all__ = ["ID", "PAPER", "TITLE", "batches", "leads", "run", "summary", "verdict"]

ID = "LC-T2"
GROWS = True
TITLE = "CIFAR-10 perceptron under twelve optimiser settings"

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
EARLY = 10  # epochs
WIDE = 0.01


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


def summary(runs: list[dict]) -> list[str]:
    """A line a setting: final test accuracies of SA and ReLU, the lead with its interval, and the paper's lead."""
    lines = [setting(runs), f"{'optimiser':15}  SA               ReLU             SA minus ReLU    the paper's"]
    for name, (lead, half) in leads(runs).items():
        means = (mean_and_error(at_end(of(runs, a, name), "test_curve").values()) for a in ("sa", "relu"))
        cells = "  ".join(f"{mean:6.3f} ± {error:.3f}" for mean, error in means)
        lines.append(f"{name:15}  {cells}  {lead:+.3f} ± {half:.3f}  {PAPER[name][0] - PAPER[name][1]:+.3f}")
    return lines


def leads(runs: list[dict]) -> dict[str, tuple[float, float]]:
    """SA minus ReLU in final test accuracy, paired by seed: mean and half-width of the 95 % interval, by setting.

    Settings of which fewer than two seeds have both activations are left out.
    """
    found = {}
    for name in PAPER:
        sa, relu = (at_end(of(runs, activation, name), "test_curve") for activation in ("sa", "relu"))
        if len(sa.keys() & relu.keys()) > 1:
            found[name] = paired_interval(sa, relu)
    return found


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to what the paper says of table 2: the verdict, our numbers, the paper's.

    1. SA "consistently outperforms ReLU in validation accuracy in almost every optimizer configuration": its mean lead
       is positive in at least eleven of the twelve, the paper's count;
    2. "many by wide margins": in at least six the lead is above one point, and its 95 % interval above zero;
    3. SA shows "much less variations between optimizer types and learning rates": the distance between its best and
       its worst setting is smaller than that of ReLU.
    """
    found = leads(runs)
    sa, relu = (
        [mean_and_error(at_end(of(runs, activation, name), "test_curve").values())[0] for name in found]
        for activation in ("sa", "relu")
    )
    ahead = sum(lead > 0 for lead, _ in found.values())
    surely = [name for name, (lead, half) in found.items() if lead > half]
    wide = sum(found[name][0] > WIDE for name in surely)
    behind = sum(lead < -half for lead, half in found.values())
    signs = sum((lead > 0) == (PAPER[name][0] > PAPER[name][1]) for name, (lead, _) in found.items())
    ranges = [max(means, default=0.0) - min(means, default=0.0) for means in (sa, relu)]
    kept = [ahead >= 11, wide >= 6, ranges[0] < ranges[1]]
    ours = (
        f"{setting(runs)}: {sum(kept)} of 3 statements hold; SA ahead in {ahead} of {len(found)} settings, with the "
        f"paper's sign in {signs}; interval above zero in {len(surely)} (by more than {WIDE} in {wide}), below in "
        f"{behind}; best minus worst setting SA {ranges[0]:.3f}, ReLU {ranges[1]:.3f}; leads "
    ) + ", ".join(f"{name} {lead:+.3f} ± {half:.3f}" for name, (lead, half) in found.items())
    theirs = [sa - relu for sa, relu in PAPER.values()]
    spans = [max(column) - min(column) for column in zip(*PAPER.values(), strict=True)]
    paper = (
        f"{NETWORK}, 8 repeats: SA ahead in {sum(lead > 0 for lead in theirs)} of {len(PAPER)} settings, by "
        f"{min(theirs):+.3f} to {max(theirs):+.3f}; best minus worst setting SA {spans[0]:.3f}, ReLU {spans[1]:.3f}"
    )
    return word(kept, runs, batches("paper")), ours, paper
