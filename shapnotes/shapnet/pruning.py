"""Dynamic pruning: players that a stage gives little are given nothing, input by input, from there on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Pruning:
    """Which players to set to the reference, zero, after which stages.

        Z_i <- 0 where |Z_i|_1 < threshold,       or for the share of an input's players whose |Z_i|_1 are the least

    |Z_i|_1 is the sum over channels of |Z_ic|. Each input is pruned by itself. By Corollary 4 a pruned player is zero
    after all later stages as well, and of the prediction it is given nothing.

    threshold : at least 0, in the unit of that stage's representation; or one for each of `stages`
    share     : from 0 to 1, of n players the nearest whole number to share * n, of equals the first ones; or one for
                each of `stages`. Players that are zero already count among the least
    stages    : after which stages, counted from 0 as in `layers`; one or several, None for all. Pruning after the last
                prunes the explanation

    Exactly one of threshold and share is given; what makes no sense is refused with a ValueError. The gradient is that
    of what is left: none for the pruned, and none for the choice.

    Source: Shapley Explanation Networks, section 2.5 and appendix H; its figure 5 prunes a share after one stage.
    """

    threshold: float | Sequence[float] | None = None
    share: float | Sequence[float] | None = None
    stages: int | Sequence[int] | None = None

    def __post_init__(self):
        if (self.threshold is None) == (self.share is None):
            raise ValueError(
                f"give either a threshold or a share of players to prune; got threshold={self.threshold!r} and "
                f"share={self.share!r}"
            )
        name, given = ("threshold", self.threshold) if self.share is None else ("share", self.share)
        most = float("inf") if self.share is None else 1
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= most for v in _several(given)):
            raise ValueError(f"{name} must be {'at least 0' if self.share is None else 'from 0 to 1'}; got {given!r}")
        if self.stages is not None:
            stages = _several(self.stages)
            whole = all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in stages)
            if not stages or not whole or len(set(stages)) < len(stages):
                raise ValueError(
                    f"stages are counted from 0, and each is named once; got {self.stages!r} (None stands for all)"
                )

    def among(self, n_stages: int) -> dict[int, float]:
        """How much to prune after each of the stages of a network that has so many; a ValueError if it has others."""
        stages = range(n_stages) if self.stages is None else _several(self.stages)
        if max(stages) >= n_stages:
            raise ValueError(f"stages={self.stages!r}: the network has {n_stages}, counted 0 to {n_stages - 1}")
        given = self.threshold if self.share is None else self.share
        amounts = _several(given) if isinstance(given, Sequence) else (given,) * len(stages)
        if len(amounts) != len(stages):
            raise ValueError(f"{len(amounts)} amounts to prune, {given!r}, for {len(stages)} stages; give one for each")
        return dict(zip(stages, amounts, strict=True))

    def after(self, stage: int, z: Tensor, n_stages: int) -> Tensor:
        """What is left of Z [batch, *players, channels] after a stage of so many."""
        amount = self.among(n_stages).get(stage)
        if amount is None:
            return z
        if self.share is None:
            return z.masked_fill((_sizes(z) < amount)[..., None], 0)
        return prune_least(z, amount)


def prune_least(z: Tensor, share: float) -> Tensor:
    """Z [batch, *players, channels] without the share of each input's players whose |Z_i|_1 are the least."""
    sizes = _sizes(z).flatten(1)
    count = round(share * sizes.shape[1])
    if not count:
        return z
    last = sizes.kthvalue(count).values[:, None]  # sooner than to sort
    less, equal = sizes < last, sizes == last
    less |= equal & (equal.cumsum(1) <= count - less.sum(1, keepdim=True))
    return z.masked_fill(less.view(*z.shape[:-1], 1), 0)


@contextmanager
def pruned(
    net: nn.Module,
    *,
    threshold: float | Sequence[float] | None = None,
    share: float | Sequence[float] | None = None,
    stages: int | Sequence[int] | None = None,
) -> Iterator[nn.Module]:
    """A context in which a ShapNet prunes whatever it computes: predictions, explanations and layers.

        with pruned(net, share=0.8, stages=[0, 1]):
            net(x), net.explain(x), net.layers(x)

    net : of any kind. Other arguments, errors and source are those of `Pruning`. Of two contexts the inner one holds,
    and `net.explain(x, pruning=...)` is stronger than both. What was before comes back, also after an error.
    """
    if not hasattr(net, "pruning"):
        raise TypeError(f"net must be a ShapNet or an ImageShapNet, which can prune; got {type(net).__name__}")
    rule, before = Pruning(threshold, share, stages), net.pruning
    rule.among(len(net.stages))
    net.pruning = rule
    try:
        yield net
    finally:
        net.pruning = before


def _sizes(z: Tensor) -> Tensor:
    return z.detach().abs().sum(-1)


def _several(values: object) -> tuple:
    return tuple(values) if isinstance(values, Sequence) else (values,)
