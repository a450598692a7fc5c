"""The package keeps its contracts."""

import pytest
from contracts import CONTRACTS

import shapnotes
import shapnotes.exact


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda check: check.__name__)
def test_contract(contract, monkeypatch):
    monkeypatch.setattr(shapnotes.exact, "TABLE", shapnotes.exact.TABLE)  # restored after contracts that vary it
    contract(shapnotes)
