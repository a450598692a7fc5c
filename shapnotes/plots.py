"""The book's figures: one style, and functions from results to axes.

Colours are those of Okabe and Ito, which readers with any common colour blindness tell apart; backgrounds are opaque
white, so that a figure reads the same on a light and on a dark page.
"""

import base64
import io
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, BLACK, GREY = "#56B4E9", "#E69F00", "#222222", "#8A8A8A"
COLOURS = [BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK]
RAISES, LOWERS = (
    ORANGE,
    BLUE,
)  # what pushes a prediction up, and what pushes it down, everywhere in the book

STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "axes.prop_cycle": plt.cycler(color=COLOURS),
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


def use_style() -> None:
    """Switch matplotlib to the book's style, for the whole session."""
    plt.rcParams.update(STYLE)


def attribution_bars(
    values: Tensor,
    names: Sequence[str],
    *,
    errors: Tensor | None = None,
    top: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One horizontal bar a player, the largest on top; orange raises the prediction, blue lowers it.

    values [players]; names, one a player; errors [players], half-widths of intervals; top: show the `top` largest in
    size and the sum of the others in one bar.
    """
    if values.dim() != 1 or len(names) != len(values):
        raise ValueError(
            f"values must be [players] with a name each; got shape {tuple(values.shape)} and {len(names)} names"
        )
    ax = plt.gca() if ax is None else ax
    order = values.detach().abs().argsort(descending=True, stable=True).tolist()
    shown = order if top is None else order[:top]
    labels = [names[i] for i in shown]
    widths = [float(values[i]) for i in shown]
    spread = None if errors is None else [float(errors[i]) for i in shown]
    if len(shown) < len(order):
        labels.append(f"{len(order) - len(shown)} others together")
        widths.append(float(sum(values[i] for i in order[len(shown) :])))
        if spread is not None:
            spread.append(0.0)
    ax.barh(range(len(widths)), widths, xerr=spread, color=[RAISES if w > 0 else LOWERS for w in widths])
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color=BLACK, linewidth=1)
    ax.grid(axis="y", visible=False)
    return ax


def frames(draw: Callable[[int], str], labels: Sequence[str], description: str = "step", dpi: int = 80):
    """A slider over pictures drawn in advance: it moves in a page without a kernel, and in Colab.

    draw        : called with 0, 1, ... while a new figure is current; draws it and returns its alternative text
    labels      : one a picture, written beside the slider's value
    description : the slider's name

    Returns an ipywidgets box. The pictures and the slider are linked in the browser, not in Python.
    """
    import ipywidgets as widgets

    pictures = []
    for step, label in enumerate(labels):
        figure = plt.figure()
        alt = draw(step)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        plt.close(figure)
        data = base64.b64encode(buffer.getvalue()).decode()
        image = f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{data}">'
        pictures.append(widgets.HTML(f'<p style="margin:0">{label}</p>{image}'))
    slider = widgets.IntSlider(min=0, max=len(pictures) - 1, description=description)
    if hasattr(widgets, "Stack"):
        stack = widgets.Stack(children=pictures, selected_index=0)
        widgets.jslink((slider, "value"), (stack, "selected_index"))
    else:  # ipywidgets 7, as in Colab, has no Stack; there a kernel is running
        stack = widgets.HTML(pictures[0].value)
        slider.observe(lambda change: setattr(stack, "value", pictures[change["new"]].value), "value")
    return widgets.VBox([slider, stack])
