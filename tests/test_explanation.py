"""The value object: shapes fit, gaps show, shap takes it."""

import numpy as np
import pytest
import torch
from contracts import network, normal

import shapnotes as sn


def test_gap_is_what_is_missing():
    e = sn.Explanation(torch.tensor([[1.0, 2.0]]), torch.tensor([5.0]), torch.tensor([0.5]))
    assert e.gap().tolist() == [1.5]
    assert e.player_axes == (1,)


def test_prediction_at_the_baseline_is_zero_unless_given():
    e = sn.Explanation(torch.ones(2, 3, 4, 5), torch.full((2, 5), 12.0))
    assert e.player_axes == (1, 2)
    assert torch.equal(e.baseline_prediction, torch.zeros(2, 5)) and torch.equal(e.gap(), torch.zeros(2, 5))


def test_shap_takes_it_as_it_is():
    shap = pytest.importorskip("shap")
    x = normal(4, 3)
    e = sn.explain(network(3, 2).requires_grad_(False), x)
    theirs = e.to_shap(feature_names=["a", "b", "c"])
    assert theirs.values.shape == (4, 3, 2) and theirs.feature_names == ["a", "b", "c"]
    assert np.array_equal(theirs.data, x.numpy())
    one = theirs[0, :, 1]  # how shap's own plots pick a row and a class
    assert np.allclose(one.values.sum() + one.base_values, e.prediction[0, 1])
    assert isinstance(one, shap.Explanation)


def test_data_of_grouped_players_is_left_out():
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
    ],
)
def test_refusals(says, call):
    with pytest.raises(ValueError, match=says):
        call()
