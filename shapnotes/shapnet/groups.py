"""Features that come and go together, as one player that carries a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from shapnotes.shapnet.door import is_several, is_whole


def grouped(x: Tensor, groups: Tensor | Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """Each group of features as one player, which carries their values as a vector.

    Smaller groups are filled up with zeros, which change nothing as long as the baseline, grouped in the same way, has
    zeros there too. Give a ShapNet in_channels = the size of the largest group.

    Parameters
    ----------
    x : Tensor
        [batch, features].
    groups : sequence of sequences of int, or Tensor, array or sequence of int
        The features of each player, each feature in exactly one group; or for each feature the number of its player,
        counted from 0.

    Returns
    -------
    Tensor
        [batch, groups, size of the largest group].

    Raises
    ------
    ValueError, TypeError
        Where features are left out or named twice, and for anything else.

    Examples
    --------
    >>> grouped(torch.tensor([[1.0, 2.0, 3.0]]), [[0, 2], [1]])
    tensor([[[1., 3.],
             [2., 0.]]])
    """
    if not isinstance(x, Tensor) or x.dim() != 2:
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor [batch, features]; got {got}")
    count, members = x.shape[1], _listed(groups)
    if sorted(feature for group in members for feature in group) != list(range(count)) or not all(map(len, members)):
        raise ValueError(f"groups must name each of the features 0..{count - 1} once and not be empty; got {groups}")
    widest = max(map(len, members))
    index = torch.tensor([[*group, *[count] * (widest - len(group))] for group in members], device=x.device)
    return pad(x, (0, 1))[:, index]


def _listed(groups: object) -> list[list[int]]:
    """The features of each group."""
    listed = list(groups) if is_several(groups) else []
    if listed and all(map(is_whole, listed)):
        labels = list(map(int, listed))
        return [[i for i, label in enumerate(labels) if label == player] for player in range(max(labels) + 1)]
    if not listed or not all(is_several(group) and all(map(is_whole, group)) for group in listed):
        raise TypeError(
            f"groups must be lists of features, as [[0, 2], [1]], or the number of each feature's group, as [0, 1, 0]; "
            f"got {groups!r}"
        )
    return [list(map(int, group)) for group in listed]
