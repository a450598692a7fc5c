"""Bars and pictures show what they are given."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from shapnotes import plots
from shapnotes.shapnet import ShallowShapNet


def test_bars_are_ordered_coloured_and_complete(ax):
    values = torch.tensor([0.1, -3.0, 2.0, 0.3])
    plots.attribution_bars(values, ["a", "b", "c", "d"], top=2, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "2 others together"]
    assert [round(bar.get_width(), 6) for bar in ax.patches] == [-3.0, 2.0, 0.4]
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [plots.LOWERS, plots.RAISES, plots.RAISES]


@pytest.mark.parametrize("form", [lambda v: v.numpy(), lambda v: v.tolist(), lambda v: v.requires_grad_()])
def test_bars_of_numbers_in_any_form(ax, form):
    values, errors = torch.tensor([0.5, -3.0, 2.0]), torch.tensor([0.1, 0.2, 0.3])
    plots.attribution_bars(form(values), np.array(["a", "b", "c"]), errors=form(errors), top=np.int64(2), ax=ax)
    assert [bar.get_width() for bar in ax.patches] == [-3.0, 2.0, 0.5]
    ends = [abs(segment[:, 0]).tolist() for segment in ax.containers[-1].errorbar.lines[2][0].get_segments()]
    assert ends == [pytest.approx([3.2, 2.8]), pytest.approx([1.7, 2.3]), pytest.approx([0.5, 0.5])]


@pytest.mark.parametrize(
    ("error", "says", "values", "names", "settings"),
    [
        (ValueError, "a name each; got 2 values and 1 names", torch.ones(2), ["a"], {}),
        (ValueError, r"values must be \[players\].*got shape \(2, 1\)", torch.ones(2, 1), ["a", "b"], {}),
        (ValueError, r"one number at least; got shape \(0,\)", [], [], {}),
        (ValueError, "values holds 1 numbers that are NaN", [1.0, float("nan")], ["a", "b"], {}),
        (ValueError, "real numbers; got a tensor of torch.float32 on meta", torch.ones(1, device="meta"), ["a"], {}),
        (ValueError, "real numbers; got a tensor of torch.complex64", torch.ones(1) * 1j, ["a"], {}),
        (TypeError, "values must be a tensor, an array or a list of numbers; got NoneType", None, ["a"], {}),
        (ValueError, "errors must be one per player.*got 1 for 2 players", [1, 2], ["a", "b"], {"errors": [1]}),
        (ValueError, "none negative.*the smallest -1", [1, 2], ["a", "b"], {"errors": [1, -1]}),
        (ValueError, "top must be a whole number of players, at least 1, or None; got -1", [1], ["a"], {"top": -1}),
        (ValueError, "top must be.*got 0", [1], ["a"], {"top": 0}),
        (ValueError, "top must be.*got True", [1], ["a"], {"top": True}),
        (ValueError, "top must be.*got 1.0", [1], ["a"], {"top": 1.0}),
        (TypeError, "ax must be matplotlib axes to draw in; got str", [1], ["a"], {"ax": "left"}),
    ],
)
def test_bars_that_are_refused(ax, error, says, values, names, settings):
    with pytest.raises(error, match=says):
        plots.attribution_bars(values, names, **{"ax": ax} | settings)


def test_names_are_formulas_where_they_can_be_read(ax):
    """Others are written as they stand: matplotlib would fail when it draws."""
    plots.attribution_bars([3, 2, 1], ["$x_1$", r"$\foo$", "50 $"], ax=ax)
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$x_1$", r"\$\foo\$", "50 $"]
    plots.network_diagram(ax, ShallowShapNet([(0, 1)], 1), names=[r"$\foo$", "b"])
    plots.image_row([ax], [[[1.0]]], r"$\foo$")
    ax.figure.canvas.draw()


def test_image_row_has_one_scale_whose_middle_is_zero_and_white():
    figure, axes = plt.subplots(1, 2)
    pictures = [torch.tensor([[0.0, 1.0], [0.5, -0.25]]), torch.tensor([[0.0, -4.0], [1.0, 2.0]])]
    plots.image_row(axes, pictures, "here")
    assert axes[0].get_ylabel() == "here"
    for ax, picture in zip(axes, pictures, strict=True):
        (drawn,) = ax.images
        assert drawn.get_clim() == (-4, 4)
        assert (drawn.get_array() == picture.numpy()).all()
        colours = drawn.to_rgba(drawn.get_array())
        assert colours[0, 0] == pytest.approx((1, 1, 1, 1), abs=0.01)
        for red, _, blue, _ in colours[picture.numpy() > 0.4]:
            assert red > blue
    low = axes[1].images[0].to_rgba([-4.0])
    assert matplotlib.colors.to_hex(low[0]).upper() == plots.LOWERS
    assert len(figure.axes) == 3  # and a colour bar
    plt.close(figure)


def test_image_row_of_images_goes_from_white_to_black():
    figure, axes = plt.subplots(1, 2)
    plots.image_row(axes, [torch.tensor([[-0.4, 1.0]]), torch.tensor([[0.0, 3.0]])], signed=False)
    assert [ax.images[0].get_clim() for ax in axes] == [pytest.approx((-0.4, 3.0))] * 2
    assert axes[0].images[0].to_rgba([-0.4])[0] == pytest.approx((1, 1, 1, 1))
    assert len(figure.axes) == 2
    plt.close(figure)


def test_image_row_of_pictures_in_any_form():
    figure, axes = plt.subplots(1, 3)
    picture = [[0.5, -2.0], [1.0, 0.0]]
    plots.image_row(axes, [picture, np.array(picture)[::-1], torch.tensor(picture).bfloat16().requires_grad_()])
    assert [ax.images[0].get_clim() for ax in axes] == [(-2, 2)] * 3
    assert [ax.images[0].get_array().tolist() for ax in axes] == [picture, picture[::-1], picture]
    plt.close(figure)


@pytest.mark.parametrize(
    ("error", "says", "pictures"),
    [
        (ValueError, "1 axes, 2 pictures", [torch.zeros(2, 2)] * 2),
        (ValueError, r"each picture must be \[height, width\].*got shape \(1, 4, 4\)", [torch.zeros(1, 4, 4)]),
        (ValueError, r"got shape \(4, 4, 3\)", [np.zeros((4, 4, 3))]),
        (ValueError, "each picture holds 4 numbers that are NaN", [torch.full((2, 2), torch.nan)]),
        (TypeError, "each picture must be a tensor, an array", [[[1.0], [1.0, 2.0]]]),
    ],
)
def test_image_row_refuses(ax, error, says, pictures):
    """A picture of one row and four columns of four numbers would be drawn as colours and their opacity."""
    with pytest.raises(error, match=says):
        plots.image_row([ax], pictures)
