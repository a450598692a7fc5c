"""One contract for every backend of every operation, in each precision and on each device; and how one is chosen."""

import asyncio
import threading
from itertools import product
from typing import NamedTuple

import pytest
import torch
from contracts import normal
from torch import Tensor, nn
from torch.testing import assert_close

import shapnotes.shapnet.windows.dispatch as windows
from shapnotes.shapnet import DeepShapNet, ImageShapNet, ImageTransform, ShapleyTransform, ShapNet, use_backend
from shapnotes.shapnet.backends import Operation
from shapnotes.shapnet.inner.dispatch import MODULE_VALUES
from shapnotes.shapnet.windows.batched import Batched
from shapnotes.shapnet.windows.dispatch import WINDOW_VALUES

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
WITHOUT_GRADIENTS = "blank-pixels"
ON_CPU = ("blank-pixels", "numba")
NOT_TRACED = ("blank-pixels", "inductor", "numba", "batched")


class Case(NamedTuple):
    """A layer that evaluates an operation, and an input of it; in float64."""

    operation: Operation
    layer: nn.Module
    x: Tensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def modules() -> Case:
    """Overlapping sets of two sizes; several channels and outputs; one player at the reference."""
    sets = [(0, 1), (1, 2, 4), (4, 3)]
    stage = ShapleyTransform(sets, 5, 2, 3, hidden=(4,), negative_slope=0.2, generator=seeded()).double()
    x = normal(6, 5, 2)
    x[0, 3] = 0
    return Case(MODULE_VALUES, stage, x)


def image() -> Case:
    """Windows that stick out, and blank pixels."""
    layer = ImageTransform(2, 3, dilation=2, negative_slope=0.2, generator=seeded()).double()
    x = normal(2, 3, 4, 2)
    x[0, 1, 2] = x[1, 0] = 0
    return Case(WINDOW_VALUES, layer, x)


CASES = {"modules": modules, "image": image}
BACKENDS = [
    pytest.param(name, backend, marks=[pytest.mark.slow] * (backend.name == "inductor"), id=f"{name}-{backend.name}")
    for name, make in CASES.items()
    for backend in make().operation.backends
]


def gradients(layer: nn.Module, x: Tensor, order: int) -> list[Tensor]:
    """The values; of order 1 the gradients of a sum of them, of order 2 those of a sum of the gradient on x."""
    parameters = list(layer.parameters())
    if order == 0:
        with torch.no_grad():
            return [layer(x)]
    x = x.clone().requires_grad_()
    z = layer(x)
    directions = [torch.randn(t.shape, generator=seeded(j), dtype=torch.float64).to(t) for j, t in enumerate((z, x))]
    if order == 1:
        return [z.detach(), *torch.autograd.grad((z * directions[0]).sum(), [x, *parameters])]
    (gradient,) = torch.autograd.grad((z * directions[0]).sum(), x, create_graph=True)
    return list(torch.autograd.grad((gradient * directions[1]).sum(), parameters, allow_unused=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("case", "backend"), BACKENDS)
def test_a_backend_is_the_definition(case, backend, device, order):
    """In all precisions that it is meant for, beside the reference in float64; zero where the player is."""
    if (order and backend.name == WITHOUT_GRADIENTS) or (device != "cpu" and backend.name in ON_CPU):
        pytest.skip(f"{backend.name} is not for this")
    _, exact, points = CASES[case]()
    for dtype, tolerance in backend.tolerances.items():
        if dtype == torch.float16 and device == "cpu" and case == "image":
            continue  # few processors have arithmetic for it
        layer, x = CASES[case]().layer.to(device, dtype), points.to(device, dtype)
        exact.load_state_dict({name: each.double() for name, each in layer.state_dict().items()})
        with use_backend("reference"):
            expected = gradients(exact, x.double().cpu(), order)
        with use_backend(backend.name):
            results = gradients(layer, x, order)
        for result, target in zip(results, expected, strict=True):
            if target is None:
                assert result is None or not bool(result.any())
                continue
            assert result.dtype == dtype and result.device.type == device
            assert_close(result.double().cpu(), target, **tolerance._asdict())
        if order < 2:
            assert not bool(results[0][(x == 0).all(-1)].any())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(("case", "backend"), BACKENDS)
def test_as_part_of_a_program_too(case, backend, order):
    """`torch.compile` with a backend that makes gradients as the default one does; those that cannot refuse it."""
    _, layer, x = CASES[case]()
    with use_backend(backend.name):
        program = torch.compile(layer, backend="aot_eager")
        if backend.name in NOT_TRACED:
            with pytest.raises(ValueError, match=r"somebody traces or transforms the computation.* reference: can"):
                gradients(program, x, order)
            return
        results = gradients(program, x, order)
    with use_backend("reference"):
        for result, target in zip(results, gradients(layer, x, order), strict=True):
            assert_close(result, target, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_without_a_context_one_is_chosen_and_gives_the_same(case, order):
    _, layer, x = CASES[case]()
    results = gradients(layer, x, order)
    with use_backend("reference"):
        for result, target in zip(results, gradients(layer, x, order), strict=True):
            assert_close(result, target, rtol=1e-11, atol=1e-12)


def test_the_innermost_context_that_names_a_backend_of_the_operation_decides():
    call = _window_call(normal(1, 3, 3, 1))
    with use_backend("batched"):
        assert WINDOW_VALUES.choose(call).name == "batched"
        with use_backend("shared-sums"):  # of another operation
            assert WINDOW_VALUES.choose(call).name == "batched"
            with use_backend("reference"):
                assert WINDOW_VALUES.choose(call).name == "reference"
        assert WINDOW_VALUES.choose(call).name == "batched"
    assert WINDOW_VALUES.choose(call).name == "numba"


def test_a_context_ends_after_an_error_and_in_any_order():
    call = _window_call(normal(1, 3, 3, 1))
    with pytest.raises(ZeroDivisionError), use_backend("batched"):
        _ = 1 / 0
    assert WINDOW_VALUES.choose(call).name == "numba"
    first, second = use_backend("batched"), use_backend("reference")
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    assert WINDOW_VALUES.choose(call).name == "reference"
    second.__exit__(None, None, None)
    assert WINDOW_VALUES.choose(call).name == "numba"


def test_a_context_holds_in_its_thread_and_task_only():
    call, names = _window_call(normal(1, 3, 3, 1)), []

    def choose():
        names.append(WINDOW_VALUES.choose(call).name)

    with use_backend("batched"):
        thread = threading.Thread(target=choose)
        thread.start()
        thread.join()
        choose()
    assert names == ["numba", "batched"]

    async def asking(backend, started):
        with use_backend(backend):
            await asyncio.sleep(0)
            choose()
            started.set()
            await asyncio.sleep(0)

    async def both():
        await asyncio.gather(*(asking(name, asyncio.Event()) for name in ("batched", "reference")))

    names.clear()
    asyncio.run(both())
    assert names == ["batched", "reference"]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"there is no backend 'fastest'; give one of .*'two-products'.*'numba'"):
        with use_backend("fastest"):
            pass


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "blank-pixels",
            r"'blank-pixels' .* the values of windows: gradients are needed, also on pixels that are zero",
        ),
        ("numba", r"x is torch.bfloat16, and machine code takes float32 and float64. The others: .* batched: can"),
        ("inductor", "windows of more than 4 pixels would be too long"),
    ],
)
def test_a_backend_that_cannot_says_why_and_who_can(backend, message):
    layer = ImageTransform(1, 2, 3).bfloat16()
    with use_backend(backend), pytest.raises(ValueError, match=message):
        layer(normal(1, 4, 4, 1).bfloat16())


@pytest.mark.parametrize(
    ("net", "backend", "message"),
    [
        (ShapleyTransform([(0, 1)], 2, hidden=(3, 3)), "two-products", "have 2 hidden layers, and it is for one"),
        (ShapleyTransform([range(5)], 5), "unrolled", "32 coalitions of 5 players are too many to be written out"),
    ],
)
def test_so_do_those_of_modules(net, backend, message):
    with use_backend(backend), pytest.raises(ValueError, match=message):
        net(normal(1, net.n_players, 1).float())


def test_what_cannot_be_transformed_is_refused_inside_a_transform():
    layer, x = image()[1:]
    for backend in NOT_TRACED:
        with use_backend(backend), torch.no_grad(), pytest.raises(ValueError, match="traces or transforms"):
            torch.func.vmap(layer)(x[None])


def test_without_numba_tensor_operations_take_over(monkeypatch):
    """As where it is not installed; a context that asks for it is told what to do."""
    missing = "numba cannot be imported (No module named 'numba'); pip install numba"
    monkeypatch.setattr(windows, "numba_is_missing", lambda: missing)
    _, layer, x = image()
    with torch.no_grad():
        for images, call in ((x, _window_call(x)), (x * 0, _window_call(normal(2, 20, 30, 2) * 0))):
            assert WINDOW_VALUES.choose(call).name == "batched"
            with use_backend("reference"):
                expected = layer(images)
            assert_close(layer(images), expected, rtol=1e-11, atol=1e-12)
    with use_backend("numba"), pytest.raises(ValueError, match=r"No module named 'numba'.*pip install numba"):
        layer(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("net", "x"),
    [
        (DeepShapNet(4, 3, 2, hidden=(5,), generator=seeded()), normal(3, 4).float()),
        (ImageShapNet((1, 2, 2), generator=seeded()), normal(2, 1, 4, 5).float()),
    ],
    ids=["deep", "image"],
)
def test_compiled_networks_leave_their_programs_aside_in_a_context(net, x):
    expected = net(x)
    net.compile(backend="eager")
    net(x)
    seen = []
    operation = MODULE_VALUES if isinstance(net, ShapNet) else WINDOW_VALUES
    for backend in operation.backends:
        if backend.name in (WITHOUT_GRADIENTS, "inductor"):
            continue
        with use_backend(backend.name):
            assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
            seen.append(backend.name)
    assert len(seen) >= 3


@pytest.mark.parametrize("at_once", [1, 200, None])
def test_inputs_may_be_taken_some_at_a_time(at_once):
    """Without gradients a large batch goes through in parts; that changes nothing."""
    from shapnotes.shapnet.inner import reference, shared_sums, two_products
    from shapnotes.shapnet.transform import contraction

    _, stage, x = modules()
    x = normal(50, 5, 2).permute(1, 2, 0)
    with torch.no_grad():
        for block in stage.blocks:
            given = block.members(), x, normal(5, 2, 1, seed=3), block._weights()
            whole = reference.coalition_values(*given)
            expected = contraction(block.sets, 5, whole) @ whole.numbers
            for kernel in (shared_sums.coalition_values, two_products.values):
                answer = kernel(*given, at_once)
                assert_close(contraction(block.sets, 5, answer) @ answer.numbers, expected, rtol=1e-11, atol=1e-12)


def test_terms_of_some_images_at_a_time_have_the_same_gradients():
    _, layer, x = image()
    weight = layer.weight.flatten(2).permute(1, 2, 0)
    results = []
    for max_terms, max_sums in product((None, 1), (None, 1)):
        z = windows.op.window_values(x, weight, layer.bias, layer.geometry, 0.2, Batched(max_sums), max_terms)
        results.append([z.detach(), *torch.autograd.grad(z.square().sum(), list(layer.parameters()))])
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            assert_close(one, another, rtol=1e-11, atol=1e-12)


def _window_call(x: Tensor) -> windows.Call:
    layer = ImageTransform(x.shape[3], 2).to(x.dtype).requires_grad_(False)
    weight = layer.weight.flatten(2).permute(1, 2, 0)
    return windows.Call(x, weight, layer.bias, layer.geometry, 0.01, None, needs_gradient=False, traced=False)
