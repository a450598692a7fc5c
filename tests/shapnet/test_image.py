"""Image networks: every window by the definition, one coalition at a time; and what any layer has to bear."""

import copy
import inspect
import pickle
import re
import shutil

import pytest
import torch
from contracts import normal
from oracles import by_permutations, tolerance
from shapnet_contracts import GEOMETRIES, ways_to_compute_windows, window_arguments
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.testing import assert_close

import shapnotes
from shapnotes import shapley_from_table
from shapnotes.shapnet import ImageShapNet, ImageTransform, use_backend
from shapnotes.shapnet.windows import op, reference
from shapnotes.shapnet.windows.geometry import Geometry, regions

F64 = tolerance(torch.float64)


def made(*arguments, seed: int = 0, **settings) -> ImageTransform:
    layer = ImageTransform(*arguments, **settings).double()
    layer.reset_parameters(torch.Generator().manual_seed(seed))
    return layer


def network(*arguments, **settings) -> ImageShapNet:
    net = ImageShapNet(*arguments, **settings).double()
    net.reset_parameters(torch.Generator().manual_seed(0))
    return net


def one_window_at_a_time(layer: ImageTransform, x: torch.Tensor) -> torch.Tensor:
    """Definition 3 for every window, its positions in the padding players like others, and a fold."""
    (kh, kw), (dh, dw), (sh, sw), ((top, bottom), (left, right)) = layer.geometry
    (batch, height, width, _), a = x.shape, lambda s: torch.where(s > 0, s, layer.negative_slope * s)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    z = torch.zeros(batch, height, width, len(bias), dtype=x.dtype)
    for row in range(-top, height + bottom - dh * (kh - 1), sh):
        for column in range(-left, width + right - dw * (kw - 1), sw):
            players = [(row + dh * u, column + dw * v) for u in range(kh) for v in range(kw)]
            inside = [0 <= y < height and 0 <= q < width for y, q in players]
            table = []
            for coalition in range(2 ** len(players)):
                s = bias.expand(batch, -1)
                for j, (y, q) in enumerate(players):
                    if coalition >> j & 1 and inside[j]:
                        s = s + x[:, y, q] @ weight[:, :, j // kw, j % kw].T
                table.append(a(s))
            values = by_permutations(torch.stack(table))
            for j, (y, q) in enumerate(players):
                if inside[j]:
                    z[:, y, q] += values[j]
                else:
                    assert float(values[j].abs().max()) < 1e-12  # nobody's
    return z


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_window_is_its_definition(geometry):
    """Odd sizes, as many windows at once as there are or one, with a graph and without."""
    kernel, dilation, stride, padding = geometry
    layer = made(3, 2, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2)
    x = normal(2, 5, 7, 3)
    x[0, 2, 3] = 0
    expected = one_window_at_a_time(layer, x)
    arguments = window_arguments(layer)
    for kernels, max_terms in ways_to_compute_windows(shapnotes):
        with torch.no_grad():
            z = op.window_values(x, *arguments, kernels, max_terms)
        assert_close(z, expected, rtol=1e-11, atol=1e-12)
        assert_close(op.window_values(x, *arguments, kernels, max_terms).detach(), expected, rtol=1e-11, atol=1e-12)
        assert not bool(z[0, 2, 3].any())
    assert_close(reference.window_values(x, *arguments).detach(), expected, rtol=1e-11, atol=1e-12)
    assert_close(layer(x).detach(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_parts_of_a_region_are_its_windows_once_each(rows):
    """Also where the number of rows is no multiple of that of a part."""
    (whole,) = regions(Geometry((2, 2), (1, 1), (1, 1), ((0, 0), (0, 0))), 12, 4)
    image = torch.arange(12 * 4).view(12, 4)
    for player in whole.players:
        parts = [image[part.pixels(player)] for part in whole.split(rows)]
        assert torch.equal(torch.cat(parts), image[whole.pixels(player)])
        assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)


@pytest.mark.parametrize("backend", ["numba", "batched", "reference"])
def test_windows_of_nine(backend):
    with use_backend(backend):
        _check_windows_of_nine()


def test_the_cost_that_is_told_is_that_of_its_formula():
    """For a window and an output; what the clock says is in no record, so no number is told."""
    text = " ".join(inspect.getdoc(ImageTransform).split("Cost\n----\n")[1].split("Source\n------")[0].split())
    cost, clock = text.split("; expect more by the clock")

    def beyond_products(k: int) -> int:
        return 4 * 2**k + (k - 1) * 2 ** (k - 2) + 3 * k

    told = {int(rows) * int(columns): int(n) for n, rows, columns in re.findall(r"(\d+) for (\d) x (\d)", cost)}
    assert told == {k: beyond_products(k) for k in (3, 4, 9)} and len(re.findall(r"\d x \d", cost)) == 4
    products = 2 * 9 * 128
    assert cost.endswith(f"3 x 3 windows of 128 channels cost {1 + beyond_products(9) / products:.1f} convolutions")
    assert clock.startswith(", since processors are fastest at products.")


def _check_windows_of_nine():
    layer = made(2, 3, 3, negative_slope=0.1)
    image = normal(1, 4, 5, 2)
    with torch.no_grad():
        z = layer(image)
        small = made(2, 3, 3, padding=0, negative_slope=0.1)
        assert_close(small(image[:, :3, :3]), _nine(small, image[0, :3, :3]), **F64)
        convolved = nn.functional.conv2d(image.permute(0, 3, 1, 2), layer.weight, layer.bias, padding=1)
        total = nn.functional.leaky_relu(convolved, 0.1) - nn.functional.leaky_relu(layer.bias, 0.1)[:, None, None]
    assert_close(z.sum((1, 2)), total.sum((2, 3)), **F64)


def _nine(layer, window):
    """One window of nine pixels, by the sizes of coalitions instead of by 9! orders."""
    terms = torch.einsum("yxi,oiyx->yxo", window, layer.weight).flatten(0, 1)
    member = torch.arange(512)[:, None] >> torch.arange(9) & 1
    worths = nn.functional.leaky_relu(member.double() @ terms + layer.bias, layer.negative_slope)
    return shapley_from_table(worths).view(1, 3, 3, -1)


@pytest.mark.parametrize("geometry", GEOMETRIES[1:5], ids=str)
def test_gradients_are_finite_differences(geometry):
    kernel, dilation, stride, padding = geometry
    layer = made(2, 2, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2)
    x = normal(2, 3, 4, 2).requires_grad_()
    names, weights = zip(*layer.named_parameters(), strict=True)

    def f(x, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    for backend in ("numba", "batched", "reference"):
        with use_backend(backend):
            assert torch.autograd.gradcheck(f, (x, *weights))
            assert torch.autograd.gradgradcheck(f, (x, *weights))


def test_gradients_of_some_only():
    """As of a first stage, whose input needs none, and of frozen weights."""
    layer, x = made(2, 3), normal(1, 3, 3, 2)
    layer(x).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.weight.grad = None
    x.requires_grad_()
    layer(x).square().sum().backward()
    assert_close(layer.weight.grad, expected, **F64)
    together = x.grad.clone()
    layer.requires_grad_(False)
    x.grad = None
    layer(x).square().sum().backward()
    assert_close(x.grad, together, **F64)
    x.grad = None
    torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0].sum().backward()
    assert bool(x.grad.any())


def test_a_black_pixel_has_a_gradient_and_no_value():
    layer, x = made(2, 3), normal(1, 3, 3, 2)
    x[0, 1, 1] = 0
    x.requires_grad_()
    value = layer(x)[0, 1, 1, 0]
    gradient = torch.autograd.grad(value, x)[0][0, 1, 1, 0]
    beside = x.detach().clone()
    beside[0, 1, 1, 0] = 1e-7
    assert float(value.detach()) == 0 and float(gradient.abs()) > 1e-3
    assert_close(gradient, layer(beside)[0, 1, 1, 0].detach() / 1e-7, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("coupling", [False, True])
def test_black_pixels_stay_black(dtype, coupling):
    """Corollary 4: exactly zero at every stage, in every precision; and the prediction is the sum of the rest."""
    net = network((3, 5, 5, 5, 4), dilations=(1, 2, 3), coupling=coupling).to(dtype)
    x = normal(2, 3, 7, 6)
    x[:, :, 2, 3] = x[1, :, 0, 0] = 0
    exact = network((3, 5, 5, 5, 4), dilations=(1, 2, 3), coupling=coupling)(x).detach()
    x = x.to(dtype)
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            layers, explanation = net.layers(x), net.explain(x)
        assert [tuple(z.shape) for z in layers] == [(2, 7, 6, c) for c in (5, 5, 5, 4)]
        for z in layers:
            assert not bool(z[:, 2, 3].any()) and not bool(z[1, 0, 0].any()) and bool(z[0, 0, 0].any())
        assert float(explanation.gap().detach().abs().max()) == 0 and explanation.inputs is x
        assert explanation.attributions.shape == (2, 7, 6, 4)
        assert_close(net(x).detach(), explanation.prediction.detach(), rtol=0, atol=0)
        assert_close(explanation.prediction.detach().double(), exact, **tolerance(dtype))


def test_networks_are_transforms_on_transforms():
    net, x = network((2, 4, 4, 4, 3), dilations=(1, 2), padding=1, coupling=True), normal(2, 2, 5, 5)
    assert [stage.geometry.dilation for stage in net.stages] == [(1, 1), (2, 2)] * 2
    assert [(stage.in_channels, stage.out_channels) for stage in net.stages] == [(2, 4), (2, 2), (2, 2), (4, 3)]
    with torch.no_grad():
        first, second, third, last = net.layers(x)
        assert_close(first, one_window_at_a_time(net.stages[0], x.permute(0, 2, 3, 1)), **F64)
        on_the_second_half = first[..., 2:] + one_window_at_a_time(net.stages[1], first[..., :2])
        assert_close(second, torch.cat([first[..., :2], on_the_second_half], 3), **F64)
        on_the_first_half = second[..., :2] + one_window_at_a_time(net.stages[2], second[..., 2:])
        assert_close(third, torch.cat([on_the_first_half, second[..., 2:]], 3), **F64)
        assert_close(last, one_window_at_a_time(net.stages[3], third), **F64)
        assert_close(net(x), last.sum((1, 2)), **F64)
    assert net.baseline.shape == (2, 1, 1) and not bool(net(net.baseline.expand(1, 2, 5, 5)).any())


def test_state_and_copies():
    net, x = network((1, 3, 2)), normal(2, 1, 4, 5)
    assert list(net.state_dict()) == [
        "baseline",
        *[f"stages.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")],
    ]
    other = ImageShapNet((1, 3, 2)).double()
    other.load_state_dict(net.state_dict())
    for same in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert_close(same(x), net(x), rtol=0, atol=0)
    net.stages[0].load_state_dict(nn.Conv2d(1, 3, 2).state_dict())
    assert "1, 3, kernel_size=(2, 2), dilation=(1, 1)" in repr(net)


def test_views_autocast_and_functions_of_functions():
    net, x = network((2, 3, 2)), normal(5, 4, 3, 2)
    turned = x.permute(2, 3, 0, 1)
    assert_close(net(turned), net(turned.contiguous()), rtol=0, atol=0)
    x = turned.contiguous()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = copy.deepcopy(net).float()(turned.float())
    assert rough.dtype == torch.bfloat16
    assert_close(rough.double(), net(x).detach(), **tolerance(torch.bfloat16))
    state, (stacked, _) = dict(net.named_parameters()), torch.func.stack_module_state([net, net])
    both = torch.func.vmap(lambda p: torch.func.functional_call(net, p, (x,)))(stacked)
    assert_close(both, torch.stack([net(x)] * 2), **F64)
    gradient = torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).sum())(state)
    net(x).sum().backward()
    assert_close(gradient["stages.0.weight"], net.stages[0].weight.grad, **F64)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()


@pytest.mark.filterwarnings("ignore")
def test_it_traces():
    net, x = ImageShapNet((1, 2)), torch.ones(1, 1, 3, 3)
    compiled = torch.compile(copy.deepcopy(net), backend="eager", fullgraph=True)
    assert_close(compiled(x), net(x), **tolerance(torch.float32))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_it_gives_the_same_numbers():
    net, x = ImageShapNet((2, 8)), normal(3, 2, 9, 8).float()
    other = copy.deepcopy(net)
    other.compile()
    results = []
    for each in (net, other):
        with torch.no_grad():
            results.append(each.explain(x).attributions)
    assert_close(*results, **tolerance(torch.float32))


@pytest.mark.filterwarnings("ignore")
def test_one_program_is_for_all_widths():
    """A parameter as an argument would have PyTorch make a program for each width, and give up after eight."""
    counter = CompileCounter()
    for width in range(3, 11):
        net = ImageShapNet((1, width, width + 1, 2), dilations=(1, 2))
        net.compile(backend=counter)
        net(normal(2, 1, 9, 8).float()).sum().backward()
    (kernels,) = {id(stage._compiled): stage._compiled for stage in net.stages}.values()
    assert len(kernels.programs) == 2 and counter.frame_count <= 8  # of values and of gradients, up to four each


@pytest.mark.filterwarnings("ignore")
def test_gradients_can_be_penalised_through_programs():
    counter = CompileCounter()
    net, x, results = network((2, 3, 2), dilations=(1, 2)), normal(2, 2, 5, 4), []
    for _ in range(2):
        z = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(z).square().sum(), z, create_graph=True)
        gradient.square().sum().backward()
        results.append([gradient.detach(), z.grad, *(p.grad for p in net.parameters())])
        net.zero_grad()
        net.compile(backend=counter)
    for one, other in zip(*results, strict=True):
        assert_close(one, other, **F64)
    assert counter.frame_count


@pytest.mark.filterwarnings("ignore")
def test_windows_of_other_kinds_have_programs_of_their_own():
    """More than the eight that PyTorch makes of one function."""
    counter, kernels = CompileCounter(), set()
    for kernel in (1, (1, 2), 3, (1, 3), 2):
        for dtype in (torch.float32, torch.float64):
            layer, x = ImageTransform(1, 2, kernel).to(dtype), normal(2, 5, 6, 1).to(dtype)
            expected = layer(x)
            layer.compile(backend=counter)
            kernels.add(layer._compiled)
            for size in (6, 5):
                z = layer(x[:, :, :size])
                z.sum().backward()
                assert z.shape == (2, 5, size, 2)
            assert_close(layer(x), expected, **tolerance(dtype))
    (shared,) = kernels
    assert len(shared.programs) == 2 * 4 * 2  # nine pixels have none
    assert len(shared.programs) <= counter.frame_count <= 2 * len(shared.programs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (3,)}, "at least two numbers"),
        ({"channels": (3, 0)}, "channels must be a whole number, at least 1; got 0"),
        ({"kernel_size": 4}, r"4 x 4 pixels has 2\*\*16 coalitions; 9 pixels are the most"),
        ({"kernel_size": (2, 2, 2)}, r"kernel_size must be a whole number or two of them, at least 1; got \(2, 2, 2\)"),
        ({"dilations": (0,)}, "dilation must be .* at least 1; got 0"),
        ({"dilations": ()}, r"dilations must be a sequence, .* got \(\)"),
        ({"padding": -1}, "padding must be .* at least 0; got -1"),
        ({"padding": "full"}, "padding must be"),
        ({"negative_slope": -1.0}, "negative_slope must be a number, at least 0; got -1.0"),
    ],
)
def test_networks_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageShapNet(**{"channels": (3, 4)} | settings)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (normal(3, 5, 5), ValueError, r"x must be \[batch, 2, height, width\].* got shape \(3, 5, 5\)"),
        (normal(3, 3, 5, 5), ValueError, r"got shape \(3, 3, 5, 5\)"),
        (normal(0, 2, 5, 5), ValueError, "at least one image"),
        (normal(1, 2, 5, 5).float(), TypeError, "torch.float32 and the network's weights are torch.float64"),
        (torch.full((1, 2, 5, 5), float("nan")).double(), ValueError, "infinite in 50 of its"),
        ([[1.0]], TypeError, "must be a tensor; got list"),
        (normal(1, 2, 1, 5), ValueError, "1 x 5 pixels has no window of .* padding .* take larger images"),
    ],
)
def test_images_that_do_not_fit(x, error, message):
    net = network((2, 3, 1), padding=0)
    for call in (net, net.explain, net.layers):
        with pytest.raises(error, match=message):
            call(x)
    with pytest.raises(ValueError, match=r"a transform of 2 channels takes \[batch, height, width, 2\]; got shape"):
        net.stages[0](normal(1, 2, 5, 5))
