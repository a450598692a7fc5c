"""Features that come and go together, as one player that carries a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def grouped(x: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Each group of features as one player: [batch, features] -> [batch, len(groups), size of the largest group].

    groups : the features of each player, each feature in exactly one group

    Smaller groups are filled up with zeros, which change nothing as long as the baseline, grouped in the same way, has
    zeros there too. Give a ShapNet in_channels = the size of the largest group.

    Raises ValueError where features are left out or named twice.

    >>> grouped(torch.tensor([[1.0, 2.0, 3.0]]), [[0, 2], [1]])
    tensor([[[1., 3.],
             [2., 0.]]])
    """
    count = x.shape[1]
    if sorted(feature for group in groups for feature in group) != list(range(count)) or not all(map(len, groups)):
        raise ValueError(f"groups must name each of the features 0..{count - 1} once and not be empty; got {groups}")
    widest = max(map(len, groups))
    index = torch.tensor([[*group, *[count] * (widest - len(group))] for group in groups], device=x.device)
    return pad(x, (0, 1))[:, index]
