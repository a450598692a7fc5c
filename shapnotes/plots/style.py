"""The book's one style.

Colours are those of Okabe and Ito, which readers with any common colour blindness tell apart; backgrounds are opaque
white, so that a figure reads the same on a light and on a dark page.
"""

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


def use_style() -> None:
    """Switch matplotlib to the book's style, for the whole session."""
    import matplotlib.pyplot as plt
    from matplotlib.rcsetup import cycler

    plt.style.use(STYLE | {"axes.prop_cycle": cycler(color=COLOURS)})
