"""Features that come and go together, as one player that carries a vector."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from shapnotes.players import Groups, features_of_each_player


def grouped(x: Tensor, groups: Groups) -> Tensor:
    """Each group of features as one player, which carries their values as a vector.

    Smaller groups are filled up with zeros, which change nothing as long as the baseline, grouped in the same way, has
    zeros there too. Give a ShapNet in_channels = the size of the largest group.

    Parameters
    ----------
    x : Tensor
        [batch, features].
    groups : as `shapley_values` takes them
        The features of each player, as lists, slices or bool masks, in a list, a matrix or a dictionary; or for each
        feature the number of its player, counted from 0, or its name.

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
    count = x.shape[1]
    if isinstance(groups, Tensor | np.ndarray) and groups.ndim == 2:  # a matrix whose rows are players
        groups = list(groups)
    members = features_of_each_player(groups, (count,))
    widest = max(map(len, members))
    index = torch.tensor([[*group, *[count] * (widest - len(group))] for group in members], device=x.device)
    return pad(x, (0, 1))[:, index]
