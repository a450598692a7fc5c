"""From a model to a game: who the players are, and what the model says when only some of them are present.

v(S) = f(x_S, r_{N - S}): the members of S keep their value in x, all others take the value of the baseline r
(Shapley Explanation Networks, Definition 1; "Baseline Shapley").
"""

from collections.abc import Callable, Sequence
from math import isfinite, prod

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]
Groups = Tensor | Sequence[Sequence[int]]

_ROW_DEPENDENT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.AlphaDropout)


class GapError(ValueError):
    """Attributions do not add up to the change of prediction that they explain; the message gives the gap."""


class Game:
    """The games of a model at a batch of inputs, one game an input.

    f         : [rows, *features] -> [rows, *outputs], deterministic, each row by itself
    x         : [batch, *features], the inputs whose players are present
    baseline  : what stands for absent: None (zero), a number, or a tensor that broadcasts to x
    groups    : None (every feature is a player), or labels 0..n-1 as an integer tensor that broadcasts to *features,
                or n lists of flat feature indices

    Attributes: n (players), player_shape (*features, or (n,) with groups), labels [prod(features)] (each feature's
    player), each_alone (no groups), x and baseline [batch, *features].
    """

    def __init__(
        self,
        f: Model,
        x: Tensor,
        baseline: Tensor | float | None = None,
        groups: Groups | None = None,
    ):
        if not callable(f):
            raise TypeError(f"f must be a function of a tensor [rows, *features]; got {type(f).__name__}")
        _refuse_training_mode(f)
        self.f = f
        self.x = _checked_input(x)
        self.baseline = _checked_baseline(baseline, x)
        features = tuple(x.shape[1:])
        if groups is None:
            self.labels = torch.arange(prod(features), device=x.device)
            self.player_shape = features
        else:
            self.labels = _checked_groups(groups, features).to(x.device)
            self.player_shape = (int(self.labels.max()) + 1,)
        self.n = prod(self.player_shape)
        self.each_alone = groups is None

    def __call__(self, rows: Tensor) -> Tensor:
        """f with its answer checked: [rows, *features] -> [rows, *outputs]."""
        return checked_output(self.f(rows), rows.shape[0])

    def masked(self, masks: Tensor, inputs: Tensor | slice = slice(None)) -> Tensor:
        """The rows f sees: bool masks [batch or 1, coalitions, n] -> [batch, coalitions, *features]."""
        present = (masks if self.each_alone else masks[..., self.labels]).unflatten(-1, self.x.shape[1:])
        return torch.where(present, self.x[inputs][:, None], self.baseline[inputs][:, None])

    def features_of(self, player: int) -> slice | Tensor:
        """The flat features of a player, for indexing; where each is a player, as a slice, the quicker index."""
        if self.each_alone:
            return slice(player, player + 1)
        return torch.nonzero(self.labels == player).flatten()

    def owned(self, players: Tensor) -> Tensor:
        """Which features belong to each of these players, as 0 and 1 in x's dtype: [players, prod(features)]."""
        return (self.labels == players[:, None]).to(self.x.dtype)

    def moved(self) -> Tensor:
        """Which players differ from the baseline in at least one of their features: bool [batch, n].

        A player that does not move never changes the prediction: its Shapley value is zero (missingness).
        """
        differs = (self.x != self.baseline).flatten(1)
        if self.each_alone:
            return differs
        moved = torch.zeros(len(differs), self.n, dtype=torch.int64, device=differs.device)
        return moved.index_add_(1, self.labels, differs.to(torch.int64)) > 0

    def ends(self, chunk_size: int) -> tuple[Tensor, Tensor]:
        """The predictions at the baseline and at the inputs, v(empty) and v(everybody): [batch, *outputs] each."""
        # One after the other: in one batch, a model that mixes rows could mix these two as it mixes all coalitions.
        return self.predictions(self.baseline, chunk_size), self.predictions(self.x, chunk_size)

    @torch.no_grad()
    def predictions(self, rows: Tensor, chunk_size: int) -> Tensor:
        """f of [rows, *features], so many at once, in memory that f does not write over when it is called again."""
        if len(rows) <= chunk_size:
            return self(rows.clone()).clone()
        return torch.cat([self(part.clone()).clone() for part in rows.split(chunk_size)])


def checked_output(y: Tensor, rows: int) -> Tensor:
    """Refuse an answer of f that is not one floating-point result a row."""
    if not isinstance(y, Tensor):
        raise TypeError(f"f must return a tensor [rows, *outputs]; got {type(y).__name__}")
    if y.dim() == 0 or y.shape[0] != rows:
        raise ValueError(
            f"f was given {rows} rows and returned shape {tuple(y.shape)}; it must return one result a row, "
            f"[{rows}, *outputs], computed from that row alone (no mean or sum over rows)"
        )
    if not y.is_floating_point():
        raise TypeError(
            f"f returned {y.dtype}; Shapley values need a floating-point output (logits, probabilities, ...)"
        )
    return y


def check_closure(
    total: Tensor,
    baseline_prediction: Tensor,
    prediction: Tensor,
    *,
    scale: Tensor,
    dtype: torch.dtype,
):
    """Raise GapError unless `total`, the attributions summed over players, equals prediction - baseline_prediction.

    `scale` holds the sizes of what was added. Rounding inside f is relative to numbers that only f sees, and its
    output may be what is left when they cancel; so the tolerance is generous, the square root of the precision of
    `dtype` at the largest size: half the digits. Randomness or mixed rows cost all of them.
    """
    ends = torch.stack([prediction, baseline_prediction]).double()
    gap = float((total - (ends[0] - ends[1])).abs().max())
    if not isfinite(gap):
        raise ValueError(
            "f returned NaN or infinity for some coalition of players; attributions are not defined there. Evaluate f "
            "between the baseline and x, and choose a baseline inside the domain of f"
        )
    tolerance = torch.finfo(dtype).eps ** 0.5 * max(float(ends.abs().max()), float(scale.max()))
    if gap > tolerance:
        raise GapError(
            f"the attributions do not add up to f(x) - f(baseline): the gap is {gap:.3g} where less than "
            f"{tolerance:.3g} could be rounding. f must be deterministic and treat each row by itself (no dropout, no "
            "batch statistics, no random numbers); call f.eval() if it is a module"
        )


def _checked_input(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor [batch, *features]; got {type(x).__name__} (torch.as_tensor makes one)")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"x must be [batch, *features] with at least one entry; got shape {tuple(x.shape)} "
            "(a single input needs a batch axis: x[None])"
        )
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, since the baseline is mixed into it; got {x.dtype} (use x.float())")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"x holds {int((~torch.isfinite(x)).sum())} entries that are NaN or infinite; fill or remove them first"
        )
    return x


def _checked_baseline(baseline: Tensor | float | None, x: Tensor) -> Tensor:
    if baseline is None:
        baseline = 0.0
    if not isinstance(baseline, Tensor):
        try:
            baseline = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
        except (TypeError, ValueError) as error:
            raise TypeError(f"baseline must be None, a number or a tensor; got {type(baseline).__name__}") from error
    if baseline.device != x.device:
        raise ValueError(f"baseline is on {baseline.device} and x on {x.device}; move one of them")
    try:
        wide = baseline.to(x.dtype).expand(x.shape)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(baseline.shape)} does not broadcast to x of shape {tuple(x.shape)}; give one "
            f"value, one input {tuple(x.shape[1:])}, or one baseline an input"
        ) from error
    if not bool(torch.isfinite(baseline).all()):
        raise ValueError("baseline holds NaN or infinity; it must be a value that f can be evaluated at")
    return wide


def _checked_groups(groups: Groups, features: tuple[int, ...]) -> Tensor:
    """Labels [prod(features)], each group used at least once, every feature in exactly one group."""
    count = prod(features)
    if isinstance(groups, Tensor):
        if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
            raise TypeError(f"groups must hold whole-number labels 0..n-1; got {groups.dtype}")
        try:
            labels = groups.to(torch.int64).expand(features).flatten()
        except RuntimeError as error:
            raise ValueError(
                f"groups of shape {tuple(groups.shape)} do not broadcast to the features {features}"
            ) from error
        used = labels.unique()
        if not torch.equal(used, torch.arange(len(used), device=used.device)):
            raise ValueError(f"group labels must be 0..n-1 with none left out; got {used.tolist()[:10]}")
        return labels
    labels = torch.full((count,), -1, dtype=torch.int64)
    for label, members in enumerate(groups):
        if len(members) == 0:
            raise ValueError(f"group {label} is empty; every player needs at least one feature")
        for feature in members:
            if not 0 <= feature < count:
                raise ValueError(f"group {label} names feature {feature}, but the features are 0..{count - 1}")
            if labels[feature] >= 0:
                raise ValueError(f"feature {feature} is in group {int(labels[feature])} and again in group {label}")
            labels[feature] = label
    if bool((labels < 0).any()):
        left = torch.nonzero(labels < 0).flatten().tolist()
        raise ValueError(f"groups leave out feature(s) {left[:10]}; every feature must belong to exactly one group")
    return labels


def _refuse_training_mode(f: Model) -> None:
    if isinstance(f, nn.Module):
        for name, module in f.named_modules():
            if module.training and isinstance(module, _ROW_DEPENDENT):
                raise ValueError(
                    f"{name or 'f'} ({type(module).__name__}) is in training mode, where its output depends on chance "
                    "or on the other rows; call f.eval() first"
                )
