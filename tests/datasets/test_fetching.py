"""What is fetched is fetched once, whole, and is what it should be; where it cannot be, the message says what to do."""

import hashlib
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from data_files import FASHION, LABELS, fashion_mnist, leftovers, refused, small
from torch.testing import assert_close

from shapnotes import datasets
from shapnotes.datasets.sources import SOURCES, Part
from shapnotes.datasets.store import load

try:
    import huggingface_hub as client
except ImportError:  # the extra shapnotes[data]; without it only the tests of the hub are skipped
    client = None
else:
    DOWNLOAD, METADATA, URL = (
        getattr(client, name) for name in ("hf_hub_download", "get_hf_file_metadata", "hf_hub_url")
    )
    from requests import get as GET


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "yeast"])
def test_offline_and_absent_names_the_file_and_both_ways_out(monkeypatch, tmp_path, home, name):
    if client is None:
        pytest.skip("needs the extra shapnotes[data]")
    source = SOURCES[name]
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


@pytest.mark.parametrize("module", ["huggingface_hub", "pyarrow.parquet", "PIL.Image", "pooch"])
def test_missing_extra_is_named(monkeypatch, fashion, module):
    monkeypatch.setitem(sys.modules, module, None)
    if module == "huggingface_hub":
        fashion.unlink()
    with pytest.raises(ImportError, match=rf'{module} is missing here: pip install "shapnotes\[data\]"'):
        datasets.yeast() if module == "pooch" else fashion_mnist()


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
    first = fashion_mnist()
    assert first.y.tolist() == LABELS.tolist() and hub.path.read_bytes() == hub.content
    revision = SOURCES["fashion_mnist"].revision
    file = f"datasets/zalando-datasets/fashion_mnist/resolve/{revision}/fashion_mnist"
    paths = {path for _, path, _, _ in hub.log}
    assert paths == {f"/{file}/train-00000-of-00001.parquet"}
    assert {token for *_, token in hub.log} == {None}
    assert [command for command, *_ in hub.log].count("GET") == 1
    hub.log.clear()
    assert torch.equal(fashion_mnist().x, first.x) and hub.log == []


def test_dropped_connection_is_resumed(hub):
    hub.cuts = [5000]
    assert len(fashion_mnist()) == 20
    assert [start for command, _, start, _ in hub.log if command == "GET"] == [0, 5000]


def test_failed_download_leaves_no_file(hub, home):
    hub.cuts = [5000, "fail"]
    with pytest.raises(FileNotFoundError, match="404"):
        fashion_mnist()
    assert not hub.path.exists() and leftovers(home) == []
    assert len(fashion_mnist()) == 20


def test_download_that_is_not_what_the_hub_has_is_removed(hub, home):
    whole = hub.content
    hub.content = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    with refused(hub.path, "arrived damaged"):
        fashion_mnist()
    assert not hub.path.exists() and not (home / "decoded").exists()
    hub.content = whole
    assert len(fashion_mnist()) == 20


def test_download_that_is_not_what_is_recorded_is_removed(hub, home):
    """Whatever the hub says of it."""
    other, same = (
        FASHION._replace(parts={"train": FASHION.parts["train"]._replace(sha256=sha256)})
        for sha256 in ("0" * 64, hub.etag)
    )
    with refused(hub.path, "the one recorded here 0{64}"):
        load(other, "train")
    assert not hub.path.exists() and not (home / "decoded").exists()
    assert len(load(same, "train")) == 20


def test_what_is_fetched_is_named_to_the_byte():
    """A commit of each repository, and of MNIST and CIFAR-10 the files' SHA-256."""
    for name in ("mnist", "fashion_mnist", "cifar10"):
        source = SOURCES[name]
        assert len(source.revision) == 40 and int(source.revision, 16)
        for part in source.parts.values():
            assert (part.sha256 is None) == (name == "fashion_mnist")
            assert part.sha256 is None or (len(part.sha256) == 64 and int(part.sha256, 16))


def test_download_with_the_wrong_content_is_removed(hub):
    with refused(hub.path, "rows per class"):
        load(small("fashion_mnist", counts=(3, 1) + (2,) * 8), "train")
    assert not hub.path.exists()


YEAST = "A_YEAST  0.58  0.61  0.47  0.13  0.50  0.00  0.48  0.22  MIT\r\nB 1 0 0 0 0 0 0 .5 CYT\r\n"


class Uci(BaseHTTPRequestHandler):
    """A server of one text; `announced` bytes of it are said to come."""

    def do_GET(self):
        world = self.server
        world.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(world.announced or len(world.content)))
        self.end_headers()
        self.wfile.write(world.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def uci(monkeypatch, home):
    """A server of the text `uci.content`, asked by pooch; `uci.load()` asks for it as a data set."""
    pytest.importorskip("pooch", reason="needs the extra shapnotes[data]")
    part = Part("yeast.data", (1, 0, 0, 0, 0, 0, 1, 0, 0, 0))
    with HTTPServer(("127.0.0.1", 0), Uci) as server:
        server.content, server.announced, server.asked = YEAST.encode(), None, []
        server.path = home / "uci/yeast/yeast.data"
        url = f"http://127.0.0.1:{server.server_port}/yeast.data"
        source = SOURCES["yeast"]._replace(parts={"all": part}, url=url)
        server.load = lambda: load(source, "all")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("requests.get", GET)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_yeast_is_fetched_once_and_parsed(uci, home):
    for _ in range(2):
        data = uci.load()
        expected = [[0.58, 0.61, 0.47, 0.13, 0.5, 0, 0.48, 0.22], [1, 0, 0, 0, 0, 0, 0, 0.5]]
        assert_close(data.x, torch.tensor(expected), rtol=0, atol=0)
        assert [data.class_names[label] for label in data.y] == ["MIT", "CYT"]
        assert len(data.feature_names) == 8 and data.y.dtype == torch.int64
    assert uci.asked == ["/yeast.data"]
    assert uci.path.read_bytes() == YEAST.encode() and leftovers(home) == []
    assert [path.name for path in uci.path.parent.iterdir()] == ["yeast.data"]
    (home / "plain").touch()
    assert uci.path.stat().st_mode == (home / "plain").stat().st_mode  # others may share the cache


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>Please sign in</html>", ""),
        ("", ""),
        (YEAST[: len(YEAST) // 2], "line 1|shapes|rows per class"),
        (YEAST.replace("CYT", "CYX"), "line 2"),
        (YEAST.replace("CYT", "NUC"), "rows per class"),
        (YEAST.replace("0.58", "0,58"), "0,58"),
    ],
)
def test_yeast_that_is_something_else_is_refused_and_removed(uci, content, message):
    uci.content = content.encode()
    with refused(uci.path, message):
        uci.load()
    assert not uci.path.exists()
    uci.content = YEAST.encode()
    assert len(uci.load()) == 2


def test_download_broken_off_leaves_no_file(uci, home):
    """A text that ends before its announced length, at the end of a line, would otherwise be taken for all of it."""
    uci.announced = len(uci.content) + 1
    with pytest.raises(FileNotFoundError, match="IncompleteRead"):
        uci.load()
    assert [path for path in home.rglob("*") if path.is_file()] == []
    uci.announced = None
    assert len(uci.load()) == 2


def test_the_source_of_yeast_is_uci():
    assert SOURCES["yeast"].url.startswith("https://archive.ics.uci.edu/")
