"""The data of both papers: embedded (no network), or fetched once, cached and checked.

Embedded: :func:`synthetic_regression`, :func:`digits`, :func:`breast_cancer`. Fetched:
:func:`yeast` (UCI); :func:`mnist`, :func:`fashion_mnist`, :func:`cifar10` (Parquet files of the
Hugging Face hub, for which ``pip install "shapnotes[data]"``). A file is looked for in this order:

1. the folder that the environment variable ``SHAPNOTES_DATA`` names, which is only read, laid out
   as ``<repository>/<file>``: ``ylecun/mnist/mnist/train-00000-of-00001.parquet``;
2. the cache, in the same layout: ``data_home``, else ``SHAPNOTES_CACHE``, else
   ``$XDG_CACHE_HOME/shapnotes``, else ``~/.cache/shapnotes``;
3. the network, into the cache: of the hub a revision that is named here, not whatever is newest.

The hub's client resumes a dropped connection; when the call itself is interrupted, that one file
starts over. Decoded images are kept in the cache under the SHA-256 of their file. Every file is
written under another name and renamed when complete, so an interruption leaves no half file; what
a killed process leaves is removed by a load an hour later. Data that are there are loaded, with a
warning, also where the cache cannot be written to.

**Checked on every load**: the file's SHA-256, against the one recorded when this path was first
loaded (after a download also against the hub's own, and of MNIST and CIFAR-10 against the one that
is recorded here); the number of rows, and of rows in each class;
the mean of each channel to 0.005, which notices swapped channels or inverted images but not a
changed pixel; for MNIST and Yeast a digest of all labelled rows: every value and label is the
original, in whatever encoding and order. **Checked when a file is first decoded**: the Parquet
structure, that every image decodes, its size and its colour mode.

**Not checked**: the order of the rows; and in a copy of FashionMNIST or CIFAR-10 that did not come
from the hub, single pixels and exchanged labels before the first load, since no digest of the
originals' rows is stored here. JPEG copies of CIFAR-10 differ from the original by the loss of that
encoding, which cannot be bounded without it; :attr:`Dataset.note` says "JPEG re-encoded".
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import os
import re
import shutil
import time
import urllib.request
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shapnotes._runtime.progress import progress_bar

__all__ = ["DamagedFileError", "Dataset", "breast_cancer", "cifar10", "digits", "fashion_mnist"]
__all__ += ["mnist", "standardise", "synthetic_regression", "train_test_split", "yeast"]


ABANDONED = 3600  # seconds: a file that nobody has written to for so long is not being written


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs, targets and where they come from.

    x: float32, ``[rows, features]``, or ``[rows, channels, height, width]`` in [0, 1] for images.
    y: ``[rows]``, int64 class numbers or float32 targets.
    feature_names: one name a column of x; empty for images.
    class_names: ``class_names[y[i]]`` is the class of row i; empty for regression.
    note: the provenance, in words fit for a figure's caption.
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


class DamagedFileError(ValueError):
    """A data file is truncated, altered, or not what its name says."""


# --- embedded -------------------------------------------------------------------------------------


def synthetic_regression(
    n_samples: int,
    *,
    generator: torch.Generator,
    noise: float = 0.05,
    reading: Literal["product", "sum"] = "product",
) -> Dataset:
    r"""The synthetic regression task of Shapley Explanation Networks (Table 1).

    With :math:`v` uniform on :math:`[-\frac12, \frac12]^{16}` and standard normal
    :math:`\varepsilon`, :math:`y = \prod_i v_i + \sum_i v_i^2 + \text{noise}\cdot\varepsilon`.

    The operators are lost in the paper's text, so this is a reading of it. ``reading="sum"`` is the
    other: :math:`y = \sum_i v_i + \sum_i v_i^2 + \text{noise}\cdot\varepsilon`. Under either, no
    model's expected squared error is below the noise floor noise² (0.0025 for the paper's 0.05).
    The product is at most 2⁻¹⁶ in size, so the first reading is, to within the noise, additive.

    Args: n_samples: rows, at least 1. generator: source of v, then of ε; the result lives on its
        device. noise: at least 0. reading: "product" or "sum".
    Returns: x ``[n_samples, 16]``, y float32 ``[n_samples]``.
    Raises: TypeError, ValueError for anything else.
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
    _check_generator(generator)

    v = torch.rand(rows, 16, generator=generator, device=generator.device) - 0.5
    epsilon = torch.randn(rows, generator=generator, device=generator.device)
    first = v.prod(dim=1) if reading == "product" else v.sum(dim=1)
    y = first + v.square().sum(dim=1) + noise * epsilon
    names = tuple(f"v{i}" for i in range(1, 17))
    return Dataset(v, y, names, (), "synthetic", f'drawn here, reading "{reading}", noise {noise}')


def digits() -> Dataset:
    """Handwritten digits, ten classes, from scikit-learn: x ``[1797, 1, 8, 8]``."""
    from sklearn.datasets import load_digits  # scikit-learn is slow to import

    data = load_digits()
    x = torch.as_tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.as_tensor(data.target, dtype=torch.int64)
    classes = tuple(str(name) for name in data.target_names)
    return Dataset(x, y, (), classes, "digits", "as shipped with scikit-learn")


def breast_cancer() -> Dataset:
    """Breast Cancer Wisconsin (Diagnostic), two classes, from scikit-learn: x ``[569, 30]``."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = torch.as_tensor(data.data, dtype=torch.float32)
    y = torch.as_tensor(data.target, dtype=torch.int64)
    names, classes = (tuple(map(str, n)) for n in (data.feature_names, data.target_names))
    return Dataset(x, y, names, classes, "breast_cancer", "as shipped with scikit-learn")


# --- fetched: what each file is and must hold -----------------------------------------------------


class Arrays(NamedTuple):
    """A file's rows: x uint8 ``[rows, *shape]`` for images, float32 ``[rows, features]`` else."""

    x: np.ndarray
    y: np.ndarray
    encoding: str


class Part(NamedTuple):
    """One split of a source: its file, the rows of each class, the digest of its content, the file's SHA-256."""

    file: str
    class_counts: tuple[int, ...]
    digest: str | None = None
    sha256: str | None = None


class Source(NamedTuple):
    """A public data set; `folder` is the hub's repository, or where the file at `url` is kept.

    revision: the commit of the hub's repository that is fetched.
    """

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

# The digests are `_content_digest` of UCI's file, and of a copy of MNIST with the pixels and labels
# of the original IDX files. The tests recompute them where SHAPNOTES_DATA holds the data. SHA-256 are
# those of the hub's files at these revisions.
# fmt: off
SOURCES = {
    "mnist": Source("MNIST", "ylecun/mnist", (1, 28, 28), tuple("0123456789"), {
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
        "FashionMNIST", "zalando-datasets/fashion_mnist", (1, 28, 28), _GARMENTS, {
        "train": Part(f"fashion_mnist/{_TRAIN}", (6000,) * 10),
        "test": Part(f"fashion_mnist/{_TEST}", (1000,) * 10),
    }, "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2", means=(0.2860,)),
    "cifar10": Source("CIFAR-10", "uoft-cs/cifar10", (3, 32, 32), _OBJECTS, {
        "train": Part(f"plain_text/{_TRAIN}", (5000,) * 10,
                      sha256="8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"),
        "test": Part(f"plain_text/{_TEST}", (1000,) * 10,
                     sha256="841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"),
    }, "0b2714987fa478483af9968de7c934580d0bb9a2", columns=("img", "label"), means=(0.4914, 0.4822, 0.4465)),
    "yeast": Source(
        "Yeast", "uci/yeast", (8,), tuple("CYT ERL EXC ME1 ME2 ME3 MIT NUC POX VAC".split()), {
        "all": Part("yeast.data", (463, 5, 35, 44, 51, 163, 244, 429, 20, 30),
                    "d4b29e51c687a99cc4cf9f5378de9610a622d01571f3c3a8e945085820a456bf"),
    }, url=f"{_UCI}/yeast/yeast.data",
        feature_names=tuple("mcg gvh alm mit erl pox vac nuc".split())),
}
# fmt: on


def yeast(*, data_home: str | Path | None = None) -> Dataset:
    """Yeast (UCI), ten classes, the sites of a protein: x ``[1484, 8]``. See the module."""
    return _load("yeast", "all", data_home)


def mnist(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """MNIST, split "train" or "test": x ``[60000 or 10000, 1, 28, 28]``. See the module."""
    return _load("mnist", split, data_home)


def fashion_mnist(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """FashionMNIST, split "train" or "test": x ``[60000 or 10000, 1, 28, 28]``. See the module."""
    return _load("fashion_mnist", split, data_home)


def cifar10(split: str = "train", *, data_home: str | Path | None = None) -> Dataset:
    """CIFAR-10, split "train" or "test": x ``[50000 or 10000, 3, 32, 32]``. See the module."""
    return _load("cifar10", split, data_home)


# --- fetched: the one loader ----------------------------------------------------------------------


def _load(name: str, split: str, data_home: str | Path | None) -> Dataset:
    source = SOURCES[name]
    if not isinstance(split, str) or split not in source.parts:
        raise ValueError(f"{source.title} has the splits {sorted(source.parts)}, got {split!r}")
    part = source.parts[split]
    home = _cache_folder(data_home)
    path, fetched = _locate(source, split, home)
    try:
        sha256 = _file_sha256(path)
        record = home / "sha256" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()}.txt"
        _check_record(path, sha256, record)
        arrays = _decoded(source, part, path, home / "decoded" / f"{sha256}.npz")
        _check_content(arrays, source, part, path)
    except DamagedFileError:
        if fetched:  # never accepted, so the next call fetches it again
            path.unlink(missing_ok=True)
        raise
    if not record.exists():
        with _if_possible(home, "whether it changes before it is loaded again"), _atomic(record) as temporary:
            # The format of `sha256sum --check`.
            temporary.write_text(f"{sha256}  {path.resolve()}\n", encoding="utf-8")
    _sweep(home / "decoded", home / "sha256", home / source.folder)

    x = torch.from_numpy(arrays.x)
    if x.dtype == torch.uint8:
        x = x.to(torch.float32).div_(255)
    note = f"{source.title}, {split} split, {source.folder}, {arrays.encoding}"
    if arrays.encoding == "JPEG":
        note = f"{source.title}, {split} split, JPEG re-encoded: pixels differ from the original"
    elif part.digest is not None:
        note += ", content equal to the original"
    y = torch.from_numpy(arrays.y)
    return Dataset(x, y, source.feature_names, source.class_names, name, note)


def _cache_folder(data_home: str | Path | None) -> Path:
    if data_home is None:
        xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        data_home = os.environ.get("SHAPNOTES_CACHE") or Path(xdg) / "shapnotes"
    if not isinstance(data_home, str | os.PathLike):
        raise TypeError(f"data_home must be the path of a folder; got {type(data_home).__name__}")
    return Path(data_home).expanduser()


def _locate(source: Source, split: str, home: Path) -> tuple[Path, bool]:
    """The path of a split's file, fetched if need be, and whether it was fetched just now."""
    relative = Path(source.folder) / source.parts[split].file
    if given := os.environ.get("SHAPNOTES_DATA"):
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise NotADirectoryError(f"SHAPNOTES_DATA is {given!r}, which is not a folder")
        if (folder / relative).is_file():
            return folder / relative, False
    path = home / relative
    if path.is_file():
        return path, False
    where = source.url or f"https://huggingface.co/datasets/{source.folder}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{source.title} ({split}) is not on this machine, and cannot be fetched into the cache {home}: "
            f"{type(error).__name__}: {error}\nGive another folder as data_home or SHAPNOTES_CACHE; or set "
            f"SHAPNOTES_DATA to a folder that holds {relative.as_posix()}."
        ) from error
    try:
        if source.url:
            _fetch_url(source.url, path)
        else:
            _fetch_hub(source, split, path, home)
    except (DamagedFileError, ImportError):
        raise
    except Exception as error:  # each client, in each version, has its own network errors
        raise FileNotFoundError(
            f"{source.title} ({split}) is not on this machine; fetching it from {where} failed: "
            f"{type(error).__name__}: {error}\nThe missing file is {relative.as_posix()}. Either "
            f"connect to the network and call again: it is fetched once, into {home}; or set "
            f"SHAPNOTES_DATA to a folder that holds {relative.as_posix()}"
            + (f" (it is now {given!r}, which does not)." if given else ".")
        ) from error
    return path, True


def _fetch_url(url: str, path: Path) -> None:
    with _atomic(path) as temporary, urllib.request.urlopen(url, timeout=60) as response:
        with temporary.open("wb") as file:
            shutil.copyfileobj(response, file)


def _fetch_hub(source: Source, split: str, path: Path, home: Path) -> None:
    hub, part = _optional("huggingface_hub"), source.parts[split]
    where = {"repo_id": source.folder, "filename": part.file, "repo_type": "dataset", "revision": source.revision}
    # token=False: the files are public, and a stale token on the machine must not be in the way.
    etag = hub.get_hf_file_metadata(hub.hf_hub_url(**where), token=False).etag
    hub.hf_hub_download(**where, local_dir=home / source.folder, token=False)
    # The hub's tag of a large file is its SHA-256; of a small one it is a git hash (40 digits).
    tag = etag if re.fullmatch("[0-9a-f]{64}", etag or "") else None
    for whose, wanted in (("the hub's", tag), ("the one recorded here", part.sha256)):
        if wanted is not None and (sha256 := _file_sha256(path)) != wanted:
            path.unlink()
            raise DamagedFileError(
                f"{path} arrived damaged and was removed: its SHA-256 is {sha256}, {whose} {wanted}. "
                "Call again to fetch it afresh."
            )


def _decoded(source: Source, part: Part, path: Path, store: Path) -> Arrays:
    """The arrays of a file: from the store, else read from the file and stored."""
    try:
        # A zip file: each array carries a CRC-32.
        with store.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return Arrays(saved["x"], saved["y"], str(saved["encoding"]))
    except Exception:  # absent or damaged: the store is only a copy, made again from the file
        pass
    try:
        arrays = _read_text(path, source) if source.url else _read_images(path, source, part)
    except ImportError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the decoders
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    what = f"the decoded rows of {path}, which take as long the next time"
    with _if_possible(store.parents[1], what), _atomic(store) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays._asdict())
    return arrays


def _read_text(path: Path, source: Source) -> Arrays:
    """UCI's file of Yeast: a name, one number a feature, and a class on each line."""
    rows, labels = [], []
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), start=1):
        _, *values, label = line.split()
        if len(values) != source.shape[0] or label not in source.class_names:
            raise ValueError(f"line {number} is not a name, {source.shape[0]} numbers and a class")
        rows.append([float(value) for value in values])
        labels.append(source.class_names.index(label))
    return Arrays(np.array(rows, dtype="<f4"), np.array(labels, dtype="<i8"), "text")


def _read_images(path: Path, source: Source, part: Part) -> Arrays:
    """A Parquet file with a column of {bytes, path} and one of class numbers."""
    parquet, image = _optional("pyarrow.parquet"), _optional("PIL.Image")
    channels, height, width = source.shape
    expected = ("L" if channels == 1 else "RGB", (width, height))
    encodings: set[str] = set()
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        rows = file.metadata.num_rows
        if rows != sum(part.class_counts):
            raise ValueError(f"{rows} rows instead of {sum(part.class_counts)}")
        x = np.empty((rows, *source.shape), dtype=np.uint8)
        y = np.empty(rows, dtype="<i8")
        row = 0
        with progress_bar(rows, "images") as progress:
            for batch in file.iter_batches(batch_size=1000, columns=list(source.columns)):
                pictures, labels = (batch.column(name) for name in source.columns)
                y[row : row + len(labels)] = labels.to_numpy()
                for data in pictures.field("bytes"):
                    with image.open(io.BytesIO(data.as_py()), formats=("PNG", "JPEG")) as picture:
                        if (found := (picture.mode, picture.size)) != expected:
                            raise ValueError(f"image {row} is {found} instead of {expected}")
                        encodings.add(picture.format)
                        pixels = np.asarray(picture).reshape(height, width, channels)
                    x[row] = pixels.transpose(2, 0, 1)
                    row += 1
                progress.update(len(labels))
    return Arrays(x, y, "JPEG" if "JPEG" in encodings else "PNG")


def _check_content(arrays: Arrays, source: Source, part: Part, path: Path) -> None:
    x, y, _ = arrays
    counts, classes = part.class_counts, len(source.class_names)
    if x.shape != (sum(counts), *source.shape) or y.shape != x.shape[:1]:
        raise _damaged(path, f"shapes {x.shape} and {y.shape}")
    if y.min() < 0 or y.max() >= classes:
        raise _damaged(path, f"a label outside 0 … {classes - 1}")
    if (found := tuple(np.bincount(y, minlength=classes).tolist())) != counts:
        raise _damaged(path, f"rows a class {found} instead of {counts}")
    if source.means is not None:
        means = x.mean(axis=(0, 2, 3)) / 255
        if np.abs(means - source.means).max() > 0.005:
            raise _damaged(path, f"channel means {means}, not {source.means}")
    if part.digest is not None and (found := _content_digest(x, y)) != part.digest:
        raise _damaged(path, f"not the original rows, content digest {found}")


def _check_record(path: Path, sha256: str, record: Path) -> None:
    if not record.exists():
        return
    try:
        known = record.read_bytes()[:64].decode("ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    if not re.fullmatch("[0-9a-f]{64}", known):
        raise DamagedFileError(f"{record}, which holds the SHA-256 of {path}, is damaged; delete it and call again.")
    if known != sha256:
        raise DamagedFileError(
            f"{path} has changed since it was first loaded: SHA-256 {known} then, {sha256} now. "
            f"Restore it; or, if the change was meant, delete {record} and call again."
        )


def _damaged(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged or not the file expected: {what}. Delete or replace it and call again.")


def _content_digest(x: np.ndarray, y: np.ndarray) -> str:
    """SHA-256 over the sorted SHA-256 of each row with its label: blind to order and encoding."""
    rows = (row.tobytes() + bytes([label]) for row, label in zip(x, y.tolist(), strict=True))
    digests = sorted(hashlib.sha256(row).digest() for row in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it if the block succeeds and removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _if_possible(home: Path, what: str) -> Iterator[None]:
    """Goes on with a warning where the cache cannot be written to."""
    try:
        yield
    except OSError as error:
        warnings.warn(
            f"the cache {home} cannot keep {what}: {type(error).__name__}: {error} "
            "(data_home and SHAPNOTES_CACHE name other folders)",
            stacklevel=5,  # where a data set is asked for
        )


def _sweep(*folders: Path) -> None:
    """Remove what processes that were killed have left of `_atomic`."""
    for path in (path for folder in folders for path in folder.glob("*.part")):
        with suppress(OSError):
            old = time.time() - path.stat().st_mtime > ABANDONED
            if old and re.search(r"\.[0-9a-f]{32}\.part$", path.name):
                path.unlink()


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} is missing here: pip install "shapnotes[data]"') from error


# --- small helpers --------------------------------------------------------------------------------


def train_test_split(
    x: Tensor, y: Tensor, test_fraction: float = 0.25, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shuffle the rows and part them: ``x_train, x_test, y_train, y_test``.

    round(test_fraction · rows) rows are for testing; ValueError if that leaves either side empty.
    """
    _check_generator(generator)
    for name, given in (("x", x), ("y", y)):
        if not isinstance(given, Tensor) or not given.dim():
            got = "a single number" if isinstance(given, Tensor) else type(given).__name__
            raise TypeError(f"{name} must be a tensor [rows, ...], got {got} (torch.as_tensor makes one)")
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}; they must be equal")
    if not isinstance(test_fraction, Real):
        raise TypeError(f"test_fraction must be a number, got {test_fraction!r}")
    n_test = round(test_fraction * len(x)) if 0 < test_fraction < 1 else 0
    if not 0 < n_test < len(x):
        raise ValueError(f"test_fraction {test_fraction} of {len(x)} rows leaves one side empty")
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    test, train = order[:n_test], order[n_test:]
    return x[train], x[test], y[train.to(y.device)], y[test.to(y.device)]


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Subtract the training mean of each column and divide by its standard deviation (÷ rows).

    Args: train ``[rows, *features]``; others ``[any, *features]``, treated with the statistics of
        `train`. A column that is constant in `train` is only centred.
    Returns: all of them, in order, in their own dtype. Raises ValueError on other shapes, NaN or
        infinity, in whichever of them, and TypeError on what is not floating point.
    """
    for tensor in (train, *others):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"expected tensors of floating-point numbers, got {got} (use .float())")
        if tensor.shape[1:] != train.shape[1:] or tensor.ndim < 2:
            expected = ["rows", *train.shape[1:]] if train.ndim > 1 else ["rows", "features"]
            raise ValueError(f"expected {expected}, got {list(tensor.shape)}")
    if not len(train) or not all(t.isfinite().all() for t in (train, *others)):
        raise ValueError("train must have rows, and neither it nor the others NaN or infinity")
    # float64, and max = min for "constant": rounding must not turn a constant column into noise.
    mean = train.double().mean(dim=0)
    deviation = train.double().std(dim=0, correction=0)
    deviation[train.amax(dim=0) == train.amin(dim=0)] = 1.0
    standard = tuple(((t.double() - mean) / deviation).to(t.dtype) for t in (train, *others))
    if not deviation.isfinite().all() or not all(t.isfinite().all() for t in standard):
        raise ValueError("what is standardised is too large for its precision; divide it by a constant first")
    return standard


def _check_generator(generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator):
        hint = "e.g. torch.Generator().manual_seed(0)"
        raise TypeError(f"generator must be a torch.Generator, {hint}; got {generator!r}")
