"""Diagrams show the active sets of a network, each of them."""

import pytest
import torch

import shapnotes as sn
from shapnotes import plots
from shapnotes.shapnet import DeepShapNet, ImageShapNet, ShallowShapNet, ShapleyModule, all_pairs


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
