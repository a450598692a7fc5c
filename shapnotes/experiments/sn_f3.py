"""SN-F3: how many pixels are small after every stage, with l1 and without, from the record of SN-F5 (figure 3).

The figure shows one image, for networks without a penalty, with l1 on the last representation and with l1 on all. Its
caption: a pixel that comes close to the reference stays close, and l1 "promotes the sparsity". What is compared here
are means over test images of the share of pixels below a hundredth of the image's largest.
"""

from itertools import pairwise

from shapnotes.experiments import sn_f5
from shapnotes.experiments.sn_f5 import of, over_trainings, told

ID = "SN-F3"
TITLE = "Small representations, stage by stage"
CHECKPOINTS = True
NETWORKS = ("none", "l1", "l1-layers")
PIXELS = 32 * 32

batches, run = sn_f5.batches, sn_f5.run


def statements(runs: list[dict], seed: int = 0) -> dict[str, bool]:
    """Whether a later stage never has fewer small pixels (by more than two an image), and whether l1 makes more."""
    small = {name: of(runs, seed=seed)[name]["shape"]["small"] for name in NETWORKS}
    return {
        "what is small stays small": all(
            a <= b + 2 / PIXELS for by_stage in small.values() for a, b in pairwise(by_stage)
        ),
        "l1 on the last makes more at the end": small["l1"][-1] > small["none"][-1],
        "l1 on all makes more at every stage": all(
            a > b for a, b in zip(small["l1-layers"], small["none"], strict=True)
        ),
    }


def summary(runs: list[dict]) -> list[str]:
    """A line a network: the share of small pixels after every stage, the mean over trainings."""

    def small(name: str, stage: int) -> float:
        return over_trainings(runs, name, lambda r: r["shape"]["small"][stage])[0]

    return [
        f"{name:10} " + " ".join(f"{small(name, stage):.3f}" for stage in range(len(result["shape"]["small"])))
        for name, result in of(runs, NETWORKS).items()
    ]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to figure 3's caption, by `statements`."""
    ours = "share of pixels below 1 % of the largest, stage by stage: " + "; ".join(summary(runs))
    return told(runs, statements, ours, "a picture: what is small stays small, and l1 makes more of it")
