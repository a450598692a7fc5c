"""Deep ShapNets: Shapley transforms of disjoint pairs, one after the other, in a butterfly."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from shapnotes.shapnet.cascade import ShapNet
from shapnotes.shapnet.door import flag, is_several, is_whole, whole, whole_numbers
from shapnotes.shapnet.transform import ActiveSets, ShapleyTransform

T = TypeVar("T")


class DeepShapNet(ShapNet):
    r"""A cascade of Shapley transforms of disjoint pairs, so that many features interact, two at a time.

    .. math::
        H(x) = \sum_i h_i(x), \qquad h = T_L \circ \cdots \circ T_1,

        L = \lceil \log_2 n \rceil

    The sum is over the n features. h keeps local accuracy and missingness (Theorem 3); it is in general not the Shapley
    value of H unless L = 1. Where n is no power of two, the pairs are those of the next one; a padded feature is at its
    reference at all stages, so a module that sees one is a function of its other feature alone, and one that sees two
    of them is left out.

    Parameters
    ----------
    n_features : int
        n.
    channels : int or sequence of int
        Numbers of channels between the stages, or one number; repeated or cut to the L - 1 that there are.
    out_features : int
        Outputs of the network.
    hidden : sequence of int
        Widths of the hidden layers of the inner perceptrons; or a sequence of such, one per stage, repeated or cut to
        L.
    in_channels : int
        Length of the vector that each feature carries.
    baseline : Tensor, float or sequence of float, optional
        The first stage's reference: None (0), a number, or what broadcasts to one input; the other stages' is 0.
    active_sets : sequence, optional
        For each stage the active sets to take instead of the butterfly's; L is then their number.
    residual : bool
        As in `ShapNet`.
    negative_slope : float
        Of the leaky ReLUs; 0 is ReLU.
    keep_variance : bool
        Whether to start with weights under which every stage's representation, and H, nearly keep the size of the
        inputs, derived in the book's chapter 11; otherwise the perceptrons start as PyTorch's linear layers. With it
        the first epochs learn faster. In that chapter nine epochs end with no better accuracy that can be told, and h
        is then farther from the Shapley values.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Raises
    ------
    ValueError, TypeError
        For sizes and active sets that do not fit, and for what `ShapNet` refuses.

    Notes
    -----
    Called with x [batch, n_features] or [batch, n_features, in_channels] it returns H(x) [batch, out_features].
    `explain(x)` has h(x) and `layers(x)` the representation of every stage.

    Cost
    ----
    About n / 2 modules per stage, each evaluated on its three non-empty coalitions.

    Source
    ------
    Shapley Explanation Networks, Definition 8, Theorem 3, section 2.3 and appendix I.2.
    """

    def __init__(
        self,
        n_features: int,
        channels: int | Sequence[int],
        out_features: int,
        hidden: Sequence[int] | Sequence[Sequence[int]] = (100,),
        in_channels: int = 1,
        baseline: Tensor | float | Sequence[float] | None = None,
        *,
        active_sets: Sequence[ActiveSets] | None = None,
        residual: bool = False,
        negative_slope: float = 0.0,
        keep_variance: bool = False,
        generator: torch.Generator | None = None,
    ):
        n_features, out_features = whole(n_features, "n_features"), whole(out_features, "out_features")
        keep_variance = flag(keep_variance, "keep_variance")
        stages = butterfly(n_features) if active_sets is None else active_sets
        if not is_several(stages) or not (stages := list(stages)):
            raise ValueError(f"active_sets must hold a list of sets for each stage, at least one; got {active_sets!r}")
        channels = whole_numbers([channels] if is_whole(channels) else channels, "channels")
        widths = [in_channels, *_fitted(channels, len(stages) - 1, "channels"), out_features]
        listed: list[Any] = list(hidden) if is_several(hidden) else []
        each_stage = [whole_numbers(one, "hidden") for one in (listed if any(map(is_several, listed)) else [hidden])]
        # The last representation is added up over players; with `residual`, stages add up as well.
        variances = [1.0 / (len(stages) if residual else 1)] * len(stages)
        variances[-1] /= n_features
        super().__init__(
            [
                ShapleyTransform(
                    sets,
                    n_features,
                    widths[stage],
                    widths[stage + 1],
                    inner_hidden,
                    negative_slope=negative_slope,
                    variance=variances[stage] if keep_variance else None,
                    generator=generator,
                )
                for stage, (sets, inner_hidden) in enumerate(
                    zip(stages, _fitted(each_stage, len(stages), "hidden"), strict=True)
                )
            ],
            in_channels,
            baseline,
            residual=residual,
        )


def butterfly(n: int) -> list[list[tuple[int, ...]]]:
    """The active sets of each stage: i and i with one binary digit turned over, the last digit first.

    What has no partner among the n players is in a set by itself. After all ceil(log2 n) stages the value of player 0
    depends on every player, and so does each one's where n is a power of two; else some stay apart: for n = 3, the
    value of player 1 never depends on player 2. One player has one stage.

    Parameters
    ----------
    n : int
        How many players there are, at least one.

    Returns
    -------
    list of lists of tuples
        The pairs and single players of each stage.

    Raises
    ------
    ValueError
        For what is no whole number, at least 1.

    Source
    ------
    Shapley Explanation Networks, section 2.3 and appendix I.2.

    Examples
    --------
    >>> butterfly(3)
    [[(0, 1), (2,)], [(0, 2), (1,)]]
    """
    n = whole(n, "n")
    stages: list[list[tuple[int, ...]]] = []
    for digit in range(max(1, (n - 1).bit_length())):
        stride = 1 << digit
        first = [i for i in range(n) if not i & stride]
        stages.append([(i, i + stride) if i + stride < n else (i,) for i in first])
    return stages


def _fitted(values: Sequence[T], count: int, name: str) -> list[T]:
    if count and not len(values):
        raise ValueError(f"{name} is empty; {count} are needed, and one is enough to be repeated")
    return list(islice(cycle(values), count))
