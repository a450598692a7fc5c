"""The book's figures: one style, and functions from results and networks to axes.

matplotlib is imported when something is drawn, and not with the package.

Examples
--------
What `sn.plots.use_style()` sets holds for all figures after it.

>>> from matplotlib.figure import Figure
>>> import shapnotes as sn
>>> figure = Figure(layout="constrained")
>>> ax = sn.plots.attribution_bars(
...     [0.5, -1.0, 0.1],
...     ["age", "dose", "weight"],
...     ax=figure.subplots(),
... )
>>> [label.get_text() for label in ax.get_yticklabels()]
['dose', 'age', 'weight']
"""

from shapnotes.plots.attributions import attribution_bars, image_row
from shapnotes.plots.diagrams import module_diagram, network_diagram
from shapnotes.plots.explorer import explore
from shapnotes.plots.slider import frames
from shapnotes.plots.style import (  # noqa: F401  # the colours, for figures of one's own
    BLACK,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LOWERS,
    ORANGE,
    PINK,
    RAISES,
    SKY,
    YELLOW,
    use_style,
)

__all__ = [
    "attribution_bars",
    "explore",
    "frames",
    "image_row",
    "module_diagram",
    "network_diagram",
    "use_style",
]
