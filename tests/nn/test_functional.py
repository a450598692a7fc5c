"""The closed form of a ReLU neuron: its numbers, its limits, and how far it is from the exact values."""

import pytest
import torch
from contracts import normal
from oracles import model_values, tolerance
from torch.testing import assert_close

import shapnotes.nn.functional as F

F64 = tolerance(torch.float64)


def test_exact_values_are_those_of_the_definition():
    x, weight, bias = normal(2, 4), normal(3, 4, seed=2), normal(3, seed=3)
    neuron = lambda z: torch.relu(z @ weight.T + bias)  # noqa: E731
    expected = model_values(neuron, x, torch.zeros(4, dtype=torch.float64)).movedim(1, -1)
    assert_close(F.exact_relu_shapley_values(x, weight, bias), expected, **F64)


def test_what_each_of_the_two_sums_to():
    """Exact values sum to max(s, 0) - max(b, 0); the closed form to Phi s."""
    x, weight, bias = normal(20, 6), normal(4, 6, seed=2), normal(4, seed=3)
    s = x @ weight.T + bias
    assert_close(
        F.exact_relu_shapley_values(x, weight, bias).sum(-1),
        s.clamp(min=0) - bias.clamp(min=0),
        **F64,
    )
    closed = F.relu_shapley_values(x, weight, bias).sum(-1)
    assert bool((closed / s > 0).all()) and bool((closed / s < 1).all())


def test_flipping_all_signs_without_bias():
    """relu(s) - relu(-s) = s, so both forms change by w_k x_k exactly when every sign does."""
    x, weight = normal(5, 6), normal(3, 6, seed=2)
    for form in (F.relu_shapley_values, F.exact_relu_shapley_values):
        assert_close(form(x, weight) - form(-x, weight), x[:, None] * weight, **F64)


def test_scale_does_not_matter_without_bias():
    """The form is homogeneous; in float32 it stays so where squares would vanish or overflow."""
    x, weight = normal(3, 5, dtype=torch.float32), normal(2, 5, seed=2, dtype=torch.float32)
    unit = F.relu_shapley_values(x, weight)
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        assert_close(F.relu_shapley_values(scale * x, weight) / scale, unit, rtol=1e-4, atol=1e-6)


def test_a_large_bias_shares_itself_equally():
    """Li and Cui's limit b >> w_i x_i, and its counterpart: a neuron that never fires gives nothing."""
    x, weight = normal(2, 4), normal(1, 4, seed=2)
    always = F.relu_shapley_values(x, weight, torch.tensor([1e6]).double())
    assert_close(always, x[:, None] * weight + 1e6 / 4, rtol=1e-9, atol=0)
    assert float(F.relu_shapley_values(x, weight, torch.tensor([-1e6]).double()).abs().max()) == 0


def test_gradcheck():
    x, weight, bias = (
        normal(2, 3).requires_grad_(),
        normal(2, 3, seed=2).requires_grad_(),
        normal(2, seed=3).requires_grad_(),
    )
    assert torch.autograd.gradcheck(F.relu_shapley_values, (x, weight, bias))
    assert torch.autograd.gradcheck(F.exact_relu_shapley_values, (x, weight, bias))


def test_approximation_improves_with_the_number_of_inputs():
    """A normal law for the partial sum is poor for two terms and good for twelve: medians over 200 neurons, b = 0."""
    errors = []
    for n in (2, 4, 12):
        x, weight = normal(1, n, seed=n), normal(200, n, seed=n + 1)
        exact = F.exact_relu_shapley_values(x, weight)
        gap = (F.relu_shapley_values(x, weight) - exact).norm(dim=-1) / exact.norm(dim=-1)
        errors.append(float(gap.median()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.15


@pytest.mark.parametrize("form", [F.relu_shapley_values, F.exact_relu_shapley_values])
@pytest.mark.parametrize(
    ("error", "says", "arguments"),
    [
        (ValueError, "must agree on in", (torch.ones(1, 3), torch.ones(2, 4))),
        (ValueError, "must agree on in", (torch.ones(3), torch.ones(2, 3))),
        (ValueError, "bias must be \\[2\\]", (torch.ones(1, 3), torch.ones(2, 3), torch.ones(3))),
        (
            TypeError,
            "weight must be a floating-point",
            (torch.ones(1, 3), torch.ones(2, 3, dtype=torch.int64)),
        ),
        (TypeError, "x must be a floating-point.*list", ([[1.0]], torch.ones(2, 3))),
    ],
)
def test_refusals(form, error, says, arguments):
    with pytest.raises(error, match=says):
        form(*arguments)
