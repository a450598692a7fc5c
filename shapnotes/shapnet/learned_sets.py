"""Learned active sets: more modules than are needed, of which training keeps the ones that matter."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from shapnotes.coalitions import shapley_matrix
from shapnotes.shapnet.base import ShapNet
from shapnotes.shapnet.door import is_several, is_whole, stage_number
from shapnotes.shapnet.transform import ShapleyTransform

MEASURES = ("dividend", "values", "inputs")


@torch.no_grad()
def module_sizes(net: ShapNet, x: Tensor, by: str = "dividend") -> list[Tensor]:
    """How much each module of each stage matters, in the mean over inputs and channels.

        "dividend" : | sum over S in A of (-1)^(|A| - |S|) v(S) |       what the players of A do only together
        "values"   : sum over i in A of | phi_i |                       what the module adds to the representation
        "inputs"   : sum over i in A of | z_i - r_i |                   what the module is given

    v(S) is the worth of coalition S of the active set A, v(empty) = 0, phi the values of its players, z the stage's
    input. A module whose dividend is zero can be replaced by modules of fewer players; one whose values are zero can
    be left out, and leaving out modules of the last stage changes the prediction by at most the sum of their "values".
    Appendix E of the paper compares "inputs" with zero, which finds features to leave out rather than interactions.

    x : [batch, n_players] or [batch, n_players, in_channels]

    Returns for each stage a tensor [modules], in the order of its `active_sets`, in the unit of its output (of its
    input, by "inputs").

    Cost: one pass through the network. Source: Shapley Explanation Networks, appendix E.
    """
    if by not in MEASURES:
        raise ValueError(f"by={by!r}; it has to be one of {', '.join(MEASURES)}")
    _check_net(net)
    layers, sizes = net.layers(x), []
    inputs = [x.reshape(len(x), net.n_players, -1), *layers]
    reference: Tensor | None = net.baseline.to(x.dtype).view(net.n_players, -1)
    for stage, z in zip(net.stages, inputs, strict=False):
        sizes.append(_sizes(stage, z, reference, by))
        reference = None
    return sizes


def _check_net(net: object) -> None:
    if not isinstance(net, ShapNet):
        raise TypeError(f"net must be a ShapNet; got {type(net).__name__}")


def _sizes(stage: ShapleyTransform, z: Tensor, reference: Tensor | None, by: str) -> Tensor:
    if by == "inputs":
        moved = z if reference is None else z - reference
        each = moved.abs().mean((0, 2))
        return torch.stack([each[list(players)].sum() for players in stage.active_sets])
    present, absent = z.permute(1, 2, 0), None if reference is None else reference[:, :, None]
    measured = []
    for block in stage.blocks:
        answers = getattr(block, "worths", block)(present, absent)
        per_module = answers.view(len(block.sets), -1, answers.shape[1])  # [modules, worths or values, outputs * batch]
        if by == "dividend":
            size = (_moebius_row(block.k, per_module.shape[1]).to(answers) @ per_module).abs()
        else:
            size = (_values(block.k, per_module.shape[1]).to(answers) @ per_module).abs().sum(1)
        measured.append(size.flatten(1).mean(1))
    return torch.cat(measured)[_places(stage)]


def _values(k: int, answers: int) -> Tensor:
    """From a module's answers to the values of its players; see `transform.contraction`."""
    return torch.eye(k, dtype=torch.float64) if answers == k > 1 else shapley_matrix(k)[:, -answers:]


def _moebius_row(k: int, answers: int) -> Tensor:
    """From the worths of coalitions to the dividend of the largest one."""
    if answers < 2**k - 1:
        raise ValueError("these modules answer with values and have no worths of coalitions; use by='values'")
    signs = torch.tensor([(-1.0) ** (k - code.bit_count()) for code in range(2**k)], dtype=torch.float64)
    return signs[-answers:]


def _places(stage: ShapleyTransform) -> list[int]:
    """Where each active set's module stands when the blocks are gone through one after the other."""
    order = [players for block in stage.blocks for players in block.sets]
    places: list[int] = []
    for players in stage.active_sets:
        places.append(next(i for i, other in enumerate(order) if other == players and i not in places))
    return places


def strip(net: ShapNet, stage: int, keep: Sequence[int]) -> None:
    """Leave only some modules of a stage, with their weights; in place.

    stage : which, counted from 0
    keep  : indices into its `active_sets`; at least one

    The parameters of the stage are new tensors, so make the optimiser anew.
    """
    _check_net(net)
    number = stage_number(stage, len(net.stages))
    old = net.stages[number]
    kept, count = list(keep) if is_several(keep) else [], len(old.active_sets)
    if not kept or not all(is_whole(j) and 0 <= j < count for j in kept):
        raise ValueError(
            f"keep={keep!r} must name some of the {count} modules of stage {stage}: give at least one index from 0 to "
            f"{count - 1}"
        )
    kept, places = sorted(set(map(int, kept))), _places(old)
    net.stages[number] = old.only({places[j] for j in kept}, [old.active_sets[j] for j in kept])


def learn_active_sets(
    net: ShapNet,
    train: Callable[[ShapNet], None],
    x: Tensor,
    keep: int | Sequence[int],
    by: str = "dividend",
) -> list[list[tuple[int, ...]]]:
    """Train, strip the last stage, train, strip the one before, ..., and train once more; in place.

    net   : a network with more modules than are needed, for instance a `DeepShapNet` with active_sets=[all_pairs(n)] *
            stages; modules of single players, if it has them, are always kept
    train : trains the network that it is given, of whose parameters it makes a new optimiser
    x     : inputs over which sizes are measured
    keep  : how many modules of two and more players to leave in a stage, or a number for each stage
    by    : what is compared, see `module_sizes`

    Returns the active sets that are left, stage by stage.

    Source: Shapley Explanation Networks, appendix E, which describes the idea and not a procedure.
    """
    _check_net(net)
    counts = list(keep) if is_several(keep) else [keep] * len(net.stages)
    if len(counts) != len(net.stages) or not all(is_whole(count) and count >= 0 for count in counts):
        raise ValueError(f"keep={keep!r}; give one number of modules, or one for each of {len(net.stages)} stages")
    if not callable(train):
        raise TypeError(f"train must be a function that trains the network it is given; got {type(train).__name__}")
    for stage in reversed(range(len(net.stages))):
        train(net)
        sets = net.stages[stage].active_sets
        sizes = module_sizes(net, x, by)[stage].tolist()
        together = sorted((j for j, players in enumerate(sets) if len(players) > 1), key=lambda j: -sizes[j])
        alone = [j for j, players in enumerate(sets) if len(players) == 1]
        strip(net, stage, [*alone, *together[: counts[stage]]])
    train(net)
    return [stage.active_sets for stage in net.stages]
