"""Dynamic pruning: players that a stage gives little are given nothing, input by input, from there on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any

from torch import Tensor, nn

from shapnotes.shapnet.door import is_several, real_number, stage_number, whole

Amount = float | Sequence[float]


@dataclass(frozen=True)
class Pruning:
    r"""Which players to set to the reference, zero, after which stages.

    .. math::
        Z_i \leftarrow 0 \text{ where } \sum_c |Z_{ic}| < \text{threshold},

    or for that share of an input's players whose :math:`\Vert Z_i \Vert_1`, a sum over channels c, are the least. Each
    input is pruned by itself. By Corollary 4 a pruned player is zero after all later stages as well, and of the
    prediction it is given nothing. The gradient is that of what is left: none for the pruned, and none for the choice.

    Parameters
    ----------
    threshold : float or sequence of float, optional
        At least 0, in the unit of that stage's representation; or one for each of `stages`.
    share : float or sequence of float, optional
        From 0 to 1: of n players the nearest whole number to share * n is pruned, of equal ones the first; or one for
        each of `stages`. Players that are zero already count among the least.
    stages : int or sequence of int, optional
        After which stages, counted from 0 as in `layers`; one or several, None for all. Pruning after the last prunes
        the explanation.

    Raises
    ------
    ValueError
        Unless exactly one of threshold and share is given, and for numbers that make no sense.

    Source
    ------
    Shapley Explanation Networks, section 2.5 and appendix H; its figure 5 prunes a share after one stage.
    """

    threshold: Amount | None = None
    share: Amount | None = None
    stages: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.share is None):
            raise ValueError(
                f"give either a threshold or a share of players to prune; got threshold={self.threshold!r} and "
                f"share={self.share!r}"
            )
        for name, most in (("threshold", float("inf")), ("share", 1.0)):
            if (given := getattr(self, name)) is not None:
                self._keep(name, given, [real_number(amount, name, 0, most) for amount in _several(given)])
        if self.stages is not None:
            stages = [whole(stage, "a stage to prune after, counted from 0,", 0) for stage in _several(self.stages)]
            if not stages or len(set(stages)) < len(stages):
                raise ValueError(f"each of the stages is named once; got {self.stages!r} (None stands for all)")
            self._keep("stages", self.stages, stages)

    def _keep(self, name: str, given: object, values: list[Any]) -> None:
        """One value, or a tuple of several: Python's own, so that rules compare and can be kept in sets."""
        object.__setattr__(self, name, tuple(values) if is_several(given) else values[0])

    def among(self, n_stages: int) -> dict[int, float]:
        """How much to prune after each of the stages of a network.

        Parameters
        ----------
        n_stages : int
            How many stages the network has.

        Returns
        -------
        dict
            From the number of a stage to its threshold or share.

        Raises
        ------
        ValueError
            For a stage that the network does not have, and where there are not as many amounts as stages.
        """
        stages = range(n_stages) if self.stages is None else _several(self.stages)
        if max(stages) >= n_stages:
            raise ValueError(f"stages={self.stages!r}: the network has {n_stages}, counted 0 to {n_stages - 1}")
        given = self.threshold if self.share is None else self.share
        amounts = given if isinstance(given, tuple) else (given,) * len(stages)
        if len(amounts) != len(stages):
            raise ValueError(f"{len(amounts)} amounts to prune, {given!r}, for {len(stages)} stages; give one for each")
        return dict(zip(stages, amounts, strict=True))

    def after(self, stage: int, z: Tensor, n_stages: int) -> Tensor:
        """What is left of a representation after a stage.

        Parameters
        ----------
        stage : int
            Which stage it comes from, counted from 0.
        z : Tensor
            Z, [batch, *players, channels].
        n_stages : int
            How many stages the network has.

        Returns
        -------
        Tensor
            Of the shape of z; z itself where nothing is pruned.

        Raises
        ------
        ValueError
            As `among`, and for a stage that the network does not have.
        """
        amount = self.among(n_stages).get(stage_number(stage, n_stages))
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
    last = sizes.kthvalue(count).values[:, None]  # faster than to sort
    less, equal = sizes < last, sizes == last
    less |= equal & (equal.cumsum(1) <= count - less.sum(1, keepdim=True))
    return z.masked_fill(less.view(*z.shape[:-1], 1), 0)


class Prunable:
    """A network for which `pruned` sets a rule."""

    stages: nn.ModuleList
    _contexts = 0  # that are open, in all threads: compilers, which cannot read the rules, see this number change

    @property
    def pruning(self) -> Pruning | None:
        """The rule of the innermost `pruned` context of this network that the caller is in."""
        return _rule_here(self) if self._contexts else None


_CONTEXTS: ContextVar[tuple[tuple[Prunable, Pruning], ...]] = ContextVar("pruned", default=())  # the innermost last
_COUNTING = Lock()


@contextmanager
def pruned(
    net: nn.Module,
    *,
    threshold: Amount | None = None,
    share: Amount | None = None,
    stages: int | Sequence[int] | None = None,
) -> Iterator[nn.Module]:
    """A context in which a ShapNet prunes whatever it computes: predictions, explanations and layers.

    Of two contexts the inner one holds, and `net.explain(x, pruning=...)` is stronger than both. It holds in this
    thread or asyncio task, and in no other; nor for copies of the network. Contexts may end in any order, and end after
    an error.

    Parameters
    ----------
    net : ShapNet or ImageShapNet
        The network, of any kind.
    threshold, share, stages : optional
        The rule, as in `Pruning`.

    Yields
    ------
    ShapNet or ImageShapNet
        The network itself.

    Raises
    ------
    ValueError, TypeError
        For another network, for a rule that `Pruning` refuses, and for stages that the network does not have.

    Source
    ------
    Shapley Explanation Networks, section 2.5 and appendix H.

    Examples
    --------
    >>> import torch
    >>> from shapnotes.shapnet import DeepShapNet
    >>> net, x = DeepShapNet(4, 3, 2), torch.ones(5, 4)
    >>> with pruned(net, share=0.5, stages=0):
    ...     first, last = net.layers(x)
    >>> (last == 0).all(2).sum(1)
    tensor([2, 2, 2, 2, 2])
    """
    if not isinstance(network := getattr(getattr(net, "layers", None), "__self__", net), Prunable):
        raise TypeError(f"net must be a ShapNet or an ImageShapNet, which can prune; got {type(net).__name__}")
    context = network, Pruning(threshold, share, stages)
    context[1].among(len(network.stages))
    _CONTEXTS.set((*_CONTEXTS.get(), context))
    with _COUNTING:
        network._contexts += 1
    try:
        yield net
    finally:
        _CONTEXTS.set(tuple(other for other in _CONTEXTS.get() if other is not context))
        with _COUNTING:
            network._contexts -= 1


def _rule_here(net: Prunable) -> Pruning | None:
    return next((rule for pruned_net, rule in reversed(_CONTEXTS.get()) if pruned_net is net), None)


def checked_rule(rule: object) -> Pruning | None:
    if rule is not None and not isinstance(rule, Pruning):
        raise TypeError(f"pruning must be a Pruning or None; got {type(rule).__name__}")
    return rule


def _sizes(z: Tensor) -> Tensor:
    return z.detach().abs().sum(-1)


def _several(values: object) -> tuple[Any, ...]:
    return tuple(values) if is_several(values) else (values,)
