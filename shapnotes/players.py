"""Players made of several features: the player of each feature, from every usual way to write groups down."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

Groups = Tensor | np.ndarray | Sequence | Mapping


def player_of_each_feature(groups: Groups, features: tuple[int, ...]) -> Tensor:
    """Labels 0..n-1, one a feature, from labels or from members: int64 [prod(features)].

    Labels say who owns each feature: whole numbers 0..n-1, or names, which are numbered as they come. They are a
    tensor, an array, a pandas Series or a list, and broadcast to *features.

    Members say what each player owns: a list or a dictionary with an entry a player, in the order of the players. An
    entry holds flat feature numbers, or is one of them, a slice of them, or a bool mask that broadcasts to *features.
    A bool tensor or array [n, *features] is a list of n masks.

    Every player owns something and every feature has one owner; ValueError or TypeError otherwise.

    >>> player_of_each_feature(["size", "age", "size"], (3,))
    tensor([0, 1, 0])
    >>> player_of_each_feature({"first": [0, 2], "other": slice(1, 2)}, (3,))
    tensor([0, 1, 0])
    """
    if isinstance(groups, Mapping):
        return _from_members(list(groups.values()), features)
    if isinstance(groups, (str, bytes)) or not (isinstance(groups, Iterable) or hasattr(groups, "__array__")):
        raise TypeError(
            "groups must be labels (a whole number or a name for each feature) or members (for each player a list of "
            f"feature numbers, a slice or a bool mask; as a list or a dictionary); got {type(groups).__name__}"
        )
    if isinstance(groups, Tensor) or hasattr(groups, "__array__"):
        entries = _array(groups)
        if entries.dtype == bool and entries.ndim > 1:
            return _from_members(list(entries), features)
        return _from_labels(entries, features)
    entries = list(groups)
    if entries and all(isinstance(entry, (Integral, str)) for entry in entries):
        return _from_labels(_array(entries), features)
    return _from_members(entries, features)


def _from_labels(labels: np.ndarray, features: tuple[int, ...]) -> Tensor:
    if labels.dtype.kind in "OUST" and all(isinstance(label, (Integral, str)) for label in labels.flat):
        if any(isinstance(label, str) for label in labels.flat):
            numbers = {name: number for number, name in enumerate(dict.fromkeys(labels.flat))}
            labels = np.array([numbers[name] for name in labels.flat]).reshape(labels.shape)
        else:
            labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"groups must hold whole-number labels 0..n-1, or names; got {labels.dtype}")
    try:
        wide = np.broadcast_to(labels, features)
    except ValueError as error:
        raise ValueError(f"groups of shape {labels.shape} do not broadcast to the features {features}") from error
    used = np.unique(wide)
    if not np.array_equal(used, np.arange(len(used))):
        raise ValueError(f"group labels must be 0..n-1 with none left out; got {used.tolist()[:10]}")
    return torch.from_numpy(wide.astype(np.int64).flatten())


def _from_members(entries: Sequence, features: tuple[int, ...]) -> Tensor:
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
        before = np.where(times > 1, player, owner[feature])
        if (before >= 0).any():
            mask = "; a mask must be bool, and labels of a grid an array" if set(members.tolist()) == {0, 1} else ""
            twice = np.flatnonzero(before >= 0)[0]
            raise ValueError(f"feature {feature[twice]} is in group {before[twice]} and again in group {player}{mask}")
        owner[members] = player
    left = np.flatnonzero(owner < 0).tolist()
    if left:
        raise ValueError(f"groups leave out feature(s) {left[:10]}; every feature must belong to exactly one group")
    return torch.from_numpy(owner)


def _members(player: int, entry: object, features: tuple[int, ...]) -> np.ndarray:
    """The flat features of one entry: int64 [members]."""
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


def _array(values: object) -> np.ndarray:
    if isinstance(values, Tensor):
        return (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
    if hasattr(values, "__array__") or isinstance(values, Integral):
        return np.asarray(values)
    values = list(values)
    try:
        found = np.asarray(values)
    except ValueError:  # lists of several lengths
        found = np.empty(len(values), dtype=object)
        found[:] = values
    # NumPy would write the numbers of a mixed list as text.
    return np.array(values, dtype=object) if found.dtype.kind in "US" else found
