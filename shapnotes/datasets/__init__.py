"""The data of both papers: embedded (no network), or fetched once, cached and checked.

Embedded: `synthetic_regression`, `digits`, `breast_cancer`. Fetched: `yeast` (UCI); `mnist`, `fashion_mnist`, `cifar10`
(Parquet files of the Hugging Face hub); for these `pip install "shapnotes[data]"`. A file is looked for in this order:

1. the folder that the environment variable `SHAPNOTES_DATA` names, which is only read, laid out as
   `<repository>/<file>`: `ylecun/mnist/mnist/train-00000-of-00001.parquet`;
2. the cache, in the same layout: `data_home`, else `SHAPNOTES_CACHE`, else `$XDG_CACHE_HOME/shapnotes`, else
   `~/.cache/shapnotes`;
3. the network, into the cache: of the hub a revision that is named here, not whatever is newest.

The hub's client resumes a dropped connection; when the call itself is interrupted, that one file starts over. Decoded
images are kept in the cache under the SHA-256 of their file. Every file is written under another name and renamed when
complete, so an interruption leaves no half file; what a killed process leaves is removed by a load an hour later. Data
that are there are loaded, with a warning, also where the cache cannot be written to.

**Checked on every load**: the file's SHA-256, against the one recorded when this path was first loaded (after a
download also against the hub's own, and of MNIST and CIFAR-10 against the one that is recorded here); the number of
rows, and of rows per class; the mean of each channel to 0.005, which notices swapped channels or inverted images but
not a changed pixel; for MNIST and Yeast a digest of all labelled rows: every value and label is the original, in
whatever encoding and order. **Checked when a file is first decoded**: the Parquet structure, that every image decodes,
its size and its colour mode.

**Not checked**: the order of the rows; and in a copy of FashionMNIST or CIFAR-10 that did not come from the hub, single
pixels and exchanged labels before the first load, since no digest of the originals' rows is stored here. JPEG copies of
CIFAR-10 differ from the original by the loss of that encoding, which cannot be bounded without it; `Dataset.note` says
"JPEG re-encoded".

Examples
--------
>>> import torch
>>> import shapnotes as sn
>>> data = sn.datasets.breast_cancer()
>>> data
Dataset('breast_cancer', x [569, 30]: as shipped with scikit-learn)
>>> generator = torch.Generator().manual_seed(0)
>>> x_train, x_test, y_train, y_test = (
...     sn.datasets.train_test_split(
...         data.x, data.y, generator=generator
...     )
... )
>>> x_train, x_test = sn.datasets.standardise(
...     x_train, x_test
... )
>>> x_train.shape, x_test.shape
(torch.Size([427, 30]), torch.Size([142, 30]))
"""

# sources.py       what each file is and must hold, as a table
# store.py         locates, fetches, verifies, decodes and keeps files
# preparation.py   rows parted, columns standardised

import math
from numbers import Real
from operator import index
from pathlib import Path
from typing import Literal

import torch

from shapnotes.datasets.preparation import check_generator, standardise, train_test_split
from shapnotes.datasets.sources import SOURCES, Dataset
from shapnotes.datasets.store import DamagedFileError, load

__all__ = ["DamagedFileError", "Dataset", "breast_cancer", "cifar10", "digits", "fashion_mnist"]
__all__ += ["mnist", "standardise", "synthetic_regression", "train_test_split", "yeast"]


# --- embedded -------------------------------------------------------------------------------------


def synthetic_regression(
    n_samples: int,
    *,
    generator: torch.Generator,
    noise: float = 0.05,
    reading: Literal["product", "sum"] = "product",
) -> Dataset:
    r"""The synthetic regression task of Shapley Explanation Networks.

    .. math::
        y = \prod_i v_i + \sum_i v_i^2 + \text{noise} \cdot \varepsilon

    with v uniform on :math:`[-\tfrac12, \tfrac12]^{16}` and :math:`\varepsilon` standard normal. The operators are lost
    in the paper's text, so this is a reading of it. `reading="sum"` is the other: :math:`y = \sum_i v_i + \sum_i v_i^2
    + \text{noise} \cdot \varepsilon`. Under either, no model's expected squared error is below the noise floor
    noise**2 (0.0025 for the paper's 0.05). The product is at most :math:`2^{-16}` in size, so the first reading is, to
    within the noise, additive.

    Parameters
    ----------
    n_samples : int
        Rows, at least 1.
    generator : torch.Generator
        Source of v, then of the noise; the result lives on its device.
    noise : float
        At least 0.
    reading : str
        "product" or "sum".

    Returns
    -------
    Dataset
        x [n_samples, 16], y float32 [n_samples].

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Source
    ------
    Shapley Explanation Networks, Table 1.
    """
    try:
        rows = index(n_samples)
    except TypeError:
        rows = None
    if rows is None or isinstance(n_samples, bool):
        raise TypeError(f"n_samples must be an integer, got {n_samples!r}")
    if rows < 1:
        raise ValueError(f"n_samples must be at least 1, got {rows}")
    if not isinstance(noise, Real) or not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    if reading not in ("product", "sum"):
        raise ValueError(f'reading must be "product" or "sum", got {reading!r}')
    check_generator(generator)

    v = torch.rand(rows, 16, generator=generator, device=generator.device) - 0.5
    epsilon = torch.randn(rows, generator=generator, device=generator.device)
    first = v.prod(dim=1) if reading == "product" else v.sum(dim=1)
    y = first + v.square().sum(dim=1) + noise * epsilon
    names = tuple(f"v{i}" for i in range(1, 17))
    return Dataset(v, y, names, (), "synthetic", f'drawn here, reading "{reading}", noise {noise}')


def digits() -> Dataset:
    """Handwritten digits, ten classes, from scikit-learn.

    Returns
    -------
    Dataset
        x [1797, 1, 8, 8] in [0, 1], y [1797].

    Source
    ------
    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI); its test rows.
    """
    from sklearn.datasets import load_digits  # scikit-learn is slow to import

    data = load_digits()
    x = torch.as_tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.as_tensor(data.target, dtype=torch.int64)
    classes = tuple(str(name) for name in data.target_names)
    return Dataset(x, y, (), classes, "digits", "as shipped with scikit-learn")


def breast_cancer() -> Dataset:
    """Breast Cancer Wisconsin (Diagnostic), two classes, from scikit-learn.

    Returns
    -------
    Dataset
        x [569, 30], y [569]: 0 is malignant, 1 benign.

    Source
    ------
    Wolberg, Mangasarian, Street and Street (UCI).
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = torch.as_tensor(data.data, dtype=torch.float32)
    y = torch.as_tensor(data.target, dtype=torch.int64)
    names, classes = (tuple(map(str, n)) for n in (data.feature_names, data.target_names))
    return Dataset(x, y, names, classes, "breast_cancer", "as shipped with scikit-learn")


# --- fetched --------------------------------------------------------------------------------------


def yeast(*, data_home: str | Path | None = None) -> Dataset:
    """Yeast, ten classes, the sites of a protein; from UCI.

    Parameters
    ----------
    data_home : path, optional
        The cache's folder; see the module for where else a file is looked for, and for what is checked.

    Returns
    -------
    Dataset
        x [1484, 8], y [1484].

    Raises
    ------
    DamagedFileError
        For a file that is truncated, altered, or another one.
    FileNotFoundError
        Where it is not on this machine and cannot be fetched.
    ImportError
        Where the extra `shapnotes[data]` is needed and missing.

    Source
    ------
    Nakai, Yeast (UCI).
    """
    return load(SOURCES["yeast"], "all", data_home)


def mnist(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """MNIST, ten classes; from the hub.

    Parameters
    ----------
    split : str
        "train" or "test".
    data_home : path, optional
        As in `yeast`, and so are the errors.

    Returns
    -------
    Dataset
        x [60000, 1, 28, 28] in [0, 1], y [60000]; of the test split 10000 rows.

    Raises
    ------
    ValueError
        For another split.

    Source
    ------
    LeCun, Cortes and Burges, The MNIST database of handwritten digits.
    """
    return load(SOURCES["mnist"], split, data_home)


def fashion_mnist(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """FashionMNIST, ten classes; from the hub.

    Parameters
    ----------
    split, data_home
        As in `mnist`, and so are the result and the errors.

    Returns
    -------
    Dataset
        Of the shapes of `mnist`.

    Source
    ------
    Xiao, Rasul and Vollgraf (2017).
    """
    return load(SOURCES["fashion_mnist"], split, data_home)


def cifar10(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """CIFAR-10, ten classes; from the hub.

    Parameters
    ----------
    split, data_home
        As in `mnist`, and so are the errors.

    Returns
    -------
    Dataset
        x [50000, 3, 32, 32] in [0, 1], y [50000]; of the test split 10000 rows.

    Source
    ------
    Krizhevsky (2009).
    """
    return load(SOURCES["cifar10"], split, data_home)
