"""A network with one hidden layer, explained without sampling: the values of its neurons, added up."""

from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from shapnotes._runtime.chunking import recomputed
from shapnotes._runtime.memory import keep_freed_memory
from shapnotes.game import checked_baseline, checked_input
from shapnotes.neuron.dispatch import relu_values

BLOCK_NUMBERS = 2**18  # values of neurons held at a time: few enough for the cache


@overload
def hidden_layer_shapley_values(
    model: nn.Module,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    method: str = "edgeworth",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: Literal[False] = False,
) -> Tensor: ...


@overload
def hidden_layer_shapley_values(
    model: nn.Module,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    method: str = "edgeworth",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def hidden_layer_shapley_values(
    model: nn.Module,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    method: str = "edgeworth",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Shapley values of the inputs of V max(W x + b, 0) + c, for any number of inputs, without sampling.

    .. math::
        \phi_k = \sum_h V_h\, \phi_k(h)

    :math:`\phi_k(h)` are the values of the hidden neuron max(:math:`W_h x + b_h`, 0). A value is linear in the game, so
    a network with one hidden layer is a Shallow ShapNet whose modules see every feature.

    Parameters
    ----------
    model : nn.Module
        `nn.Sequential` of a linear layer, a ReLU and a linear layer, after an `nn.Flatten` if x has more axes.
    x : Tensor
        [batch, *features].
    baseline : Tensor or float, optional
        What stands for absent: None (zero), a number, or a tensor that broadcasts to x.
    method, nodes, accuracy
        As in `nn.functional.relu_shapley_values`. "li-cui" leaves out the share of the bias here, and its sums are
        closed as those of the others are.
    return_missing : bool
        Whether to return what the sums lacked, too.

    Returns
    -------
    Tensor
        [batch, *features, outputs], on x's device and in its dtype. They sum to model(x) - model(baseline): what a
        method's sum lacks is shared, neuron by neuron, in proportion to the squares of the terms
        :math:`W_{hk} (x_k - r_k)`. A feature at its baseline is given exactly nothing. With return_missing a pair, the
        second [batch, outputs]: what the sums lacked before.

    Raises
    ------
    TypeError
        For another model, and for an x that is no floating-point tensor of the model's dtype.
    ValueError
        For inputs or baselines that no game can be made of, and what `nn.functional.relu_shapley_values` refuses.

    Cost
    ----
    That of the method for batch * hidden neurons, a block of neurons at a time, and a product [batch, features, hidden]
    with [hidden, outputs]. Differentiable but for "lattice"; blocks are computed again in the backward pass.

    Source
    ------
    Ours, from Shapley Explanation Networks, Lemma 1.

    Examples
    --------
    >>> hidden, out = nn.Linear(784, 100), nn.Linear(100, 10)
    >>> model = nn.Sequential(hidden, nn.ReLU(), out)
    >>> hidden_layer_shapley_values(model, torch.rand(2, 784)).shape
    torch.Size([2, 784, 10])
    """
    first, last = _layers(model)
    features = checked_input(x).shape[1:]
    if x.dtype != first.weight.dtype:
        raise TypeError(f"x is {x.dtype} and the model {first.weight.dtype}; convert one of them")
    if features.numel() != first.in_features:
        raise ValueError(f"x has {features.numel()} features, and the model takes {first.in_features}")
    absent = checked_baseline(baseline, x).flatten(1)
    moves = x.flatten(1) - absent
    offset = linear(absent, first.weight, first.bias)  # [batch, hidden]
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (moves, offset, *model.parameters()))

    keep_freed_memory()
    moving = None
    weights = first.weight
    if not recorded:  # what is at its baseline throughout adds nothing; its gradient would
        moving = (moves != 0).any(0).nonzero()[:, 0]
        moving = moving if len(moving) else moving.new_zeros(1)
        moves, weights = moves[:, moving], weights[:, moving]

    def block(moves: Tensor, offset: Tensor, weight: Tensor, out: Tensor) -> Tensor:
        """[batch, features + 1, outputs], the last row what is missing."""
        terms = moves[:, None] * weight  # [batch, units, features]
        found = relu_values(terms, offset, method=method, nodes=nodes, accuracy=accuracy)
        return torch.cat([found.values, found.missing[..., None]], 2).transpose(1, 2) @ out.T

    n = max(1, weights.shape[1])
    units = max(1, min(first.out_features, BLOCK_NUMBERS // n))
    rows = max(1, BLOCK_NUMBERS // (units * n))
    parts = []
    for some, given in zip(moves.split(rows), offset.split(rows), strict=True):
        total: Tensor | float = 0.0
        for weight, b, out in zip(
            weights.split(units), given.split(units, 1), last.weight.split(units, 1), strict=True
        ):
            total = total + (recomputed(block, some, b, weight, out) if recorded else block(some, b, weight, out))
        parts.append(total)
    both = torch.cat(parts)  # type: ignore[arg-type]  # there is a unit
    values = both[:, :-1]
    if moving is not None:
        values = values.new_zeros(len(x), features.numel(), last.out_features).index_copy(1, moving, values)
    values = values.reshape(len(x), *features, last.out_features)
    return (values, both[:, -1]) if return_missing else values


def _layers(model: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    """The linear layers of a network with one hidden layer; a TypeError for anything else."""
    layers = list(model) if isinstance(model, nn.Sequential) else []
    if layers and isinstance(layers[0], nn.Flatten):
        layers = layers[1:]
    if [type(layer) for layer in layers] != [nn.Linear, nn.ReLU, nn.Linear]:
        shown = ", ".join(type(layer).__name__ for layer in layers) or type(model).__name__
        raise TypeError(
            f"model must be nn.Sequential(nn.Linear, nn.ReLU, nn.Linear), after nn.Flatten for images; got {shown}"
        )
    first, _, last = layers
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    return first, last
