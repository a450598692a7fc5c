"""From a model to a game: who the players are, and the worth v(S) of each coalition S of them.

v(S) = f(x_S, r_{N - S}): the members of S keep their value in x, all others take the value of the baseline r
(Shapley Explanation Networks, Definition 1; "Baseline Shapley"). *Worth* is game theory's word for v(S), and means
nothing else in this package; the *value* of a player is its Shapley value.
"""

import re
from collections.abc import Callable, Iterable
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from shapnotes._runtime.chunking import rows_at_once
from shapnotes._runtime.tensors import check_dense
from shapnotes.explanation import DETERMINISTIC_ROWS, GapError, refuse_nonfinite, rounding_tolerance
from shapnotes.players import Groups, player_of_each_feature

Model = Callable[[Tensor], Tensor | np.ndarray]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_REPEATED_INPUTS = 4  # inputs that f is evaluated at twice, to see whether it is deterministic


class Probe(NamedTuple):
    """What one evaluation of a model, at one row, shows of it.

    Parameters
    ----------
    output : Tensor
        [1, *outputs].
    largest_bytes : int
        The size of the largest tensor that it made.
    eps : float
        The machine epsilon of the coarsest floating-point numbers that it made or was given.
    """

    output: Tensor
    largest_bytes: int
    eps: float


class Game:
    """The games of a model at a batch of inputs, one game per input.

    Parameters
    ----------
    f : callable
        [rows, *features] -> [rows, *outputs], deterministic, each row by itself. It is given a tensor, and returns a
        tensor or a NumPy array.
    x : Tensor
        [batch, *features], the inputs to explain.
    baseline : Tensor or float, optional
        What stands for absent: None (zero), a number, or a tensor that broadcasts to x.
    groups : tensor, array, sequence or mapping, optional
        None (every feature is a player), or what `players.player_of_each_feature` reads.

    Attributes
    ----------
    n : int
        The number of players.
    player_shape : tuple of int
        The features' shape, or (n,) with groups.
    labels : Tensor
        int64 [prod(features)], the player of each feature.
    grouped : bool
        Whether there are groups.
    x, baseline : Tensor
        [batch, *features] each.

    Raises
    ------
    ValueError, TypeError
        For an f in training mode, and for inputs, baselines or groups that no games can be made of.
    """

    def __init__(
        self,
        f: Model,
        x: Tensor,
        baseline: Tensor | float | None = None,
        groups: Groups | None = None,
    ) -> None:
        if not callable(f):
            raise TypeError(f"f must be a function of a tensor [rows, *features]; got {type(f).__name__}")
        refuse_training_mode(f)
        self.f = f
        self.x = checked_input(x)
        self.baseline = checked_baseline(baseline, x)
        features = tuple(x.shape[1:])
        if groups is None:
            self.labels = torch.arange(prod(features), device=x.device)
            self.player_shape = features
        else:
            self.labels = player_of_each_feature(groups, features).to(x.device)
            self.player_shape = (int(self.labels.max()) + 1,)
        self.n = prod(self.player_shape)
        self.grouped = groups is not None

    def __call__(self, rows: Tensor) -> Tensor:
        """f with its output checked: [rows, *features] -> [rows, *outputs]."""
        try:
            return checked_output(self.f(rows), rows.shape[0])
        except RuntimeError as error:
            _explain_dtype(error, rows)
            raise

    def worths(self, rows: Tensor) -> Tensor:
        """The worths of the coalitions whose inputs are `rows`, finite, in memory of their own: [rows, *outputs]."""
        return finite_output(self.f(rows), rows.shape[0]).clone()  # f may write over what it has returned

    def masked(self, masks: Tensor, inputs: Tensor | slice = slice(None)) -> Tensor:
        """The masked inputs: bool [batch or 1, coalitions, n] -> [batch, coalitions, *features]."""
        present = torch.unflatten(masks[..., self.labels] if self.grouped else masks, -1, self.x.shape[1:])
        return torch.where(present, self.x[inputs][:, None], self.baseline[inputs][:, None])

    def membership(self, players: Tensor) -> Tensor:
        """Which features belong to each of `players`, as 0 and 1 in x's dtype: [..., players, prod(features)]."""
        return (self.labels == players[..., None]).to(self.x.dtype)

    def non_missing(self) -> Tensor:
        """Which players differ from the baseline in at least one of their features: bool [batch, n].

        All others are missing: they never change the prediction, so their Shapley value is zero (missingness).
        """
        differs = (self.x != self.baseline).flatten(1)
        if not self.grouped:
            return differs
        count = torch.zeros(len(differs), self.n, dtype=torch.int64, device=differs.device)
        return count.index_add_(1, self.labels, differs.to(torch.int64)) > 0

    def taking_part(self, graph: bool) -> Tensor:
        """The players whose values are computed, bool [batch, n]; of the others they are zero.

        A missing player has the value zero, but not the gradient zero. So all take part where f's output has a graph
        (`graph`) and a gradient to x or the baseline is wanted.
        """
        moved = self.non_missing()
        everyone = graph and (self.x.requires_grad or self.baseline.requires_grad)
        return torch.ones_like(moved) if everyone else moved

    def empty_and_full(self, chunk_size: int) -> tuple[Tensor, Tensor]:
        """The predictions at the baseline and at the inputs, v(empty set) and v(N): [batch, *outputs] each."""
        # One after the other: in one batch, a model that mixes rows could mix these two as it mixes all coalitions.
        return self.predictions(self.baseline, chunk_size), self.predictions(self.x, chunk_size)

    @torch.no_grad()
    def predictions(self, rows: Tensor, chunk_size: int) -> Tensor:
        """f without a gradient, `chunk_size` rows at a time: [rows, *features] -> [rows, *outputs]."""
        if len(rows) <= chunk_size:
            return self.worths(rows.clone())
        return torch.cat([self.worths(part.clone()) for part in torch.split(rows, chunk_size)])

    def probe(self) -> Probe:
        """The model evaluated at the first input alone, with its tensors recorded."""
        with _Recorder() as record:
            try:
                output = self.worths(self.x[:1].clone())
            except RuntimeError as error:
                _explain_dtype(error, self.x)
                raise
        eps = max(record.eps, *(torch.finfo(t.dtype).eps for t in (self.x, output)))
        return Probe(output, record.largest_bytes, eps)

    def inspect(self, chunk_size: int | None = None) -> tuple[Probe, int]:
        """A probe of f, and how many rows to give it at once; f is refused where it mixes rows (`refuse_mixing`)."""
        probe = self.probe()
        chunk_size = int(chunk_size or rows_at_once(self.x, probe.largest_bytes))
        self.refuse_mixing(chunk_size, probe.eps)
        return probe, chunk_size

    def refuse_mixing(self, chunk_size: int, eps: float) -> None:
        """Raise GapError where f gives a row another output when it is evaluated again, among other rows.

        Exact values of such an f do not add up, which is noticed. Estimates add up whatever f does: in the sum along
        an order all evaluations cancel but the first and the last. So a few inputs, those with most players, are
        evaluated twice: x and baseline apart, and together in the opposite order. Cost: at most 16 evaluations.
        """
        few = self.non_missing().sum(1).topk(min(len(self.x), _REPEATED_INPUTS)).indices
        x, baseline = self.x[few], self.baseline[few]
        apart = torch.cat([self.predictions(rows, chunk_size) for rows in (baseline, x)]).double()
        together = self.predictions(torch.cat([baseline, x]).flip(0), chunk_size).flip(0)
        gap = float((apart - together).abs().max())
        tolerance = rounding_tolerance(eps, float(torch.maximum(apart.abs(), together.abs()).max()))
        if gap > tolerance:
            raise GapError(
                f"f answers the same row differently when it is asked again among other rows: by {gap:.3g} where less "
                f"than {tolerance:.3g} could be rounding. {DETERMINISTIC_ROWS}"
            )


def checked_output(y: object, rows: int) -> Tensor:
    """The output of f as a tensor [rows, *outputs]; refused where it is not one floating-point result per row."""
    if isinstance(y, np.ndarray):
        y = torch.as_tensor(y.copy(), device="cpu")
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


def finite_output(y: object, rows: int) -> Tensor:
    """`checked_output`, refused where it holds NaN or infinity as well."""
    y = checked_output(y, rows)
    if not bool(torch.isfinite(y).all()):
        refuse_nonfinite()
    return y


def in_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values computed in float64, in the dtype in which they are returned; refused where they overflow it."""
    rounded = values.to(dtype)
    if not bool(torch.isfinite(rounded).all()):
        size = float(values.detach().abs().nan_to_num(inf).max())
        raise ValueError(
            f"there are values up to {size:.3g} in size, which {dtype} cannot hold; take a wider dtype, or f in a "
            "larger unit"
        )
    return rounded


# --- refusals ---------------------------------------------------------------------------------------------------------


def checked_input(x: Tensor) -> Tensor:
    """x, refused where it is not a dense floating-point tensor [batch, *features] of finite numbers."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor [batch, *features]; got {type(x).__name__} ({_recipe(x)})")
    check_dense(x, "x")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"x must be [batch, *features] with at least one entry; got shape {tuple(x.shape)} "
            "(a single input needs a batch axis: x[None])"
        )
    if x.dtype not in _DTYPES:
        raise TypeError(f"x must be floating point, since the baseline is mixed into it; got {x.dtype} (use x.float())")
    if not bool(torch.isfinite(x).all()):
        count = int((~torch.isfinite(x)).sum())
        raise ValueError(f"x is NaN or infinite in {count} of its {x.numel()} entries; fill or remove them first")
    return x


def _recipe(x: object) -> str:
    """How to make a tensor of what was passed in its place."""
    if hasattr(x, "to_numpy"):
        return "torch.tensor(x.to_numpy(dtype='float32')) makes one of numeric columns"
    if isinstance(x, np.ndarray):
        return "torch.tensor(x, dtype=torch.float32) makes one"
    if isinstance(x, dict) or (isinstance(x, (list, tuple)) and any(hasattr(part, "shape") for part in x)):
        return "put several inputs side by side with torch.cat, and take them apart again inside f"
    return "torch.tensor(x) makes one of numbers"


def checked_baseline(baseline: Tensor | float | None, x: Tensor) -> Tensor:
    """The baseline expanded to [batch, *features] in x's dtype."""
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
        expanded = baseline.expand(x.shape)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(baseline.shape)} does not broadcast to x of shape {tuple(x.shape)}; give one "
            f"value, one input {tuple(x.shape[1:])}, or one baseline per input"
        ) from error
    if not bool(torch.isfinite(baseline).all()):
        raise ValueError(f"baseline holds NaN or infinity in {x.dtype}; it must be a value that f can be evaluated at")
    return expanded


class _Recorder(TorchFunctionMode):
    """Records the sizes and precisions of the tensors that f makes; refuses functions called as in training.

    So a module in training mode inside a function is met before it updates batch statistics or draws a mask.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest_bytes, self.eps = 0, 0.0
        self.counter: Tensor | None = None  # of batches, which a module raises before it calls the function

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func in _RANDOM_IN_TRAINING and _acts_as_in_training(**kwargs):
            if self.counter is not None:
                self.counter.sub_(1)
            raise ValueError(
                f"f calls torch.nn.functional.{func.__name__} as in training, where the answer depends on chance or on "
                "the other rows, or statistics are changed; call eval() on the model inside f, or pass training=False"
            )
        result = func(*args, **kwargs)
        if func is not Tensor.__float__:
            is_count = func is Tensor.add_ and isinstance(result, Tensor) and result.dtype is torch.int64
            self.counter = result if is_count and isinstance(result, Tensor) and result.dim() == 0 else None
        if isinstance(result, Tensor):
            self.largest_bytes = max(self.largest_bytes, result.numel() * result.element_size())
            if result.is_floating_point():
                self.eps = max(self.eps, torch.finfo(result.dtype).eps)
        return result


_RANDOM_IN_TRAINING = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(F.batch_norm, F.instance_norm, F.rrelu),
}


def _acts_as_in_training(
    training: bool = False,
    use_input_stats: bool = False,
    running_mean: Tensor | None = None,
    p: float = 1.0,
    **_: object,
) -> bool:
    """Whether a call with these arguments draws random numbers, or uses or updates statistics of the batch."""
    return (training and p > 0) or (use_input_stats and running_mean is not None)


def _explain_dtype(error: RuntimeError, x: Tensor) -> None:
    """Raise a ValueError that says so where f failed because its parameters have another dtype than x."""
    if re.search(r"dtype|scalar type|[Ii]nput type|the type torch", str(error)):
        raise ValueError(
            f"f does not take x as it is, {x.dtype}; give x and f's parameters one dtype, by x.to(dtype) or "
            f"f.to(dtype). PyTorch says: {error}"
        ) from error


def refuse_training_mode(f: Model) -> None:
    """Raise ValueError where a module of f is random, or not a function of each row, until eval() is called."""
    if isinstance(f, nn.Module):
        for name, module in f.named_modules():
            if module.training and _needs_eval(module):
                raise ValueError(
                    f"{name or 'f'} ({type(module).__name__}) is in training mode, where its output depends on chance "
                    "or on the other rows, or changes its statistics; call f.eval() first"
                )


def _needs_eval(module: nn.Module) -> bool:
    """Whether training mode makes this module something else than a deterministic function of each row."""
    if isinstance(module, nn.RNNBase):
        return bool(module.dropout > 0 and module.num_layers > 1)
    if isinstance(module, nn.MultiheadAttention):
        return bool(module.dropout > 0)
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return module.track_running_stats
    return isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.RReLU))
