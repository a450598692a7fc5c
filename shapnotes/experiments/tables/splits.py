"""The three tables of Shapley Explanation Networks, parted into rounds and folds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from shapnotes import datasets
from shapnotes.datasets import standardise, train_test_split

FOLDS = 5
TABLES = ("yeast", "breast_cancer")  # parted anew in every round; the rows of the synthetic task are drawn anew
TITLES = {"synthetic": "synthetic task", "yeast": "Yeast", "breast_cancer": "Breast Cancer"}  # in words


@dataclass(frozen=True)
class Fold:
    """Inputs and targets of one run: to train on, left out of the training rows, and to test on."""

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def fold(data: str, seed: int, *, samples: int = 0, reading: str = "product", inputs: str = "raw") -> Fold:
    """Fold seed % 5 of round seed // 5 of a data set.

    samples, reading : of the synthetic task; see `datasets.synthetic_regression`
    inputs           : of the synthetic task, "raw" or "standardised"; those of the two real tables are standardised
    """
    turn, k = divmod(seed, FOLDS)
    generator = torch.Generator().manual_seed(turn)
    if data == "synthetic":
        source = datasets.synthetic_regression(samples, generator=generator, reading=reading)
    else:
        source = _table(data)
    x, x_test, y, y_test = train_test_split(source.x, source.y, generator=generator)
    if data in TABLES or inputs == "standardised":
        x, x_test = standardise(x, x_test)
    size = len(x) // FOLDS
    out = torch.zeros(len(x), dtype=torch.bool)
    out[k * size : (k + 1) * size] = True
    return Fold((x[~out], y[~out]), (x[out], y[out]), (x_test, y_test))


@cache
def _table(data: str) -> datasets.Dataset:
    return {"yeast": datasets.yeast, "breast_cancer": datasets.breast_cancer}[data]()


def shared(data: str, seeds: Iterable[int]) -> float:
    """Test rows over training rows, which an interval over rounds needs (`statistics.interval`).

    seeds : of the runs

    1/3 of a table, parted 75 to 25. Where each round has one fold only, 5/12: a network has seen four fifths of the 75.
    0 for the synthetic task, whose rounds are independent.
    """
    if data not in TABLES:
        return 0.0
    rounds = Counter(seed // FOLDS for seed in seeds)
    return 1 / 3 if max(rounds.values(), default=0) > 1 else 5 / 12
