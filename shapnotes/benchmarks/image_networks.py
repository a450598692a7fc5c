"""An image ShapNet's prediction with its explanation, and its training, beside the comparable convolutional network."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from statistics import median

import torch
from torch import nn

from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import in_brackets, ratio, turn_range
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.benchmarks.training_steps import in_memory_by_pixel, training_step
from shapnotes.experiments._models.comparable_cnn import ComparableNetwork
from shapnotes.shapnet import ImageShapNet

COMPILER = shutil.which("c++") or shutil.which("g++")  # what torch.compile calls on a CPU
CHANNELS = (1, 128, 128, 128, 128, 128, 128, 10)
SHORT_CHANNELS = (1, 2, 2, 2, 2, 2, 2, 2)
BATCH, SIZE = 8, 32
MEMORY_BATCH = 64  # the paper's, in training


def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """The network of SN's appendix I.3.1 (1, six times 128, 10 channels; dilations 1 to 13) on 8 images of 32 x 32.

    Beside it, the comparable convolutional network: the same channels, windows, dilations and padding, a convolution
    and a leaky ReLU each, summed over the image; its images are in memory pixel by pixel (`channels_last`), which is
    faster on a CPU, and as usual. Two things are timed in turn, nine times: prediction and explanation without
    gradients, against the other's prediction; and a step of training. Ours is timed as it is and, where there is a
    compiler, compiled; a ratio is that of the medians, with the smallest and largest ratio of one turn beside it. The
    last row is the memory of a process that takes three steps with 64 images; Windows cannot tell it. The short form
    has two channels and compiles nothing.

    The bound, for a stage of 128 channels and each pixel and output: both multiply and add 4 * 128 numbers, 1024
    operations. Ours has 88 operations for sums, activations and values on top, 9 % more. In bytes
    a convolution reads and writes 4 + 4; ours writes four terms, reads them, and adds four values to the result, about
    64, which takes as long as 512 operations where the processor does 8 in the time of a byte: between 1.1 and 1.6
    times the convolution is what to expect of one program, and 2 times where intermediates go through a cache.
    """
    repeats, channels = (2, SHORT_CHANNELS) if short else (9, CHANNELS)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, channels[0], SIZE, SIZE, generator=generator).to(device)
    y = torch.randint(channels[-1], (BATCH,), generator=generator).to(device)
    rows: list[Row] = []
    net = ImageShapNet(channels)
    net.reset_parameters(generator)
    net = net.to(device)
    usual = ComparableNetwork(net)
    pixelwise: nn.Module = in_memory_by_pixel(deepcopy(usual))
    pixels = x.contiguous(memory_format=torch.channels_last)
    ours = {"ours": net}
    if COMPILER and not short:
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
        batch = BATCH if short else MEMORY_BATCH
        rows.append({"what": "memory", "batch": batch, "gib": _memory(batch, channels)})
    return recorded("images", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per thing that is timed and network, and one for memory."""
    lines = ["what      CNN s  (usual)  network    seconds  over CNN  (range)"]
    for row in record["rows"]:
        if "gib" in row:
            lines.append(f"training with {row['batch']} images takes {row['gib']:.2f} GiB")
            continue
        for name in ("ours", "compiled"):
            if f"{name}_seconds" in row:
                lines.append(
                    f"{row['what']:8} {row['cnn_seconds']:6.3f} {row['cnn_usual_seconds']:8.3f}  {name:9} "
                    f"{row[f'{name}_seconds']:8.3f} {row[f'{name}_over_cnn']:9.2f}  {in_brackets(row[f'{name}_range'])}"
                )
    return lines


def _ratios(names: Sequence[str], times: Sequence[list[float]]) -> Row:
    cnn, usual, *ours = times
    row: Row = {"cnn_seconds": median(cnn), "cnn_usual_seconds": median(usual)}
    for name, taken in zip(names, ours, strict=True):
        row[f"{name}_seconds"] = median(taken)
        row[f"{name}_over_cnn"] = ratio(taken, cnn)
        row[f"{name}_range"] = turn_range(taken, cnn)
    return row


def _memory(batch: int, channels: Sequence[int]) -> float:
    """The largest memory of a process of its own that trains, GiB."""
    code = f"from {__name__} import peak_gib; print(peak_gib({batch}, {tuple(channels)}))"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def peak_gib(batch: int, channels: Sequence[int]) -> float:
    """Takes three steps with so many images; returns the largest memory that this process has held, GiB (on Unix)."""
    import resource  # not there on Windows

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels[0], SIZE, SIZE, generator=generator)
    net = ImageShapNet(channels)
    net.reset_parameters(generator)
    step = training_step(net, x, torch.zeros(batch, dtype=torch.int64))
    for _ in range(3):
        step()
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
