"""The book's figures: one style, and functions from results to axes.

Colours are those of Okabe and Ito, which readers with any common colour blindness tell apart; backgrounds are opaque
white, so that a figure reads the same on a light and on a dark page.
"""

from __future__ import annotations  # matplotlib is slow to import, and is imported where something is drawn

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Integral
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from shapnotes._slider import Picture, Slider
from shapnotes.coalitions import masks, shapley_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = ["attribution_bars", "frames", "image_row", "module_diagram", "network_diagram", "use_style"]

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, BLACK, GREY = "#56B4E9", "#E69F00", "#222222", "#8A8A8A"
COLOURS = [BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK]
RAISES, LOWERS = ORANGE, BLUE  # what pushes a prediction up, and what pushes it down, everywhere in the book

STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": BLACK,
    "axes.labelcolor": BLACK,
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "text.color": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "image.cmap": "viridis",
}


class Stage(Protocol):
    """What a diagram reads of a stage of a network."""

    n_players: int
    active_sets: Sequence[Sequence[int]]


def use_style() -> None:
    """Switch matplotlib to the book's style, for the whole session."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.style.use(STYLE | {"axes.prop_cycle": cycler(color=COLOURS)})


# --- attributions --------------------------------------------------------------------------------------------------


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

    widths, labels = _numbers("values", values, 1), [str(name) for name in names]
    if len(labels) != len(widths):
        raise ValueError(f"values must be [players] with a name each; got {len(widths)} values and {len(labels)} names")
    spread = None if errors is None else _numbers("errors", errors, 1)
    if spread is not None and (len(spread) != len(widths) or (spread < 0).any()):
        raise ValueError(
            f"errors must be one per player, none negative; got {len(spread)} for {len(widths)} players, "
            f"the smallest {min(spread, default=0):.3g}"
        )
    if top is not None and (isinstance(top, bool) or not isinstance(top, Integral) or top < 1):
        raise ValueError(f"top must be a whole number of players, at least 1, or None; got {top!r}")
    axes = plt.gca() if ax is None else _axes(ax)
    order = np.argsort(-np.abs(widths), kind="stable")
    shown, others = order[:top], order[len(order[:top]) :]
    bars, ticks = list(widths[shown]), [_readable(labels[i]) for i in shown]
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
    axes = [_axes(ax) for ax in axes]
    arrays = [_numbers("each picture", picture, 2) for picture in pictures]
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
    axes[0].set_ylabel(_readable(str(label)))
    if signed:
        figure = axes[0].figure
        figure.colorbar(drawn[-1], ax=axes, shrink=0.9, aspect=10, ticks=[-limit, 0, limit], format="%.2g")
    return drawn[-1]


# --- diagrams of networks ------------------------------------------------------------------------------------------


def module_diagram(ax: Axes, module: nn.Module) -> Axes:
    """A Shapley module: its features, its inner function at every coalition of them, and the weights to the values.

    A solid orange line adds, a dashed blue one subtracts; the wider, the larger the weight in the Shapley matrix. Those
    of two features are written beside the lines. Features outside the active set are dashed and have the value 0.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        What to draw in.
    module : ShapleyModule
        With up to 3 active features; its active set and its number of features are read off it.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn in.

    Raises
    ------
    TypeError, ValueError
        For anything but one module of up to 3 active features.
    """
    _axes(ax)
    stages = _stages(module)
    sets = [players for stage in stages for players in stage.active_sets]
    if len(sets) != 1 or len(sets[0]) > 3:
        raise ValueError(
            f"a module's diagram is that of one active set of up to 3 features; got {sets} (network_diagram draws more)"
        )
    (active,), n = sets, stages[0].n_players
    k = len(active)
    height = max(n, 2**k)
    features, rows = _levels(n, height), _levels(2**k, height)
    for i, y in enumerate(features):
        _label(ax, 0, y, f"$x_{{{i + 1}}}$", faint=i not in active)
        _label(ax, 4, y, f"$\\phi_{{{i + 1}}}$" if i in active else "0", faint=i not in active)
    weights = shapley_matrix(k)
    for row, (present, y) in enumerate(zip(masks(k).tolist(), rows, strict=True)):
        arguments = [f"{'x' if here else 'r'}_{{{i + 1}}}" for i, here in zip(active, present, strict=True)]
        _label(ax, 2, y, f"$f({', '.join(arguments)})$", facecolor="#EAF4FB")
        for player, (i, here) in enumerate(zip(active, present, strict=True)):
            if here:
                ax.plot([0, 2], [features[i], y], color=GREY, linewidth=1)
            weight = float(weights[player, row])
            colour, line = (RAISES, "-") if weight > 0 else (LOWERS, "--")
            ax.plot([2, 4], [y, features[i]], linewidth=4 * abs(weight), color=colour, linestyle=line)
            if k < 3:
                at = 0.25 + 0.33 * player  # two lines that leave one box are labelled at different lengths
                text = f"{'+' if weight > 0 else '−'}{abs(Fraction(weight).limit_denominator(9))}"
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
                place = (2 + 2 * at, y + at * (features[i] - y))
                ax.text(*place, text, color=colour, fontsize=9, bbox=box, zorder=3, ha="center", va="center")
    return _blank(ax, 4, height)


def network_diagram(ax: Axes, net: nn.Module, names: Sequence[str] | None = None) -> Axes:
    """A Shallow or Deep ShapNet: features in rows, modules as boxes between the stages, and the sum on the right.

    A line leads from every member of an active set to its box, and on to that member's value; the values that arrive
    at a feature are added up. Players are counted from 1, as in the text.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        What to draw in.
    net : ShapNet
        What has `stages`, each with `n_players` and `active_sets`; boxes and lines are read off them, nothing else of
        the network is.
    names : sequence of str, optional
        One per feature, x_1, ... where there are none.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn in.

    Raises
    ------
    TypeError, ValueError
        For a network without active sets, and for names that are not one per feature.
    """
    _axes(ax)
    stages = _stages(net)
    n = stages[0].n_players
    names = [f"$x_{{{i + 1}}}$" for i in range(n)] if names is None else [_readable(str(name)) for name in names]
    if len(names) != n:
        raise ValueError(f"names must be one per feature; got {len(names)} for {n} features")
    height = max(n, *(len(stage.active_sets) for stage in stages))
    features, last = _levels(n, height), 2 * len(stages)
    for number, stage in enumerate(stages):
        left = 2 * number
        for i, y in enumerate(features):
            _label(ax, left, y, f"$Z_{{{i + 1}}}^{{({number})}}$" if number else names[i])
        sets = sorted(stage.active_sets, key=lambda players: sum(players) / len(players))
        for place, (players, y) in enumerate(zip(sets, _levels(len(sets), height), strict=True)):
            colour = COLOURS[place % len(COLOURS)]
            for i in players:
                ax.plot([left, left + 1, left + 2], [features[i], y, features[i]], color=colour, linewidth=1.2)
            _label(ax, left + 1, y, ", ".join(str(i + 1) for i in players), boxstyle="square", edgecolor=colour)
    value = "\\phi" if len(stages) == 1 else "h"  # only one stage gives Shapley values of the whole network
    for i, y in enumerate(features):
        ax.plot([last, last + 1], [y, -height / 2], color=GREY, linewidth=1)
        _label(ax, last, y, f"${value}_{{{i + 1}}}$")
    _label(ax, last + 1, -height / 2, "$\\Sigma$")
    return _blank(ax, last + 1, height)


def _stages(net: object) -> Sequence[Stage]:
    stages: Sequence[Stage] = getattr(net, "stages", ())
    if not len(stages) or not all(hasattr(stage, "active_sets") for stage in stages):
        raise TypeError(
            f"a diagram is of a network whose stages have active_sets, as every ShapNet's do; got {type(net).__name__}"
        )
    return stages


def _levels(count: int, height: float) -> list[float]:
    """Heights of `count` things that are spread over [-height, 0], the first on top."""
    return [-(i + 0.5) * height / count for i in range(count)]


def _label(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    *,
    faint: bool = False,
    boxstyle: str = "round",
    facecolor: str = "white",
    edgecolor: str | None = None,
) -> None:
    colour, line = (GREY, "--") if faint else (BLACK, "-")
    box = {"facecolor": facecolor, "edgecolor": edgecolor or colour, "linestyle": line}
    box["boxstyle"] = f"{boxstyle},pad=0.35"
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=colour, bbox=box, zorder=4)


def _blank(ax: Axes, right: float, height: float) -> Axes:
    ax.set(xlim=(-0.35, right + 0.35), ylim=(-height, 0))
    ax.axis("off")
    return ax


# --- a slider ------------------------------------------------------------------------------------------------------


def frames(draw: Callable[[int], str], labels: Sequence[str], description: str = "step", dpi: int = 80) -> Slider:
    """A slider over pictures drawn in advance: it moves in a page without a kernel, in Jupyter and in Colab.

    Parameters
    ----------
    draw : callable
        Called with 0, 1, ... while a new figure is current; draws it and returns its alternative text.
    labels : sequence of str
        One per picture, written beside the slider.
    description : str
        The slider's name.
    dpi : int
        Dots per inch of the pictures.

    Returns
    -------
    Slider
        Which a notebook shows as plain HTML. Labels and texts are text: what looks like HTML is shown as it stands.

    Raises
    ------
    TypeError
        Where draw returns anything but a text.
    ValueError
        Without labels.
    """
    import matplotlib.pyplot as plt

    if not len(labels):
        raise ValueError("labels must be one per picture, one at least; got none")
    pictures = []
    for step, label in enumerate(labels):
        figure = plt.figure()
        alt = draw(step)
        if not isinstance(alt, str):
            plt.close(figure)
            raise TypeError(f"draw must return the picture's alternative text; got {type(alt).__name__}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        plt.close(figure)
        pictures.append(Picture(buffer.getvalue(), alt, str(label)))
    return Slider(pictures, description)


# --- what is drawn, checked ----------------------------------------------------------------------------------------


def _numbers(name: str, values: Tensor | ArrayLike, dims: int) -> NDArray[np.floating]:
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


def _axes(ax: object) -> Axes:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib axes to draw in; got {type(ax).__name__}")
    return ax


def _readable(text: str) -> str:
    """With its formulas, or where matplotlib cannot read them without: it would fail, and only when it draws."""
    from matplotlib.cbook import is_math_text
    from matplotlib.mathtext import MathTextParser

    try:
        if is_math_text(text):
            MathTextParser("path").parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text
