"""Learned active sets: more modules than are needed, of which training keeps the ones that matter."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from shapnotes.shapnet.cascade import ShapNet
from shapnotes.shapnet.door import is_several, is_whole, stage_number
from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.transform import ActiveSet, ShapleyTransform, values_from

MEASURES = ("dividend", "values", "inputs")


@torch.no_grad()
def module_sizes(net: ShapNet, x: Tensor, by: str = "dividend") -> list[Tensor]:
    r"""How much each module of each stage matters, in the mean over inputs and channels.

    .. math::
        \text{"dividend"}: \Big| \sum_{S \subseteq A} (-1)^{|A| - |S|} v(S) \Big|

        \text{"values"}: \sum_{i \in A} |\phi_i|

        \text{"inputs"}: \sum_{i \in A} |z_i - r_i|

    The first is what the players of the active set A do only together, the second what the module adds to the
    representation, the third what the module gets as input. :math:`v(S)` is the value of coalition S, with
    :math:`v(\emptyset) = 0`; :math:`\phi` are the Shapley values of the players, z is the stage's input and r its
    reference. A module whose dividend is zero can be replaced by modules of fewer players; one whose values are zero
    can be left out, and leaving out modules of the last stage changes the prediction by at most the sum of their
    "values". Appendix E of the paper compares "inputs" with zero, which finds features to leave out rather than
    interactions.

    Parameters
    ----------
    net : ShapNet
        Whose stages are `ShapleyTransform`.
    x : Tensor
        [batch, n_players] or [batch, n_players, in_channels].
    by : str
        "dividend", "values" or "inputs".

    Returns
    -------
    list of Tensor
        [modules] for each stage, in the order of its `active_sets`, in the unit of its output (of its input, by
        "inputs").

    Raises
    ------
    ValueError, TypeError
        For another measure or network, and by "dividend" for modules that have no values of coalitions.

    Cost
    ----
    One pass through the network.

    Source
    ------
    Shapley Explanation Networks, appendix E.
    """
    if by not in MEASURES:
        raise ValueError(f"by={by!r}; it has to be one of {', '.join(MEASURES)}")
    _check_net(net)
    layers, measured = net.layers(x), []
    inputs = [x.reshape(len(x), net.n_players, -1), *layers]
    reference: Tensor | None = net.first_reference(x.dtype)
    for stage, z in zip(net.stages, inputs, strict=False):
        measured.append(_importances(_transform(stage), z, reference, by))
        reference = None
    return measured


def _check_net(net: object) -> None:
    if not isinstance(net, ShapNet):
        raise TypeError(f"net must be a ShapNet; got {type(net).__name__}")


def _transform(stage: object) -> ShapleyTransform:
    if not isinstance(stage, ShapleyTransform):
        raise TypeError(f"the stages must be ShapleyTransform, which have modules; got {type(stage).__name__}")
    return stage


def _importances(stage: ShapleyTransform, z: Tensor, reference: Tensor | None, by: str) -> Tensor:
    """By one of the measures, for each of the stage's active sets."""
    if by == "inputs":
        moved = z if reference is None else z - reference
        each = moved.abs().mean((0, 2))
        return torch.stack([each[list(players)].sum() for players in stage.active_sets])
    present, absent = z.permute(1, 2, 0), None if reference is None else reference[:, :, None]
    measured = []
    for block in stage.each_block():
        answer = block.coalition_values(present, absent) if by == "dividend" else block(present, absent)
        per_module = answer.numbers.view(len(block.sets), -1, answer.numbers.shape[1])
        if by == "dividend":
            numbers = (_dividend_row(block.k, answer).to(per_module) @ per_module).abs()
        else:
            numbers = (values_from(answer, block.k).to(per_module) @ per_module).abs().sum(1)
        measured.append(numbers.flatten(1).mean(1))
    return torch.cat(measured)[_places(stage)]


def _dividend_row(k: int, answer: CoalitionValues) -> Tensor:
    """From the values of one module's coalitions to the dividend of the largest one."""
    numbers = [(-1.0) ** (k - code.bit_count()) for code in range(2**k)]
    signs = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    return signs if answer.with_empty else signs[1:]


def _places(stage: ShapleyTransform) -> list[int]:
    """The place of each active set's module among those of all blocks, one block after the other."""
    order = [players for block in stage.each_block() for players in block.sets]
    places: list[int] = []
    for players in stage.active_sets:
        places.append(next(i for i, other in enumerate(order) if other == players and i not in places))
    return places


def strip(net: ShapNet, stage: int, keep: Sequence[int]) -> None:
    """Leave only some modules of a stage, with their weights; in place.

    Parameters
    ----------
    net : ShapNet
        The parameters of the stage are new tensors afterwards, so make the optimiser anew.
    stage : int
        Which, counted from 0.
    keep : sequence of int
        Indices into its `active_sets`; at least one.

    Raises
    ------
    ValueError, TypeError
        For stages or modules that the network does not have.

    Source
    ------
    Shapley Explanation Networks, appendix E.
    """
    _check_net(net)
    number = stage_number(stage, len(net.stages))
    old = _transform(net.stages[number])
    indices, count = list(keep) if is_several(keep) else [], len(old.active_sets)
    if not indices or not all(is_whole(j) and 0 <= j < count for j in indices):
        raise ValueError(
            f"keep={keep!r} must name some of the {count} modules of stage {stage}: give at least one index from 0 to "
            f"{count - 1}"
        )
    indices, places = sorted(set(map(int, indices))), _places(old)
    net.stages[number] = old.select({places[j] for j in indices}, [old.active_sets[j] for j in indices])


def learn_active_sets(
    net: ShapNet,
    train: Callable[[ShapNet], None],
    x: Tensor,
    keep: int | Sequence[int],
    by: str = "dividend",
) -> list[list[ActiveSet]]:
    """Train, strip the last stage, train, strip the one before, ..., and train once more; in place.

    Parameters
    ----------
    net : ShapNet
        With more modules than are needed, for instance a `DeepShapNet` with active_sets=[all_pairs(n)] * stages;
        modules of single players, if it has them, are always kept.
    train : callable
        Trains the network that it is given, of whose parameters it makes a new optimiser.
    x : Tensor
        Inputs over which sizes are measured, [batch, n_players] or [batch, n_players, in_channels].
    keep : int or sequence of int
        How many modules of two and more players to leave in each stage: one number for all, or one per stage.
    by : str
        What is compared, see `module_sizes`.

    Returns
    -------
    list of lists of tuples
        The active sets that are left, stage by stage.

    Raises
    ------
    ValueError, TypeError
        As `module_sizes`, and for numbers that do not fit the stages.

    Cost
    ----
    One training more than there are stages, and as many passes through the network over x as stages.

    Source
    ------
    Shapley Explanation Networks, appendix E, which describes the idea and not a procedure.
    """
    _check_net(net)
    counts: list[Any] = list(keep) if is_several(keep) else [keep] * len(net.stages)
    if len(counts) != len(net.stages) or not all(is_whole(count) and count >= 0 for count in counts):
        raise ValueError(f"keep={keep!r}; give one number of modules, or one for each of {len(net.stages)} stages")
    if not callable(train):
        raise TypeError(f"train must be a function that trains the network it is given; got {type(train).__name__}")
    for number in reversed(range(len(net.stages))):
        train(net)
        sets = _transform(net.stages[number]).active_sets
        sizes = module_sizes(net, x, by)[number].tolist()
        together = sorted((j for j, players in enumerate(sets) if len(players) > 1), key=lambda j: -sizes[j])
        alone = [j for j, players in enumerate(sets) if len(players) == 1]
        strip(net, number, [*alone, *together[: counts[number]]])
    train(net)
    return [_transform(stage).active_sets for stage in net.stages]
