"""Which method computes the values of ReLU neurons: what each can serve and why not, and sums that close."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from shapnotes._runtime.tensors import is_recording
from shapnotes.neuron import lattice, li_cui, normal, reference
from shapnotes.neuron.owen import FEWEST_NODES, enough_nodes, gain


class Call(NamedTuple):
    """What the values of neurons are asked for.

    Attributes
    ----------
    terms : Tensor
        [rows, n], one neuron at one input per row.
    offset : Tensor
        [rows], what the neuron is given when every player is absent.
    nodes : int, optional
        Of the quadrature in the rate; None takes `owen.enough_nodes` for each row.
    accuracy : float
        The largest error wanted, in units of the mean size of a neuron's values (`lattice.row`).
    """

    terms: Tensor
    offset: Tensor
    nodes: int | None
    accuracy: float

    def needs_gradient(self) -> bool:
        """Whether autograd records the call."""
        return torch.is_grad_enabled() and (self.terms.requires_grad or self.offset.requires_grad)


class Method(Protocol):
    """One way to the values of neurons."""

    name: str

    def unsupported(self, call: Call) -> str | None:
        """Why it cannot serve this call, and what to do, in words; None where it can."""

    def compute(self, call: Call) -> Tensor:
        """Values [rows, n], before their sums are closed."""


class Enumeration:
    """All coalitions: exact, for few inputs."""

    name = "enumeration"

    def unsupported(self, call: Call) -> str | None:
        n = call.terms.shape[1]
        if n <= reference.MAX_PLAYERS:
            return None
        return (
            f"takes up to {reference.MAX_PLAYERS} inputs, and {n} have 2**{n} coalitions; method='lattice' takes any "
            "number, to a wanted accuracy"
        )

    def compute(self, call: Call) -> Tensor:
        values = reference.values(call.terms, call.offset)
        # Who adds nothing is given exactly nothing, with the gradient of the value.
        return torch.where(call.terms != 0, values, values - values.detach())


class Lattice:
    """Noise at the kink and equally spaced frequencies: near to exact values, to a wanted accuracy."""

    name = "lattice"

    def unsupported(self, call: Call) -> str | None:
        if call.needs_gradient():
            return "has no gradients; call it under torch.no_grad(), or take method='edgeworth', which has"
        return None

    def compute(self, call: Call) -> Tensor:
        return lattice.values(call.terms, call.offset, call.accuracy)


class Normal:
    """A distribution for every rate: normal, or with two terms of Edgeworth's series."""

    def __init__(self, name: str, edgeworth: bool) -> None:
        self.name, self.edgeworth = name, edgeworth

    def unsupported(self, call: Call) -> str | None:
        return None

    def compute(self, call: Call) -> Tensor:
        if call.nodes is not None:
            return normal.values(call.terms, call.offset, call.nodes, self.edgeworth)
        groups = _by_nodes(call.terms)
        if len(groups) == 1:
            return normal.values(call.terms, call.offset, groups[0][0], self.edgeworth)
        parts = [normal.values(call.terms[rows], call.offset[rows], n, self.edgeworth) for n, rows in groups]
        return torch.cat(parts)[torch.cat([rows for _, rows in groups]).argsort()]


def _by_nodes(terms: Tensor) -> list[tuple[int, Tensor]]:
    """Numbers of nodes, each with the rows that take so many; the fewest for all where numbers cannot be looked at."""
    every = torch.arange(len(terms), device=terms.device)
    if torch.compiler.is_compiling() or is_recording():
        return [(FEWEST_NODES, every)]
    counts = enough_nodes(terms)
    try:
        numbers = counts.unique().tolist()
    except RuntimeError:  # inside torch.func.vmap, and on the meta device
        return [(FEWEST_NODES, every)]
    return [(number, (counts == number).nonzero()[:, 0]) for number in numbers]


class LiCui:
    """One normal distribution for all rates."""

    name = "li-cui"

    def unsupported(self, call: Call) -> str | None:
        return None

    def compute(self, call: Call) -> Tensor:
        # Without the share of the bias: the values of the definition sum to what the terms change, and have none.
        return li_cui.values(call.terms, call.offset, shares_bias=False)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (Enumeration(), Lattice(), Normal("edgeworth", True), Normal("normal", False), LiCui())
}


class NeuronValues(NamedTuple):
    """Shapley values of neurons, and how far a method was from closing their sums.

    Attributes
    ----------
    values : Tensor
        [..., n]; they sum to the change of the neuron's output, max(offset + sum of terms, 0) - max(offset, 0).
    missing : Tensor
        [...], what their sum lacked before it was closed.
    """

    values: Tensor
    missing: Tensor


def relu_values(
    terms: Tensor, offset: Tensor, *, method: str = "edgeworth", nodes: int | None = None, accuracy: float = 1e-5
) -> NeuronValues:
    """The Shapley values of the players of max(offset + sum of terms, 0), for many neurons at once.

    terms    : [..., n], what each player adds when it is present, w_k (x_k - r_k)
    offset   : [...], what the neuron is given when all are absent, w r + b
    method   : one of METHODS
    nodes    : of the quadrature in the rate, for "normal" and "edgeworth"; None is 16, or more for neurons
               whose terms pull one way
    accuracy : for "lattice", the largest error in units of the mean size of a neuron's values

    Exactly 0 for a term that is 0. What a method's sum lacks is shared in proportion to the squares of the terms, their
    parts of the variance. Gradients to terms and offset but with "lattice". Raises ValueError for an unknown method,
    and where a method cannot serve the call.
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}")
    if nodes is not None and (isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1):
        raise ValueError(f"nodes must be a whole number, at least 1, or None; got {nodes!r}")
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy must be a share of the mean value, between 0 and 1; got {accuracy!r}")
    n = terms.shape[-1]
    call = Call(terms.reshape(-1, n), offset.reshape(-1), nodes, accuracy)
    reason = chosen.unsupported(call)
    if reason is not None:
        raise ValueError(f"method={method!r} {reason}")
    values = chosen.compute(call).reshape(terms.shape) if call.terms.numel() else torch.zeros_like(terms)
    return _closed(values, terms, offset)


def _closed(values: Tensor, terms: Tensor, offset: Tensor) -> NeuronValues:
    missing = gain(offset, terms.sum(-1)) - values.sum(-1)
    unit = terms.detach().abs().amax(-1, keepdim=True)
    share = (terms / torch.where(unit > 0, unit, 1.0)).square()
    total = share.sum(-1, keepdim=True)
    return NeuronValues(values + missing[..., None] * share / torch.where(total > 0, total, 1.0), missing)
