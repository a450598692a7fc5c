"""The real files, where SHAPNOTES_DATA names a folder that holds them."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from torch.testing import assert_close

from shapnotes import datasets
from shapnotes.datasets import DamagedFileError
from shapnotes.datasets.sources import SOURCES

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("SHAPNOTES_DATA")
MNIST_MEAN, MNIST_SD = 0.1307, 0.3081
CIFAR_MEANS = (0.4914, 0.4822, 0.4465)  # of the lossless training images


@pytest.fixture
def real(monkeypatch):
    def load(name, *split):
        source = SOURCES[name]
        file = Path(source.folder) / source.parts[split[0] if split else "all"].file
        if not DATA or not (Path(DATA) / file).is_file():
            pytest.skip(f"set SHAPNOTES_DATA to a folder with {file} (it is {DATA!r})")
        monkeypatch.setenv("SHAPNOTES_DATA", DATA)
        return getattr(datasets, name)(*split)

    return load


def test_the_mean_digits_beside_the_recorded_maps(real):
    """Chapter 5 shows them without the data: one grey picture, ten digits side by side."""
    data = real("mnist", "test")
    x, y = data.x[:1000, 0], data.y[:1000]
    means = torch.cat([x[y == digit].mean(0) for digit in range(10)], 1)
    shown = torch.tensor(plt.imread(ROOT / "book" / "results" / "mnist_means.png"))
    assert_close(shown, means, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize(("split", "rows"), [("train", 60_000), ("test", 10_000)])
def test_real_mnist(real, split, rows):
    data = real("mnist", split)
    assert data.x.shape == (rows, 1, 28, 28) and data.x.min() == 0 and data.x.max() == 1
    assert "content equal to the original" in data.note
    if split == "train":
        assert abs(data.x.double().mean() - MNIST_MEAN) < 5e-5
        assert abs(data.x.double().std() - MNIST_SD) < 5e-5


@pytest.mark.parametrize(("split", "rows"), [("train", 60_000), ("test", 10_000)])
def test_real_fashion_mnist(real, split, rows):
    data = real("fashion_mnist", split)
    assert data.x.shape == (rows, 1, 28, 28) and data.y.bincount().tolist() == [rows // 10] * 10


@pytest.mark.parametrize(("split", "rows"), [("train", 50_000), ("test", 10_000)])
def test_real_cifar10(real, split, rows):
    data = real("cifar10", split)
    assert data.x.shape == (rows, 3, 32, 32) and data.y.bincount().tolist() == [rows // 10] * 10
    assert ("JPEG" in data.note) != ("PNG" in data.note)
    if split == "train":
        means = data.x.mean(dim=(0, 2, 3), dtype=torch.float64)
        assert_close(means, torch.tensor(CIFAR_MEANS, dtype=torch.float64), rtol=0, atol=3e-4)


def test_real_yeast(real):
    data = real("yeast")
    counts = dict(zip(data.class_names, data.y.bincount().tolist(), strict=True))
    assert counts == {"CYT": 463, "NUC": 429, "MIT": 244, "ME3": 163, "ME2": 51, "ME1": 44,
                      "EXC": 35, "VAC": 30, "POX": 20, "ERL": 5}  # fmt: skip
    assert data.x.shape == (1484, 8) and 0 <= data.x.min() and data.x.max() <= 1


def test_real_yeast_with_one_digit_changed_is_refused(real, monkeypatch, tmp_path):
    real("yeast")
    given = Path(DATA) / "uci/yeast/yeast.data"
    altered = tmp_path / "altered/uci/yeast/yeast.data"
    altered.parent.mkdir(parents=True)
    altered.write_bytes(given.read_bytes().replace(b"0.58", b"0.59", 1))
    monkeypatch.setenv("SHAPNOTES_DATA", str(tmp_path / "altered"))
    with pytest.raises(DamagedFileError, match=r"yeast.data.*not the original rows"):
        datasets.yeast()
