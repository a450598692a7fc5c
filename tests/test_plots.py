"""Figures draw what they are given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import shapnotes as sn
from shapnotes import plots
from shapnotes.shapnet import DeepShapNet, ShallowShapNet, ShapleyModule, all_pairs


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


def test_image_row_needs_an_axes_a_picture(ax):
    with pytest.raises(ValueError, match="1 axes, 2 pictures"):
        plots.image_row([ax], [torch.zeros(2, 2)] * 2)


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
