"""The package keeps its contracts, and each contract rejects the wrong implementations that it declares."""

from inspect import isfunction, signature

import contracts
import pytest
import shapnet_contracts
from wrong import CONTRACTS, View, Wrong, accepts, rejects, survivors

import shapnotes

EACH = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda check: check.__name__)


@EACH
def test_contract(contract):
    contract(shapnotes)


@pytest.mark.parametrize(
    ("contract", "wrong"), [pytest.param(c, w, id=f"{c.__name__}: {w.what}") for c in CONTRACTS for w in c.wrong]
)
def test_wrong_implementation_is_rejected(contract, wrong):
    assert not accepts(contract, wrong.of(shapnotes)), "the contract noticed nothing"


@EACH
def test_contract_has_something_to_reject(contract):
    assert contract.wrong, "a contract that rejects nothing may hold for everything; declare what it must reject"
    assert len({wrong.what for wrong in contract.wrong}) == len(contract.wrong)


@EACH
def test_right_parts_are_accepted(contract):
    """It is what is wrong that is rejected, not that a part was exchanged."""
    package = shapnotes
    for name in {wrong.name for wrong in contract.wrong}:
        package = View(package, name, lambda right: right)
    contract(package)


@pytest.mark.parametrize("module", [contracts, shapnet_contracts], ids=lambda module: module.__name__)
def test_every_contract_is_declared(module):
    """What takes the package, `sn`, and nothing else is a contract."""
    functions = [f for f in vars(module).values() if isfunction(f) and f.__module__ == module.__name__]
    checks = [f for f in functions if list(signature(f).parameters) == ["sn"]]
    assert checks and [f.__name__ for f in checks if f not in CONTRACTS] == []


def test_a_contract_that_notices_nothing_is_found():
    half = ("half", "shapley_from_table", lambda right: lambda table: right(table) / 2)
    contract = rejects(half)(lambda sn: sn.shapley_from_table)
    CONTRACTS.remove(contract)
    assert survivors(contract, shapnotes) == ["half"]


def test_a_crash_is_no_rejection():
    contract = rejects(("a crash", "shapley_values", lambda right: lambda: 1 / 0))(lambda sn: sn.shapley_values())
    CONTRACTS.remove(contract)
    with pytest.raises(ZeroDivisionError):
        survivors(contract, shapnotes)


def test_a_view_changes_nothing_but_one_part():
    view = Wrong("", "coalitions.masks", lambda right: None).of(shapnotes)
    assert view.coalitions.masks is None and view.coalitions.sizes is shapnotes.coalitions.sizes
    assert shapnotes.coalitions.masks is not None and view.shapley_values is shapnotes.shapley_values
