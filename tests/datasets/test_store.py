"""A file is found, checked, decoded once and kept; one that is damaged is refused by name."""

import errno
import hashlib
import os
import shutil
import time
import uuid

import numpy as np
import pytest
import torch
from data_files import IMAGES, LABELS, fashion_mnist, leftovers, path_of, refused, small, write_parquet
from torch.testing import assert_close

from shapnotes import datasets
from shapnotes.datasets.store import atomic, cache_folder, load


def test_images_and_labels_arrive_as_written(fashion):
    data = fashion_mnist()
    assert data.x.shape == (20, 1, 28, 28) and data.x.dtype == torch.float32
    assert_close(data.x[:, 0] * 255, torch.from_numpy(IMAGES).float(), rtol=0, atol=1e-4)
    assert data.x.max() == 1 and data.y.tolist() == LABELS.tolist()
    assert data.class_names[9] == "Ankle boot" and data.name == "fashion_mnist"
    assert "PNG" in data.note and "JPEG" not in data.note and "original" not in data.note


@pytest.mark.parametrize("encoding", ["PNG", "JPEG"])
def test_colour_images_have_channels_first_and_the_note_tells_jpeg(home, encoding):
    colours = np.zeros((20, 32, 32, 3), dtype=np.uint8)
    colours[..., 0], colours[..., 1], colours[:, :16, :, 2] = 200, 100, 50
    source = small("cifar10")
    write_parquet(home / path_of(source), colours, encoding=encoding, columns=("img", "label"))
    data = load(source, "train")
    tolerance = 0 if encoding == "PNG" else 12 / 255
    expected = torch.from_numpy(colours).permute(0, 3, 1, 2) / 255
    assert_close(data.x, expected, rtol=0, atol=tolerance)
    assert ("JPEG re-encoded" in data.note) == (encoding == "JPEG")


def test_data_folder_comes_first_and_is_only_read(monkeypatch, home, tmp_path, fashion):
    given = tmp_path / "given"
    reversed_rows = write_parquet(given / fashion.relative_to(home), IMAGES[::-1], LABELS[::-1])
    before = sorted((p, p.stat().st_mtime_ns) for p in given.rglob("*"))
    monkeypatch.setenv("SHAPNOTES_DATA", str(given))
    assert fashion_mnist().y.tolist() == LABELS[::-1].tolist()
    assert sorted((p, p.stat().st_mtime_ns) for p in given.rglob("*")) == before
    reversed_rows.unlink()  # not in the folder: the cache is next
    assert fashion_mnist().y.tolist() == LABELS.tolist()


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
    assert cache_folder(argument) == expected


def test_decodes_once(monkeypatch, fashion, home):
    first = fashion_mnist()

    def decode(*args):
        raise AssertionError("decoded a second time")

    monkeypatch.setattr("PIL.Image.open", decode)
    again = fashion_mnist()
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert first.note == again.note and leftovers(home) == []


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "garbage"])
def test_damaged_store_is_decoded_again(fashion, home, harm):
    first = fashion_mnist()
    (store,) = (home / "decoded").iterdir()
    content = bytearray(store.read_bytes())
    content[3000] ^= 1
    harmed = {"truncate": content[:3000], "flip": content, "empty": b"", "garbage": b"PK" * 900}
    store.write_bytes(harmed[harm])
    assert torch.equal(fashion_mnist().x, first.x)
    assert store.read_bytes() != bytes(harmed[harm])


def test_interrupted_decoding_leaves_nothing_half_done(monkeypatch, fashion, home):
    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fashion_mnist()
    assert [path for path in home.rglob("*") if path.is_file()] == [fashion]
    assert len(fashion_mnist()) == 20


def unwritable(monkeypatch, home, how):
    """A cache that cannot be written to: on a full disk, or because it is no folder."""
    if how == "full":

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
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
            data = fashion_mnist()
        assert data.y.tolist() == LABELS.tolist() and leftovers(tmp_path) == []
        said = [str(one.message) for one in warned]
        assert len(said) == 2 and f"the decoded rows of {given}" in said[0] and "SHAPNOTES_CACHE" in said[0]
        assert {one.filename for one in warned} == {fashion_mnist.__code__.co_filename}


@pytest.mark.parametrize("name", ["fashion_mnist", "yeast"])
def test_a_cache_that_is_no_folder_is_no_fault_of_the_network(monkeypatch, home, name):
    unwritable(monkeypatch, home, "a file")
    with pytest.raises(OSError, match=rf"cannot be fetched into the cache {home}: .*(?s:.*)SHAPNOTES_CACHE") as caught:
        getattr(datasets, name)()
    assert "network" not in str(caught.value)
    with pytest.raises(TypeError, match="data_home must be the path of a folder; got int"):
        getattr(datasets, name)(data_home=3)


def test_what_a_killed_process_left_is_removed_later(fashion, home):
    fashion_mnist()
    left = f"{uuid.uuid4().hex}.part"
    folders = home / "decoded", home / "sha256", home / "zalando-datasets/fashion_mnist"
    old, new = ([folder / f"{age}.npz.{left}" for folder in folders] for age in ("old", "new"))
    others = [home / f"other.npz.{left}", home / "decoded" / "mine.part"]
    for path in (*old, *new, *others):
        path.write_bytes(b"half")
    for path in (*old, *others):
        os.utime(path, (time.time() - 4000,) * 2)
    fashion_mnist()
    assert not any(path.exists() for path in old) and all(path.exists() for path in (*new, *others))


def test_a_file_appears_under_its_name_by_renaming_only(monkeypatch, tmp_path):
    def full(source, target):
        raise OSError("no rename")

    target = tmp_path / "file"
    target.write_text("before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no rename"), atomic(target) as temporary:
        temporary.write_text("after")
    assert target.read_text() == "before" and leftovers(tmp_path) == []


# --- damage ---------------------------------------------------------------------------------------


def test_truncated_before_the_first_load(fashion):
    fashion.write_bytes(fashion.read_bytes()[:-100])
    with refused(fashion, "Arrow"):
        fashion_mnist()


def test_every_change_after_the_first_load_is_noticed(fashion, home):
    fashion_mnist()
    whole = fashion.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for altered in (whole[:-1], whole + b"\0", bytes(flipped)):
        fashion.write_bytes(altered)
        with refused(fashion, "changed since it was first loaded"):
            fashion_mnist()
    fashion.write_bytes(whole)
    assert len(fashion_mnist()) == 20
    (record,) = (home / "sha256").iterdir()
    assert record.read_text().split() == [hashlib.sha256(whole).hexdigest(), str(fashion.resolve())]


@pytest.mark.parametrize("harm", ["bytes", "short", "folder"])
def test_a_damaged_record_is_named(fashion, home, harm):
    fashion_mnist()
    (record,) = (home / "sha256").iterdir()
    if harm == "folder":
        record.unlink()
        record.mkdir()
    else:
        record.write_bytes({"bytes": b"\xff\xfe" * 40, "short": b"0123"}[harm])
    with refused(record, "holds the SHA-256 of .*is damaged; delete it and call again"):
        fashion_mnist()
    record.rmdir() if harm == "folder" else record.unlink()
    assert len(fashion_mnist()) == 20


def test_flipped_byte_in_a_png_before_the_first_load(fashion):
    content = bytearray(fashion.read_bytes())
    content[content.index(b"IDAT") + 200] ^= 1
    fashion.write_bytes(content)
    with refused(fashion, ""):
        fashion_mnist()


def test_wrong_row_count(fashion):
    write_parquet(fashion, IMAGES[:19], LABELS[:19])
    with refused(fashion, "19 rows instead of 20"):
        fashion_mnist()


@pytest.mark.parametrize(("label", "message"), [(3, "rows per class"), (10, "outside 0"), (-1, "outside 0")])
def test_wrong_label(fashion, label, message):
    labels = LABELS.copy()
    labels[0] = label
    write_parquet(fashion, labels=labels)
    with refused(fashion, message):
        fashion_mnist()


def test_wrong_size_mode_and_columns(fashion):
    write_parquet(fashion, IMAGES[:, :27])
    with refused(fashion, r"image 0 is \('L', \(28, 27\)\)"):
        fashion_mnist()
    write_parquet(fashion, np.stack([IMAGES] * 3, axis=-1))
    with refused(fashion, "image 0 is .'RGB'"):
        fashion_mnist()
    write_parquet(fashion, columns=("img", "label"))
    with refused(fashion, "image"):
        fashion_mnist()


def test_wrong_mean(fashion):
    mean = IMAGES.mean() / 255
    assert len(load(small("fashion_mnist", means=(mean + 0.004,)), "train")) == 20
    with refused(fashion, "channel means"):
        load(small("fashion_mnist", means=(mean + 0.006,)), "train")


def test_digest_sees_pixels_and_labels_not_order_nor_encoding(home):
    # Derived here once more: the sorted hashes of "pixels, then the label as one byte".
    pairs = zip(IMAGES, LABELS, strict=True)
    rows = [hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in pairs]
    digest = hashlib.sha256(b"".join(sorted(rows))).hexdigest()
    source = small("mnist", digest=digest)
    path = home / path_of(source)

    def written(images=IMAGES, labels=LABELS, **options):
        shutil.rmtree(home / "sha256", ignore_errors=True)
        write_parquet(path, images, labels, **options)
        return load(source, "train")

    assert "content equal to the original" in written().note
    assert len(written(IMAGES[::-1], LABELS[::-1])) == 20
    one_pixel = IMAGES.copy()
    one_pixel[4, 5, 6] ^= 1
    exchanged = LABELS.copy()
    exchanged[[0, 1]] = exchanged[[1, 0]]
    for change in ({"images": one_pixel}, {"labels": exchanged}, {"encoding": "JPEG"}):
        with refused(path, "not the original rows"):
            written(**change)
