"""What an explanation is: attributions, the two predictions they lie between, and the gap between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    def to_shap(self, feature_names: Sequence[str] | None = None) -> shap.Explanation:
        """The same as a `shap.Explanation`, which shap's plots take as it is (shap >= 0.45: output axis last)."""
        try:
            import shap
        except ImportError as error:
            raise ImportError('to_shap needs the shap package: pip install "shapnotes[notebooks]"') from error
        players = self.attributions.shape[1 : 1 + len(self.player_axes)]
        if feature_names is not None and len(feature_names) != players.numel():
            raise ValueError(f"{len(feature_names)} feature_names for {players.numel()} players; give one a player")
        data = self.inputs if self.inputs is not None and self.inputs.shape[1:] == players else None
        return shap.Explanation(
            values=self.attributions.detach().cpu().numpy(),
            base_values=self.baseline_prediction.detach().cpu().numpy(),
            data=None if data is None else data.detach().cpu().numpy(),
            feature_names=None if feature_names is None else list(feature_names),
        )
