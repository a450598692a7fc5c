"""A cache of each test's own, no data folder, and no way out to the network."""

import pytest
from data_files import FASHION, path_of, write_parquet


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise OSError("the test has no network")

    monkeypatch.delenv("SHAPNOTES_DATA", raising=False)
    monkeypatch.setenv("SHAPNOTES_CACHE", str(tmp_path / "cache"))
    for name in ("requests.get", "huggingface_hub.get_hf_file_metadata", "huggingface_hub.hf_hub_download"):
        try:
            monkeypatch.setattr(name, no_network)
        except ImportError:  # the extra shapnotes[data] is missing: there is nobody who could fetch
            pass
    return tmp_path / "cache"


@pytest.fixture
def fashion(home):
    """The path of the small file, in the cache."""
    return write_parquet(home / path_of(FASHION))
