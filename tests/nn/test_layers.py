"""The four layers, drop-in for nn.Linear and nn.Conv2d in every tool."""

import pickle
from copy import deepcopy
from io import BytesIO

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

import shapnotes.nn.functional as F
from shapnotes.nn import SAConv2d, SALinear, ShapLUConv2d, ShapLULinear, swap_activations

GEOMETRY = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}
CASES = {
    "SALinear": (SALinear, nn.Linear, (6, 4), {}),
    "ShapLULinear": (ShapLULinear, nn.Linear, (6, 4), {"full_gradient": True}),
    "SAConv2d": (SAConv2d, nn.Conv2d, (4, 6, 3), GEOMETRY),
    "ShapLUConv2d": (ShapLUConv2d, nn.Conv2d, (4, 6, 3), {**GEOMETRY, "full_gradient": True}),
}


def made(kind, arguments, **settings) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*arguments, **settings)


@pytest.fixture(params=CASES)
def case(request):
    """A layer, the plain one with its weights, and an input."""
    kind, plain, arguments, settings = CASES[request.param]
    torch_settings = {key: value for key, value in settings.items() if key != "full_gradient"}
    x = normal(3, 6, dtype=torch.float32) if plain is nn.Linear else normal(2, 4, 9, 8, dtype=torch.float32)
    return made(kind, arguments, **settings), made(plain, arguments, **torch_settings), x


def results(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The output and the gradients of a layer."""
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], torch.ones_like(y))]


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for got, expected in zip(ours, theirs, strict=True):
        assert_close(got, expected, **tolerance(torch.float32))


def test_state_dict_and_initialisation_are_those_of_the_plain_layer(case):
    layer, plain, x = case
    assert list(layer.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in layer.state_dict().items())
    other = deepcopy(plain)
    nn.init.ones_(other.weight)
    layer.load_state_dict(other.state_dict())
    other.load_state_dict(layer.state_dict())
    assert bool((layer.weight == 1).all())
    assert layer(x).shape == plain(x).shape
    assert plain.extra_repr() in repr(layer)


def test_copies(case):
    layer, _, x = case
    expected = results(layer, x)
    assert_same(results(deepcopy(layer), x), expected)
    assert_same(results(pickle.loads(pickle.dumps(layer)), x), expected)
    assert_same(results(deepcopy(layer).double(), x.double()), [value.double() for value in expected])


# A warning of the compiler about itself, for any autograd function it meets.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(case, backend):
    layer, _, x = case
    torch.compiler.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    assert_same(results(compiled, x), results(layer, x))
    with torch.no_grad():
        assert_close(compiled(x), layer(x))


def test_exported(case):
    layer, _, x = case
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    more = torch.cat([x, 2 * x])
    assert_close(program.module()(more), layer(more))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize(("kind", "shape"), [(SALinear, (3, 6)), (SAConv2d, (2, 4, 9, 8))])
def test_traced(kind, shape):
    """The older export keeps operations, and gets their gradients; ShapLU's is that of no operation."""
    layer = made(kind, (6, 4) if kind is SALinear else (4, 6, 3))
    x = normal(*shape, dtype=torch.float32)
    file = BytesIO()
    torch.jit.save(torch.jit.trace(layer, x), file)
    file.seek(0)
    assert_same(results(torch.jit.load(file), 2 * x), results(layer, 2 * x))


def test_autocast(case):
    """The dtype that the plain layer returns, gradients in the parameters' own, and the plain layer's rounding."""
    layer, plain, x = case
    with torch.autocast("cpu", torch.bfloat16):
        y, reference = layer(x), torch.relu(plain(x))
    assert y.dtype == reference.dtype == torch.bfloat16
    if isinstance(layer, ShapLULinear | ShapLUConv2d):
        assert torch.equal(y, reference)
    y.float().sum().backward()
    expected = results(layer, x)
    assert_close(y.detach().float(), expected[0], **tolerance(torch.bfloat16))
    assert layer.weight.grad.dtype == torch.float32
    difference = (layer.weight.grad - expected[2]).norm() / expected[2].norm()
    assert float(difference) < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        assert deepcopy(layer).double()(x.double()).dtype == plain.double()(x.double()).dtype


def test_functional_call_and_vmap_over_parameters(case):
    """An ensemble, one set of weights a member: values, and gradients of all members together."""
    layer, _, x = case
    stacked = {
        key: torch.stack([value.detach(), -value.detach()]).requires_grad_() for key, value in layer.named_parameters()
    }
    together = torch.func.vmap(lambda weights: torch.func.functional_call(layer, weights, (x,)))(stacked)
    gradients = torch.autograd.grad(together, list(stacked.values()), torch.ones_like(together))
    for member in (0, 1):
        weights = {key: value[member].detach().requires_grad_() for key, value in stacked.items()}
        alone = torch.func.functional_call(layer, weights, (x,))
        assert_close(together[member], alone)
        for all_of_them, one in zip(
            gradients, torch.autograd.grad(alone, list(weights.values()), torch.ones_like(alone)), strict=True
        ):
            assert_close(all_of_them[member], one)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(1, 2), "same"])
def test_every_padding(mode, padding):
    """Padding first and convolving without is the same, values and gradients."""
    x = normal(2, 3, 7, 8)
    settings = {"padding": padding, "padding_mode": mode, "dilation": (1, 2), "dtype": torch.float64}
    sides = (2, 2, 1, 1)
    kinds = {"zeros": "constant"}
    padded = nn.functional.pad(x, sides, mode=kinds.get(mode, mode))
    for kind, form in ((SAConv2d, F.shapley_activation_conv2d), (ShapLUConv2d, F.shaplu_conv2d)):
        layer = made(kind, (3, 4, 3), **settings)
        got, expected = layer(x), form(padded, layer.weight, layer.bias, dilation=(1, 2))
        assert_close(got, expected, **tolerance(torch.float64))
        ours, theirs = (torch.autograd.grad(y.sum(), list(layer.parameters())) for y in (got, expected))
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other, **tolerance(torch.float64))


def test_single_images_and_empty_batches():
    for kind in (SAConv2d, ShapLUConv2d):
        layer, x = made(kind, (3, 4, 3), padding=1), normal(2, 3, 5, 5, dtype=torch.float32)
        assert_close(layer(x[0]), layer(x)[0])
        assert layer(x[:0]).shape == (0, 4, 5, 5)
    for kind in (SALinear, ShapLULinear):
        assert made(kind, (3, 4))(torch.zeros(0, 3)).shape == (0, 4)


def test_both_train():
    """A few steps of gradient descent lower the loss; the whole point of a layer."""
    x = normal(64, 5, dtype=torch.float32)
    y = x[:, :1].abs() - x[:, 1:2]
    for to in ("sa", "shaplu"):
        network = swap_activations(
            made(nn.Sequential, (made(nn.Linear, (5, 20)), nn.ReLU(), made(nn.Linear, (20, 1)))), to
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
        losses = []
        for _ in range(60):
            loss = (network(x) - y).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.2 * losses[0]
