"""Players made of several features: the player of each feature, from every usual notation for groups."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

Groups = Tensor | np.ndarray | Sequence[object] | Mapping[str, object]


def player_of_each_feature(groups: Groups, features: tuple[int, ...]) -> Tensor:
    """The player 0..n-1 that each feature belongs to, from labels or from members.

    Every player has at least one feature, and every feature belongs to exactly one player.

    Parameters
    ----------
    groups : tensor, array, sequence or mapping
        Labels name the player of each feature: whole numbers 0..n-1, or strings, which are numbered in the order of
        their first appearance. They are a tensor, an array, a pandas Series or a list, and broadcast to *features.

        Members list the features of each player: a list or a dictionary with one entry per player, in the order of the
        players. An entry holds flat feature numbers, or is one of them, a slice of them, or a bool mask that broadcasts
        to *features. A bool tensor or array [n, *features] is a list of n masks.
    features : tuple of int
        The shape of one input.

    Returns
    -------
    Tensor
        int64 [prod(features)].

    Raises
    ------
    ValueError, TypeError
        Where groups are empty, overlap, leave a feature out, or are no such notation.

    Examples
    --------
    >>> player_of_each_feature(["size", "age", "size"], (3,))
    tensor([0, 1, 0])
    >>> player_of_each_feature({"first": [0, 2], "other": slice(1, 2)}, (3,))
    tensor([0, 1, 0])
    """
    return _owners(_labels_or_entries(groups), features)


def features_of_each_player(groups: Groups, features: tuple[int, ...]) -> list[list[int]]:
    """The flat feature numbers of each player: in the order in which an entry names them, else ascending.

    Notations and errors are those of `player_of_each_feature`.
    """
    read = _labels_or_entries(groups)
    owner = _owners(read, features).numpy()
    if isinstance(read, np.ndarray):
        return [np.flatnonzero(owner == player).tolist() for player in range(int(owner.max()) + 1)]
    return [_members(player, entry, features).tolist() for player, entry in enumerate(read)]


def _owners(read: np.ndarray | list[object], features: tuple[int, ...]) -> Tensor:
    return _from_labels(read, features) if isinstance(read, np.ndarray) else _from_members(read, features)


def _labels_or_entries(groups: Groups) -> np.ndarray | list[object]:
    """Labels as an array, or the list of the players' entries."""
    if isinstance(groups, Mapping):
        groups = list(groups.values())
        return [list(entry) if isinstance(entry, Iterator) else entry for entry in groups]
    if isinstance(groups, (str, bytes)) or not (isinstance(groups, Iterable) or hasattr(groups, "__array__")):
        raise TypeError(
            "groups must be labels (a whole number or a name for each feature) or members (for each player a list of "
            f"feature numbers, a slice or a bool mask; as a list or a dictionary); got {type(groups).__name__}"
        )
    if isinstance(groups, Tensor) or hasattr(groups, "__array__"):
        array = _array(groups)
        return list(array) if array.dtype == bool and array.ndim > 1 else array
    entries = [list(entry) if isinstance(entry, Iterator) else entry for entry in groups]
    return _array(entries) if entries and all(isinstance(entry, (Integral, str)) for entry in entries) else entries


def _from_labels(labels: np.ndarray, features: tuple[int, ...]) -> Tensor:
    """The player of each feature, from labels that broadcast to *features: int64 [prod(features)]."""
    if labels.dtype.kind in "OUST" and all(isinstance(label, (Integral, str)) for label in labels.flat):
        if any(isinstance(label, str) for label in labels.flat):
            numbers = {name: number for number, name in enumerate(dict.fromkeys(labels.flat))}
            labels = np.array([numbers[name] for name in labels.flat]).reshape(labels.shape)
        else:
            labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"groups must hold whole-number labels 0..n-1, or names; got {labels.dtype}")
    try:
        expanded = np.broadcast_to(labels, features)
    except ValueError as error:
        masks = labels.ndim > len(features) and set(np.unique(labels)) <= {0, 1}
        hint = "; masks, one per player, must be bool: groups.astype(bool), or groups.bool() of a tensor" * masks
        raise ValueError(f"groups of shape {labels.shape} do not broadcast to the features {features}{hint}") from error
    used = np.unique(expanded)
    if not np.array_equal(used, np.arange(len(used))):
        raise ValueError(f"group labels must be 0..n-1 with none left out; got {used.tolist()[:10]}")
    return torch.from_numpy(expanded.astype(np.int64).flatten())


def _from_members(entries: Sequence[object], features: tuple[int, ...]) -> Tensor:
    """The player of each feature, from one entry per player: int64 [prod(features)]."""
    count = prod(features)
    owner = np.full(count, -1)
    for player, entry in enumerate(entries):
        members = _members(player, entry, features)
        if len(members) == 0:
            raise ValueError(f"group {player} is empty; every player needs at least one feature")
        outside = (members < 0) | (members >= count)
        if outside.any():
            raise ValueError(f"group {player} names feature {members[outside][0]}, but the features are 0..{count - 1}")
        feature, times = np.unique(members, return_counts=True)
        earlier = np.where(times > 1, player, owner[feature])  # -1 where this is the feature's first group
        if (earlier >= 0).any():
            hint = "; a mask must be bool, and labels of a grid an array" if set(members.tolist()) == {0, 1} else ""
            twice = np.flatnonzero(earlier >= 0)[0]
            raise ValueError(f"feature {feature[twice]} is in group {earlier[twice]} and again in group {player}{hint}")
        owner[members] = player
    missing = np.flatnonzero(owner < 0).tolist()
    if missing:
        raise ValueError(f"groups leave out feature(s) {missing[:10]}; every feature must belong to exactly one group")
    return torch.from_numpy(owner)


def _members(player: int, entry: object, features: tuple[int, ...]) -> np.ndarray:
    """The flat feature numbers of one player's entry: int64 [members]."""
    if isinstance(entry, slice):
        return np.arange(prod(features))[entry]
    if isinstance(entry, (str, bytes)) or not (isinstance(entry, (Iterable, Integral)) or hasattr(entry, "__array__")):
        raise TypeError(f"group {player} must be a list of feature numbers, a slice or a bool mask; got {entry!r}")
    members = _array(entry)
    if members.dtype == bool:
        try:
            return np.flatnonzero(np.broadcast_to(members, features))
        except ValueError as error:
            raise ValueError(
                f"group {player} is a mask of shape {members.shape}, which does not broadcast to the features "
                f"{features}"
            ) from error
    if members.size and members.dtype.kind not in "iu":
        raise TypeError(f"group {player} must name features by whole numbers; got {members.flat[0]!r}")
    return members.astype(np.int64).flatten()


def _array(values: Any) -> np.ndarray:
    """Any of the notations as an array; of dtype object where a list holds lists of several lengths, or names."""
    if isinstance(values, Tensor):
        return (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
    if hasattr(values, "__array__") or isinstance(values, Integral):
        return np.asarray(values)
    entries = list(values)
    try:
        array = np.asarray(entries)
    except ValueError:  # lists of several lengths
        array = np.empty(len(entries), dtype=object)
        array[:] = entries
    # NumPy would turn the numbers of a mixed list into text.
    return np.array(entries, dtype=object) if array.dtype.kind in "US" else array
