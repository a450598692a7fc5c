"""SN-Tab7: paired t tests of digit flipping (Shapley Explanation Networks, table 7: the same runs as figures 4 and 11).

t grows with the root of the number of images; Cohen's d_z = t / sqrt(images) does not, so that a record of fewer images
can be held against the table. Deep SHAP and DeepLIFT coincide (chapter 14), so the table's two columns cannot both be
met unless they are near each other.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, every, within_factor
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.removal import comparison
from shapnotes.experiments.removal.comparison import against, of, whole
from shapnotes.experiments.removal.methods import METHODS, RIVALS
from shapnotes.experiments.removal.study import PAIRS, TEST_IMAGES, named
from shapnotes.metrics import PairedComparison

# Table 7, in the order of RIVALS. Degrees of freedom are those of all test images of the digit: 1008, 981, 973, 973.
PAPER = {
    "9->1": (28.0404, 40.2129, 28.7084, 118.6641, 101.5194),
    "4->1": (54.4659, 68.6895, 63.1221, 139.4350, 122.9292),
    "8->3": (56.8543, 67.6736, 56.8097, 128.9730, 94.6011),
    "8->6": (41.5245, 57.2258, 49.9137, 97.5942, 90.1728),
}

FACTOR = 1.5  # within which an effect counts as the table's


def effect(pair: str, method: str) -> float:
    """Cohen's d_z behind a t of the table."""
    return PAPER[pair][RIVALS.index(method)] / TEST_IMAGES[pair] ** 0.5


def finding(runs: list[dict]) -> Finding:
    """What the record says of table 7, in effect sizes."""
    own = list(whole(runs, tuple(PAIRS)).values())
    cells = [(pair, method) for pair in PAIRS for method in RIVALS]
    by_cell = {cell: [against(one, *cell) for one in own] for cell in cells}
    sizes = {cell: interval(one.effect_size for one in tests) for cell, tests in by_cell.items()} if own else {}
    near = {cell: within_factor(size, effect(*cell), FACTOR) for cell, size in sizes.items()}
    counts = [list(near.values()).count(answer) for answer in (True, False, None)]
    apart = sum(size.low > 0 for size in sizes.values())
    statements = (
        comparison.in_trainings(
            [every([_positive(by_cell[cell][i]) for cell in cells]) for i in range(len(own))],
            "ahead of all five methods in all pairs",
            "over the images of each network each of the twenty t is positive, with p < .001",
            f"over networks {apart} of the twenty effects above 0" if own else "",
        ),
        Statement(
            "by the table's effects",
            f"the 95 % interval over networks of each effect size is within a factor of {FACTOR} of the table's",
            every([*near.values()]),
            size=True,
        ),
    )
    table = tuple(
        Comparison(named(pair), METHODS[method], size, effect(pair, method), near[pair, method], ".2f")
        for (pair, method), size in sizes.items()
    )
    positive = sum(_positive(test) is True for tests in by_cell.values() for test in tests)
    decides = (
        f"over images of each network {positive} of {len(cells) * len(own)} t positive with p < .001; over networks "
        f"{apart} of {len(near)} effects above 0; {counts[0]} as in the table, {counts[1]} not, {counts[2]} undecided"
    )
    return Finding(
        statements,
        table,
        decides,
        comparison.reduced(runs, tuple(PAIRS)),
        numbers="effect size of ours against the method, Cohen's d_z",
        agreement=f"within a factor of {FACTOR}?",
    )


def _positive(test: PairedComparison) -> bool | None:
    """Whether t is positive with p < .001; refuted only by a t that is negative at that level."""
    return test.t > 0 if test.p < 0.001 else None


def summary(runs: list[dict]) -> list[str]:
    """A line per training, pair and method: t, degrees of freedom and effect size, the paper's beside them."""
    lines = [f"training {'pair':6} {'against':20}       t  degrees     d_z   paper's t  d_z"]
    for seed, own in comparison.by_training(runs).items():
        for pair in PAIRS:
            for method, t in zip(RIVALS, PAPER[pair], strict=True):
                if of(own, pair, "ours") and of(own, pair, method):
                    one = against(own, pair, method)
                    cells = f"{one.t:7.2f} {one.degrees:8d} {one.effect_size:7.2f}"
                    lines.append(
                        f"{seed:8} {pair:6} {METHODS[method]:20} {cells}   {t:9.2f} {effect(pair, method):4.2f}"
                    )
    return lines


CLAIM = Claim(
    "SN-Tab7",
    "Digit flipping: paired t statistics",
    finding,
    study="SN-F4",
    summary=summary,
    usable=comparison.usable,
    about=__doc__ or "",
)
