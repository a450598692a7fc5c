"""Groups: every usual way to write them down, and what is said to the rest."""

import numpy as np
import pandas as pd
import pytest
import torch

from shapnotes.players import player_of_each_feature

MASKS = torch.tensor([[[True, False], [True, False]], [[False, True], [False, True]]])


@pytest.mark.parametrize(
    "groups",
    [
        torch.tensor([0, 1, 1]),
        torch.tensor([0, 1, 1], dtype=torch.uint8),
        [0, 1, 1],
        (0, 1, 1),
        np.array([0, 1, 1]),
        [np.int64(0), np.int64(1), np.int64(1)],
        pd.Series([0, 1, 1], index=["x", "y", "z"]),
        pd.Series(["size", "age", "age"]),
        pd.Categorical(["size", "age", "age"]),
        pd.array([0, 1, 1]),
        np.array(["size", "age", "age"], dtype=object),
        ["size", "age", "age"],
        ["size", 7, 7],
        [[0], [1, 2]],
        [(0,), range(1, 3)],
        [{0}, np.array([2, 1])],
        [torch.tensor([0]), pd.Series([1, 2])],
        [0, [1, 2]],
        {"size": 0, "age": [1, 2]},
        {"size": slice(1), "age": slice(1, None)},
        [slice(0, 1), slice(1, 3)],
        [[True, False, False], [False, True, True]],
        torch.tensor([[True, False, False], [False, True, True]]),
        np.array([[True, False, False], [False, True, True]]),
    ],
    ids=str,
)
def test_the_first_feature_alone_and_the_others_together(groups):
    labels = player_of_each_feature(groups, (3,))
    assert labels.dtype == torch.int64 and labels.tolist() == [0, 1, 1]


def test_labels_and_masks_broadcast_to_grids():
    assert player_of_each_feature(np.array([0, 1]), (3, 2)).tolist() == [0, 1] * 3
    assert player_of_each_feature(["left", "right"], (3, 2)).tolist() == [0, 1] * 3
    assert player_of_each_feature(MASKS, (3, 2, 2)).tolist() == [0, 1] * 6
    assert player_of_each_feature([[0, 2], [1, 3]], (2, 2)).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("error", "says", "groups"),
    [
        (TypeError, "groups must be labels.*or members.*got int", 3),
        (TypeError, "groups must be labels.*got str", "abc"),
        (TypeError, "whole-number labels 0..n-1, or names; got float64", np.array([0.0, 1, 1])),
        (TypeError, "whole-number labels 0..n-1, or names; got float32", torch.zeros(3, dtype=torch.bfloat16)),
        (TypeError, "whole-number labels 0..n-1, or names; got bool", [True, False, True]),
        (ValueError, "must be 0..n-1 with none left out; got \\[1, 2\\]", [1, 2, 2]),
        (ValueError, "groups of shape \\(2,\\) do not broadcast", [0, 1]),
        (ValueError, "features .*; masks, one per player, must be bool", torch.tensor([[1, 0, 1], [0, 1, 0]])),
        (TypeError, "group 0 must name features by whole numbers; got .*1.5", [[1.5]]),
        (TypeError, "group 1 must name features by whole numbers; got 'age'", {"a": [0], "b": ["age"]}),
        (TypeError, "group 0 must be a list of feature numbers, a slice or a bool mask; got 1.5", [1.5, 2]),
        (TypeError, "group 0 must be a list.*got 'size'", {"a": "size"}),
        (ValueError, "again in group 0; a mask must be bool", [[1, 0, 0], [0, 1, 1]]),
        (ValueError, "feature 1 is in group 0 and again in group 1$", [[0, 1], [1, 2]]),
        (ValueError, "feature 2 is in group 1 and again in group 1$", [[0], [2, 1, 2]]),
        (ValueError, "group 0 names feature -1, but the features are 0..2$", [[-1], [0, 1, 2]]),
        (ValueError, "group 1 is empty", [slice(0, 3), slice(3, 9)]),
        (ValueError, "group 0 is a mask of shape \\(2,\\)", [[True, False]]),
        (ValueError, "leave out feature\\(s\\) \\[0, 1, 2\\]", []),
    ],
)
def test_refusals(error, says, groups):
    with pytest.raises(error, match=says):
        player_of_each_feature(groups, (3,))
