"""Learned active sets: more modules than are needed, of which training keeps the ones that matter."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from shapnotes.coalitions import shapley_matrix
from shapnotes.shapnet.network import ShapNet
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
    sizes = []
    inputs = [x.reshape(len(x), net.n_players, -1), *net.layers(x)]
    reference: Tensor | None = net.baseline.to(x.dtype).view(net.n_players, -1)
    for stage, z in zip(net.stages, inputs, strict=False):
        sizes.append(_sizes(stage, z, reference, by))
        reference = None
    return sizes


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
    old = net.stages[stage]
    keep = sorted({int(j) for j in keep})
    if not keep or keep[0] < 0 or keep[-1] >= len(old.active_sets):
        raise ValueError(
            f"keep={keep} names none of, or more than, the {len(old.active_sets)} modules of stage {stage}; give at "
            f"least one index from 0 to {len(old.active_sets) - 1}"
        )
    places = _places(old)
    net.stages[stage] = old.only({places[j] for j in keep}, [old.active_sets[j] for j in keep])


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
    counts = [keep] * len(net.stages) if isinstance(keep, int) else list(keep)
    if len(counts) != len(net.stages) or min(counts) < 0:
        raise ValueError(f"keep={keep!r}; give one number of modules, or one for each of {len(net.stages)} stages")
    for stage in reversed(range(len(net.stages))):
        train(net)
        sets = net.stages[stage].active_sets
        sizes = module_sizes(net, x, by)[stage].tolist()
        together = sorted((j for j, players in enumerate(sets) if len(players) > 1), key=lambda j: -sizes[j])
        alone = [j for j, players in enumerate(sets) if len(players) == 1]
        strip(net, stage, [*alone, *together[: counts[stage]]])
    train(net)
    return [stage.active_sets for stage in net.stages]
