"""Attributions of players as bars, and of pixels as pictures."""

from __future__ import annotations  # matplotlib is slow to import, and is imported where something is drawn

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from shapnotes.plots._checks import check_axes, numbers, readable
from shapnotes.plots.style import BLACK, LOWERS, RAISES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def attribution_bars(
    values: Tensor | ArrayLike,
    names: Sequence[str],
    *,
    errors: Tensor | ArrayLike | None = None,
    top: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One horizontal bar per player, the largest on top; orange raises the prediction, blue lowers it.

    Parameters
    ----------
    values : Tensor, array or list
        [players].
    names : sequence of str
        One per player. A name may hold formulas, as in matplotlib; what it cannot read is written as it stands.
    errors : Tensor, array or list, optional
        [players], half-widths of intervals.
    top : int, optional
        Show the `top` largest in size, and the sum of the others in one bar.
    ax : matplotlib.axes.Axes, optional
        What to draw in; the current axes where there is none.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn in.

    Raises
    ------
    TypeError, ValueError
        For anything but numbers, a name each, errors that are not negative, and a whole number of bars.
    """
    import matplotlib.pyplot as plt

    widths, labels = numbers("values", values, 1), [str(name) for name in names]
    if len(labels) != len(widths):
        raise ValueError(f"values must be [players] with a name each; got {len(widths)} values and {len(labels)} names")
    spread = None if errors is None else numbers("errors", errors, 1)
    if spread is not None and (len(spread) != len(widths) or (spread < 0).any()):
        raise ValueError(
            f"errors must be one per player, none negative; got {len(spread)} for {len(widths)} players, "
            f"the smallest {min(spread, default=0):.3g}"
        )
    if top is not None and (isinstance(top, bool) or not isinstance(top, Integral) or top < 1):
        raise ValueError(f"top must be a whole number of players, at least 1, or None; got {top!r}")
    axes = plt.gca() if ax is None else check_axes(ax)
    order = np.argsort(-np.abs(widths), kind="stable")
    shown, others = order[:top], order[len(order[:top]) :]
    bars, ticks = list(widths[shown]), [readable(labels[i]) for i in shown]
    halves = None if spread is None else list(spread[shown])
    if len(others):
        ticks.append(f"{len(others)} others together")
        bars.append(widths[others].sum())
        if halves is not None:
            halves.append(0.0)
    axes.barh(range(len(bars)), bars, xerr=halves, color=[RAISES if w > 0 else LOWERS for w in bars])
    axes.set_yticks(range(len(ticks)), ticks)
    axes.invert_yaxis()
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.grid(axis="y", visible=False)
    return axes


def image_row(
    axes: Sequence[Axes], pictures: Sequence[Tensor | ArrayLike], label: str = "", *, signed: bool = True
) -> AxesImage:
    """Pictures side by side on one colour scale, so that they can be compared.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        As many as there are pictures, in one figure.
    pictures : sequence of Tensor, array or list
        [height, width] each; of a picture with channels, one of them, or a sum.
    label : str
        Written at the left of the first.
    signed : bool
        Attributions, whose scale is centred at zero, which is white, and drawn beside the row; or, where False, images
        from the lightest, white, to the darkest.

    Returns
    -------
    matplotlib.image.AxesImage
        The last picture as drawn.

    Raises
    ------
    TypeError, ValueError
        Where pictures and axes differ in number, and for pictures that are not numbers [height, width].
    """
    from matplotlib.colors import LinearSegmentedColormap

    if len(axes) != len(pictures) or not len(axes):
        raise ValueError(f"each picture needs an axes, one at least; got {len(axes)} axes, {len(pictures)} pictures")
    axes = [check_axes(ax) for ax in axes]
    arrays = [numbers("each picture", picture, 2) for picture in pictures]
    limit = max(float(np.abs(array).max()) for array in arrays) or 1.0  # nothing is due to anyone
    if signed:
        colours = LinearSegmentedColormap.from_list("raises", [LOWERS, "white", RAISES])
        drawn = [ax.imshow(a, cmap=colours, vmin=-limit, vmax=limit) for ax, a in zip(axes, arrays, strict=True)]
    else:
        low, high = (float(end(np.array([end(array) for array in arrays]))) for end in (np.min, np.max))
        drawn = [ax.imshow(a, cmap="gray_r", vmin=low, vmax=high) for ax, a in zip(axes, arrays, strict=True)]
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
        ax.spines[:].set(visible=True, color="#C8C8C8")
    axes[0].set_ylabel(readable(str(label)))
    if signed:
        figure = axes[0].figure
        figure.colorbar(drawn[-1], ax=axes, shrink=0.9, aspect=10, ticks=[-limit, 0, limit], format="%.2g")
    return drawn[-1]
