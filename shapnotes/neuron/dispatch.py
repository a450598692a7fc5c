"""One door for the values of ReLU neurons: the methods, what they can serve, and sums that close."""

from collections.abc import Callable

import torch
from torch import Tensor

from shapnotes.neuron import lattice, li_cui, normal, profile, reference

METHODS = ("enumeration", "lattice", "edgeworth", "normal", "li-cui")
MANY = 48  # terms from which a polynomial in the term is faster than term by term


def values(terms: Tensor, offset: Tensor, method: str, *, nodes: int = 16, accuracy: float = 1e-6) -> Tensor:
    """Values of max(offset + sum of terms, 0), for every row, by a method: terms [..., n], offset [...] -> [..., n].

    nodes    : of the quadrature in the time of arrival, for "normal" and "edgeworth"
    accuracy : for "lattice", the largest error in units of the mean size of a neuron's values
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    rows, b = terms.flatten(0, -2), offset.flatten()
    gradients = torch.is_grad_enabled() and (terms.requires_grad or offset.requires_grad)
    if method == "lattice" and gradients:
        raise ValueError(
            "method='lattice' has no gradients: call it under torch.no_grad(), or take method='edgeworth', which has"
        )
    serve: dict[str, Callable[[], Tensor]] = {
        "enumeration": lambda: reference.values(rows, b),
        "lattice": lambda: lattice.values(rows, b, accuracy),
        "li-cui": lambda: li_cui.values(rows, b),
    }
    if method in serve:
        found = serve[method]()
    else:
        way = normal if gradients or rows.shape[1] < MANY else profile
        found = way.values(rows, b, nodes, method == "edgeworth")
    return found.reshape(terms.shape)


def closed(values: Tensor, terms: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Values that sum to the neuron's change of output exactly, and what was missing before: [..., n] and [...].

    What is missing is shared out in proportion to the squares of the terms, their parts of the variance: a term of zero
    keeps its zero.
    """
    change = torch.relu(offset + terms.sum(-1)) - torch.relu(offset)
    missing = change - values.sum(-1)
    unit = terms.detach().abs().amax(-1, keepdim=True)
    share = (terms / torch.where(unit > 0, unit, 1.0)).square()
    total = share.sum(-1, keepdim=True)
    return values + missing[..., None] * share / torch.where(total > 0, total, 1.0), missing
