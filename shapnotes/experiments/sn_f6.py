"""SN-F6: how sparse explanations are with and without a penalty, from the record of SN-F5 (figures 6 and 8 to 10).

The captions: "l1 only puts importance on a few key features", l-infinity "spreads out the contribution". The figures
are pictures of single images; what is compared here are means over test images.
"""

from shapnotes.experiments import sn_f5
from shapnotes.experiments.sn_f5 import of, told

ID = "SN-F6"
TITLE = "How sparse explanations are, with penalties and without"
CHECKPOINTS = True

batches, run = sn_f5.batches, sn_f5.run


def statements(runs: list[dict]) -> dict[str, bool]:
    """Whether l1 makes more pixels small, and l-infinity sizes more alike."""
    shape = {name: result["shape"] for name, result in of(runs).items()}
    return {
        "l1 has more small pixels": shape["l1"]["small"][-1] > shape["none"]["small"][-1],
        "l-infinity varies less": shape["linf"]["cv"] < shape["none"]["cv"],
    }


def summary(runs: list[dict]) -> list[str]:
    """A line a network: the coefficient of variation, the largest attribution and the share of small pixels."""
    lines = [f"{'network':10}    cv  largest  small pixels"]
    for name, result in of(runs).items():
        shape = result["shape"]
        lines.append(f"{name:10} {shape['cv']:5.2f}  {shape['largest']:7.3f}  {shape['small'][-1]:.3f}")
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to the captions of figures 6 and 8 to 10, by `statements`."""
    ours = "variation and share of pixels below 1 % of the largest: " + "; ".join(
        f"{name} {result['shape']['cv']:.2f}, {result['shape']['small'][-1]:.2f}" for name, result in of(runs).items()
    )
    return told(runs, statements, ours, "pictures: l1 puts importance on few pixels, l-infinity spreads it out")
