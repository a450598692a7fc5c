"""Sliders that compute: a figure drawn anew for every value, while a kernel runs.

The built book has no kernel. There `frames` shows pictures drawn in advance, and the cell of an explorer is empty.
"""

from __future__ import annotations  # ipywidgets is an extra, and is imported where a slider is made

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipywidgets import interactive

WITHOUT_READER = "SHAPNOTES_NO_READER"  # set where notebooks are executed and compared: nobody moves a slider there


def explore(
    draw: Callable[..., str], **choices: tuple[float, float] | tuple[float, float, float] | Sequence[object]
) -> interactive | None:
    """A slider per argument of a drawing function, which is called again whenever one moves.

    Parameters
    ----------
    draw : callable
        Called with one value per choice while a new figure is current; draws it and returns its alternative text, which
        stands below the figure.
    **choices
        By the argument's name: (low, high) or (low, high, step) for a slider over numbers, a list for one of its
        entries.

    Returns
    -------
    ipywidgets.interactive or None
        Which a live notebook shows as sliders over the figure. None where SHAPNOTES_NO_READER is set in the
        environment, as where the book is executed, and a line says what would stand here: a slider of a stored
        notebook could move, and nothing would follow.

    Raises
    ------
    ImportError
        Without ipywidgets, which the extra `notebooks` brings.
    ValueError
        Without choices.

    Cost
    ----
    A call of draw per move.

    Examples
    --------
    In a cell of a running notebook, as its last line:

        def draw(bias):
            plt.plot(x, torch.relu(x + bias))
            return f"a neuron with bias {bias}"

        sn.plots.explore(draw, bias=(-2.0, 2.0, 0.1))
    """
    if not choices:
        raise ValueError("explore needs at least one choice, as bias=(-2.0, 2.0); got none")
    if os.environ.get(WITHOUT_READER):
        print("In a running notebook sliders stand here, for", ", ".join(choices))
        return None
    try:
        import ipywidgets
    except ImportError as missing:
        raise ImportError("explore needs ipywidgets: pip install 'shapnotes[notebooks]'") from missing
    import matplotlib.pyplot as plt

    def redraw(**values: object) -> None:
        figure = plt.figure()
        try:
            words = draw(**values)
            plt.show()
            print(words)
        finally:
            plt.close(figure)

    return ipywidgets.interactive(redraw, **choices)
