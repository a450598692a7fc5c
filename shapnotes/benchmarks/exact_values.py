"""Exact values beside the bare model and beside shap."""

from itertools import pairwise
from statistics import median

import torch
from torch import nn

from shapnotes._runtime.chunking import rows_at_once
from shapnotes._runtime.timing import in_turn
from shapnotes.benchmarks.ratios import ratio, turn_range
from shapnotes.benchmarks.record import Record, Row
from shapnotes.benchmarks.record import record as recorded
from shapnotes.benchmarks.rivals import exact_shap
from shapnotes.coalitions import masks
from shapnotes.exact import shapley_values

NETWORKS = (  # widths, input first
    (16, 256, 1),
    (16, 64, 64, 1),
    (16, 128, 128, 1),
    (16, 128, 128, 10),
    (16, 256, 256, 1),
    (18, 128, 128, 1),
    (20, 128, 128, 1),
)
SHORT_NETWORKS = ((6, 8, 1), (7, 8, 8, 2))
MAX_PLAYERS_OF_SHAP = 16  # seconds per explanation
MANY_PLAYERS = 20  # timed a third as often


def measure(device: str = "cpu", *, short: bool = False) -> Record:
    """What exact values cost beside the bare model, and beside `shap.ExactExplainer`.

    For each model (n inputs, one or two hidden layers, ReLU): the time of evaluating it on 2**n rows that lie ready, a
    chunk at a time, which no method that treats the model as opaque can undercut, against `shapley_values` of an opaque
    function and of the `nn.Sequential` itself, whose first layer is shared. The three are timed in turn, nine times; a
    ratio is that of the medians, with the smallest and largest ratio of one turn beside it. For one output and up to 16
    inputs shap explains the same input with the same baseline.
    """
    repeats = 2 if short else 9
    rows = []
    for widths in SHORT_NETWORKS if short else NETWORKS:
        n, *hidden, outputs = widths
        generator = torch.Generator().manual_seed(n)
        layers = [part for sizes in pairwise(widths[:-1]) for part in (nn.Linear(*sizes), nn.ReLU())]
        layers.append(nn.Linear(hidden[-1], outputs))
        model = nn.Sequential(*layers).to(device).requires_grad_(False)
        x = torch.randn(1, n, generator=generator).to(device)
        chunk_size = min(rows_at_once(x, 4 * max(hidden)), 2**n)
        row: Row = {"n": n, "network": "-".join(map(str, widths)), "chunk_size": chunk_size}
        row |= _against_bare(model, x, chunk_size, repeats if n < MANY_PLAYERS else max(3, repeats // 3))
        row["shap_over_ours"] = _against_shap(model, x) if n <= MAX_PLAYERS_OF_SHAP and outputs == 1 else None
        rows.append(row)
    return recorded("exact", device, short, rows)


def table(record: Record) -> list[str]:
    """One line per model."""
    lines = ["network        chunk   bare s  opaque/bare  linear/bare  shap/ours"]
    for row in record["rows"]:
        shap = "" if row["shap_over_ours"] is None else f"{row['shap_over_ours']:9.1f}"
        lines.append(
            f"{row['network']:13} {row['chunk_size']:6d} {row['bare_seconds']:8.4f} "
            f"{row['opaque_over_bare']:12.2f} {row['linear_over_bare']:12.2f}  {shap}".rstrip()
        )
    return lines


def _against_bare(model: nn.Sequential, x: torch.Tensor, chunk_size: int, repeats: int) -> Row:
    rows = masks(x.shape[1], device=x.device) * x
    bare, opaque, linear = in_turn(
        [
            lambda: [model(chunk) for chunk in rows.split(chunk_size)],
            lambda: shapley_values(lambda z: model(z), x, chunk_size=chunk_size),
            lambda: shapley_values(model, x, chunk_size=chunk_size),
        ],
        repeats,
        x.device,
    )
    return {
        "bare_seconds": median(bare),
        "opaque_over_bare": ratio(opaque, bare),
        "opaque_range": turn_range(opaque, bare),
        "linear_over_bare": ratio(linear, bare),
        "linear_range": turn_range(linear, bare),
    }


def _against_shap(model: nn.Sequential, x: torch.Tensor) -> float:
    theirs, ours = in_turn([exact_shap(model, x), lambda: shapley_values(model, x)], 3, x.device)
    return ratio(theirs, ours)
