"""Packages that only some of the code needs, and that an extra of this package brings."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports of what an extra brings; where it is not there, an ImportError says which extra that is.

    >>> with extra("reproduce"):
    ...     import no_such_package
    Traceback (most recent call last):
        ...
    ImportError: this needs the package no_such_package: pip install "shapnotes[reproduce]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise ImportError(f'this needs the package {missing}: pip install "shapnotes[{name}]"') from error


@cache
def installed(package: str) -> bool:
    """Whether a package could be imported, without importing it.

    >>> installed("torch"), installed("no_such_package")
    (True, False)
    """
    return find_spec(package) is not None
