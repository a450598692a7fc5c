"""Wrong implementations, declared beside the contract that must reject them.

A contract is a function of the package. A wrong implementation is a view of the package in which one part is another
object: nothing in the package itself is changed, so the contract is all that can notice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Contract = Callable[[Any], None]

CONTRACTS: list[Contract] = []


class Wrong(NamedTuple):
    """The package, but that at one dotted name `make` has made something else of what stands there."""

    what: str
    name: str
    make: Callable[[Any], Any]

    def of(self, package: Any) -> Any:
        return View(package, self.name, self.make)


class View:
    """An object as it is, except for what stands at one dotted name."""

    def __init__(self, right: Any, name: str, make: Callable[[Any], Any]):
        first, _, rest = name.partition(".")
        part = getattr(right, first)
        self._right = right
        setattr(self, first, View(part, rest, make) if rest else make(part))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._right, name)


def rejects(*wrong: Wrong | tuple[str, str, Callable[[Any], Any]]) -> Callable[[Contract], Contract]:
    """Declare a contract with the wrong implementations that it must reject: (what is wrong, dotted name, make)."""

    def declare(contract: Contract) -> Contract:
        contract.wrong = [Wrong(*one) for one in wrong]
        CONTRACTS.append(contract)
        return contract

    return declare


def survivors(contract: Contract, package: Any) -> list[str]:
    """What is wrong with the declared implementations that the contract accepts.

    It has to find a wrong number, or a right one missing, and say so with an AssertionError; any other error is passed
    on, since a wrong implementation that crashes shows nothing.
    """
    return [one.what for one in contract.wrong if accepts(contract, one.of(package))]


def accepts(contract: Contract, package: Any) -> bool:
    try:
        contract(package)
    except AssertionError:
        return False
    return True
