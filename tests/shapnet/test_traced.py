"""Networks while somebody records, maps or imitates what they do: the same numbers, and nothing is left behind."""

import copy
import shutil

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook
from torch.testing import assert_close

from shapnotes.shapnet import (
    DeepShapNet,
    ImageShapNet,
    ShallowShapNet,
    ShapleyTransform,
    ShapNet,
    all_pairs,
    singletons,
)
from shapnotes.shapnet.compiled import separate_program
from shapnotes.shapnet.traced import is_traced

F64 = tolerance(torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(rows):
    return torch.stack([rows.prod(1), rows.sum(1).sin()], 1)


NETS = {
    "deep": (lambda: DeepShapNet(5, 3, 2, hidden=(4,), generator=seeded()), (3, 5)),
    "shallow": (lambda: ShallowShapNet(all_pairs(4), 2, hidden=(4, 3), baseline=0.3, generator=seeded()), (3, 4)),
    "inner": (lambda: ShallowShapNet(all_pairs(4), 2, inner=rows), (3, 4)),
    "image": (lambda: ImageShapNet((2, 3, 4), dilations=(1, 2), generator=seeded()), (2, 2, 5, 4)),
}


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param][0]().double()


@pytest.fixture
def x(net, request):
    return normal(*NETS[request.node.callspec.params["net"]][1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of the first forward derivative
def test_transforms_leave_nothing_behind(net, x):
    """Constants that a network makes when it is first called, and keeps, are not those of a transform."""
    tangent = torch.ones_like(x)
    inside = [
        torch.func.functionalize(net)(x),
        torch.func.jvp(net, (x,), (tangent,))[0],
        torch.func.vmap(lambda one: net(one[None])[0])(x),
    ]
    torch.func.grad(lambda x: net(x).sum())(x)
    with torch.no_grad():
        outside = net(x)
    assert not is_traced(outside)
    assert not torch._is_functional_tensor(outside)
    for one in inside:
        assert_close(torch.Tensor.clone(one).detach(), outside, **F64)
    assert_close(net.layers(x)[-1].flatten(1, -2).sum(1).detach(), outside, **F64)


def test_imitations_leave_nothing_behind(net, x):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        imitated = net(mode.from_tensor(x))
    z = net(x)
    assert is_traced(imitated) and not is_traced(z) and imitated.shape == z.shape
    assert bool(torch.isfinite(z).all())


def test_networks_can_be_made_of_imitations():
    with FakeTensorMode() as mode:
        for make, shape in (NETS[name] for name in ("deep", "inner", "image")):
            assert make()(mode.from_tensor(normal(*shape).float())).shape[0] == shape[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("graph", [True, False])
def test_they_can_be_recorded(net, x, graph):
    other = normal(*x.shape, seed=7)
    with torch.set_grad_enabled(graph):
        recorded = torch.jit.trace(net, x)
        assert_close(recorded(other), net(other), **F64)
    assert_close(net(x), recorded(x), **F64)


class Labelled(torch.Tensor):
    """A tensor with a name of its own and no arithmetic of its own."""


def test_other_names_for_tensors_are_not_imitations(net, x):
    assert not is_traced(x.as_subclass(Labelled), torch.nn.Parameter(x))
    assert_close(torch.Tensor(net(x.as_subclass(Labelled)).detach()).double(), net(x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_each_network_has_programs_of_its_own():
    """With a graph and without, of one size and then of any: up to four each, and PyTorch makes eight of a function."""
    for features in range(1, 6):
        net, counter = ShallowShapNet(singletons(features), 1, hidden=(2,)), CompileCounter()
        net.compile(backend=counter)
        for batch in (4, 5):
            for graph in (True, False):
                with torch.set_grad_enabled(graph):
                    net(normal(batch, features).float())
        assert 2 <= counter.frame_count <= 4


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_ones_own_is_of_functions_and_methods():
    class Counting:
        step = 2

        def add(self, x, *, times=3):
            return x + self.step * times

    for function in (Counting().add, lambda x, times=3: x + 2 * times):
        counters = [CompileCounter() for _ in range(10)]
        for number, counter in enumerate(counters):
            program = separate_program(function, backend=counter)
            assert program(torch.ones(number + 2)).tolist() == [7.0] * (number + 2)
            assert program(torch.ones(2), times=1).tolist() == [3.0, 3.0]
        assert all(counter.frame_count >= 1 for counter in counters)


@pytest.mark.filterwarnings("ignore")
def test_gradients_can_be_penalised_through_a_compiled_network():
    """With a backend that makes gradients as the default one does, which has no second ones."""
    plain, compiled = (DeepShapNet(4, 3, 2, hidden=(5,), generator=seeded()).double() for _ in range(2))
    compiled.compile(backend="aot_eager")
    x, results = normal(6, 4), []
    for net in (plain, compiled):
        z = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(z).sum(), z, create_graph=True)
        gradient.square().sum().backward()
        results.append([gradient.detach(), z.grad, *(p.grad for p in net.parameters())])
        net.zero_grad()
        net(x).square().sum().backward()
        results[-1] += [p.grad for p in net.parameters()]
    for one, other in zip(*results, strict=True):
        assert_close(one, other, **F64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("where", ["stage", "block", "everywhere"])
def test_compiled_networks_see_hooks(where, first):
    """Before the first call and after it, and no longer once they are gone."""
    net, x = DeepShapNet(4, 3, 2, hidden=(5,), generator=seeded()), normal(3, 4).float()
    expected = net(x)
    net.compile(backend="eager")
    if not first:
        net(x)
    seen = []

    def hook(module, inputs, output):
        seen.append(module)
        return output * 0 if isinstance(output, torch.Tensor) else output._replace(numbers=output.numbers * 0)

    if where == "everywhere":
        handle = register_module_forward_hook(hook)
    else:
        handle = {"stage": net.stages[0], "block": net.stages[0].blocks[0]}[where].register_forward_hook(hook)
    try:
        assert not bool(net(x).any()) and seen
    finally:
        handle.remove()
    seen.clear()
    assert_close(net(x), expected) and not seen


@pytest.mark.filterwarnings("ignore")
def test_networks_see_a_stage_s_replaced_forward(net, x):
    for compiled in (False, True):
        if compiled and isinstance(net, ImageShapNet):
            return
        if compiled:
            net.compile(backend="eager")
        net(x)
        stage = net.stages[0]
        stage.forward = lambda *given, original=stage.forward: 0 * original(*given)
        assert not bool(net(x).any()) and not bool(net.explain(x).attributions.any())
        del stage.forward
        assert bool(net(x).any())


POWER = 1


def a_power(rows):
    return rows.prod(1, keepdim=True) ** POWER


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_program_looks_at_what_users_can_change(monkeypatch):
    """A number that a function of their own reads, and weights; not at functions of the package."""
    own = ShapNet([ShapleyTransform([(0, 1)], 2, inner=a_power)])
    own.compile()
    x = torch.tensor([[3.0, 5.0]])
    for _ in range(2):  # the first program is made anew, once the matrices that it uses are kept
        assert own(x).item() == 15.0
    monkeypatch.setattr(f"{__name__}.POWER", 2)
    assert own(x).item() == 225.0
    net = DeepShapNet(4, 1, 1, hidden=(3,), generator=seeded())
    net.compile()
    x = normal(2, 4).float()
    before = net(x)
    for stage in net.stages:
        stage.blocks[0].first = torch.nn.Parameter(2 * stage.blocks[0].first)
    assert_close(net(x), copy.deepcopy(net)(x))
    assert not torch.allclose(net(x), before)
