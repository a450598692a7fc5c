"""Models followed call by call, beside other threads and whatever was done to them; and copied."""

import threading
import warnings
from copy import deepcopy

import pytest
import torch
from contracts import network, normal
from torch import nn
from torch.nn.utils import prune

from shapnotes._runtime.tracing import Untraceable, copied, traced
from shapnotes.nn import swap_activations
from shapnotes.relevance import propagate


def leaves(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def calls(model: nn.Module) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in traced(model, leaves).nodes if node.op != "output"]


class Options(nn.Module):
    """Arguments of every kind, and branches that only defaults decide."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x, temperature=None, *others, scale, times=2, **more):
        x = sum(others, self.layer(x))
        if temperature is not None:
            x = x / temperature
        for _ in range(times):
            x = x * scale
        return -x if more else x


def test_arguments_with_a_default_have_it():
    assert calls(Options()) == [
        ("placeholder", "x"),
        ("placeholder", "scale"),
        ("call_module", "layer"),
        *[("call_function", "<built-in function mul>")] * 2,
    ]


class Any(nn.Module):
    def forward(self, *inputs):
        return sum(inputs)


class Makes(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x):
        return self.made()(x)


def test_modules_that_forward_makes():
    assert calls(Makes(nn.ReLU))[1:] == [("call_function", str(nn.functional.relu))]
    with pytest.raises(Untraceable, match="calls a Linear that is no part of it; make it once, in __init__"):
        traced(Makes(lambda: nn.Linear(3, 3)), leaves)


def test_any_number_of_inputs_is_refused():
    with pytest.raises(Untraceable, match=r"takes \*inputs, any number of inputs"):
        traced(Any(), leaves)


def test_another_forward_on_the_instance_is_the_one_that_is_followed():
    model = network(3, 2)
    model.forward = lambda x: model[2](torch.sigmoid(model[0](x)))
    assert [target for _, target in calls(model)] == ["x", "0", str(torch.sigmoid), "2"]


class Elsewhere(nn.Module):
    """While it runs, another thread runs a module, once with this one's own layers."""

    def __init__(self, module):
        super().__init__()
        self.layer, self.answers = nn.Linear(3, 3), []
        self.elsewhere = [module or self.layer]

    def forward(self, x):
        thread = threading.Thread(target=lambda: self.answers.append(self.elsewhere[0](torch.ones(1, 3))))
        thread.start()
        thread.join()
        return self.layer(x)


@pytest.mark.parametrize("module", [nn.Sequential(nn.Linear(3, 2), nn.ReLU()), None], ids=["another", "of the model"])
def test_other_threads_go_on(module):
    model = Elsewhere(module)
    assert calls(model) == [("placeholder", "x"), ("call_module", "layer")]
    (answer,) = model.answers
    assert torch.equal(answer, model.elsewhere[0](torch.ones(1, 3)))


def test_threads_trace_one_after_the_other():
    """A trace that began within another would undo its patch, and leave nn.Module patched for ever."""
    call, failed = nn.Module.__call__, []

    def work():
        try:
            for seed in range(20):
                model, x = network(3, 2, seed, nn.ReLU), normal(2, 3)
                swap_activations(model, "sa")
                propagate(model, x, normal(2, 2))
                model(x)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and nn.Module.__call__ is call


def pruned(layer: nn.Linear) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", amount=3)


def normalised(layer: nn.Linear) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is a newer way, which keeps no weight
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize("change", [pruned, normalised])
def test_copies_of_models_that_keep_what_they_computed(change):
    model, x = network(3, 2, activation=nn.ReLU), normal(2, 3)
    change(model[0])
    model(x).sum().backward()
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        deepcopy(model)
    copy = copied(model)
    assert torch.equal(copy(x), model(x)) and list(copy.state_dict()) == list(model.state_dict())
    for one, other in zip(copy.parameters(), model.parameters(), strict=True):
        assert one is not other and torch.equal(one, other)
    with torch.no_grad():
        next(copy.parameters()).zero_()
    assert not torch.equal(copy(x), model(x))
    swapped = swap_activations(model, "sa")
    assert torch.equal(swap_activations(swapped, "relu")(x), model(x)) and not torch.equal(swapped(x), model(x))


def test_copies_that_cannot_be_made_say_why():
    model = network(3, 2)
    model.kept = [model(normal(2, 3))]
    with pytest.raises(TypeError, match=r"Sequential cannot be copied: it keeps a tensor.*Delete it, or detach it"):
        copied(model)
    model.kept = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        copied(model)


def test_copies_of_traced_models_keep_their_hooks():
    model = swap_activations(network(3, 2, activation=nn.ReLU), "sa")
    model.register_forward_hook(lambda *call: 2 * call[2])
    x = normal(2, 3)
    assert torch.equal(copied(model)(x), model(x))
