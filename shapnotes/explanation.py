"""Explanations: attributions, the two predictions whose difference they share out, and the gap that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from types import EllipsisType
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import shap

DETERMINISTIC_ROWS = (
    "f must be deterministic and treat each row by itself (no dropout, no batch statistics, no random numbers); call "
    "eval() on the modules in it"
)


class GapError(ValueError):
    """Attributions do not add up to the change of prediction that they explain; the message states the gap."""


@dataclass(frozen=True, eq=False)
class Explanation:
    r"""Attributions of a batch of predictions.

    Local accuracy (efficiency) says that the attributions sum over players to the change of prediction;
    `gap` measures by how much they miss it.

    .. math::
        f(x) - f(r) = \sum_i \phi_i

    Parameters
    ----------
    attributions : Tensor
        [batch, *players, *outputs], in the unit of the model's output.
    prediction : Tensor
        [batch, *outputs], the model's output at the inputs.
    baseline_prediction : Tensor, optional
        [batch, *outputs], its output at the baseline. Zero by default, as for networks whose prediction is the sum of
        their attributions.
    inputs : Tensor, optional
        [batch, *features], what was explained.
    standard_errors : Tensor, optional
        Shaped like the attributions; None when they are exact.

    Raises
    ------
    ValueError
        Where shapes do not fit together.
    TypeError
        For a field that is not a tensor.
    """

    attributions: Tensor
    prediction: Tensor
    baseline_prediction: Tensor = None  # type: ignore[assignment]  # zeros where omitted, never None afterwards
    inputs: Tensor | None = None
    standard_errors: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("attributions", "prediction", "baseline_prediction", "inputs", "standard_errors"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and (value is not None or name in ("attributions", "prediction")):
                raise TypeError(f"{name} must be a tensor; got {type(value).__name__}")
        shape, predicted = self.attributions.shape, self.prediction.shape
        if not predicted:
            raise ValueError("prediction must be [batch, *outputs]; got a single number")
        players = len(shape) - len(predicted)
        if players < 1 or shape[0] != predicted[0] or shape[1 + players :] != predicted[1:]:
            raise ValueError(
                f"attributions of shape {tuple(shape)} do not explain predictions of shape {tuple(predicted)}; "
                "expected [batch, *players, *outputs] and [batch, *outputs]"
            )
        if self.baseline_prediction is None:
            object.__setattr__(self, "baseline_prediction", torch.zeros_like(self.prediction))
        elif self.baseline_prediction.shape != predicted:
            raise ValueError(
                f"baseline_prediction has shape {tuple(self.baseline_prediction.shape)}, prediction "
                f"{tuple(predicted)}; they must agree"
            )
        if self.inputs is not None and (self.inputs.dim() == 0 or self.inputs.shape[0] != shape[0]):
            raise ValueError(f"inputs has shape {tuple(self.inputs.shape)}, for {shape[0]} predictions; one input each")
        if self.standard_errors is not None and self.standard_errors.shape != shape:
            raise ValueError(
                f"standard_errors has shape {tuple(self.standard_errors.shape)}, attributions {tuple(shape)}; they "
                "must agree"
            )

    @property
    def player_axes(self) -> tuple[int, ...]:
        """The axes of `attributions` that count players."""
        return tuple(range(1, 1 + self.attributions.dim() - self.prediction.dim()))

    def gap(self) -> Tensor:
        r"""How far the attributions are from local accuracy.

        .. math::
            f(x) - f(r) - \sum_i \phi_i

        Returns
        -------
        Tensor
            [batch, *outputs]; only rounding where the attributions are exact.
        """
        return self.prediction - self.baseline_prediction - self.attributions.sum(self.player_axes)

    def to_shap(
        self, feature_names: Sequence[str] | None = None, *, output: int | tuple[int, ...] | None = None
    ) -> shap.Explanation:
        """The same as a `shap.Explanation`, for the plots of the package shap (0.45 or newer).

        Values and base values are NumPy arrays, [batch, *players, *outputs] and [batch, *outputs]. The data are the
        inputs, where features are the players. Where pixels are the players of inputs
        [batch, channels, height, width], shap wants channels last: the data are [batch, height, width, channels], the
        values [batch, height, width, 1, *outputs].

        Parameters
        ----------
        feature_names : sequence of str, optional
            One name per player; for grids of players, in the order of their flat index.
        output : int or tuple of int, optional
            Which output to take, one index per output axis. Most of shap's plots draw one output: choose it here, or
            in the result by `[..., k]`. None takes all, with their axes last; a single column of outputs is taken as
            one output without an axis.

        Returns
        -------
        shap.Explanation
            Values, base values, data and names.

        Raises
        ------
        ValueError
            Where names or the output do not fit the attributions.
        ImportError
            Where shap is not installed.
        """
        players = self.attributions.shape[1 : 1 + len(self.player_axes)]
        if feature_names is not None and len(feature_names) != players.numel():
            raise ValueError(f"{len(feature_names)} feature_names for {players.numel()} players; give one a player")
        values, base_values = self.attributions.detach(), self.baseline_prediction.detach()
        outputs = tuple(base_values.shape[1:])
        if output is None and outputs == (1,):
            output = 0
        if output is not None:
            index = tuple(output) if isinstance(output, (tuple, list)) else (output,)
            if len(index) != len(outputs) or not all(-n <= i < n for i, n in zip(index, outputs, strict=True)):
                raise ValueError(f"output must name one of the outputs {outputs}, by an index an axis; got {output!r}")
            of_output: tuple[EllipsisType | int, ...] = (..., *index)
            values, base_values = values[of_output], base_values[of_output]
        data = None
        if self.inputs is not None and self.inputs.shape[1:] == players:
            data = self.inputs.detach()
        elif self.inputs is not None and self.inputs.dim() == 4 and self.inputs.shape[2:] == players:
            data, values = self.inputs.detach().movedim(1, -1), values.unsqueeze(3)
        try:
            import shap
        except ImportError as error:
            raise ImportError('to_shap needs the shap package: pip install "shapnotes[notebooks]"') from error
        return shap.Explanation(
            values=_array(values),
            base_values=_array(base_values),
            data=None if data is None else _array(data),
            feature_names=None if feature_names is None else list(feature_names),
        )


def check_closure(
    total: Tensor,
    baseline_prediction: Tensor,
    prediction: Tensor,
    *,
    scale: Tensor,
    eps: float,
) -> None:
    """Raise GapError unless `total`, the attributions summed over players, equals prediction - baseline_prediction.

    All tensors are [batch, *outputs]. `scale` holds the magnitude of what was summed, `eps` is the machine epsilon of
    the numbers inside f.
    """
    predictions = torch.stack([prediction, baseline_prediction]).double()
    gap = float((total - (predictions[0] - predictions[1])).abs().max())
    if not isfinite(gap):
        refuse_nonfinite()
    tolerance = rounding_tolerance(eps, max(float(predictions.abs().max()), float(scale.max())))
    if gap > tolerance:
        raise GapError(
            f"the attributions do not add up to f(x) - f(baseline): the gap is {gap:.3g} where less than "
            f"{tolerance:.3g} could be rounding. {DETERMINISTIC_ROWS}"
        )


def rounding_tolerance(eps: float, magnitude: float) -> float:
    """The largest difference between two outputs of f of this magnitude that rounding inside f may explain.

    Numbers inside f are not visible, and its output may be what is left after they cancel. So the tolerance is
    generous, the square root of the machine epsilon: half of the digits. Randomness or mixed rows cost all of them.
    """
    return magnitude * float(eps**0.5)


def refuse_nonfinite() -> NoReturn:
    """Raise ValueError for a worth that is NaN or infinite."""
    raise ValueError(
        "f returned NaN or infinity for some coalition of players; attributions are not defined there. Evaluate f "
        "between the baseline and x, and choose a baseline inside the domain of f"
    )


def _array(values: Tensor) -> np.ndarray:
    """As NumPy; bfloat16, which NumPy lacks, as float32."""
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()
