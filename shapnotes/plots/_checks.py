"""What is drawn, checked: numbers, axes, and formulas that matplotlib can read."""

from __future__ import annotations  # matplotlib is slow to import, and is imported where something is drawn

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def numbers(name: str, values: Tensor | ArrayLike, dims: int) -> NDArray[np.floating]:
    """As an array with this many axes, in float64 unless it is in float32; or a refusal."""
    if isinstance(values, Tensor):
        if values.is_meta or values.is_complex():
            raise ValueError(f"{name} must hold real numbers; got a tensor of {values.dtype} on {values.device}")
        values = values.detach().cpu()
        values = (values if values.dtype == torch.float32 else values.double()).numpy()
    dtype = np.float32 if getattr(values, "dtype", None) == np.float32 else np.float64
    try:
        array: NDArray[np.floating] = np.array(values, dtype=dtype)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if not array.ndim:
        raise TypeError(f"{name} must be a tensor, an array or a list of numbers; got {type(values).__name__}")
    if array.ndim != dims or not array.size:
        shape = "[players]" if dims == 1 else "[height, width]"
        raise ValueError(f"{name} must be {shape}, one number at least; got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} numbers that are NaN or infinite")
    return array


def check_axes(ax: object) -> Axes:
    """The axes as they came, or a refusal."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib axes to draw in; got {type(ax).__name__}")
    return ax


def readable(text: str) -> str:
    """With its formulas, or where matplotlib cannot read them without: it would fail, and only when it draws."""
    from matplotlib.cbook import is_math_text
    from matplotlib.mathtext import MathTextParser

    try:
        if is_math_text(text):
            MathTextParser("path").parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text
