"""Public calls compute where their input is: on a device that is not there, and on the one that `--device` names."""

from collections.abc import Callable
from inspect import isfunction

import pytest
import torch
from elsewhere import Distant, elsewhere
from oracles import tolerance
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import shapnotes as sn
import shapnotes.nn.functional as F
from shapnotes import explainers, metrics, shapnet

Place = Callable[[Tensor | nn.Module], Tensor | nn.Module]  # onto the device


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().requires_grad_(False)
    for seed, p in enumerate(made.parameters()):
        p.copy_(normal(*p.shape, seed=seed))
    return made


def images(pool: nn.Module) -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), pool, nn.Flatten(), nn.Linear(2, 2)).double()
    for seed, p in enumerate(made.requires_grad_(False).parameters()):
        p.copy_(normal(*p.shape, seed=seed))
    return made


def square(z: Tensor) -> Tensor:
    return z.square().cumsum(1)


def network(made: nn.Module) -> nn.Module:
    made.reset_parameters(torch.Generator().manual_seed(0))
    return made.double()


def with_gradient(net: nn.Module, x: Tensor) -> list[Tensor]:
    """What a network says of x, its parts, penalties on them, and the gradients of all that."""
    x.requires_grad_()
    explanation, parts = net.explain(x), net.layers(x)
    total = explanation.prediction.square().sum() + shapnet.l1_penalty(parts) + shapnet.linf_penalty(parts)
    total.backward()
    return [explanation.attributions, explanation.gap(), *parts, x.grad, *(p.grad for p in net.parameters())]


def layer_with_gradient(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x.requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in layer.parameters())]


def layer(kind: type[nn.Module], *sizes: int) -> nn.Module:
    made = kind(*sizes).double()
    with torch.no_grad():
        for seed, p in enumerate(made.parameters()):
            p.copy_(normal(*p.shape, seed=seed))
    return made


X, W, B, MAPS = normal(2, 4), normal(3, 4, seed=1), normal(3, seed=2), normal(2, 1, 8, 8)
KERNEL = normal(3, 1, 2, 2, seed=1)
FUNCTIONS = [name for name, f in vars(F).items() if isfunction(f) and f.__module__ == F.__name__ and name[0] != "_"]
NETWORKS = {
    "ShallowShapNet": lambda: shapnet.ShallowShapNet(shapnet.all_pairs(4), 2),
    "DeepShapNet": lambda: shapnet.DeepShapNet(4, 2, 2),
    "WideShapNet": lambda: shapnet.WideShapNet(4, (3, 2), 2),
}
CALLS: dict[str, Callable[[Place], object]] = {
    "shapley_values": lambda to: sn.shapley_values(square, to(X)),
    "shapley_values of a module": lambda to: sn.shapley_values(to(model()), to(X), to(normal(4, seed=3))),
    "shapley_values in many chunks": lambda to: sn.shapley_values(to(model()), to(X), chunk_size=4),
    "shapley_values of groups": lambda to: sn.shapley_values(square, to(X), groups=[[0, 1], [2], [3]]),
    "explain": lambda to: sn.explain(square, to(X)).gap(),
    "shapley_from_table": lambda to: sn.shapley_from_table(to(normal(8, 2))),
    "coalitions.dividends": lambda to: sn.coalitions.dividends(to(normal(8, 2))),
    "sample_shapley_values": lambda to: sn.sample_shapley_values(
        square, to(X), permutations=6, generator=torch.Generator().manual_seed(0)
    ),
    "regression_shapley_values": lambda to: sn.regression_shapley_values(
        lambda z: z.sin().cumprod(1), to(normal(2, 6)), evaluations=40, generator=torch.Generator().manual_seed(0)
    ),
    "shapley_bounds": lambda to: [t.double() for t in sn.shapley_bounds(to(model()), to(X), budget=20)],
    "shapley_bounds of images": lambda to: sn.shapley_bounds(to(images(nn.AvgPool2d(2))), to(MAPS[:1, :, :3, :3]))[:2],
    "propagated_shapley_values": lambda to: sn.propagated_shapley_values(to(model()), to(X), return_missing=True),
    "propagated_shapley_values of images": lambda to: sn.propagated_shapley_values(
        to(images(nn.MaxPool2d(2))), to(MAPS[:, :, :4, :4])
    ),
    "hidden_layer_shapley_values": lambda to: sn.hidden_layer_shapley_values(to(model()), to(X), return_missing=True),
    "hidden_layer_shapley_values, lattice": lambda to: sn.hidden_layer_shapley_values(
        to(model()), to(X), method="lattice"
    ),
    "relevance.propagate": lambda to: list(sn.relevance.propagate(to(model()), to(X), to(normal(2, 2)))),
    "nn.swap_activations": lambda to: sn.nn.swap_activations(to(model()), to="sa")(to(X)),
    "grouped": lambda to: shapnet.grouped(to(X), [[0, 1], [2], [3]]),
    "module_sizes": lambda to: shapnet.module_sizes(to(network(NETWORKS["ShallowShapNet"]())), to(X)),
    "ImageShapNet": lambda to: with_gradient(to(network(shapnet.ImageShapNet((1, 2, 3), dilations=(1,)))), to(MAPS)),
    "shapley_error": lambda to: metrics.shapley_error(to(normal(3, 4, 2)), to(normal(3, 4, 2, seed=1))),
    "sparsity": lambda to: metrics.sparsity(to(normal(3, 4, 2)), 0.5),
    "coefficient_of_variation": lambda to: metrics.coefficient_of_variation(to(normal(3, 4, 2))),
    "removal_curve": lambda to: metrics.removal_curve(to(model()), to(X), to(normal(2, 4)), [0.0, 0.5, 1.0]).outputs,
    "log_odds_change": lambda to: metrics.log_odds_change(to(model()), to(X), to(normal(2, 4, 2)), 0, 1),
    **{name: lambda to, name=name: getattr(F, name)(to(X), to(W), to(B)) for name in FUNCTIONS if "conv2d" not in name},
    **{
        name: lambda to, name=name: getattr(F, name)(to(MAPS), to(KERNEL), to(B))
        for name in FUNCTIONS
        if "conv" in name
    },
    **{
        f"nn.{name}": lambda to, name=name: layer_with_gradient(to(layer(getattr(sn.nn, name), 4, 3)), to(X))
        for name in ("SALinear", "ShapLULinear")
    },
    **{
        f"nn.{name}": lambda to, name=name: layer_with_gradient(to(layer(getattr(sn.nn, name), 1, 3, 2)), to(MAPS))
        for name in ("SAConv2d", "ShapLUConv2d")
    },
    **{name: lambda to, made=made: with_gradient(to(network(made())), to(X)) for name, made in NETWORKS.items()},
    **{
        f"explain_with {method}": lambda to, method=method: (
            explainers.explain_with(method, to(model()), to(X)).attributions
        )
        for method in ("exact", "saliency", "input_x_gradient", "integrated_gradients", "deeplift")
    },
}


def tensors(result: object) -> list[Tensor]:
    return [leaf.detach() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("name", CALLS)
def test_what_is_elsewhere_is_computed_there(name):
    """No tensor of the CPU meets one of the device, and the numbers are those of the CPU."""
    here = tensors(CALLS[name](lambda thing: thing.clone() if isinstance(thing, Tensor) else thing))
    with elsewhere() as device:
        there = tensors(CALLS[name](lambda thing: thing.to(device)))
    assert here and all(type(t) is Distant for t in there)
    for expected, found in zip(here, there, strict=True):
        torch.testing.assert_close(found.numbers, expected, **tolerance(expected.dtype))


@pytest.mark.parametrize("name", CALLS)
def test_what_is_on_the_device_is_computed_there(name, device):
    here = tensors(CALLS[name](lambda thing: thing.clone() if isinstance(thing, Tensor) else thing))
    there = tensors(
        CALLS[name](lambda thing: thing.clone().to(device) if isinstance(thing, Tensor) else thing.to(device))
    )
    assert {t.device.type for t in there} == {device.type}
    for expected, found in zip(here, there, strict=True):
        torch.testing.assert_close(found.cpu(), expected, **tolerance(expected.dtype))


def test_every_public_function_of_tensors_is_called():
    public = {name for name in sn.__all__ if isfunction(getattr(sn, name)) and name != "device"}
    public |= {*FUNCTIONS, *(f"nn.{name}" for name in sn.nn.__all__ if name != "functional")}
    assert public <= {call.partition(" ")[0] for call in CALLS}


def test_a_call_that_mixes_devices_would_be_noticed():
    with elsewhere() as device:
        x = X.to(device)
        with pytest.raises(RuntimeError, match=r"mixes devices: \(2, 4\) elsewhere, \(4,\) here"):
            x + torch.ones(4)
        assert torch.equal((x + torch.tensor(1.0)).numbers, X + 1)  # a number of the CPU is welcome
        with pytest.raises(RuntimeError, match="mixes devices"):
            sn.shapley_values(lambda z: z @ torch.ones(4, 1, dtype=torch.float64), x)
