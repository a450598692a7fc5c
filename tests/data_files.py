"""Small files of data sets, and the sources that describe them: no test touches the network or the user's cache."""

import io
from pathlib import Path

import numpy as np
import pytest

from shapnotes import datasets
from shapnotes.datasets.sources import SOURCES, Part, Source
from shapnotes.datasets.store import DamagedFileError, load

IMAGES = np.random.default_rng(0).integers(0, 256, size=(20, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2)


def small(name: str, counts: tuple[int, ...] = (2,) * 10, digest: str | None = None, means=None) -> Source:
    """The source `name` with the numbers of rows of the small files, and with a training split only."""
    part = Part(SOURCES[name].parts["train"].file, counts, digest)
    return SOURCES[name]._replace(parts={"train": part}, means=means)


def path_of(source: Source) -> Path:
    """Of its training file, in the cache or in a data folder."""
    return Path(source.folder) / source.parts["train"].file


FASHION = small("fashion_mnist")


def fashion_mnist() -> datasets.Dataset:
    """The small one."""
    return load(FASHION, "train")


def write_parquet(path, images=IMAGES, labels=LABELS, encoding="PNG", columns=("image", "label")):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra shapnotes[data]")
    parquet = pytest.importorskip("pyarrow.parquet")
    pil = pytest.importorskip("PIL.Image", reason="needs the extra shapnotes[data]")
    cells = []
    for image in images:
        with io.BytesIO() as buffer:
            pil.fromarray(image).save(buffer, format=encoding)
            cells.append({"bytes": buffer.getvalue(), "path": None})
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({columns[0]: pyarrow.array(cells, kind), columns[1]: labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, compression="none", row_group_size=7)
    return path


def leftovers(home):
    return [path for path in home.rglob("*") if path.name.endswith((".part", ".incomplete"))]


def refused(path, message):
    return pytest.raises(DamagedFileError, match=rf"(?s){path.name}.*{message}")
