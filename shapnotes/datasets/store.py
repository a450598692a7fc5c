"""Files of data sets: located, fetched, verified, decoded, and kept in the cache."""

import hashlib
import importlib
import io
import os
import re
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
import torch

from shapnotes._runtime.progress import progress_bar
from shapnotes.datasets.sources import Arrays, Dataset, Part, Source

TIMEOUT_SECONDS = 60  # without an answer
ABANDONED_AFTER_SECONDS = 3600  # since the last write: such a file is not being written any more
TEMPORARY_NAME = re.compile(r".*\.[0-9a-f]{32}\.part")  # what `atomic` writes before it renames


class DamagedFileError(ValueError):
    """A data file is truncated, altered, or not what its name says."""


def load(source: Source, split: str, data_home: str | Path | None = None) -> Dataset:
    """A split of a data set, from the file that is found first, which is checked."""
    if not isinstance(split, str) or split not in source.parts:
        raise ValueError(f"{source.title} has the splits {sorted(source.parts)}, got {split!r}")
    part = source.parts[split]
    home = cache_folder(data_home)
    path, fetched = _locate(source, split, home)
    try:
        sha256 = _file_sha256(path)
        record = home / "sha256" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()}.txt"
        _check_record(path, sha256, record)
        arrays = _decoded(source, part, path, home, sha256)
        _check_content(arrays, source, part, path)
    except DamagedFileError:
        if fetched:  # never accepted, so the next call fetches it again
            path.unlink(missing_ok=True)
        raise
    if not record.exists():
        line = f"{sha256}  {path.resolve()}\n".encode()  # the format of `sha256sum --check`
        _keep(record, home, "whether it changes before it is loaded again", lambda file: file.write(line))
    _sweep(home / "decoded", home / "sha256", home / source.folder)
    return _dataset(arrays, source, split)


def _dataset(arrays: Arrays, source: Source, split: str) -> Dataset:
    """The rows as tensors, with their provenance in words."""
    x = torch.from_numpy(arrays.x)
    if x.dtype == torch.uint8:
        x = x.to(torch.float32).div_(255)
    note = f"{source.title}, {split} split, {source.folder}, {arrays.encoding}"
    if arrays.encoding == "JPEG":
        note = f"{source.title}, {split} split, JPEG re-encoded: pixels differ from the original"
    elif source.parts[split].digest is not None:
        note += ", content equal to the original"
    return Dataset(x, torch.from_numpy(arrays.y), source.feature_names, source.class_names, source.name, note)


# --- located and fetched -------------------------------------------------------------------------------------------


def cache_folder(data_home: str | Path | None) -> Path:
    """Where fetched and decoded files are kept. The same on every system, as those of PyTorch and of the hub are."""
    if data_home is None:
        xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        data_home = os.environ.get("SHAPNOTES_CACHE") or Path(xdg) / "shapnotes"
    if not isinstance(data_home, str | os.PathLike):
        raise TypeError(f"data_home must be the path of a folder; got {type(data_home).__name__}")
    return Path(data_home).expanduser()


def _locate(source: Source, split: str, home: Path) -> tuple[Path, bool]:
    """The path of a split's file, fetched if need be, and whether it was fetched just now."""
    relative = Path(source.folder) / source.parts[split].file
    data_folder = os.environ.get("SHAPNOTES_DATA")
    if data_folder:
        folder = Path(data_folder).expanduser()
        if not folder.is_dir():
            raise NotADirectoryError(f"SHAPNOTES_DATA is {data_folder!r}, which is not a folder")
        if (folder / relative).is_file():
            return folder / relative, False
    path = home / relative
    if path.is_file():
        return path, False
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
            _fetch_from_hub(source, source.parts[split], path, home)
    except (DamagedFileError, ImportError):
        raise
    except Exception as error:  # each client, in each version, has its own network errors
        where = source.url or f"https://huggingface.co/datasets/{source.folder}"
        raise FileNotFoundError(
            f"{source.title} ({split}) is not on this machine; fetching it from {where} failed: "
            f"{type(error).__name__}: {error}\nThe missing file is {relative.as_posix()}. Either "
            f"connect to the network and call again: it is fetched once, into {home}; or set "
            f"SHAPNOTES_DATA to a folder that holds {relative.as_posix()}"
            + (f" (it is now {data_folder!r}, which does not)." if data_folder else ".")
        ) from error
    return path, True


def _fetch_url(url: str, path: Path) -> None:
    """By pooch's downloader, which refuses an answer that is shorter than announced.

    The file is renamed here and not by pooch, whose cached files only their owner can read.
    """
    download = _optional("pooch").HTTPDownloader(timeout=TIMEOUT_SECONDS)
    with atomic(path) as temporary:
        download(url, str(temporary), None)


def _fetch_from_hub(source: Source, part: Part, path: Path, home: Path) -> None:
    """By the hub's client, which resumes a dropped connection; its file is compared with the hub's own SHA-256."""
    hub = _optional("huggingface_hub")
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


# --- decoded -------------------------------------------------------------------------------------------------------


def _decoded(source: Source, part: Part, path: Path, home: Path, sha256: str) -> Arrays:
    """The arrays of a file: from the cache, else read from the file and kept."""
    copy = home / "decoded" / f"{sha256}.npz"
    try:
        # A zip file: each array carries a CRC-32.
        with copy.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return Arrays(saved["x"], saved["y"], str(saved["encoding"]))
    except Exception:  # absent or damaged: it is only a copy, made again from the file
        pass
    try:
        arrays = _read_text(path, source) if source.url else _read_images(path, source, part)
    except ImportError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the decoders
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    what = f"the decoded rows of {path}, which take as long the next time"
    _keep(copy, home, what, lambda file: np.savez(file, x=arrays.x, y=arrays.y, encoding=arrays.encoding))
    return arrays


def _read_text(path: Path, source: Source) -> Arrays:
    """UCI's file of Yeast: a name, one number per feature, and a class on each line."""
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
                        if (look := (picture.mode, picture.size)) != expected:
                            raise ValueError(f"image {row} is {look} instead of {expected}")
                        encodings.add(picture.format)
                        pixels = np.asarray(picture).reshape(height, width, channels)
                    x[row] = pixels.transpose(2, 0, 1)
                    row += 1
                progress.update(len(labels))
    return Arrays(x, y, "JPEG" if "JPEG" in encodings else "PNG")


# --- verified ------------------------------------------------------------------------------------------------------


def _check_content(arrays: Arrays, source: Source, part: Part, path: Path) -> None:
    """DamagedFileError unless the rows are those that the table of sources tells of."""
    x, y, _ = arrays
    counts, classes = part.class_counts, len(source.class_names)
    if x.shape != (sum(counts), *source.shape) or y.shape != x.shape[:1]:
        raise _damaged(path, f"shapes {x.shape} and {y.shape}")
    if y.min() < 0 or y.max() >= classes:
        raise _damaged(path, f"a label outside 0 … {classes - 1}")
    if (rows := tuple(np.bincount(y, minlength=classes).tolist())) != counts:
        raise _damaged(path, f"rows per class {rows} instead of {counts}")
    if source.means is not None:
        means = x.mean(axis=(0, 2, 3)) / 255
        if np.abs(means - source.means).max() > 0.005:
            raise _damaged(path, f"channel means {means}, not {source.means}")
    if part.digest is not None and (digest := content_digest(arrays)) != part.digest:
        raise _damaged(path, f"not the original rows, content digest {digest}")


def _check_record(path: Path, sha256: str, record: Path) -> None:
    """Whether a file is the one that was first loaded from this path."""
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
    """The error, with the file and what is wrong with it."""
    return DamagedFileError(f"{path} is damaged or not the file expected: {what}. Delete or replace it and call again.")


def content_digest(arrays: Arrays) -> str:
    """SHA-256 over the sorted SHA-256 of each row with its label: blind to order and encoding."""
    rows = (row.tobytes() + bytes([label]) for row, label in zip(arrays.x, arrays.y.tolist(), strict=True))
    digests = sorted(hashlib.sha256(row).digest() for row in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _file_sha256(path: Path) -> str:
    """In hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- kept ----------------------------------------------------------------------------------------------------------


def _keep(path: Path, home: Path, what: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file of the cache; where the cache cannot be written to, go on with a warning."""
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            write(file)
    except OSError as error:
        warnings.warn(
            f"the cache {home} cannot keep {what}: {type(error).__name__}: {error} "
            "(data_home and SHAPNOTES_CACHE name other folders)",
            stacklevel=_frames_of_this_package() + 1,  # where a data set is asked for
        )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it if the block succeeds and removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(*folders: Path) -> None:
    """Remove what processes that were killed have left half written."""
    for path in (path for folder in folders for path in folder.glob("*.part")):
        with suppress(OSError):
            if TEMPORARY_NAME.fullmatch(path.name) and time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                path.unlink()


def _frames_of_this_package() -> int:
    """How many calls lie between the caller and the code that asked this package for a data set."""
    here, count, frame = str(Path(__file__).parent), 0, sys._getframe(1)
    while frame.f_code.co_filename.startswith(here) and frame.f_back is not None:
        count, frame = count + 1, frame.f_back
    return count


def _optional(module: str) -> ModuleType:
    """A module of the extra `data`, or an ImportError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{module} is missing here: pip install "shapnotes[data]"') from error
