"""Settings of all tests: deterministic examples, one source of random numbers a test."""

import pytest
import torch
from hypothesis import settings

import shapnotes  # noqa: F401  before any doctest, which would load its module once more and test that one
from shapnotes._runtime.devices import check_device

settings.register_profile("shapnotes", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("shapnotes")


@pytest.fixture
def generator() -> torch.Generator:
    """Random numbers that depend on nothing but this line."""
    return torch.Generator().manual_seed(20210503)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="cuda, cuda:1, ...: where test_devices.py computes (default: cpu)")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The one that is asked for by --device."""
    name = request.config.getoption("--device")
    check_device(name)
    return torch.device(name)
