"""Operations that have several implementations: which one computes a call, and how to ask for another by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

CallT = TypeVar("CallT")
ResultT = TypeVar("ResultT")
CallT_contra = TypeVar("CallT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Tolerance(NamedTuple):
    """How far a backend's numbers may be from those of the definition, as `torch.testing.assert_close` takes it."""

    rtol: float
    atol: float


TOLERANCES: Mapping[torch.dtype, Tolerance] = {  # of sums of a few terms, in every order
    torch.float64: Tolerance(1e-11, 1e-12),
    torch.float32: Tolerance(1e-4, 2e-5),
    torch.float16: Tolerance(1e-2, 1e-2),
    torch.bfloat16: Tolerance(5e-2, 5e-2),
}


class Backend(Protocol[CallT_contra, ResultT_co]):
    """One implementation of an operation.

    Attributes
    ----------
    name : str
        As `use_backend` takes it.
    tolerances : mapping
        Of its numbers, for each dtype that it is meant for.
    """

    name: str
    tolerances: Mapping[torch.dtype, Tolerance]

    def unsupported(self, call: CallT_contra) -> str | None:
        """Why it cannot compute this call, in words; None where it can."""

    def is_fastest(self, call: CallT_contra) -> bool:
        """Whether it is expected to be faster than the backends after it. Cheap: it is asked at every call."""

    def compute(self, call: CallT_contra) -> ResultT_co:
        """The result."""


class Operation(Generic[CallT, ResultT]):
    """An operation and its backends, the one that is tried first at the front; the last can compute every call.

    Parameters
    ----------
    name : str
        For messages, as in "the values of windows".
    backends : sequence of Backend
        The implementations, in the order in which they are tried.
    """

    known: list["Operation[Any, Any]"] = []  # noqa: RUF012  all that have been made, for `use_backend`

    def __init__(self, name: str, backends: Sequence[Backend[CallT, ResultT]]):
        self.name, self.backends = name, tuple(backends)
        self.by_name = {backend.name: backend for backend in backends}
        self.known.append(self)

    def __call__(self, call: CallT) -> ResultT:
        return self.choose(call).compute(call)

    def choose(self, call: CallT) -> Backend[CallT, ResultT]:
        """The backend that `use_backend` asks for, or the first that is fastest and can; a ValueError with reasons."""
        if _open_contexts and (asked := self._asked_for()) is not None:
            if asked.unsupported(call) is None:
                return asked
            raise ValueError(self._refusal(asked, call))
        for backend in self.backends:
            if backend.is_fastest(call) and backend.unsupported(call) is None:
                return backend
        return self.backends[-1]

    def _asked_for(self) -> Backend[CallT, ResultT] | None:
        """That of the innermost context with a name of this operation."""
        names = (context.name for context in reversed(_CONTEXTS.get()))
        return next((self.by_name[name] for name in names if name in self.by_name), None)

    def _refusal(self, asked: Backend[CallT, ResultT], call: CallT) -> str:
        reasons = {backend.name: backend.unsupported(call) for backend in self.backends if backend is not asked}
        others = "; ".join(f"{name}: {reason or 'can'}" for name, reason in reasons.items())
        return (
            f"the backend {asked.name!r} was asked for and cannot compute {self.name}: {asked.unsupported(call)}. "
            f"The others: {others}"
        )


class _Context:
    """An open context, distinguished from others of the same name by its identity."""

    def __init__(self, name: str):
        self.name = name


_CONTEXTS: ContextVar[tuple[_Context, ...]] = ContextVar("backends", default=())  # the innermost last
_open_contexts = 0  # in all threads: compilers, which cannot read the names, see this number change
_COUNTING = Lock()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """A context in which a backend is used by name, for tests, measurements and reports of errors.

    The values of small perceptrons (every `ShapleyTransform`) and those of windows of images (every `ImageTransform`)
    are computed by one of several implementations, chosen call by call. All give the same numbers, up to rounding.

    Parameters
    ----------
    name : str
        "reference", the definition, for both operations; "shared-sums", "two-products" or "unrolled" for perceptrons;
        "blank-pixels", "inductor", "numba" or "batched" for windows. The other operation is left to itself. Of nested
        contexts the innermost that names a backend of an operation decides for it.

    Raises
    ------
    ValueError
        For an unknown name; and, where a network is called, if the backend cannot compute that call: with its reason,
        and those of the other backends.

    Notes
    -----
    The context holds in this thread or asyncio task, and in no other. Programs that a network's `compile()` has made
    are left aside in it. Under `torch.compile(network)` it is seen at the cost of a break in the graph, so that
    `fullgraph=True` fails in it.

    Examples
    --------
    >>> import torch
    >>> from shapnotes.shapnet import DeepShapNet
    >>> net, x = DeepShapNet(4, 3, 2), torch.ones(5, 4)
    >>> with use_backend("shared-sums"):
    ...     values = net.explain(x).attributions
    >>> torch.allclose(values, net.explain(x).attributions, atol=1e-6)
    True
    """
    global _open_contexts
    names = {known: None for operation in Operation.known for known in operation.by_name}
    if name not in names:
        raise ValueError(f"there is no backend {name!r}; give one of {', '.join(map(repr, names))}")
    context = _Context(name)
    _CONTEXTS.set((*_CONTEXTS.get(), context))
    with _COUNTING:
        _open_contexts += 1
    try:
        yield
    finally:
        _CONTEXTS.set(tuple(other for other in _CONTEXTS.get() if other is not context))  # they may end in any order
        with _COUNTING:
            _open_contexts -= 1


def backend_is_asked_for() -> bool:
    """Whether the caller is in a `use_backend` context."""
    return bool(_open_contexts) and bool(_CONTEXTS.get())
