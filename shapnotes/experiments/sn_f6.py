"""SN-F6: how sparse explanations are with and without a penalty, from the record of SN-F5 (figures 6 and 8 to 10).

The captions: "l1 only puts importance on a few key features", l-infinity "spreads out the contribution". The figures
are pictures of single images; what is compared here are means over test images.
"""

from shapnotes.experiments import sn_f5
from shapnotes.experiments.sn_f5 import of, over_trainings, told

ID = "SN-F6"
TITLE = "How sparse explanations are, with penalties and without"
CHECKPOINTS = True

SHAPE = (lambda r: r["shape"]["cv"], lambda r: r["shape"]["largest"], lambda r: r["shape"]["small"][-1])

batches, run = sn_f5.batches, sn_f5.run


def statements(runs: list[dict], seed: int = 0) -> dict[str, bool]:
    """Whether l1 makes more pixels small, and l-infinity sizes more alike."""
    shape = {name: result["shape"] for name, result in of(runs, seed=seed).items()}
    return {
        "l1 has more small pixels": shape["l1"]["small"][-1] > shape["none"]["small"][-1],
        "l-infinity varies less": shape["linf"]["cv"] < shape["none"]["cv"],
    }


def summary(runs: list[dict]) -> list[str]:
    """A line a network: variation, largest attribution and share of small pixels, means over trainings."""
    lines = [f"{'network':10}    cv  largest  small pixels"]
    for name in of(runs):
        cv, largest, small = (over_trainings(runs, name, number)[0] for number in SHAPE)
        lines.append(f"{name:10} {cv:5.2f}  {largest:7.3f}  {small:.3f}")
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to the captions of figures 6 and 8 to 10, by `statements`."""
    shapes = {name: [over_trainings(runs, name, number)[0] for number in SHAPE] for name in of(runs)}
    ours = "variation and share of pixels below 1 % of the largest: " + "; ".join(
        f"{name} {cv:.2f}, {small:.2f}" for name, (cv, _, small) in shapes.items()
    )
    return told(runs, statements, ours, "pictures: l1 puts importance on few pixels, l-infinity spreads it out")
