"""Figures draw what they are given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import shapnotes as sn
from shapnotes import plots


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_bars_are_ordered_coloured_and_complete(ax):
    values = torch.tensor([0.1, -3.0, 2.0, 0.3])
    plots.attribution_bars(values, ["a", "b", "c", "d"], top=2, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "2 others together"]
    assert [round(bar.get_width(), 6) for bar in ax.patches] == [-3.0, 2.0, 0.4]
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [plots.LOWERS, plots.RAISES, plots.RAISES]


def test_bars_need_a_name_each(ax):
    with pytest.raises(ValueError, match="a name each"):
        plots.attribution_bars(torch.ones(2), ["a"], ax=ax)


def test_style_is_opaque_and_switches_on():
    with plt.rc_context():
        plots.use_style()
        assert plt.rcParams["savefig.facecolor"] == "white"
        assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == plots.COLOURS


def test_frames_move_in_the_browser():
    """One picture a step, each with its text; slider and pictures are linked without Python."""
    widgets = pytest.importorskip("ipywidgets")
    drawn = []
    box = plots.frames(lambda i: drawn.append(i) or f"picture {i}", ["first", "second"])
    slider, stack = box.children
    assert drawn == [0, 1] and slider.max == 1
    assert all(f'alt="picture {i}"' in stack.children[i].value for i in range(2))
    assert isinstance(stack, widgets.Stack)
    assert not plt.get_fignums()


def test_public_names_exist():
    assert all(hasattr(sn, name) for name in sn.__all__)
    assert sorted(sn.__all__) == sn.__all__
