"""The swap of whole models: what is replaced, what stays and is said, what is refused."""

import pickle
from copy import deepcopy
from types import MethodType

import pytest
import torch
from contracts import Residual, normal
from torch import nn
from torch.testing import assert_close

import shapnotes.nn.functional as F
from shapnotes.nn import SAConv2d, SALinear, ShapLULinear, swap_activations


def made(kind: type[nn.Module], arguments: tuple) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*arguments)


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # the compiler's own, for any autograd function
def test_a_swapped_model_survives_tools():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)).eval()
    swapped, x = swap_activations(model, "sa"), normal(2, 1, 6, 6, dtype=torch.float32)
    assert isinstance(getattr(swapped, "0"), SAConv2d) and list(swapped.state_dict()) == list(model.state_dict())
    for copy in (deepcopy(swapped), pickle.loads(pickle.dumps(swapped))):
        assert torch.equal(copy(x), swapped(x))
    torch.compiler.reset()
    assert_close(torch.compile(swapped, backend="eager", fullgraph=True)(x), swapped(x))
    assert_close(torch.export.export(swapped, (x,)).module()(x), swapped(x))


def test_a_swap_takes_hooks_along():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    seen = []
    model[0].register_forward_hook(lambda module, arguments, output: seen.append(type(module)))
    x = normal(1, 2, dtype=torch.float32)
    swap_activations(model, "shaplu")(x)
    assert seen == [ShapLULinear]


def test_a_swap_takes_the_models_own_hooks_along():
    model, x = nn.Sequential(made(nn.Linear, (2, 3)), nn.ReLU()), normal(4, 2, dtype=torch.float32)
    model.register_forward_pre_hook(lambda _, arguments: (3 * arguments[0],))
    model.register_forward_hook(lambda *call: call[2] + 1)
    swapped = swap_activations(model, "sa")
    assert torch.equal(swapped(x), F.shapley_activation(3 * x, model[0].weight, model[0].bias) + 1)
    assert torch.equal(swap_activations(swapped, "relu")(x), model(x))


def test_another_forward_is_not_lost():
    """Of a layer: it stays, with its ReLU. Of the model: it is the one that is swapped."""
    model, x = nn.Sequential(made(nn.Linear, (2, 2)), nn.ReLU(), made(nn.Linear, (2, 2)), nn.ReLU()), normal(4, 2)
    model, one = model.double(), model[0]
    one.forward = lambda x: 2 * nn.functional.linear(x, one.weight)
    with pytest.warns(UserWarning, match=r"_1 after _0 \(Linear whose forward was replaced\)"):
        swapped = swap_activations(model, "sa")
    expected = torch.relu(2 * x @ one.weight.T)
    assert_close(swapped(x), F.shapley_activation(expected, model[2].weight, model[2].bias))
    whole = nn.Sequential(made(nn.Linear, (2, 2)), nn.Tanh()).double()
    whole.forward = MethodType(lambda self, x: torch.relu(self[0](x + 1)), whole)
    assert_close(swap_activations(whole, "sa")(x), F.shapley_activation(x + 1, whole[0].weight, whole[0].bias))


def test_a_relu_with_a_hook_stays():
    """Its hook would be gone with it."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU())
    model[1].register_forward_hook(lambda *call: None)
    with pytest.warns(UserWarning, match=r"_1 \(with a hook or another forward\) after _0 \(Linear\)"):
        swapped = swap_activations(model, "sa")
    assert type(getattr(swapped, "0")) is nn.Linear and isinstance(getattr(swapped, "2"), SALinear)


class Tempered(nn.Module):
    """Arguments that have a default, one of them used."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = made(nn.Linear, (3, 4)), made(nn.Linear, (4, 2))

    def forward(self, x, temperature=None, scale=2.0):
        x = nn.ReLU()(self.layer(x))
        return scale * self.last(x if temperature is None else x / temperature)


def test_arguments_with_a_default_have_it():
    model, x = Tempered(), normal(4, 3, dtype=torch.float32)
    swapped = swap_activations(model, "sa")
    assert_close(swapped(x), 2 * model.last(F.shapley_activation(x, model.layer.weight, model.layer.bias)))
    assert torch.equal(swap_activations(swapped, "relu")(x), model(x))
    with pytest.raises(TypeError, match="unexpected keyword argument 'temperature'"):
        swapped(x, temperature=2.0)


def test_what_is_left_is_said():
    with pytest.warns(UserWarning, match=r"left as they are: act_1 after add, relu_3 after fc3 \(Linear\)"):
        swap_activations(Residual(), "sa")


def test_a_layer_that_is_used_twice():
    """Swapped where each use is followed by a ReLU, and left where one is not."""

    class Twice(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.fc, self.act, self.last = made(nn.Linear, (3, 3)), nn.ReLU(), last

        def forward(self, x):
            return self.last(self.fc(self.act(self.fc(x))))

    x = normal(4, 3, dtype=torch.float32)
    model = Twice(nn.ReLU())
    swapped = swap_activations(model, "sa")
    assert_close(swapped(x), swapped.fc(swapped.fc(x)))
    assert torch.equal(swap_activations(swapped, "relu")(x), model(x))
    with pytest.raises(ValueError, match=r"found fc \(Linear\) and the ReLUs act after fc \(Linear\)"):
        swap_activations(Twice(nn.Identity()), "sa")


class Branching(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


class TrainingDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return nn.functional.dropout(torch.relu(self.fc(x)), training=self.training)


@pytest.mark.parametrize(
    ("error", "says", "model", "to"),
    [
        (ValueError, "to must be.*got 'gelu'", nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "gelu"),
        (TypeError, "model must be an nn.Module; got function", normal, "sa"),
        (ValueError, "found no nn.Linear or nn.Conv2d", nn.Sequential(nn.Tanh()), "sa"),
        (ValueError, r"found 0 \(Linear\)", nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "shaplu"),
        (ValueError, r"found 0 \(Linear\)", nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "relu"),
        (ValueError, r"found 0 \(SALinear\)", nn.Sequential(SALinear(2, 2)), "sa"),
        (
            ValueError,
            r"found 0 \(Conv2d\) and the ReLUs _2 after _1 \(BatchNorm2d\); a ReLU must follow its layer directly",
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()),
            "sa",
        ),
        (TypeError, "Branching cannot be traced.*must not branch on values", Branching(), "sa"),
        (TypeError, "computes something else in training.*nn.Dropout", TrainingDependent(), "sa"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 8 else None,
)
def test_swaps_that_are_refused(error, says, model, to):
    with pytest.raises(error, match=says):
        swap_activations(model, to)


def test_hooks_of_all_modules_do_not_see_the_relus_that_are_gone():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    handle = nn.modules.module.register_module_forward_hook(lambda *call: None)
    try:
        with pytest.warns(UserWarning, match="hooks of all modules, which do not see the 1 ReLUs that were taken away"):
            swap_activations(model, "shaplu")
    finally:
        handle.remove()


def test_a_forward_that_holds_on_to_the_original_is_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    old = model.forward
    model.forward = lambda x: old(x)
    with pytest.raises(TypeError, match="a forward was replaced on the instance, its own, by a function that calls"):
        swap_activations(model, "shaplu")
