"""Penalties on explanations while a network is trained, so that they become sparse, or flat."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from shapnotes.shapnet.door import check_tensor, is_several


def l1_penalty(representations: Tensor | Sequence[Tensor]) -> Tensor:
    r"""The size of explanations, summed over players: added to a loss, it makes them smaller, and less cancel in them.

    .. math::
        \frac{1}{BC} \sum_{b, c} \sum_i |Z_{bic}|

    for B inputs b and C channels c; i runs over players.

    Parameters
    ----------
    representations : Tensor or sequence of Tensor
        Z [batch, *players, channels], for instance `net.explain(x).attributions`; or a sequence of them whose penalties
        are added, as `net.layers(x)` for those of every stage.

    Returns
    -------
    Tensor
        A scalar, in the unit of Z.

    Raises
    ------
    ValueError, TypeError
        For anything else, and where there are no inputs, players or channels.

    Source
    ------
    Shapley Explanation Networks, section 2.4, which leaves the mean over inputs and channels open.
    """
    return _added(z.abs().flatten(1, -2).sum(1).mean() for z in _several(representations))


def linf_penalty(representations: Tensor | Sequence[Tensor]) -> Tensor:
    r"""The largest size over players: added to a loss, it makes explanations smaller and more even.

    .. math::
        \frac{1}{BC} \sum_{b, c} \max_i |Z_{bic}|

    for B inputs b and C channels c; i runs over players.

    Parameters
    ----------
    representations : Tensor or sequence of Tensor
        As in `l1_penalty`.

    Returns
    -------
    Tensor
        A scalar, in the unit of Z.

    Raises
    ------
    ValueError, TypeError
        As `l1_penalty`.

    Source
    ------
    Shapley Explanation Networks, section 2.4, which leaves the mean over inputs and channels open.
    """
    return _added(z.abs().flatten(1, -2).amax(1).mean() for z in _several(representations))


def _added(penalties: Iterable[Tensor]) -> Tensor:
    first, *others = penalties
    return sum(others, first)


def _several(representations: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    one = isinstance(representations, Tensor) or not is_several(representations)
    several: list[Any] = [representations] if one else list(representations)
    for z in several:
        check_tensor(z, "a representation")
    if not several or any(z.dim() < 3 or not z.numel() for z in several):
        raise ValueError(
            f"a penalty takes representations [batch, *players, channels], one or a list, none of them empty; got "
            f"shapes {[tuple(z.shape) for z in several]}"
        )
    return several
