"""The data are what they are said to be, and a file that is not is refused by name.

The loader is exercised on small Parquet files written here; the real files are read where
SHAPNOTES_DATA names a folder that holds them. No test touches the network or the user's cache.
"""

import errno
import hashlib
import io
import os
import shutil
import sys
import threading
import time
import uuid
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from shapnotes import datasets
from shapnotes.datasets import DamagedFileError, Part

try:
    import huggingface_hub as client
except ImportError:  # the extra shapnotes[data]; without it only the tests of the hub are skipped
    client = None
else:
    DOWNLOAD, METADATA, URL = (
        getattr(client, name) for name in ("hf_hub_download", "get_hf_file_metadata", "hf_hub_url")
    )

DATA = os.environ.get("SHAPNOTES_DATA")
IMAGES = np.random.default_rng(0).integers(0, 256, size=(20, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A cache of this test's own, no data folder, and no way out to the network."""

    def no_network(*args, **kwargs):
        raise OSError("the test has no network")

    monkeypatch.delenv("SHAPNOTES_DATA", raising=False)
    monkeypatch.setenv("SHAPNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.urllib.request, "urlopen", no_network)
    if client is not None:
        monkeypatch.setattr(client, "get_hf_file_metadata", no_network)
        monkeypatch.setattr(client, "hf_hub_download", no_network)
    return tmp_path / "cache"


# --- embedded -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["product", "sum"])
def test_synthetic_target_is_the_formula(reading):
    data = datasets.synthetic_regression(50, generator=generator(3), noise=0.0, reading=reading)
    for row, target in zip(data.x.double().numpy(), data.y.numpy(), strict=True):
        first = np.prod(row) if reading == "product" else np.sum(row)
        # float32, sixteen terms of at most 1/2
        np.testing.assert_allclose(target, first + np.sum(row**2), rtol=0, atol=2e-6)
    assert data.x.shape == (50, 16) and data.y.shape == (50,)
    assert data.x.dtype == data.y.dtype == torch.float32
    assert len(data.feature_names) == 16 and data.class_names == ()


def test_synthetic_inputs_are_uniform_and_the_noise_has_its_floor():
    data = datasets.synthetic_regression(20_000, generator=generator(1))
    assert data.x.min() >= -0.5 and data.x.max() <= 0.5
    assert_close(data.x.mean(0), torch.zeros(16), rtol=0, atol=0.01)  # 5 standard errors: 0.0102
    assert_close(data.x.var(0), torch.full((16,), 1 / 12), rtol=0.03, atol=0)
    residual = data.y - data.x.prod(1) - data.x.square().sum(1)
    assert abs(residual.square().mean().item() - 0.0025) < 0.0025 * 0.05
    assert abs(residual.mean().item()) < 5 * 0.05 / 20_000**0.5


def test_synthetic_depends_on_the_generator_only():
    first, again, other = (datasets.synthetic_regression(5, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert not torch.equal(first.x, other.x)
    louder = datasets.synthetic_regression(5, generator=generator(0), noise=1.0)
    assert torch.equal(first.x, louder.x) and not torch.equal(first.y, louder.y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "at least 1, got 0"),
        ({"n_samples": 2.0}, TypeError, "integer, got 2.0"),
        ({"n_samples": True}, TypeError, "integer, got True"),
        ({"noise": "0.1"}, ValueError, "noise must be .* got 0.1"),
        ({"noise": None}, ValueError, "noise must be .* got None"),
        ({"reading": "max"}, ValueError, '"product" or "sum", got \'max\''),
        ({"noise": -1.0}, ValueError, "noise must be .* got -1.0"),
        ({"noise": float("nan")}, ValueError, "noise must be .* got nan"),
        ({"generator": None}, TypeError, "torch.Generator.*got None"),
        ({"generator": 0}, TypeError, "torch.Generator.*got 0"),
    ],
)
def test_synthetic_refuses_bad_input(change, error, message):
    arguments = {"n_samples": 3, "generator": generator()} | change
    with pytest.raises(error, match=message):
        datasets.synthetic_regression(**arguments)


def test_synthetic_takes_numpys_numbers():
    given = datasets.synthetic_regression(np.int64(4), generator=generator(), noise=np.float32(0.5))
    plain = datasets.synthetic_regression(4, generator=generator(), noise=0.5)
    assert torch.equal(given.x, plain.x) and torch.equal(given.y, plain.y)


def test_synthetic_needs_a_generator():
    with pytest.raises(TypeError, match="generator"):
        datasets.synthetic_regression(3)


def test_digits():
    data = datasets.digits()
    assert data.x.shape == (1797, 1, 8, 8) and data.x.dtype == torch.float32
    assert data.x.min() == 0 and data.x.max() == 1
    assert torch.equal(data.x * 16, (data.x * 16).round())
    assert data.y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.class_names == tuple("0123456789") and len(data) == 1797


def test_breast_cancer():
    data = datasets.breast_cancer()
    assert data.x.shape == (569, 30) and data.x.dtype == torch.float32
    assert data.y.dtype == torch.int64 and data.y.bincount().tolist() == [212, 357]
    assert data.class_names == ("malignant", "benign")
    assert data.feature_names[0] == "mean radius" and len(data.feature_names) == 30
    assert_close(data.x[0, 0].item(), 17.99, rtol=1e-6, atol=0)


def test_dataset_is_frozen_and_shows_itself_briefly():
    data = datasets.digits()
    with pytest.raises(AttributeError):
        data.x = None
    assert repr(data) == "Dataset('digits', x [1797, 1, 8, 8]: as shipped with scikit-learn)"


# --- the loader, on small files -------------------------------------------------------------------


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


def small(monkeypatch, name, counts=(2,) * 10, **changes):
    """The source `name` with the row counts of the small files; the path of its training file."""
    source = datasets.SOURCES[name]
    part = Part(source.parts["train"].file, counts, changes.pop("digest", None))
    small_source = source._replace(parts={"train": part}, **{"means": None, **changes})
    monkeypatch.setitem(datasets.SOURCES, name, small_source)
    return Path(source.folder) / part.file


@pytest.fixture
def fashion(monkeypatch, home):
    return write_parquet(home / small(monkeypatch, "fashion_mnist"))


def leftovers(home):
    return [path for path in home.rglob("*") if path.name.endswith((".part", ".incomplete"))]


def test_images_and_labels_arrive_as_written(fashion):
    data = datasets.fashion_mnist()
    assert data.x.shape == (20, 1, 28, 28) and data.x.dtype == torch.float32
    assert_close(data.x[:, 0] * 255, torch.from_numpy(IMAGES).float(), rtol=0, atol=1e-4)
    assert data.x.max() == 1 and data.y.tolist() == LABELS.tolist()
    assert data.class_names[9] == "Ankle boot" and data.name == "fashion_mnist"
    assert "PNG" in data.note and "JPEG" not in data.note and "original" not in data.note


@pytest.mark.parametrize("encoding", ["PNG", "JPEG"])
def test_colour_images_have_channels_first_and_the_note_tells_jpeg(monkeypatch, home, encoding):
    colours = np.zeros((20, 32, 32, 3), dtype=np.uint8)
    colours[..., 0], colours[..., 1], colours[:, :16, :, 2] = 200, 100, 50
    path = home / small(monkeypatch, "cifar10")
    write_parquet(path, colours, encoding=encoding, columns=("img", "label"))
    data = datasets.cifar10("train")
    tolerance = 0 if encoding == "PNG" else 12 / 255
    expected = torch.from_numpy(colours).permute(0, 3, 1, 2) / 255
    assert_close(data.x, expected, rtol=0, atol=tolerance)
    assert ("JPEG re-encoded" in data.note) == (encoding == "JPEG")


def test_data_folder_comes_first_and_is_only_read(monkeypatch, home, tmp_path, fashion):
    given = tmp_path / "given"
    reversed_rows = write_parquet(given / fashion.relative_to(home), IMAGES[::-1], LABELS[::-1])
    before = sorted((p, p.stat().st_mtime_ns) for p in given.rglob("*"))
    monkeypatch.setenv("SHAPNOTES_DATA", str(given))
    assert datasets.fashion_mnist().y.tolist() == LABELS[::-1].tolist()
    assert sorted((p, p.stat().st_mtime_ns) for p in given.rglob("*")) == before
    reversed_rows.unlink()  # not in the folder: the cache is next
    assert datasets.fashion_mnist().y.tolist() == LABELS.tolist()


def test_data_folder_that_does_not_exist_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SHAPNOTES_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"SHAPNOTES_DATA.*nowhere"):
        datasets.mnist()


@pytest.mark.parametrize("variable", ["data_home", "SHAPNOTES_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_cache_folder(monkeypatch, tmp_path, variable):
    order = ["data_home", "SHAPNOTES_CACHE", "XDG_CACHE_HOME", "HOME"]
    for later in order[1:]:
        monkeypatch.delenv(later, raising=False)
    for later in order[order.index(variable) :]:
        if later != "data_home":
            monkeypatch.setenv(later, str(tmp_path / later))
    expected = tmp_path / variable
    expected /= {"XDG_CACHE_HOME": "shapnotes", "HOME": ".cache/shapnotes"}.get(variable, "")
    argument = expected if variable == "data_home" else None
    assert datasets._cache_folder(argument) == expected


def test_decodes_once(monkeypatch, fashion, home):
    first = datasets.fashion_mnist()

    def decode(*args):
        raise AssertionError("decoded a second time")

    monkeypatch.setattr(datasets, "_read_images", decode)
    again = datasets.fashion_mnist()
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert first.note == again.note and leftovers(home) == []


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "garbage"])
def test_damaged_store_is_decoded_again(fashion, home, harm):
    first = datasets.fashion_mnist()
    (store,) = (home / "decoded").iterdir()
    content = bytearray(store.read_bytes())
    content[3000] ^= 1
    harmed = {"truncate": content[:3000], "flip": content, "empty": b"", "garbage": b"PK" * 900}
    store.write_bytes(harmed[harm])
    assert torch.equal(datasets.fashion_mnist().x, first.x)
    assert store.read_bytes() != bytes(harmed[harm])


def test_interrupted_decoding_leaves_nothing_half_done(monkeypatch, fashion, home):
    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(datasets.np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.fashion_mnist()
    assert [path for path in home.rglob("*") if path.is_file()] == [fashion]
    assert len(datasets.fashion_mnist()) == 20


def unwritable(monkeypatch, home, how):
    """A cache that cannot be written to: on a full disk, or because it is no folder."""
    if how == "full":

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(datasets.np, "savez", full)
        monkeypatch.setattr(Path, "write_text", full)
    else:
        shutil.rmtree(home, ignore_errors=True)
        home.write_text("not a folder")


@pytest.mark.parametrize("how", ["full", "a file"])
def test_data_that_are_there_load_where_the_cache_cannot_be_written_to(monkeypatch, home, tmp_path, fashion, how):
    given = write_parquet(tmp_path / "given" / fashion.relative_to(home))
    monkeypatch.setenv("SHAPNOTES_DATA", str(tmp_path / "given"))
    unwritable(monkeypatch, home, how)
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"the cache {home} cannot keep") as warned:
            data = datasets.fashion_mnist()
        assert data.y.tolist() == LABELS.tolist() and leftovers(tmp_path) == []
        said = [str(one.message) for one in warned]
        assert len(said) == 2 and f"the decoded rows of {given}" in said[0] and "SHAPNOTES_CACHE" in said[0]
        assert {one.filename for one in warned} <= {__file__, datasets.__file__}


@pytest.mark.parametrize("name", ["fashion_mnist", "yeast"])
def test_a_cache_that_is_no_folder_is_no_fault_of_the_network(monkeypatch, home, name):
    unwritable(monkeypatch, home, "a file")
    with pytest.raises(OSError, match=rf"cannot be fetched into the cache {home}: .*(?s:.*)SHAPNOTES_CACHE") as caught:
        getattr(datasets, name)()
    assert "network" not in str(caught.value)
    with pytest.raises(TypeError, match="data_home must be the path of a folder; got int"):
        getattr(datasets, name)(data_home=3)


def test_what_a_killed_process_left_is_removed_later(fashion, home):
    datasets.fashion_mnist()
    left = f"{uuid.uuid4().hex}.part"
    folders = home / "decoded", home / "sha256", home / "zalando-datasets/fashion_mnist"
    old, new = ([folder / f"{age}.npz.{left}" for folder in folders] for age in ("old", "new"))
    others = [home / f"other.npz.{left}", home / "decoded" / "mine.part"]
    for path in (*old, *new, *others):
        path.write_bytes(b"half")
    for path in (*old, *others):
        os.utime(path, (time.time() - 4000,) * 2)
    datasets.fashion_mnist()
    assert not any(path.exists() for path in old) and all(path.exists() for path in (*new, *others))


def test_a_file_appears_under_its_name_by_renaming_only(monkeypatch, tmp_path):
    def full(source, target):
        raise OSError("no rename")

    target = tmp_path / "file"
    target.write_text("before")
    monkeypatch.setattr(datasets.os, "replace", full)
    with pytest.raises(OSError, match="no rename"), datasets._atomic(target) as temporary:
        temporary.write_text("after")
    assert target.read_text() == "before" and leftovers(tmp_path) == []


# --- damage ---------------------------------------------------------------------------------------


def refused(path, message):
    return pytest.raises(DamagedFileError, match=rf"(?s){path.name}.*{message}")


def test_truncated_before_the_first_load(fashion):
    fashion.write_bytes(fashion.read_bytes()[:-100])
    with refused(fashion, "Arrow"):
        datasets.fashion_mnist()


def test_every_change_after_the_first_load_is_noticed(fashion, home):
    datasets.fashion_mnist()
    whole = fashion.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for altered in (whole[:-1], whole + b"\0", bytes(flipped)):
        fashion.write_bytes(altered)
        with refused(fashion, "changed since it was first loaded"):
            datasets.fashion_mnist()
    fashion.write_bytes(whole)
    assert len(datasets.fashion_mnist()) == 20
    (record,) = (home / "sha256").iterdir()
    assert record.read_text().split() == [hashlib.sha256(whole).hexdigest(), str(fashion.resolve())]


@pytest.mark.parametrize("harm", ["bytes", "short", "folder"])
def test_a_damaged_record_is_named(fashion, home, harm):
    datasets.fashion_mnist()
    (record,) = (home / "sha256").iterdir()
    if harm == "folder":
        record.unlink()
        record.mkdir()
    else:
        record.write_bytes({"bytes": b"\xff\xfe" * 40, "short": b"0123"}[harm])
    with refused(record, "holds the SHA-256 of .*is damaged; delete it and call again"):
        datasets.fashion_mnist()
    record.rmdir() if harm == "folder" else record.unlink()
    assert len(datasets.fashion_mnist()) == 20


def test_flipped_byte_in_a_png_before_the_first_load(fashion):
    content = bytearray(fashion.read_bytes())
    content[content.index(b"IDAT") + 200] ^= 1
    fashion.write_bytes(content)
    with refused(fashion, ""):
        datasets.fashion_mnist()


def test_wrong_row_count(fashion):
    write_parquet(fashion, IMAGES[:19], LABELS[:19])
    with refused(fashion, "19 rows instead of 20"):
        datasets.fashion_mnist()


@pytest.mark.parametrize(("label", "message"), [(3, "rows a class"), (10, "outside 0"), (-1, "outside 0")])
def test_wrong_label(fashion, label, message):
    labels = LABELS.copy()
    labels[0] = label
    write_parquet(fashion, labels=labels)
    with refused(fashion, message):
        datasets.fashion_mnist()


def test_wrong_size_mode_and_columns(fashion):
    write_parquet(fashion, IMAGES[:, :27])
    with refused(fashion, r"image 0 is \('L', \(28, 27\)\)"):
        datasets.fashion_mnist()
    write_parquet(fashion, np.stack([IMAGES] * 3, axis=-1))
    with refused(fashion, "image 0 is .'RGB'"):
        datasets.fashion_mnist()
    write_parquet(fashion, columns=("img", "label"))
    with refused(fashion, "image"):
        datasets.fashion_mnist()


def test_wrong_mean(monkeypatch, home):
    mean = IMAGES.mean() / 255
    path = write_parquet(home / small(monkeypatch, "fashion_mnist", means=(mean + 0.004,)))
    assert len(datasets.fashion_mnist()) == 20
    small(monkeypatch, "fashion_mnist", means=(mean + 0.006,))
    with refused(path, "channel means"):
        datasets.fashion_mnist()


def test_digest_sees_pixels_and_labels_not_order_nor_encoding(monkeypatch, home):
    # Derived here once more: the sorted hashes of "pixels, then the label as one byte".
    pairs = zip(IMAGES, LABELS, strict=True)
    rows = [hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in pairs]
    digest = hashlib.sha256(b"".join(sorted(rows))).hexdigest()
    path = home / small(monkeypatch, "mnist", digest=digest)

    def load(images=IMAGES, labels=LABELS, **options):
        shutil.rmtree(home / "sha256", ignore_errors=True)
        write_parquet(path, images, labels, **options)
        return datasets.mnist()

    assert "content equal to the original" in load().note
    assert len(load(IMAGES[::-1], LABELS[::-1])) == 20
    one_pixel = IMAGES.copy()
    one_pixel[4, 5, 6] ^= 1
    exchanged = LABELS.copy()
    exchanged[[0, 1]] = exchanged[[1, 0]]
    for change in ({"images": one_pixel}, {"labels": exchanged}, {"encoding": "JPEG"}):
        with refused(path, "not the original rows"):
            load(**change)


# --- fetching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "yeast"])
def test_offline_and_absent_names_the_file_and_both_ways_out(monkeypatch, tmp_path, home, name):
    if client is None and name != "yeast":
        pytest.skip("needs the extra shapnotes[data]")
    source = datasets.SOURCES[name]
    file = f"{source.folder}/{next(iter(source.parts.values())).file}"
    with pytest.raises(FileNotFoundError) as caught:
        getattr(datasets, name)()
    message = str(caught.value)
    assert "the test has no network" in message and file in message
    assert "connect to the network" in message and "SHAPNOTES_DATA" in message
    assert str(home) in message and "it is now" not in message
    monkeypatch.setenv("SHAPNOTES_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"it is now '{tmp_path}', which does not"):
        getattr(datasets, name)()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_unknown_split(name):
    with pytest.raises(ValueError, match=r"splits \['test', 'train'\], got 'valid'"):
        getattr(datasets, name)("valid")
    for odd in (["train"], 3, None):
        with pytest.raises(ValueError, match="splits"):
            getattr(datasets, name)(odd)


@pytest.mark.parametrize("module", ["huggingface_hub", "pyarrow.parquet", "PIL.Image"])
def test_missing_extra_is_named(monkeypatch, fashion, module):
    monkeypatch.setitem(sys.modules, module, None)
    if module == "huggingface_hub":
        fashion.unlink()
    with pytest.raises(ImportError, match=r'pip install "shapnotes\[data\]"'):
        datasets.fashion_mnist()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client needs; `cuts` are the bytes to send before hanging up."""

    def answer(self):
        world = self.server
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        world.log.append((self.command, self.path, start, self.headers.get("Authorization")))
        cut = world.cuts.pop(0) if world.cuts and self.command == "GET" else None
        if cut == "fail":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(world.content) - start))
        if start:
            last = len(world.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("ETag", f'"{world.etag}"')
        self.send_header("X-Linked-Etag", f'"{world.etag}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(world.content[start:][:cut])

    do_GET = do_HEAD = answer

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch, fashion):
    """The hub's real client, talking to a server on this machine that holds the small file."""
    if client is None:
        pytest.skip("needs the extra shapnotes[data]")
    content = fashion.read_bytes()
    fashion.unlink()
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        server.content, server.etag = content, hashlib.sha256(content).hexdigest()
        server.log, server.cuts, server.path = [], [], fashion
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(client.constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what a resume keeps
        monkeypatch.setattr(client, "get_hf_file_metadata", METADATA)
        monkeypatch.setattr(client, "hf_hub_url", partial(URL, endpoint=endpoint))
        monkeypatch.setattr(client, "hf_hub_download", partial(DOWNLOAD, endpoint=endpoint))
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits to retry
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_hub_is_asked_once_and_without_a_token(monkeypatch, hub):
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    first = datasets.fashion_mnist()
    assert first.y.tolist() == LABELS.tolist() and hub.path.read_bytes() == hub.content
    revision = datasets.SOURCES["fashion_mnist"].revision
    file = f"datasets/zalando-datasets/fashion_mnist/resolve/{revision}/fashion_mnist"
    paths = {path for _, path, _, _ in hub.log}
    assert paths == {f"/{file}/train-00000-of-00001.parquet"}
    assert {token for *_, token in hub.log} == {None}
    assert [command for command, *_ in hub.log].count("GET") == 1
    hub.log.clear()
    assert torch.equal(datasets.fashion_mnist().x, first.x) and hub.log == []


def test_dropped_connection_is_resumed(hub):
    hub.cuts = [5000]
    assert len(datasets.fashion_mnist()) == 20
    assert [start for command, _, start, _ in hub.log if command == "GET"] == [0, 5000]


def test_failed_download_leaves_no_file(hub, home):
    hub.cuts = [5000, "fail"]
    with pytest.raises(FileNotFoundError, match="404"):
        datasets.fashion_mnist()
    assert not hub.path.exists() and leftovers(home) == []
    assert len(datasets.fashion_mnist()) == 20


def test_download_that_is_not_what_the_hub_has_is_removed(hub, home):
    whole = hub.content
    hub.content = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    with refused(hub.path, "arrived damaged"):
        datasets.fashion_mnist()
    assert not hub.path.exists() and not (home / "decoded").exists()
    hub.content = whole
    assert len(datasets.fashion_mnist()) == 20


def test_download_that_is_not_what_is_recorded_is_removed(monkeypatch, hub, home):
    """Whatever the hub says of it."""
    source = datasets.SOURCES["fashion_mnist"]
    for sha256, message in (("0" * 64, "the one recorded here 0{64}"), (hub.etag, None)):
        part = source.parts["train"]._replace(sha256=sha256)
        monkeypatch.setitem(datasets.SOURCES, "fashion_mnist", source._replace(parts={"train": part}))
        if message:
            with refused(hub.path, message):
                datasets.fashion_mnist()
            assert not hub.path.exists() and not (home / "decoded").exists()
    assert len(datasets.fashion_mnist()) == 20


def test_what_is_fetched_is_named_to_the_byte():
    """A commit of each repository, and of MNIST and CIFAR-10 the files' SHA-256."""
    for name in ("mnist", "fashion_mnist", "cifar10"):
        source = datasets.SOURCES[name]
        assert len(source.revision) == 40 and int(source.revision, 16)
        for part in source.parts.values():
            assert (part.sha256 is None) == (name == "fashion_mnist")
            assert part.sha256 is None or (len(part.sha256) == 64 and int(part.sha256, 16))


def test_download_with_the_wrong_content_is_removed(monkeypatch, hub):
    small(monkeypatch, "fashion_mnist", counts=(3, 1) + (2,) * 8)
    with refused(hub.path, "rows a class"):
        datasets.fashion_mnist()
    assert not hub.path.exists()


YEAST = "A_YEAST  0.58  0.61  0.47  0.13  0.50  0.00  0.48  0.22  MIT\r\nB 1 0 0 0 0 0 0 .5 CYT\r\n"


@pytest.fixture
def uci(monkeypatch, home):
    """A server of the text `uci.content`; returns the cached file's path with it."""
    source = datasets.SOURCES["yeast"]
    part = Part("yeast.data", (1, 0, 0, 0, 0, 0, 1, 0, 0, 0))
    monkeypatch.setitem(datasets.SOURCES, "yeast", source._replace(parts={"all": part}))

    class Uci:
        content, asked, path = YEAST.encode(), [], home / "uci/yeast/yeast.data"

        def open(self, url, timeout):
            self.asked.append(url)
            return io.BytesIO(self.content)

    server = Uci()
    monkeypatch.setattr(datasets.urllib.request, "urlopen", server.open)
    return server


def test_yeast_is_fetched_once_and_parsed(uci, home):
    for _ in range(2):
        data = datasets.yeast()
        expected = [[0.58, 0.61, 0.47, 0.13, 0.5, 0, 0.48, 0.22], [1, 0, 0, 0, 0, 0, 0, 0.5]]
        assert_close(data.x, torch.tensor(expected), rtol=0, atol=0)
        assert [data.class_names[label] for label in data.y] == ["MIT", "CYT"]
        assert len(data.feature_names) == 8 and data.y.dtype == torch.int64
    assert len(uci.asked) == 1 and uci.asked[0].startswith("https://archive.ics.uci.edu/")
    assert uci.path.read_bytes() == YEAST.encode() and leftovers(home) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>Please sign in</html>", ""),
        ("", ""),
        (YEAST[: len(YEAST) // 2], "line 1|shapes|rows a class"),
        (YEAST.replace("CYT", "CYX"), "line 2"),
        (YEAST.replace("CYT", "NUC"), "rows a class"),
        (YEAST.replace("0.58", "0,58"), "0,58"),
    ],
)
def test_yeast_that_is_something_else_is_refused_and_removed(uci, content, message):
    uci.content = content.encode()
    with refused(uci.path, message):
        datasets.yeast()
    assert not uci.path.exists()
    uci.content = YEAST.encode()
    assert len(datasets.yeast()) == 2


def test_download_broken_off_leaves_no_file(monkeypatch, uci, home):
    class Breaks(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise ConnectionResetError("half way")
            return super().read(10)

    with monkeypatch.context() as patch:
        patch.setattr(datasets.urllib.request, "urlopen", lambda url, timeout: Breaks(uci.content))
        with pytest.raises(FileNotFoundError, match="half way"):
            datasets.yeast()
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert len(datasets.yeast()) == 2


# --- the real files -------------------------------------------------------------------------------

MNIST_MEAN, MNIST_SD = 0.1307, 0.3081
CIFAR_MEANS = (0.4914, 0.4822, 0.4465)  # of the lossless training images


@pytest.fixture
def real(monkeypatch):
    def load(name, *split):
        source = datasets.SOURCES[name]
        file = Path(source.folder) / source.parts[split[0] if split else "all"].file
        if not DATA or not (Path(DATA) / file).is_file():
            pytest.skip(f"set SHAPNOTES_DATA to a folder with {file} (it is {DATA!r})")
        monkeypatch.setenv("SHAPNOTES_DATA", DATA)
        return getattr(datasets, name)(*split)

    return load


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
    with refused(altered, "not the original rows"):
        datasets.yeast()


# --- helpers --------------------------------------------------------------------------------------


def test_split_parts_the_rows_and_keeps_pairs():
    x = torch.arange(40.0).reshape(20, 2)
    y = torch.arange(20)
    x_train, x_test, y_train, y_test = datasets.train_test_split(x, y, generator=generator())
    assert len(x_train) == len(y_train) == 15 and len(x_test) == len(y_test) == 5
    assert sorted([*y_train.tolist(), *y_test.tolist()]) == list(range(20))
    assert torch.equal(x_train, x[y_train]) and torch.equal(x_test, x[y_test])
    again = datasets.train_test_split(x, y, generator=generator())
    other = datasets.train_test_split(x, y, generator=generator(1))
    assert torch.equal(again[3], y_test) and not torch.equal(other[3], y_test)


def test_split_refuses_bad_input():
    x, y = torch.zeros(4, 2), torch.zeros(4)
    for fraction in (0, 1, -0.5, 1.5, 0.01, 0.99, float("nan")):
        with pytest.raises(ValueError, match="leaves one side empty"):
            datasets.train_test_split(x, y, fraction, generator=generator())
    with pytest.raises(ValueError, match="x has 4 rows and y 3"):
        datasets.train_test_split(x, y[:3], generator=generator())
    with pytest.raises(TypeError, match=r"torch.Generator.*got 0"):
        datasets.train_test_split(x, y, generator=0)
    for name, given in (("x", (x.numpy(), y)), ("x", (x.tolist(), y)), ("y", (x, None)), ("y", (x, torch.tensor(1.0)))):
        with pytest.raises(TypeError, match=rf"{name} must be a tensor \[rows, ...\], got"):
            datasets.train_test_split(*given, generator=generator())
    with pytest.raises(TypeError, match="test_fraction must be a number, got"):
        datasets.train_test_split(x, y, "0.5", generator=generator())


def test_standardise_uses_training_statistics():
    train = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    test = torch.tensor([[5.0, 20.0]])
    standard, other = datasets.standardise(train, test)
    assert_close(standard, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert_close(other, torch.tensor([[3.0, 0.0]]))
    assert torch.equal(train, torch.tensor([[1.0, 10.0], [3.0, 30.0]]))  # not in place


def test_standardise_only_centres_constant_columns():
    train = torch.full((7, 1), 0.1)
    standard, other = datasets.standardise(train, train + 2)
    assert_close(standard, torch.zeros(7, 1), rtol=0, atol=1e-7)
    assert_close(other, torch.full((7, 1), 2.0))


def test_standardise_refuses_bad_input():
    with pytest.raises(ValueError, match=r"expected \['rows', 2\], got \[3, 1\]"):
        datasets.standardise(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="NaN"):
        datasets.standardise(torch.tensor([[float("nan")], [1.0]]))
    with pytest.raises(ValueError, match="must have rows"):
        datasets.standardise(torch.zeros(0, 2))
    train = torch.tensor([[1.0], [2.0], [3.0], [10.0]])
    for odd in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="neither it nor the others NaN or infinity"):
            datasets.standardise(train, torch.tensor([[odd]]))
    for integers in (train.long(), train.to(torch.uint8), train > 2, train.to(torch.complex64)):
        for given in ((integers,), (train, integers)):
            with pytest.raises(TypeError, match=f"floating-point numbers, got {integers.dtype}"):
                datasets.standardise(*given)
    for other in (train.numpy(), train.tolist(), None):
        with pytest.raises(TypeError, match=f"floating-point numbers, got {type(other).__name__}"):
            datasets.standardise(other)


@pytest.mark.parametrize(
    "given",
    [
        (torch.tensor([[1e308], [-1e308]], dtype=torch.float64),),
        (torch.tensor([[1e-3], [-1e-3]]).half(), torch.tensor([[6e4]]).half()),
    ],
)
def test_standardise_says_when_numbers_are_too_large(given):
    with pytest.raises(ValueError, match="too large for its precision"):
        datasets.standardise(*given)
