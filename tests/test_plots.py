"""Figures draw what they are given."""

from html.parser import HTMLParser

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import shapnotes as sn
from shapnotes import plots
from shapnotes.shapnet import DeepShapNet, ImageShapNet, ShallowShapNet, ShapleyModule, all_pairs


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
        (ValueError, "errors must be one a player.*got 1 for 2 players", [1, 2], ["a", "b"], {"errors": [1]}),
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


def lines(ax):
    """Each line as its points, in x and y."""
    return [tuple(zip(*line.get_data(), strict=True)) for line in ax.lines]


def places(ax):
    """Where each label stands, the last one of those that are alike."""
    return {label.get_text(): label.get_position() for label in ax.texts}


@pytest.mark.parametrize("sets", [all_pairs(4), [(2, 0), (1,), (0, 1, 2, 3)]])
def test_network_diagram_has_a_line_from_every_member_to_its_module_and_on(ax, sets):
    plots.network_diagram(ax, ShallowShapNet(sets, 1, hidden=(3,)))
    at = places(ax)
    expected = [
        (at[f"$x_{{{i + 1}}}$"], at[", ".join(str(j + 1) for j in players)], at[f"$\\phi_{{{i + 1}}}$"])
        for players in sets
        for i in players
    ]
    expected += [(at[f"$\\phi_{{{i + 1}}}$"], at["$\\Sigma$"]) for i in range(4)]
    assert sorted(lines(ax)) == sorted(expected)


def test_network_diagram_has_a_column_a_stage(ax):
    net = DeepShapNet(5, 2, 1, hidden=(3,))
    plots.network_diagram(ax, net, names=list("abcde"))
    at = places(ax)
    columns = ["a", "$Z_{5}^{(1)}$", "$Z_{5}^{(2)}$", "$h_{5}$", "$\\Sigma$"]
    assert [at[label][0] for label in columns] == [0, 2, 4, 6, 7]
    assert len(ax.lines) == sum(len(players) for stage in net.stages for players in stage.active_sets) + 5
    # A player's height is the same in every column, and every module has a place of its own.
    assert at["b"][1] == at["$Z_{2}^{(1)}$"][1] == at["$h_{2}$"][1]
    assert len({label.get_position() for label in ax.texts}) == 4 * 5 + 1 + sum(len(s.active_sets) for s in net.stages)


def test_network_diagram_needs_a_name_each(ax):
    with pytest.raises(ValueError, match="got 1 for 2 features"):
        plots.network_diagram(ax, ShallowShapNet([(0, 1)], 1), names=["a"])


@pytest.mark.parametrize("active", [(1,), (0, 2), (2, 0, 1)])
def test_module_diagram_shows_every_coalition_and_the_shapley_matrix(ax, active):
    module = ShapleyModule(lambda rows: rows.sum(1, keepdim=True), active, n_features=4)
    plots.module_diagram(ax, module)
    k = len(active)
    boxes = [text for text in ax.texts if text.get_text().startswith("$f(")]
    assert len({box.get_text() for box in boxes}) == 2**k
    assert boxes[-1].get_text() == f"$f({', '.join(f'x_{{{i + 1}}}' for i in active)})$"
    right = [line for line in ax.lines if line.get_xdata()[1] == 4]
    signed = [line.get_linewidth() / 4 * (1 if line.get_linestyle() == "-" else -1) for line in right]
    matrix = torch.tensor(signed, dtype=torch.float64).view(2**k, k).T
    torch.testing.assert_close(matrix, sn.coalitions.shapley_matrix(k))
    written = [text.get_text() for text in ax.texts if text.get_text()[0] in "+−"]
    assert written == {1: ["−1", "+1"], 2: ["−1/2", "−1/2", "+1/2", "−1/2", "−1/2", "+1/2", "+1/2", "+1/2"], 3: []}[k]
    assert sum(text.get_text() == "0" for text in ax.texts) == 4 - k


def test_module_diagram_refuses_what_it_cannot_show(ax):
    with pytest.raises(ValueError, match="one active set of up to 3 features"):
        plots.module_diagram(ax, ShallowShapNet(all_pairs(3), 1))
    with pytest.raises(ValueError, match="one active set of up to 3 features"):
        plots.module_diagram(ax, ShallowShapNet([range(4)], 1))


@pytest.mark.parametrize("diagram", [plots.module_diagram, plots.network_diagram])
def test_diagrams_refuse_what_has_no_active_sets(ax, diagram):
    for net in (torch.nn.Linear(2, 2), ImageShapNet((1, 2)), None):
        with pytest.raises(TypeError, match=f"stages have active_sets.*got {type(net).__name__}"):
            diagram(ax, net)
    with pytest.raises(TypeError, match="ax must be matplotlib axes to draw in; got ShallowShapNet"):
        diagram(ShallowShapNet([(0, 1)], 1), ax)


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


def test_frames_show_text_as_it_stands():
    """Labels are often names of classes, from data, and the page is published."""
    pytest.importorskip("ipywidgets")
    text = """<img src=x onerror="alert('in')">"""
    _, stack = plots.frames(lambda i: f'"{text}', [f"class {text}"]).children
    (picture,) = stack.children
    parts = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: parts.append((tag, dict(attributes)))
    parser.handle_data = parts.append
    parser.feed(picture.value)
    (paragraph, _), label, (image, attributes) = parts
    assert (paragraph, label, image) == ("p", f"class {text}", "img")
    assert attributes["alt"] == f'"{text}' and set(attributes) == {"alt", "style", "src"}


def test_frames_need_labels_and_texts():
    pytest.importorskip("ipywidgets")
    with pytest.raises(ValueError, match="one a picture, one at least; got none"):
        plots.frames(lambda i: "text", [])
    with pytest.raises(TypeError, match="draw must return the picture's alternative text; got NoneType"):
        plots.frames(lambda i: None, ["first"])
    assert not plt.get_fignums()


def test_public_names_exist():
    assert all(hasattr(sn, name) for name in sn.__all__)
    assert sorted(sn.__all__) == sn.__all__
