"""What each data set is and must hold: its files, classes, numbers of rows and digests; and what is made of it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs, targets and where they come from.

    Parameters
    ----------
    x : Tensor
        float32, [rows, features], or [rows, channels, height, width] in [0, 1] for images.
    y : Tensor
        [rows], int64 class numbers or float32 targets.
    feature_names : tuple of str
        One name per column of x; empty for images.
    class_names : tuple of str
        `class_names[y[i]]` is the class of row i; empty for regression.
    name : str
        That of the function which loads it.
    note : str
        The provenance, in words fit for a figure's caption.
    """

    x: Tensor
    y: Tensor
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    name: str
    note: str

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, x {list(self.x.shape)}: {self.note})"


class Arrays(NamedTuple):
    """A file's rows.

    x        : uint8 [rows, *shape] for images, float32 [rows, features] else
    y        : int64 [rows]
    encoding : "PNG", "JPEG" or "text"
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    encoding: str


class Part(NamedTuple):
    """One split of a source: its file, the rows per class, the digest of its content, the file's SHA-256."""

    file: str
    class_counts: tuple[int, ...]
    digest: str | None = None
    sha256: str | None = None


class Source(NamedTuple):
    """A public data set.

    name     : of the function that loads it
    folder   : the hub's repository, or where the file at `url` is kept
    shape    : of a row
    parts    : by the name of the split
    revision : the commit of the hub's repository that is fetched
    columns  : of a Parquet file, with images and with class numbers
    means    : of the channels, in [0, 1]
    """

    name: str
    title: str
    folder: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    revision: str | None = None
    columns: tuple[str, str] = ("image", "label")
    means: tuple[float, ...] | None = None
    url: str | None = None
    feature_names: tuple[str, ...] = ()


_TRAIN, _TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_GARMENTS = tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(","))
_OBJECTS = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())

# The digests are `store.content_digest` of UCI's file, and of a copy of MNIST with the pixels and labels
# of the original IDX files. The tests recompute them where SHAPNOTES_DATA holds the data. SHA-256 are
# those of the hub's files at these revisions.
# fmt: off
SOURCES = {
    "mnist": Source("mnist", "MNIST", "ylecun/mnist", (1, 28, 28), tuple("0123456789"), {
        "train": Part(f"mnist/{_TRAIN}",
                      (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
                      "54e1ab866c9484947dd4821c52bb7a43938f555d6b046be6af55247f8e6ffc64",
                      "f2c01285a9f89399335b00ee4e8d499dc4e46db5e39c74903ce5618d895eb3bf"),
        "test": Part(f"mnist/{_TEST}",
                     (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
                     "97b756d55950f1841ebd48df7379b9b2fc87a10d63e08d6213dad41d564e8508",
                     "d49fcf556ce25b002b302e318ce4a11098bbfe5d4499c3f35d7c72297c52374b"),
    }, "77f3279092a1c1579b2250db8eafed0ad422088c", means=(0.1307,)),
    "fashion_mnist": Source(
        "fashion_mnist", "FashionMNIST", "zalando-datasets/fashion_mnist", (1, 28, 28), _GARMENTS, {
        "train": Part(f"fashion_mnist/{_TRAIN}", (6000,) * 10),
        "test": Part(f"fashion_mnist/{_TEST}", (1000,) * 10),
    }, "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2", means=(0.2860,)),
    "cifar10": Source("cifar10", "CIFAR-10", "uoft-cs/cifar10", (3, 32, 32), _OBJECTS, {
        "train": Part(f"plain_text/{_TRAIN}", (5000,) * 10,
                      sha256="8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"),
        "test": Part(f"plain_text/{_TEST}", (1000,) * 10,
                     sha256="841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"),
    }, "0b2714987fa478483af9968de7c934580d0bb9a2", columns=("img", "label"), means=(0.4914, 0.4822, 0.4465)),
    "yeast": Source(
        "yeast", "Yeast", "uci/yeast", (8,), tuple("CYT ERL EXC ME1 ME2 ME3 MIT NUC POX VAC".split()), {
        "all": Part("yeast.data", (463, 5, 35, 44, 51, 163, 244, 429, 20, 30),
                    "d4b29e51c687a99cc4cf9f5378de9610a622d01571f3c3a8e945085820a456bf"),
    }, url=f"{_UCI}/yeast/yeast.data",
        feature_names=tuple("mcg gvh alm mit erl pox vac nuc".split())),
}
# fmt: on
