"""From a model to a game: who the players are, and what the model says when only some of them are present.

v(S) = f(x_S, r_{N - S}): the members of S keep their value in x, all others take the value of the baseline r
(Shapley Explanation Networks, Definition 1; "Baseline Shapley").
"""

import re
from collections.abc import Callable
from math import inf, isfinite, prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from shapnotes._runtime.chunking import rows_at_once
from shapnotes.players import Groups, player_of_each_feature

Model = Callable[[Tensor], Tensor | np.ndarray]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_ASKED_TWICE = 4  # games whose ends are evaluated again, to see whether f answers the same


class GapError(ValueError):
    """Attributions do not add up to the change of prediction that they explain; the message gives the gap."""


class Look(NamedTuple):
    """What is known of a model when it has answered one row.

    answer : [1, *outputs]
    bytes  : the size of the largest tensor that it made
    eps    : the precision of the coarsest floating-point numbers that it made or was given
    """

    answer: Tensor
    bytes: int
    eps: float


class Game:
    """The games of a model at a batch of inputs, one game an input.

    f         : [rows, *features] -> [rows, *outputs], deterministic, each row by itself. It is given a tensor, and
                answers with a tensor or with a NumPy array
    x         : [batch, *features], the inputs whose players are present
    baseline  : what stands for absent: None (zero), a number, or a tensor that broadcasts to x
    groups    : None (every feature is a player), or what `players.player_of_each_feature` reads

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
        self.x = checked_input(x)
        self.baseline = _checked_baseline(baseline, x)
        features = tuple(x.shape[1:])
        if groups is None:
            self.labels = torch.arange(prod(features), device=x.device)
            self.player_shape = features
        else:
            self.labels = player_of_each_feature(groups, features).to(x.device)
            self.player_shape = (int(self.labels.max()) + 1,)
        self.n = prod(self.player_shape)
        self.each_alone = groups is None

    def __call__(self, rows: Tensor) -> Tensor:
        """f with its answer checked: [rows, *features] -> [rows, *outputs]."""
        return checked_output(self.f(rows), rows.shape[0])

    def worths(self, rows: Tensor) -> Tensor:
        """The same of the rows of coalitions, which must have a worth, in memory of its own."""
        return finite_output(self.f(rows), rows.shape[0]).clone()  # f may write over what it has returned

    def masked(self, masks: Tensor, inputs: Tensor | slice = slice(None)) -> Tensor:
        """The rows f sees: bool masks [batch or 1, coalitions, n] -> [batch, coalitions, *features]."""
        present = (masks if self.each_alone else masks[..., self.labels]).unflatten(-1, self.x.shape[1:])
        return torch.where(present, self.x[inputs][:, None], self.baseline[inputs][:, None])

    def owned(self, players: Tensor) -> Tensor:
        """Which features belong to each of these players, as 0 and 1 in x's dtype: [..., players, prod(features)]."""
        return (self.labels == players[..., None]).to(self.x.dtype)

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
        """f of [rows, *features], so many at once."""
        if len(rows) <= chunk_size:
            return self.worths(rows.clone())
        return torch.cat([self.worths(part.clone()) for part in rows.split(chunk_size)])

    def first_look(self) -> Look:
        """The model's answer to the first input alone, watched."""
        with _Watched() as watched:
            try:
                answer = self.worths(self.x[:1].clone())
            except RuntimeError as error:
                _explain_dtype(error, self.x)
                raise
        return Look(answer, watched.bytes, max(watched.eps, *(torch.finfo(t.dtype).eps for t in (self.x, answer))))

    def inspect(self, chunk_size: int | None = None) -> tuple[Look, int]:
        """The first look, and how many rows to give f at once; f is refused where it mixes rows (`refuse_mixing`)."""
        look = self.first_look()
        chunk_size = int(chunk_size or rows_at_once(self.x, look.bytes))
        self.refuse_mixing(chunk_size, look.eps)
        return look, chunk_size

    def refuse_mixing(self, chunk_size: int, eps: float) -> None:
        """Raise GapError where f answers the same rows otherwise in other company, or when it is asked again.

        Exact values would not add up, and say so. Estimates add up whatever f does: in a sum along an order all
        evaluations but the two at its ends cancel. So the ends of a few games, those with most players, are evaluated
        twice: x and baseline apart, and together, in the opposite order. Cost: at most 16 evaluations.
        """
        few = self.moved().sum(1).topk(min(len(self.x), _ASKED_TWICE)).indices
        x, baseline = self.x[few], self.baseline[few]
        apart = torch.cat([self.predictions(rows, chunk_size) for rows in (baseline, x)]).double()
        together = self.predictions(torch.cat([baseline, x]).flip(0), chunk_size).flip(0)
        gap = float((apart - together).abs().max())
        tolerance = _tolerance(eps, float(torch.maximum(apart.abs(), together.abs()).max()))
        if gap > tolerance:
            raise GapError(
                f"f answers the same row differently when it is asked again among other rows: by {gap:.3g} where less "
                f"than {tolerance:.3g} could be rounding. {_DETERMINISTIC}"
            )


def checked_output(y: Tensor, rows: int) -> Tensor:
    """Refuse an answer of f that is not one floating-point result a row."""
    if isinstance(y, np.ndarray):
        y = torch.as_tensor(y.copy())
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
    if y.numel() == 0:
        raise ValueError(f"f returned shape {tuple(y.shape)}, which has no output; there is nothing to explain")
    return y


def finite_output(y: Tensor, rows: int) -> Tensor:
    """`checked_output` that is defined as well."""
    y = checked_output(y, rows)
    if not bool(torch.isfinite(y).all()):
        _refuse_nonfinite()
    return y


def in_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values computed in float64, as they are returned; refused where they do not fit."""
    found = values.to(dtype)
    if not bool(torch.isfinite(found).all()):
        size = float(values.detach().abs().nan_to_num(inf).max())
        raise ValueError(
            f"there are values up to {size:.3g} in size, which {dtype} cannot hold; take a wider dtype, or f in a "
            "larger unit"
        )
    return found


def check_closure(
    total: Tensor,
    baseline_prediction: Tensor,
    prediction: Tensor,
    *,
    scale: Tensor,
    eps: float,
):
    """Raise GapError unless `total`, the attributions summed over players, equals prediction - baseline_prediction.

    `scale` holds the sizes of what was added, `eps` is the precision of the numbers inside f.
    """
    ends = torch.stack([prediction, baseline_prediction]).double()
    gap = float((total - (ends[0] - ends[1])).abs().max())
    if not isfinite(gap):
        _refuse_nonfinite()
    tolerance = _tolerance(eps, max(float(ends.abs().max()), float(scale.max())))
    if gap > tolerance:
        raise GapError(
            f"the attributions do not add up to f(x) - f(baseline): the gap is {gap:.3g} where less than "
            f"{tolerance:.3g} could be rounding. {_DETERMINISTIC}"
        )


_DETERMINISTIC = (
    "f must be deterministic and treat each row by itself (no dropout, no batch statistics, no random numbers); call "
    "eval() on the modules in it"
)


def _tolerance(eps: float, size: float) -> float:
    """How much rounding inside f may change its answers of this size.

    It is relative to numbers that only f sees, and an answer may be what is left when they cancel. So this is generous,
    the square root of the precision: half the digits. Randomness or mixed rows cost all of them.
    """
    return eps**0.5 * size


def _refuse_nonfinite() -> None:
    raise ValueError(
        "f returned NaN or infinity for some coalition of players; attributions are not defined there. Evaluate f "
        "between the baseline and x, and choose a baseline inside the domain of f"
    )


# --- what is refused ------------------------------------------------------------------------------------------------


def checked_input(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor [batch, *features]; got {type(x).__name__} ({_recipe(x)})")
    if x.is_nested or x.layout != torch.strided:
        raise TypeError(f"x must be a dense tensor; got the layout {x.layout} (use x.to_dense(), or pad it)")
    if x.device.type == "meta":
        raise ValueError("x is on the meta device, where tensors have a shape and no numbers; give it numbers first")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"x must be [batch, *features] with at least one entry; got shape {tuple(x.shape)} "
            "(a single input needs a batch axis: x[None])"
        )
    if x.dtype not in _DTYPES:
        raise TypeError(f"x must be floating point, since the baseline is mixed into it; got {x.dtype} (use x.float())")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(
            f"x holds {int((~torch.isfinite(x)).sum())} entries that are NaN or infinite; fill or remove them first"
        )
    return x


def _recipe(x: object) -> str:
    """How to make a tensor of what came in its place."""
    if hasattr(x, "to_numpy"):
        return "torch.tensor(x.to_numpy(dtype='float32')) makes one of numeric columns"
    if isinstance(x, np.ndarray):
        return "torch.tensor(x, dtype=torch.float32) makes one"
    if isinstance(x, dict) or (isinstance(x, (list, tuple)) and any(hasattr(part, "shape") for part in x)):
        return "put several inputs side by side with torch.cat, and take them apart again inside f"
    return "torch.tensor(x) makes one of numbers"


def _checked_baseline(baseline: Tensor | float | None, x: Tensor) -> Tensor:
    if baseline is None:
        baseline = 0.0
    if baseline.is_complex() if isinstance(baseline, Tensor) else np.iscomplexobj(baseline):
        raise TypeError("baseline must be real, since it is mixed into x; got complex numbers")
    if not isinstance(baseline, Tensor):
        try:
            baseline = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"baseline must be None, a number or a tensor; got {type(baseline).__name__}") from error
    if baseline.device != x.device:
        raise ValueError(f"baseline is on {baseline.device} and x on {x.device}; move one of them")
    baseline = baseline.to(x.dtype)
    try:
        wide = baseline.expand(x.shape)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(baseline.shape)} does not broadcast to x of shape {tuple(x.shape)}; give one "
            f"value, one input {tuple(x.shape[1:])}, or one baseline an input"
        ) from error
    if not bool(torch.isfinite(baseline).all()):
        raise ValueError(f"baseline holds NaN or infinity in {x.dtype}; it must be a value that f can be evaluated at")
    return wide


class _Watched(TorchFunctionMode):
    """What f makes of one row, its sizes and precisions, and whether it would look at other rows or at chance.

    A module in training mode inside a function is found here, before batch statistics are taken over or a mask drawn.
    """

    def __init__(self):
        super().__init__()
        self.bytes, self.eps = 0, 0.0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _TRAINABLE and _training(**kwargs):
            raise ValueError(
                f"f calls torch.nn.functional.{func.__name__} as in training, where the answer depends on chance or on "
                "the other rows, or statistics are changed; call eval() on the model inside f, or pass training=False"
            )
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self.bytes = max(self.bytes, result.numel() * result.element_size())
            if result.is_floating_point():
                self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return result


_TRAINABLE = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(F.batch_norm, F.instance_norm, F.rrelu),
}


def _training(training=False, use_input_stats=False, running_mean=None, p=1.0, **_) -> bool:
    """Whether one of these functions is called for another answer each time, or changes the statistics it is given."""
    return (training and p > 0) or (use_input_stats and running_mean is not None)


def _explain_dtype(error: RuntimeError, x: Tensor) -> None:
    """Say it plainly where f fails since its parameters have another dtype than x."""
    if re.search(r"dtype|scalar type|[Ii]nput type|the type torch", str(error)):
        raise ValueError(
            f"f does not take x as it is, {x.dtype}; give x and f's parameters one dtype, by x.to(dtype) or "
            f"f.to(dtype). PyTorch says: {error}"
        ) from error


def _refuse_training_mode(f: Model) -> None:
    if isinstance(f, nn.Module):
        for name, module in f.named_modules():
            if module.training and _needs_eval(module):
                raise ValueError(
                    f"{name or 'f'} ({type(module).__name__}) is in training mode, where its output depends on chance "
                    "or on the other rows, or changes its statistics; call f.eval() first"
                )


def _needs_eval(module: nn.Module) -> bool:
    """Whether training mode makes of this module something else than a function of a row."""
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return module.track_running_stats
    return isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.RReLU))
