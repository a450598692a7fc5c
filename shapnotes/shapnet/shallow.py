"""Shallow ShapNets: one Shapley transform, whose explanations are exact Shapley values."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from shapnotes.shapnet.cascade import ShapNet
from shapnotes.shapnet.door import flag, whole
from shapnotes.shapnet.inner.any_function import Inner
from shapnotes.shapnet.transform import ActiveSets, ShapleyTransform, listed_sets


class ShallowShapNet(ShapNet):
    r"""A sum of functions of a few features each, which predicts by adding up its exact Shapley values.

    .. math::
        G(x) = \sum_i g_i(x),

        g_i(x) = \sum_{j : i \in \mathcal{A}_j} \phi_i(f_j, x) = \phi_i(G, x)

    :math:`f_j` is a function of the features in its active set :math:`\mathcal{A}_j`, and :math:`\phi_i` the Shapley
    value of feature i when absent features take the baseline r. So :math:`G(x) = \sum_j [f_j(x) - f_j(r)]`, zero at r.
    Subtracting the constant changes no Shapley value, which is why g is that of :math:`\sum_j f_j` as well as of G
    (Theorem 2).

    Parameters
    ----------
    active_sets : iterable of iterables of int
        The :math:`\mathcal{A}_j`, of any sizes up to 16, overlapping or not; `all_pairs` for the paper's, `singletons`
        for a generalised additive model.
    out_features : int
        Outputs of the network and of each :math:`f_j`.
    hidden : sequence of int
        Widths of the hidden layers of the :math:`f_j`, perceptrons with weights of their own.
    in_channels : int
        Length of the vector that each feature carries.
    n_features : int, optional
        How many features there are; 1 + the largest of the active sets when None.
    baseline : Tensor, float or sequence of float, optional
        r, what stands for absent: None (0), a number, or what broadcasts to one input.
    inner : callable or sequence of callable, optional
        Functions of the user's own instead of perceptrons, as in `ShapleyTransform`.
    negative_slope : float
        Of the leaky ReLUs; 0 is ReLU.
    keep_variance : bool
        Whether to start with weights under which G has the size of the inputs, derived in the book's chapter 11;
        otherwise the perceptrons start as PyTorch's linear layers.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Raises
    ------
    ValueError, TypeError
        For active sets and sizes that do not fit, and for what `ShapNet` refuses.

    Notes
    -----
    Called with x [batch, n_features] or [batch, n_features, in_channels] it returns G(x) [batch, out_features].
    `explain(x)` has the exact values, at no further cost.

    Cost
    ----
    2**k evaluations of an :math:`f_j` of k features, as in `ShapleyTransform`.

    Source
    ------
    Shapley Explanation Networks, Definition 5, Equation 5 and Theorem 2.
    """

    def __init__(
        self,
        active_sets: ActiveSets,
        out_features: int,
        hidden: Sequence[int] = (100,),
        in_channels: int = 1,
        n_features: int | None = None,
        baseline: Tensor | float | Sequence[float] | None = None,
        *,
        inner: Inner | Sequence[Inner] | None = None,
        negative_slope: float = 0.0,
        keep_variance: bool = False,
        generator: torch.Generator | None = None,
    ):
        sets = listed_sets(active_sets)
        if n_features is None:
            n_features = 1 + max((player for players in sets for player in players), default=0)
        n_features = whole(n_features, "n_features")
        transform = ShapleyTransform(
            sets,
            n_features,
            in_channels,
            whole(out_features, "out_features"),
            hidden,
            inner=inner,
            negative_slope=negative_slope,
            variance=1 / n_features if flag(keep_variance, "keep_variance") else None,
            generator=generator,
        )
        super().__init__([transform], in_channels, baseline)


def all_pairs(n: int) -> list[tuple[int, int]]:
    """Every pair of n features: the active sets of the paper's Shallow ShapNets.

    Parameters
    ----------
    n : int
        How many features there are, at least one; one has no pair.

    Returns
    -------
    list of pairs of int
        n (n - 1) / 2 of them, in lexicographic order.

    Raises
    ------
    ValueError
        For what is no whole number, at least 1.

    Examples
    --------
    >>> all_pairs(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(whole(n, "n")), 2))


def singletons(n: int) -> list[tuple[int]]:
    """Each of n features by itself: the active sets of a generalised additive model.

    Parameters
    ----------
    n : int
        How many features there are, at least one.

    Returns
    -------
    list of tuples of one int
        n of them.

    Raises
    ------
    ValueError
        For what is no whole number, at least 1.

    Examples
    --------
    >>> singletons(3)
    [(0,), (1,), (2,)]
    """
    return [(i,) for i in range(whole(n, "n"))]
