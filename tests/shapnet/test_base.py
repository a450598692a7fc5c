"""What all ShapNets share: the door, buffers, copies, compilers."""

import copy

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.shapnet import (
    DeepShapNet,
    ImageShapNet,
    Pruning,
    ShallowShapNet,
    ShapleyTransform,
    ShapNet,
    WideShapNet,
    use_backend,
)

F64 = tolerance(torch.float64)


def made() -> DeepShapNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DeepShapNet(5, 3, 2, hidden=(4,), baseline=normal(5, seed=9)).double()


NETWORKS = [
    made,
    lambda: ShallowShapNet([(0, 1), (2, 3, 4)], 2, hidden=(4, 3), generator=torch.Generator()).double(),
    lambda: ShallowShapNet([(0, 1, 2)], 1, inner=lambda rows: rows.prod(1, keepdim=True)),
    lambda: ImageShapNet([1, 2, 2], kernel_size=(2, 3), generator=torch.Generator()).double(),
    lambda: WideShapNet(5, (3, 4), 2, generator=torch.Generator()).double(),
]


def test_an_explanation_is_one():
    net, x = made(), normal(3, 5)
    explanation = net.explain(x)
    assert isinstance(explanation, sn.Explanation)
    assert explanation.attributions.shape == (3, 5, 2) and explanation.prediction.shape == (3, 2)
    assert explanation.inputs is x and float(explanation.baseline_prediction.abs().max()) == 0
    assert_close(net(x), explanation.prediction, rtol=0, atol=0)


def test_explanations_that_overflow_are_refused():
    net, x = made().float(), torch.full((1, 5), 3e38)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(10)
    assert not torch.isfinite(net(x)).all(), "numbers that overflow"
    with pytest.raises(ValueError, match=r"explanation holds NaN or infinity: .* beyond the largest torch.float32"):
        net.explain(x)
    assert torch.isfinite(net.double().explain(x.double()).attributions).all()


@pytest.mark.parametrize("make", NETWORKS, ids=["deep", "shallow", "function", "image", "wide"])
def test_networks_are_where_their_weights_are(make):
    """Whatever device new tensors have by default; nothing is kept from there either."""
    net, other = make(), make()
    x = normal(3, *net.baseline.shape) if net.baseline.dim() == 1 else normal(3, 1, 7, 9)
    with torch.device("meta"):
        explained = net.explain(x.clone())
    assert_close(explained.attributions, other.explain(x).attributions, rtol=0, atol=0)
    assert_close(net.explain(x).attributions, explained.attributions, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "anew"),
    [
        (made, lambda: DeepShapNet(5, 3, 2, hidden=(4,))),
        (lambda: WideShapNet(5, (4, 3), 2, baseline=normal(5, seed=9)).double(), lambda: WideShapNet(5, (4, 3), 2)),
    ],
    ids=["deep", "wide"],
)
def test_state_and_copies(make, anew):
    net, other, x = make(), anew().double(), normal(3, 5)
    assert "baseline" in net.state_dict()
    other.load_state_dict(net.state_dict())
    for same in (other, copy.deepcopy(net)):
        assert_close(same(x), net(x), rtol=0, atol=0)
    net.reset_parameters(torch.Generator().manual_seed(7))
    assert float((net(x) - other(x)).detach().abs().min()) > 0
    other.reset_parameters(torch.Generator().manual_seed(7))
    assert_close(other(x), net(x), rtol=0, atol=0)


def test_baselines_take_one_input_s_shape():
    for given, expected in ((None, [0.0, 0.0]), (2, [2.0, 2.0]), (0.1, [0.1, 0.1]), ([1, 2.5], [1.0, 2.5])):
        net = ShallowShapNet([(0, 1)], 1, baseline=given)
        assert net.baseline.shape == (2,) and net.double().baseline.tolist() == expected
    net = ShallowShapNet([(0, 1)], 1, in_channels=3, baseline=torch.arange(3.0))
    assert net.baseline.tolist() == [[0, 1, 2]] * 2
    assert net(torch.zeros(4, 2, 3)).shape == (4, 1)
    column = ShallowShapNet([(0, 1)], 1, baseline=torch.ones(2, 1))
    assert column.baseline.shape == (2,)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert_close(column(x), column(x[:, :, None]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("baseline", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"shape \(3,\) does not broadcast to an input \(2,\)"),
        ([0.0, float("nan")], ValueError, "NaN or infinity"),
        (torch.zeros(2, dtype=torch.int64), TypeError, "floating point, as x is; got torch.int64"),
        ("zero", TypeError, "None, a number or a tensor; got str"),
    ],
)
def test_baselines_that_do_not_fit(baseline, error, message):
    with pytest.raises(error, match=message):
        ShallowShapNet([(0, 1)], 1, baseline=baseline)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (normal(3, 4), ValueError, r"\[batch, 5\], at least one input; got shape \(3, 4\)"),
        (normal(5), ValueError, r"got shape \(5,\)"),
        (normal(3, 5, 2), ValueError, r"got shape \(3, 5, 2\)"),
        (normal(0, 5), ValueError, "at least one input"),
        (normal(3, 5).float(), TypeError, r"x is torch.float32 and the network's weights are torch.float64"),
        (normal(3, 5).masked_fill(torch.eye(3, 5) > 0, float("nan")), ValueError, "infinite in 3 of its"),
        ([[1.0] * 5], TypeError, "must be a tensor; got list"),
    ],
)
def test_inputs_that_do_not_fit(x, error, message):
    net = made()
    for call in (net, net.explain, net.layers):
        with pytest.raises(error, match=message):
            call(x)


def test_a_network_without_weights_is_where_its_baseline_is():
    net = ShallowShapNet([(0, 1)], 1, inner=lambda rows: rows.prod(1, keepdim=True))
    assert net(torch.tensor([[2.0, 3.0]])).item() == 6
    with pytest.raises(ValueError, match="x is on meta and the baseline on cpu"):
        net(torch.ones(1, 2, device="meta"))


def test_stages_that_do_not_fit():
    with pytest.raises(ValueError, match=r"as many players each; got \[2, 3\]"):
        ShapNet([ShapleyTransform([(0, 1)], 2), ShapleyTransform([(0, 1)], 3)])
    with pytest.raises(ValueError, match=r"one or more transforms .* got \[\]"):
        ShapNet([])


@pytest.mark.parametrize("backend", ["reference", "shared-sums", "two-products", "unrolled"])
@pytest.mark.parametrize("graph", [True, False])
def test_many_networks_can_be_run_as_one(backend, graph):
    """torch.func.vmap over stacked parameters, inputs of their own each."""
    nets = [made(), made()]
    nets[1].reset_parameters(torch.Generator().manual_seed(3))
    stacked, _ = torch.func.stack_module_state(nets)
    x = normal(2, 3, 5)
    with torch.set_grad_enabled(graph), use_backend(backend):
        together = torch.func.vmap(lambda p, x: torch.func.functional_call(nets[0], p, (x,)))(stacked, x)
        assert_close(together, torch.stack([net(one) for net, one in zip(nets, x, strict=True)]), **F64)


def test_autocast_and_views():
    net = made().float()
    x = normal(5, 4).float().T
    expected = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(net(x.bfloat16()).float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_it_gives_the_same_numbers_as_a_program():
    """With a backend that counts and runs what it is given, which needs no C++ compiler."""
    net, x = made(), normal(4, 5)
    expected, pruned = net.explain(x), net.explain(x, Pruning(share=0.5)).attributions
    programs = []
    net.compile(backend=lambda graph, _: programs.append(graph) or graph.forward, fullgraph=True)
    other = copy.deepcopy(net)
    assert_close(net.explain(x).attributions, expected.attributions, **F64)
    assert_close(net(x), expected.prediction, **F64)
    assert len(programs) == 1
    assert_close(net.explain(x, Pruning(share=0.5)).attributions, pruned, **F64)
    assert_close(other(x), expected.prediction, **F64)
    assert len(programs) == 1
    net(x).sum().backward()
    assert net.stages[0].blocks[0].first.grad is not None
    for bad in (normal(3, 4), normal(3, 5) / 0):
        with pytest.raises(ValueError):
            net(bad)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_compiles_and_exports():
    net, x = ShallowShapNet([(0, 1)], 1, hidden=(3,)), torch.ones(2, 2)
    with torch.no_grad():
        expected = net(x)
        compiled = torch.compile(copy.deepcopy(net), backend="eager", fullgraph=True)
        assert_close(compiled(x), expected)
        assert_close(torch.export.export(net, (x,)).module()(x), expected)
