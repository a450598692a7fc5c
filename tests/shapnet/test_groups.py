"""Groups of features as players."""

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import network, normal
from oracles import model_values, tolerance
from torch.testing import assert_close

from shapnotes.shapnet import ShallowShapNet, ShapleyModule, grouped


def test_groups_of_unequal_size_are_players():
    groups, labels = [[0, 3], [4], [2, 1]], [0, 2, 2, 0, 1]
    x, baseline, f = normal(3, 5), normal(1, 5, seed=9), network(6, 2)
    net = ShapleyModule(f, (0, 1, 2), in_channels=2, baseline=grouped(baseline, groups)[0])
    expected = model_values(lambda rows: f(grouped(rows, groups).flatten(1)), x, baseline[0], labels)
    assert_close(net.values(grouped(x, groups)), expected, **tolerance(torch.float64))
    built = ShallowShapNet([(0, 2), (1,)], 2, in_channels=2)
    assert built(grouped(x, groups).float()).shape == (3, 2)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 2, 0, 1],
        (0, 2, 2, 0, 1),
        torch.tensor([0, 2, 2, 0, 1]),
        np.array([0, 2, 2, 0, 1]),
        pd.Series([0, 2, 2, 0, 1]),
        ["size", "age", "age", "size", "sex"],
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_groups_may_be_labels(labels):
    x = normal(3, 5)
    named = labels[0] == "size"  # names are numbered as they appear
    assert torch.equal(grouped(x, labels), grouped(x, [[0, 3], [1, 2], [4]] if named else [[0, 3], [4], [1, 2]]))
    assert torch.equal(grouped(x, np.array([[0], [4], [1], [2], [3]])), x[:, [0, 4, 1, 2, 3], None])


@pytest.mark.parametrize(
    "groups",
    [
        {"a": [0, 2], "b": [1]},
        [slice(0, 3, 2), 1],
        [[True, False, True], [False, True, False]],
        np.array([[True, False, True], [False, True, False]]),
        ({0, 2}, range(1, 2)),
        iter([iter([0, 2]), iter([1])]),
    ],
    ids=["dictionary", "slices", "masks", "a matrix of masks", "sets", "iterators"],
)
def test_groups_are_written_as_everywhere(groups):
    x = normal(2, 3)
    assert torch.equal(grouped(x, groups), torch.stack([x[:, [0, 2]], x[:, [1, 1]] * torch.tensor([1, 0])], 1))


def test_features_stand_in_the_order_in_which_they_are_named():
    x = normal(2, 3)
    assert torch.equal(grouped(x, [[2, 0, 1]]), x[:, None, [2, 0, 1]])


@pytest.mark.parametrize("groups", [None, 3, "012", [[0], [1], [2.0]], [0.0, 1.0, 1.0], [True, False, False]])
def test_groups_in_other_words_are_refused(groups):
    with pytest.raises(TypeError, match=r"groups must|group . must"):
        grouped(normal(2, 3), groups)
    with pytest.raises(TypeError, match=r"x must be a tensor \[batch, features\]; got shape \(3,\)"):
        grouped(normal(3), [[0, 1, 2]])


@pytest.mark.parametrize(
    "groups", [[0, 0], [0, 2, 2], [0, -1, 1], [[0, 1]], [[0, 1], [2, 1]], [[0, 1, 2], []], [[0, 1, 3]]]
)
def test_other_groups_are_refused(groups):
    with pytest.raises(
        ValueError,
        match=r"leave out feature|do not broadcast|must be 0..n-1|again in group|is empty|the features are 0",
    ):
        grouped(normal(2, 3), groups)
