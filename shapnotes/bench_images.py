"""What an image ShapNet's prediction with its explanation costs, beside the comparable convolutional network."""

import shutil
import subprocess
import sys
from copy import deepcopy
from functools import partial
from statistics import median

import torch

from shapnotes.bench import in_turn, provenance, training_step
from shapnotes.experiments._models.comparable_cnn import ComparableNetwork
from shapnotes.shapnet import ImageShapNet

COMPILER = shutil.which("c++") or shutil.which("g++")  # what torch.compile calls on a CPU
CHANNELS = (1, 128, 128, 128, 128, 128, 128, 10)
BATCH, SIZE = 8, 32
MEMORY_BATCH = 64  # the paper's, in training


def images(device: str = "cpu", repeats: int = 9) -> dict:
    """The network of SN's appendix I.3.1 (1, six times 128, 10 channels; dilations 1 to 13) on 8 images of 32 x 32.

    Beside it, the comparable convolutional network: the same channels, windows, dilations and padding, a convolution
    and a leaky ReLU each, summed over the image; its images are in memory pixel by pixel (`channels_last`), which is
    the quicker way on a CPU, and as usual. Two things are timed in turn, `repeats` times: prediction and explanation
    without gradients, against the other's prediction; and a step of training. Ours is timed as it is and, where there
    is a compiler, compiled; a ratio is that of the medians, with the smallest and largest ratio of one turn beside it.
    The last row is the memory of a process that takes three steps with 64 images; Windows cannot tell it.

    The bound, for a stage of 128 channels and each pixel and output: both multiply and add 4 * 128 numbers, 1024
    operations. Ours has 88 operations for sums, activations and values on top, 9 % more. In bytes
    a convolution reads and writes 4 + 4; ours writes four terms, reads them, and adds four values to the result, about
    64, which takes as long as 512 operations where the processor does 8 in the time of a byte: between 1.1 and 1.6
    times the convolution is what to expect of one program, and 2 times where intermediates go through a cache.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, CHANNELS[0], SIZE, SIZE, generator=generator).to(device)
    y = torch.randint(CHANNELS[-1], (BATCH,), generator=generator).to(device)
    net = ImageShapNet(CHANNELS)
    net.reset_parameters(generator)
    net, rows = net.to(device), []
    usual = ComparableNetwork(net)
    pixelwise, pixels = (
        deepcopy(usual).to(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
    )
    ours = {"ours": net}
    if COMPILER:
        ours["compiled"] = deepcopy(net)
        ours["compiled"].compile()
        torch.testing.assert_close(ours["compiled"](x), net(x), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        forward = [partial(pixelwise, pixels), partial(usual, x), *(partial(n.explain, x) for n in ours.values())]
        rows.append({"what": "explain"} | _ratios(list(ours), in_turn(forward, repeats, x.device)))
    steps = [
        training_step(pixelwise, pixels, y),
        training_step(usual, x, y),
        *(training_step(n, x, y) for n in ours.values()),
    ]
    rows.append({"what": "train"} | _ratios(list(ours), in_turn(steps, repeats, x.device)))
    if device == "cpu" and sys.platform != "win32":
        rows.append({"what": "memory", "batch": MEMORY_BATCH, "gib": _memory()})
    return provenance("shapnotes bench images", device) | {"rows": rows}


def _ratios(names: list[str], times: list[list[float]]) -> dict:
    row = {"cnn_seconds": median(times[0]), "cnn_usual_seconds": median(times[1])}
    for name, taken in zip(names, times[2:], strict=True):
        each = [t / c for t, c in zip(taken, times[0], strict=True)]
        row |= {f"{name}_seconds": median(taken), f"{name}_over_cnn": median(taken) / median(times[0])}
        row[f"{name}_range"] = [min(each), max(each)]
    return row


def _memory() -> float:
    """The largest memory of a process of its own that trains, GiB."""
    code = f"from shapnotes import bench_images; print(bench_images.trained({MEMORY_BATCH}))"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def trained(batch: int) -> float:
    """Takes three steps with so many images; returns the largest memory that this process has held, GiB (on Unix)."""
    import resource  # not there on Windows

    x, y = torch.randn(batch, CHANNELS[0], SIZE, SIZE), torch.zeros(batch, dtype=torch.int64)
    step = training_step(ImageShapNet(CHANNELS), x, y)
    for _ in range(3):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
