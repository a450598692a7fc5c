"""One inner function and its values."""

import pytest
import torch
from contracts import network, normal
from oracles import model_values, tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes.explanation import GapError
from shapnotes.shapnet import ShallowShapNet, ShapleyModule, ShapleyTransform, ShapNet

F64 = tolerance(torch.float64)


def test_it_is_the_value_of_its_function_and_zero_elsewhere():
    f, baseline = network(3, 2), normal(6, seed=9)
    module = ShapleyModule(f, (4, 0, 3), 6, baseline=baseline)
    x = normal(3, 6)
    values = module.values(x)
    chosen = [4, 0, 3]
    expected = model_values(f, x[:, chosen], baseline[chosen])
    assert_close(values[:, chosen], expected, **F64)
    assert_close(module(x), f(x[:, chosen]) - f(baseline[None, chosen]), **F64)
    assert_close(module.explain(x).attributions, values, rtol=0, atol=0)
    assert values.shape == (3, 6, 2) and float(values[:, [1, 2, 5]].detach().abs().max()) == 0


def test_one_player_is_given_the_whole_difference():
    f = network(1, 1)
    x = normal(4, 1)
    assert_close(ShapleyModule(f, [0]).values(x)[:, 0], f(x) - f(torch.zeros_like(x)), **F64)


def test_it_trains_its_function():
    f = network(2, 1)
    module = ShapleyModule(f, (1, 0))
    module.values(normal(5, 2)).square().mean().backward()
    assert float(f[0].weight.grad.abs().max()) > 0 and len(list(module.parameters())) == 4


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(4), nn.AlphaDropout(0.3)])
def test_what_would_not_add_up_while_it_trains_is_refused(layer):
    """Dropout that differs from coalition to coalition, or batch statistics over them: values of no one function."""
    f = nn.Sequential(nn.Linear(2, 4), layer, nn.ReLU(), nn.Linear(4, 1)).double()
    x = normal(5, 2)
    for module in (ShapleyModule(f, (0, 1)), ShallowShapNet([(0, 1)], 1, inner=f)):
        with pytest.raises(
            ValueError, match=f"1 .{type(layer).__name__}. is in training mode, where its output depends"
        ):
            module.train()(x)
        values = module.eval().explain(x).attributions
        assert_close(values.sum(1), f(x) - f(torch.zeros_like(x[:1])), **F64)


@pytest.mark.parametrize("undefined", [torch.log, lambda rows: 1 / rows, lambda rows: rows * float("nan")])
def test_functions_that_are_undefined_at_a_coalition_are_refused(undefined):
    net, x = ShallowShapNet([(0, 1)], 1, inner=lambda rows: undefined(rows).sum(1, keepdim=True)), normal(3, 2).abs()
    for call in (net, net.explain, torch.no_grad()(net)):
        with pytest.raises(ValueError, match=r"f returned NaN or infinity for some coalition .* inside the domain"):
            call(x)
    defined = ShallowShapNet([(0, 1)], 1, inner=lambda rows: rows.log().sum(1, keepdim=True), baseline=1.0)
    assert_close(defined(x), x.log().sum(1, keepdim=True), **F64)


TRAINING = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()


@pytest.mark.parametrize(
    ("inner", "error", "message"),
    [
        (lambda rows: rows[:, :1] + torch.rand_like(rows[:, :1]), GapError, "the same row differently"),
        (lambda rows: (rows - rows.mean(0)).square().sum(1, keepdim=True), GapError, "the same row differently"),
        (lambda rows: TRAINING(rows), ValueError, "f calls torch.nn.functional.batch_norm as in training"),
        (lambda rows: nn.functional.dropout(rows)[:, :1], ValueError, "f calls torch.nn.functional.dropout as in"),
    ],
    ids=["random", "mixes rows", "BatchNorm in a function", "dropout in a function"],
)
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_functions_in_which_chance_or_other_rows_have_a_say_are_refused(inner, error, message, baseline):
    """Their values add up to what the network predicts, whatever it predicts."""
    x, before = normal(3, 2), TRAINING[1].running_mean.clone()
    first = ShapleyTransform([(0,), (1,)], 2, hidden=(4,)).double()
    for net in (
        ShallowShapNet([(0, 1)], 1, inner=inner, baseline=baseline),
        ShapNet([first, ShapleyTransform([(0, 1)], 2, inner=[inner])], baseline=baseline),
    ):
        with pytest.raises(error, match=message):
            net.explain(x)
    assert torch.equal(TRAINING[1].running_mean, before)


def test_functions_are_asked_twice_where_they_are_explained_only():
    rows = []
    net = ShallowShapNet([(0, 1)], 1, inner=lambda r: rows.append(len(r)) or r.prod(1, keepdim=True))
    net(normal(100, 2))
    assert sum(rows) == 4 * 100
    rows.clear()
    net.explain(normal(100, 2))
    assert 4 * 100 < sum(rows) <= 4 * 100 + 17
    values = torch.func.vmap(lambda x: net.explain(x[None]).attributions[0])(normal(3, 2))
    assert_close(values, net.explain(normal(3, 2)).attributions, **F64)
