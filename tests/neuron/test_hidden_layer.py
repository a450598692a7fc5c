"""A network with one hidden layer, by every method, against the package's exact values."""

import pytest
import torch
from contracts import network, normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.neuron import METHODS, hidden_layer

F64 = tolerance(torch.float64)


def perceptron(inputs: int = 7, outputs: int = 3, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    return network(inputs, outputs, activation=nn.ReLU).to(dtype)


@torch.no_grad()
def test_enumeration_gives_the_exact_values_of_the_network():
    model, x, r = perceptron(), normal(4, 7), normal(7, seed=2)
    for baseline in (None, 0.5, r):
        exact = sn.shapley_values(model, x, baseline)
        assert_close(sn.hidden_layer_shapley_values(model, x, baseline, method="enumeration"), exact, **F64)
        close = sn.hidden_layer_shapley_values(model, x, baseline, method="lattice", accuracy=1e-7)
        assert_close(close, exact, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", METHODS)
def test_sums_are_the_change_of_the_prediction_and_missing_players_get_nothing(method, dtype):
    model, x, r = perceptron(dtype=dtype), normal(4, 7, dtype=dtype), normal(7, seed=2, dtype=dtype)
    x[:, 3] = r[3]
    values, missing = sn.hidden_layer_shapley_values(model, x, r, method=method, return_missing=True)
    assert values.shape == (4, 7, 3) and missing.shape == (4, 3) and values.dtype == dtype
    assert_close(values.sum(1), model(x) - model(r), **tolerance(dtype))
    assert float(values[:, 3].abs().max()) == 0
    exact = sn.shapley_values(model, x, r)
    assert float((values - exact).abs().mean() / exact.abs().mean()) < (0.08 if method != "li-cui" else 0.15)
    assert (float(missing.abs().max()) < 1e-4) == (method in ("enumeration", "lattice"))


def test_an_input_at_its_baseline_is_given_zeros():
    model = perceptron().requires_grad_(False)
    assert torch.equal(sn.hidden_layer_shapley_values(model, normal(1, 7), normal(1, 7)), torch.zeros(1, 7, 3).double())


def test_an_image_through_flatten_and_its_gradients():
    model = nn.Sequential(nn.Flatten(), *perceptron(6))
    x = normal(2, 2, 3).requires_grad_()
    values = sn.hidden_layer_shapley_values(model, x)
    assert values.shape == (2, 2, 3, 3)
    assert torch.autograd.gradcheck(lambda x: sn.hidden_layer_shapley_values(model, x, nodes=4), x)
    weights = torch.autograd.grad(values.square().sum(), list(model.parameters())[:3])
    assert all(float(g.abs().max()) > 0 for g in weights)


def test_a_block_at_a_time_gives_the_same(monkeypatch):
    model, x = perceptron(), normal(5, 7).requires_grad_()
    loss = lambda: sn.hidden_layer_shapley_values(model, x).square().sum()  # noqa: E731
    whole, gradient = loss(), torch.autograd.grad(loss(), x)[0]
    for numbers in (1, 14, 100):
        monkeypatch.setattr(hidden_layer, "BLOCK_NUMBERS", numbers)
        assert_close(loss(), whole, **F64)
        assert_close(torch.autograd.grad(loss(), x)[0], gradient, **F64)


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (nn.Linear(3, 2), "got Linear"),
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)), "got Linear, Tanh, Linear"),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU()), "got Linear, ReLU"),
    ],
)
def test_other_models_are_refused(model, shown):
    with pytest.raises(TypeError, match=f"Sequential.*{shown}"):
        sn.hidden_layer_shapley_values(model, torch.ones(1, 3))


def test_other_inputs_are_refused():
    model = perceptron()
    with pytest.raises(ValueError, match="8 features, and the model takes 7"):
        sn.hidden_layer_shapley_values(model, normal(2, 8))
    with pytest.raises(TypeError, match=r"x is torch\.float32 and the model torch\.float64"):
        sn.hidden_layer_shapley_values(model, normal(2, 7).float())
    with pytest.raises(ValueError, match=r"baseline of shape .* does not broadcast"):
        sn.hidden_layer_shapley_values(model, normal(2, 7), torch.zeros(6))
    with pytest.raises(ValueError, match="method must be one of"):
        sn.hidden_layer_shapley_values(model, normal(2, 7), method="exact")
    with pytest.raises(ValueError, match="batch axis"):
        sn.hidden_layer_shapley_values(model, normal(7))
