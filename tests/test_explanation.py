"""The value object: shapes fit, gaps show, shap takes it."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from contracts import network, normal

import shapnotes as sn

NAMES = ["a", "b", "c"]


@pytest.fixture
def shap():
    """The package, whose import and plots warn of what is not ours; and no figure is left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("shap")
    plt.close("all")


def test_gap_is_what_is_missing():
    e = sn.Explanation(torch.tensor([[1.0, 2.0]]), torch.tensor([5.0]), torch.tensor([0.5]))
    assert e.gap().tolist() == [1.5]
    assert e.player_axes == (1,)


def test_prediction_at_the_baseline_is_zero_unless_given():
    e = sn.Explanation(torch.ones(2, 3, 4, 5), torch.full((2, 5), 12.0))
    assert e.player_axes == (1, 2)
    assert torch.equal(e.baseline_prediction, torch.zeros(2, 5)) and torch.equal(e.gap(), torch.zeros(2, 5))


def test_shap_takes_it_as_it_is(shap):
    x = normal(4, 3)
    e = sn.explain(network(3, 2).requires_grad_(False), x)
    theirs = e.to_shap(feature_names=["a", "b", "c"])
    assert theirs.values.shape == (4, 3, 2) and theirs.feature_names == ["a", "b", "c"]
    assert np.array_equal(theirs.data, x.numpy())
    one = theirs[0, :, 1]  # how shap's own plots pick a row and a class
    assert np.allclose(one.values.sum() + one.base_values, e.prediction[0, 1])
    assert isinstance(one, shap.Explanation)
    chosen = e.to_shap(["a", "b", "c"], output=1)
    assert np.array_equal(chosen.values, theirs.values[..., 1]) and chosen.base_values.shape == (4,)
    assert np.array_equal(e.to_shap(output=-1).values, chosen.values)


def one_output(kind: str):
    """An explanation of one output, in each of the ways it can come."""
    x = normal(120, 3)
    with torch.no_grad():
        if kind == "no output axis":
            return sn.explain(lambda z: z.prod(1), x).to_shap(NAMES)
        if kind == "a column":
            return sn.explain(network(3, 1), x).to_shap(NAMES)
        if kind == "a class":
            return sn.explain(network(3, 3), x).to_shap(NAMES, output=1)
        if kind == "a class, chosen there":
            return sn.explain(network(3, 3), x).to_shap(NAMES)[..., 1]
        return sn.shapnet.DeepShapNet(3, (4,), 1).double().explain(x).to_shap(NAMES)


PLOTS = {
    "bar": lambda p, e: p.bar(e, show=False),
    "bar of an input": lambda p, e: p.bar(e[0], show=False),
    "bar of cohorts": lambda p, e: p.bar(e.cohorts(2).abs.mean(0), show=False),
    "beeswarm": lambda p, e: p.beeswarm(e, show=False),
    "violin": lambda p, e: p.violin(e, show=False),
    "heatmap": lambda p, e: p.heatmap(e, show=False),
    "waterfall": lambda p, e: p.waterfall(e[0], show=False),
    "scatter": lambda p, e: p.scatter(e[:, "a"], color=e, show=False),
    "decision": lambda p, e: p.decision(e.base_values[0], e.values, e.data, show=False),
    "force": lambda p, e: p.force(e[0], matplotlib=True, show=False),
    "force of all": lambda p, e: p.force(e),
    "embedding": lambda p, e: p.embedding(0, e.values, show=False),
    "monitoring": lambda p, e: p.monitoring(0, e.values, e.data, NAMES, show=False),
    "group_difference": lambda p, e: p.group_difference(e.values, e.data[:, 0] > 0, NAMES, show=False),
}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
@pytest.mark.parametrize("kind", ["no output axis", "a column", "a class", "a class, chosen there", "a ShapNet"])
def test_one_output_goes_into_all_plots(plot, kind, shap):
    plot(shap.plots, one_output(kind))


def test_all_classes_go_into_the_plots_that_draw_several(shap):
    e = sn.explain(network(3, 3).requires_grad_(False), normal(20, 3))
    theirs = e.to_shap(NAMES)
    each = [theirs.values[..., k] for k in range(3)]
    shap.summary_plot(each, theirs.data, NAMES, plot_type="bar", show=False)
    shap.multioutput_decision_plot(theirs.base_values[0].tolist(), each, 0, show=False)
    shap.plots.bar({str(k): e.to_shap(NAMES, output=k) for k in range(3)}, show=False)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("outputs", [1, 3])
def test_pixels_go_into_the_plot_of_images(channels, outputs, shap):
    x, attributions = normal(2, channels, 4, 5), normal(2, 4, 5, outputs, seed=2)
    e = sn.Explanation(attributions, attributions.sum((1, 2)), inputs=x)
    theirs = e.to_shap()
    assert np.array_equal(theirs.data, x.movedim(1, -1).numpy())
    values = theirs.values if outputs > 1 else theirs.values[..., None]
    assert np.array_equal(values[:, :, :, 0], attributions.numpy())
    for one, maps in ((theirs, outputs), (e.to_shap(output=0), 1)):
        shap.plots.image(one, show=False)
        assert len(plt.gcf().axes) == 2 * (1 + maps) + 1  # two images, each with its maps, and one scale
        plt.close("all")


def test_half_precision_goes_into_shap(shap):
    e = sn.Explanation(torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16) * 2)
    assert e.to_shap().values.dtype == np.float32


def test_data_of_grouped_players_is_left_out(shap):
    e = sn.explain(network(4, 1).requires_grad_(False), normal(1, 4), groups=[[0, 1], [2, 3]])
    assert e.to_shap(feature_names=["left", "right"]).data is None


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("do not explain predictions", lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2, 3))),
        (
            "do not explain predictions",
            lambda: sn.Explanation(torch.ones(2, 3, 4), torch.ones(2, 5)),
        ),
        ("do not explain predictions", lambda: sn.Explanation(torch.ones(2, 3), torch.ones(3))),
        (r"must be \[batch, \*outputs\]; got a single", lambda: sn.Explanation(torch.ones(2), torch.tensor(1.0))),
        (
            "baseline_prediction has shape",
            lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2), torch.ones(1)),
        ),
        (
            "standard_errors has shape",
            lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2), standard_errors=torch.ones(2)),
        ),
        (
            "2 feature_names for 3 players",
            lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2)).to_shap(["a", "b"]),
        ),
        (
            r"inputs has shape \(3, 3\), for 2 predictions",
            lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2), inputs=torch.ones(3, 3)),
        ),
        (
            r"output must name one of the outputs \(4,\), by an index an axis; got 4",
            lambda: sn.Explanation(torch.ones(2, 3, 4), torch.ones(2, 4)).to_shap(output=4),
        ),
        (r"outputs \(\).*got 0", lambda: sn.Explanation(torch.ones(2, 3), torch.ones(2)).to_shap(output=0)),
    ],
)
def test_refusals(says, call):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("fields", [(None, torch.ones(2)), (torch.ones(2, 3), None), (torch.ones(2, 3), [1.0, 2.0])])
def test_tensors_are_asked_for(fields):
    with pytest.raises(TypeError, match="must be a tensor; got"):
        sn.Explanation(*fields)
    with pytest.raises(TypeError, match="inputs must be a tensor; got list"):
        sn.Explanation(torch.ones(2, 3), torch.ones(2), inputs=[[1.0]])
