"""The relevance of output layers, to start from."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from relevance_models import mlp, seeded
from torch import nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import relevance as R

F64 = tolerance(torch.float64)


def test_a_linear_output_is_its_own_relevance():
    y = normal(2, 3)
    values = R.linear_relevance(y)
    assert_close(values.sum(1), y, **F64)
    assert_close(values, sn.shapley_values(lambda z: z, y), **F64)


def test_a_relu_output_is_handed_down_as_the_closed_form():
    layer, x = seeded(lambda: nn.Linear(4, 3)).requires_grad_(False), normal(2, 4)
    values = R.relu_relevance(x, layer.weight, layer.bias)
    found = R.propagate(nn.Sequential(layer, nn.ReLU()), x, values)[0]
    expected = sn.nn.functional.relu_shapley_values(x, layer.weight, layer.bias)
    assert_close(found.movedim(-1, 1), expected, **F64)


def test_softmax_is_estimated_within_its_errors(generator):
    z = normal(2, 5)
    exact, none = R.softmax_relevance(z, None)
    assert_close(exact, sn.shapley_values(lambda rows: torch.softmax(rows, -1), z), **F64)
    assert float(none.abs().max()) == 0
    values, errors = R.softmax_relevance(z, generator=generator)
    assert values.shape == errors.shape == (2, 5, 5)
    assert float(errors.min()) > 0 and float(errors.max()) < 0.02
    assert bool(((values - exact).abs() < 5 * errors).all())
    assert_close(values.sum(1), torch.softmax(z, 1) - 1 / 5, **F64)
    # Absent is 0, which is a choice: from another baseline the same probabilities have other values.
    shifted, _ = R.softmax_relevance(z + 1, None)
    assert float((shifted - exact).abs().max()) > 0.01
    assert_close(R.softmax_relevance(z + 1, None, baseline=1.0)[0], exact, **F64)


@pytest.mark.parametrize("permutations", [None, 4])
def test_softmax_relevance_shows_its_progress_when_asked(permutations, capsys):
    R.softmax_relevance(normal(2, 3), permutations, progress=False)
    assert capsys.readouterr().err == ""
    R.softmax_relevance(normal(2, 3), permutations, progress=True)
    assert "%" in capsys.readouterr().err


def test_softmax_relevance_goes_through_a_network(generator):
    model, x = seeded(lambda: mlp(4, 6, 3)).requires_grad_(False), normal(2, 4)
    values, _ = R.softmax_relevance(model(x), 50, generator)
    found = R.propagate(model, x, values)
    assert found[0].shape == (2, 4, 3)
    assert_close(found.totals[0], torch.softmax(model(x), 1) - 1 / 3, **F64)
    for c in range(3):
        assert_close(R.propagate(model, x, values[..., c])[0], found[0][..., c], **F64)


def test_outputs_that_are_not_finite_are_refused():
    bad = torch.tensor([[1.0, float("nan")]])
    with pytest.raises(ValueError, match="output is NaN or infinite in 1 of"):
        R.linear_relevance(bad)
    with pytest.raises(ValueError, match="logits is NaN or infinite in 1 of"):
        R.softmax_relevance(bad)
    with pytest.raises(ValueError, match="x is NaN or infinite in 1 of"):
        R.relu_relevance(bad, torch.ones(1, 2))
