"""A Deep ShapNet's explained prediction beside a plain loop over its modules and a plain network."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from statistics import median

import torch

from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import in_brackets, ratio, turn_range
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.benchmarks.rivals import Loop, Plain
from shapnotes.shapnet import DeepShapNet

COMPILER = shutil.which("c++") or shutil.which("g++")  # what torch.compile calls on a CPU
CALLS = {1: 20, 64: 10, 1024: 2}  # in a row, for a batch of so many; Table 5 has a thousand
CHANNELS = (1, 20)  # between the stages; the paper does not say how many its network has


@torch.no_grad()
def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """The network of SN's Table 5 (16 features, 32 modules of a pair, a hidden layer of 100) against a plain loop.

    The loop (`rivals.Loop`) has the same weights and goes the way of the layers that the paper's authors released,
    without their names of dimensions, which take time of their own. Both predict and explain a batch without gradients.
    Ours is timed as it is and, where there is a compiler, after `compile()`. A plain network of the same widths
    (`rivals.Plain`), which explains nothing, is timed with them. All are timed in turn, some calls in a row, 21 times;
    a ratio is that of the medians, with the smallest and largest ratio of one turn beside it. The short form has
    batches of two and compiles nothing.
    """
    repeats, calls = (2, {2: 1}) if short else (21, CALLS)
    rows = []
    for channels in CHANNELS:
        for batch in calls:
            generator = torch.Generator().manual_seed(batch)
            net = DeepShapNet(16, channels, 1, hidden=(100,))
            net.reset_parameters(generator)
            net = net.to(device).requires_grad_(False)
            x = torch.randn(batch, 16, generator=generator).to(device)
            loop = Loop(net)
            torch.testing.assert_close(loop(x), net.explain(x).attributions, rtol=1e-3, atol=1e-4)
            contenders: dict[str, Callable[[torch.Tensor], object]] = {
                "seconds": net.explain,
                "loop_seconds": loop,
                "plain_seconds": Plain(net),
            }
            if COMPILER and not short:
                torch.compiler.reset()  # each batch its own program
                compiled = deepcopy(net)
                compiled.compile()
                torch.testing.assert_close(
                    compiled.explain(x).attributions, net.explain(x).attributions, rtol=1e-3, atol=1e-4
                )
                contenders["compiled_seconds"] = compiled.explain
            times = in_turn([partial(f, x) for f in contenders.values()], repeats, x.device, calls[batch])
            ours, loops, plain, *compiled_ones = times
            row: Row = {"channels": channels, "batch": batch}
            row |= {name: median(taken) for name, taken in zip(contenders, times, strict=True)}
            for name, taken in zip(("ours", "compiled"), (ours, *compiled_ones), strict=False):
                row[f"loop_over_{name}"] = ratio(loops, taken)
                row[f"{name}_range"] = turn_range(loops, taken)
                row[f"{name}_over_plain"] = ratio(taken, plain)
            rows.append(row)
    return recorded("shapnet", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per network and batch."""
    lines = [
        "channels batch   loop s   ours s  loop/ours  (range)          ours/plain"
        "  compiled s  loop/compiled  (range)          compiled/plain"
    ]
    for row in record["rows"]:
        line = f"{row['channels']:8d} {row['batch']:5d} {row['loop_seconds']:8.5f}"
        for kind, seconds, width in (("ours", "seconds", 10), ("compiled", "compiled_seconds", 14)):
            if seconds in row:
                line += f" {row[seconds]:{width - 2}.5f} {row[f'loop_over_{kind}']:{width}.2f}"
                line += f"  {in_brackets(row[f'{kind}_range']):16} {row[f'{kind}_over_plain']:9.2f}"
        lines.append(line.rstrip())
    return lines
