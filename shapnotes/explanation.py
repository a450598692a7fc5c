"""What an explanation is: attributions, the two predictions they lie between, and the gap between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import shap


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attributions of a batch of predictions.

    attributions        : [batch, *players, *outputs], in the unit of the model's output
    prediction          : [batch, *outputs], the model's output at the inputs
    baseline_prediction : [batch, *outputs], its output at the baseline; zero when not given, which is right for
                          networks whose prediction is the sum of their attributions
    inputs              : [batch, *features], what was explained; optional
    standard_errors     : like attributions; None when the attributions are exact

    Local accuracy says that the attributions sum over players to prediction - baseline_prediction; `gap` measures it.
    """

    attributions: Tensor
    prediction: Tensor
    baseline_prediction: Tensor | None = None
    inputs: Tensor | None = None
    standard_errors: Tensor | None = None

    def __post_init__(self):
        for name in ("attributions", "prediction", "baseline_prediction", "inputs", "standard_errors"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and (value is not None or name in ("attributions", "prediction")):
                raise TypeError(f"{name} must be a tensor; got {type(value).__name__}")
        if self.prediction.dim() == 0:
            raise ValueError("prediction must be [batch, *outputs]; got a single number")
        if self.baseline_prediction is None:
            object.__setattr__(self, "baseline_prediction", torch.zeros_like(self.prediction))
        batch, *outputs = self.prediction.shape
        shape = tuple(self.attributions.shape)
        if (
            self.attributions.dim() <= self.prediction.dim()
            or shape[0] != batch
            or shape[len(shape) - len(outputs) :] != tuple(outputs)
        ):
            raise ValueError(
                f"attributions of shape {shape} do not explain predictions of shape {tuple(self.prediction.shape)}; "
                "expected [batch, *players, *outputs] and [batch, *outputs]"
            )
        if self.baseline_prediction.shape != self.prediction.shape:
            raise ValueError(
                f"baseline_prediction has shape {tuple(self.baseline_prediction.shape)}, prediction "
                f"{tuple(self.prediction.shape)}; they must agree"
            )
        if self.inputs is not None and (self.inputs.dim() == 0 or len(self.inputs) != batch):
            raise ValueError(f"inputs has shape {tuple(self.inputs.shape)}, for {batch} predictions; one input each")
        if self.standard_errors is not None and self.standard_errors.shape != self.attributions.shape:
            raise ValueError(
                f"standard_errors has shape {tuple(self.standard_errors.shape)}, attributions {shape}; they must agree"
            )

    @property
    def player_axes(self) -> tuple[int, ...]:
        """The axes of `attributions` that count players."""
        return tuple(range(1, 1 + self.attributions.dim() - self.prediction.dim()))

    def gap(self) -> Tensor:
        """prediction - baseline_prediction - sum of attributions: [batch, *outputs]; only rounding when exact."""
        return self.prediction - self.baseline_prediction - self.attributions.sum(self.player_axes)

    def to_shap(
        self, feature_names: Sequence[str] | None = None, *, output: int | tuple[int, ...] | None = None
    ) -> shap.Explanation:
        """The same as a `shap.Explanation`, for the plots of the package shap (>= 0.45).

        feature_names : one a player; of grids of players, in the order of their flat index
        output        : which output to take, an index an output axis. Most of shap's plots draw one output: choose it
                        here, or in the result by `[..., k]`. None takes all, with their axes last; a single column of
                        outputs is taken as one output without an axis

        Values [batch, *players, *outputs] and base values [batch, *outputs] as NumPy arrays. The data are the inputs,
        where features are the players. Where pixels are, of inputs [batch, channels, height, width], shap wants
        channels last: data are [batch, height, width, channels], values [batch, height, width, 1, *outputs].
        """
        players = self.attributions.shape[1 : 1 + len(self.player_axes)]
        if feature_names is not None and len(feature_names) != players.numel():
            raise ValueError(f"{len(feature_names)} feature_names for {players.numel()} players; give one a player")
        values, base = self.attributions.detach(), self.baseline_prediction.detach()
        outputs = tuple(base.shape[1:])
        if output is None and outputs == (1,):
            output = 0
        if output is not None:
            index = tuple(output) if isinstance(output, (tuple, list)) else (output,)
            if len(index) != len(outputs) or not all(-n <= i < n for i, n in zip(index, outputs, strict=True)):
                raise ValueError(f"output must name one of the outputs {outputs}, by an index an axis; got {output!r}")
            values, base = values[..., *index], base[..., *index]
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
            base_values=_array(base),
            data=None if data is None else _array(data),
            feature_names=None if feature_names is None else list(feature_names),
        )


def _array(values: Tensor) -> np.ndarray:
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()
