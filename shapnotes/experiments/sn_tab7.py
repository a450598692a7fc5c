"""SN-Tab7: paired t tests of digit flipping (Shapley Explanation Networks, table 7: the same runs as figures 4 and 11).

There is no run of its own: batches and runs are those of `sn_f4`, and so is the record. t grows with the root of the
number of images; Cohen's d_z = t / sqrt(images) does not, so that a record of fewer images can be held against the
table.
"""

from shapnotes.experiments import sn_f4
from shapnotes.experiments.sn_f4 import METHODS, PAIRS, RIVALS, TEST_IMAGES, against, of

ID = "SN-Tab7"
TITLE = "Digit flipping: paired t statistics"

CHECKPOINTS = True
batches, run = sn_f4.batches, sn_f4.run

# Table 7, in the order of RIVALS. Degrees of freedom are those of all test images of the digit: 1008, 981, 973, 973.
PAPER = {
    "9->1": (28.0404, 40.2129, 28.7084, 118.6641, 101.5194),
    "4->1": (54.4659, 68.6895, 63.1221, 139.4350, 122.9292),
    "8->3": (56.8543, 67.6736, 56.8097, 128.9730, 94.6011),
    "8->6": (41.5245, 57.2258, 49.9137, 97.5942, 90.1728),
}


def effect(pair: str, method: str) -> float:
    """Cohen's d_z behind a t of the table."""
    return PAPER[pair][RIVALS.index(method)] / TEST_IMAGES[pair] ** 0.5


def summary(runs: list[dict]) -> list[str]:
    """A line a pair and method: t, degrees of freedom and effect size, the paper's beside them."""
    lines = [f"{'pair':6} {'against':20}       t  degrees     d_z   paper's t  d_z"]
    for pair in PAIRS:
        for method, t in zip(RIVALS, PAPER[pair], strict=True):
            if of(runs, pair, "ours") and of(runs, pair, method):
                found = against(runs, pair, method)
                cells = f"{found.t:7.2f} {found.degrees:8d} {found.effect_size:7.2f}"
                lines.append(f"{pair:6} {METHODS[method]:20} {cells}   {t:9.2f} {effect(pair, method):4.2f}")
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to table 7: the verdict, our numbers, the paper's.

    Two statements: `statements`.
    """
    cells = [
        f"{pair}: "
        + ", ".join(
            f"{METHODS[m]} {found.t:.1f} ({found.effect_size:.2f})"
            for m in RIVALS
            if of(runs, pair, "ours") and of(runs, pair, m)
            for found in [against(runs, pair, m)]
        )
        for pair in PAIRS
    ]
    paper = "; ".join(
        f"{pair}: "
        + ", ".join(f"{METHODS[m]} {t:.1f} ({effect(pair, m):.2f})" for m, t in zip(RIVALS, row, strict=True))
        for pair, row in PAPER.items()
    )
    ours = f"t (and d_z), {sn_f4.scope(runs, tuple(PAIRS))}: {'; '.join(cells)}"
    if not sn_f4.complete(runs, tuple(PAIRS)):
        return "not run at full scale", ours, paper
    kept = list(statements(runs).values())
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced", ours, paper


def statements(runs: list[dict]) -> dict[str, bool]:
    """Which statements hold: all twenty t are positive with p < .001; and all effects are the paper's within a third.

    Deep SHAP and DeepLIFT coincide, so the table's two columns cannot both be met unless they are near each other.
    """
    found = {(pair, m): against(runs, pair, m) for pair in PAIRS for m in RIVALS}
    ratios = [one.effect_size / effect(*key) for key, one in found.items()]
    return {
        "ahead of all five in all pairs": all(one.t > 0 and one.p < 0.001 for one in found.values()),
        "effects within a third of the table's": all(2 / 3 < ratio < 3 / 2 for ratio in ratios),
    }
