"""Networks that explain themselves, drawn from their active sets: what each module sees, and what it hands on."""

from __future__ import annotations  # matplotlib is slow to import, and is imported where something is drawn

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from torch import nn

from shapnotes.coalitions import masks, shapley_matrix
from shapnotes.plots._checks import check_axes, readable
from shapnotes.plots.style import BLACK, COLOURS, GREY, LOWERS, RAISES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Stage(Protocol):
    """What a diagram reads of a stage of a network."""

    n_players: int
    active_sets: Sequence[Sequence[int]]


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
    check_axes(ax)
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
    check_axes(ax)
    stages = _stages(net)
    n = stages[0].n_players
    names = [f"$x_{{{i + 1}}}$" for i in range(n)] if names is None else [readable(str(name)) for name in names]
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
    """The stages of a network, or a refusal of one without active sets."""
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
    """A text in a box, centred at (x, y)."""
    colour, line = (GREY, "--") if faint else (BLACK, "-")
    box = {"facecolor": facecolor, "edgecolor": edgecolor or colour, "linestyle": line}
    box["boxstyle"] = f"{boxstyle},pad=0.35"
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=colour, bbox=box, zorder=4)


def _blank(ax: Axes, right: float, height: float) -> Axes:
    """The axes without frame and ticks, over [0, right] and [-height, 0] with a margin."""
    ax.set(xlim=(-0.35, right + 0.35), ylim=(-height, 0))
    ax.axis("off")
    return ax
