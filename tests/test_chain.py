"""A model as a chain of steps: which layers, and that the steps compute what the model does."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes._chain import BELOW_ALL, Linear, Maximum, chain_of, effects, up_to_first_linear
from shapnotes.game import Game

F64 = tolerance(torch.float64)
LAYERS = {
    "linear": (nn.Linear(4, 3), (4,)),
    "without a bias": (nn.Linear(4, 3, bias=False), (4,)),
    "linear of a grid": (nn.Linear(4, 3), (2, 4)),
    "convolution": (nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), (2, 5, 6)),
    "convolution with holes": (nn.Conv2d(2, 3, 2, dilation=2, padding="same", bias=False), (2, 5, 6)),
    "average": (nn.AvgPool2d(2), (2, 5, 6)),
    "average with a border": (nn.AvgPool2d((2, 3), stride=1, padding=1), (2, 5, 6)),
    "adaptive average": (nn.AdaptiveAvgPool2d((1, 3)), (2, 5, 6)),
    "adaptive average of one axis": (nn.AdaptiveAvgPool2d((None, 2)), (2, 5, 6)),
    "maximum": (nn.MaxPool2d(2), (2, 5, 6)),
    "maximum with border and holes": (nn.MaxPool2d((2, 3), stride=(1, 2), padding=1, dilation=(2, 1)), (2, 5, 6)),
    "flatten": (nn.Flatten(), (2, 3)),
    "flatten some": (nn.Flatten(2), (2, 3, 2)),
    "ReLU": (nn.ReLU(), (4,)),
    "leaky ReLU": (nn.LeakyReLU(0.3), (4,)),
}


def chain(model: nn.Module, *features: int, maxima: bool = True):
    game = Game(model.double().eval().requires_grad_(False), normal(3, *features))
    return chain_of(game, game.probe(), name="bounds", maxima=maxima)


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_is_its_layer(name):
    layer, features = LAYERS[name]
    (step,) = chain(layer, *features)
    x = normal(3, *features, seed=7)
    assert_close(step(x), layer(x), **F64)


@pytest.mark.parametrize("name", [name for name in LAYERS if isinstance(LAYERS[name][0], nn.Linear | nn.Conv2d)])
def test_the_linear_part_takes_any_weights(name):
    layer, features = LAYERS[name]
    (step,) = chain(layer, *features)
    assert isinstance(step, Linear) and step.terms == layer.weight[0].numel()
    x = normal(3, *features, seed=7)
    without = layer(x) - layer(torch.zeros_like(x))
    assert_close(step.apply(x, -2 * step.weight), -2 * without, **F64)
    positive, negative = step.weight.clamp(min=0), step.weight.clamp(max=0)
    assert_close(step.apply(x, positive) + step.apply(x, negative), without, **F64)


def test_windows_outside_an_image_hold_what_is_below_all():
    (step,) = chain(nn.MaxPool2d(2, padding=1), 1, 2, 2)
    assert isinstance(step, Maximum)
    windows = step.windows(torch.zeros(1, 1, 2, 2), BELOW_ALL)
    assert windows.shape == (1, 1, 2, 2, 4)
    assert int((windows == 0).sum()) == 4


def test_sequences_inside_each_other_and_layers_that_do_nothing():
    inner = nn.Sequential(nn.Identity(), nn.Linear(3, 2), nn.Dropout())
    assert len(chain(nn.Sequential(nn.Sequential(inner, nn.ReLU()), nn.Linear(2, 1)), 3)) == 3


def test_effects_are_those_of_the_first_linear_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Linear(4, 2))
    steps = chain(model, 2, 3)
    leading, rest = up_to_first_linear(steps)
    assert len(leading) == 2 and len(rest) == 1
    change = normal(2, 3)
    found = effects(leading, change, torch.tensor([5, 0]))
    assert_close(
        found, torch.stack([change[1, 2] * model[1].weight[:, 5], change[0, 0] * model[1].weight[:, 0]]), **F64
    )
    assert up_to_first_linear(chain(nn.Sequential(nn.ReLU(), nn.Linear(3, 1)), 3))[0] == []


class Shifted(nn.Linear):
    def forward(self, z):
        return super().forward(z) + 1


def hooked() -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, given, out: out + 1)
    return layer


@pytest.mark.parametrize(
    ("model", "features", "error", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.GELU())), (3,), TypeError, r"layer '1\.0' \(GELU\).*Replace"),
        (nn.Sequential(nn.MaxPool2d(2)), (1, 4, 4), TypeError, r"layer '0' \(MaxPool2d\) cannot be followed"),
        (nn.Sequential(Shifted(3, 2)), (3,), TypeError, r"layer '0' \(Shifted\) cannot be followed"),
        (nn.Sequential(hooked()), (3,), TypeError, r"layer '0' \(Linear\) has a hook"),
        (nn.Sequential(nn.LeakyReLU(2.0)), (3,), ValueError, "negative_slope from 0 to 1; got 2.0"),
        (nn.Sequential(nn.Flatten(0)), (3,), ValueError, "returned shape"),
        (nn.Sequential(nn.AvgPool2d(2, ceil_mode=True)), (1, 5, 5), ValueError, "ceil_mode=False"),
        (
            nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False)),
            (1, 4, 4),
            ValueError,
            "count_include_pad",
        ),
        (nn.Sequential(nn.AdaptiveAvgPool2d(2)), (1, 5, 5), ValueError, r"\(5, 5\) evenly; got output_size \(2, 2\)"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), (1, 4, 4), ValueError, "'circular'"),
    ],
)
def test_refusals(model, features, error, message):
    with pytest.raises(error, match=message):
        chain(model, *features, maxima=False)


@pytest.mark.parametrize("how", [{"ceil_mode": True}])
def test_maxima_of_windows_that_stick_out_are_refused(how):
    with pytest.raises(ValueError, match="ceil_mode=False and return_indices=False"):
        chain(nn.MaxPool2d(2, **how), 1, 5, 5)


def test_a_model_that_computes_something_else_than_its_layers_is_noticed():
    with nn.modules.module.register_module_forward_hook(lambda module, given, out: out + 1):
        with pytest.raises(ValueError, match="run one by one, do not give the model's output, so that bounds"):
            chain(nn.Sequential(nn.Linear(3, 2)), 3)
