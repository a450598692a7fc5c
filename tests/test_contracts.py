"""The package keeps its contracts."""

import pytest
from contracts import CONTRACTS

import shapnotes


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda check: check.__name__)
def test_contract(contract):
    contract(shapnotes)
