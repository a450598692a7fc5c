"""Bad input is answered at the door: what came, what was expected, what to do."""

import pytest
import torch
from torch import nn

import shapnotes as sn

X = torch.ones(2, 3)


def total(z):
    return z.sum(1)


@pytest.mark.parametrize(
    "method",
    [sn.shapley_values, lambda *a, **k: sn.sample_shapley_values(*a, permutations=4, **k)],
    ids=["exact", "sampled"],
)
@pytest.mark.parametrize(
    ("error", "says", "arguments", "options"),
    [
        (TypeError, "f must be a function.*got int", (3, X), {}),
        (TypeError, "x must be a tensor.*got list", (total, [[1.0]]), {}),
        (ValueError, "x\\[None\\]", (total, torch.ones(3)), {}),
        (ValueError, "at least one entry", (total, torch.ones(0, 3)), {}),
        (
            TypeError,
            "floating point.*int64.*x.float",
            (total, torch.ones(2, 3, dtype=torch.int64)),
            {},
        ),
        (
            ValueError,
            "1 entries that are NaN or infinite",
            (total, torch.tensor([[1.0, torch.inf]])),
            {},
        ),
        (
            ValueError,
            "\\(4,\\) does not broadcast to x of shape \\(2, 3\\)",
            (total, X, torch.ones(4)),
            {},
        ),
        (ValueError, "does not broadcast", (total, X, torch.ones(3, 3)), {}),
        (ValueError, "baseline holds NaN", (total, X, torch.nan), {}),
        (TypeError, "baseline must be None, a number or a tensor", (total, X, "mean"), {}),
        (TypeError, "whole-number labels.*float32", (total, X), {"groups": torch.zeros(3)}),
        (
            ValueError,
            "do not broadcast to the features",
            (total, X),
            {"groups": torch.zeros(2, dtype=torch.int64)},
        ),
        (ValueError, "0..n-1 with none left out", (total, X), {"groups": torch.tensor([0, 2, 2])}),
        (ValueError, "group 1 is empty", (total, X), {"groups": [[0, 1, 2], []]}),
        (ValueError, "group 0 names feature 7", (total, X), {"groups": [[7]]}),
        (
            ValueError,
            "feature 1 is in group 0 and again in group 1",
            (total, X),
            {"groups": [[0, 1], [1, 2]]},
        ),
        (ValueError, "leave out feature\\(s\\) \\[2\\]", (total, X), {"groups": [[0], [1]]}),
        (TypeError, "f must return a tensor.*got float", (lambda z: 1.0, X), {}),
        (ValueError, "returned shape \\(\\).*one result a row", (lambda z: z.sum(), X), {}),
        (ValueError, "given 1 rows and returned shape \\(2, 3\\)", (lambda z: X, X), {}),
        (TypeError, "f returned torch.int64", (lambda z: z.argmax(1), X), {}),
        (
            ValueError,
            "1 \\(Dropout\\) is in training mode.*eval",
            (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), X),
            {},
        ),
        (ValueError, "BatchNorm1d\\) is in training mode", (nn.BatchNorm1d(3), X), {}),
    ],
)
def test_refusals(method, error, says, arguments, options):
    with pytest.raises(error, match=says):
        method(*arguments, **options)


def test_a_model_in_training_mode_without_chance_is_welcome():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).train()
    assert sn.shapley_values(model, X).shape == (2, 3, 2)
