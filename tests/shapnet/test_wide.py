"""Wide ShapNets: Theorem 3 and Corollary 4, one stage as a perceptron, values beside exact ones, and the door."""

import copy
from itertools import pairwise

import pytest
import torch
from contracts import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import by_permutations, tolerance
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.shapnet import Pruning, WideShapNet, l1_penalty, linf_penalty, pruned
from shapnotes.shapnet.wide import METHODS

F64 = tolerance(torch.float64)
F32 = tolerance(torch.float32)


def made(*arguments, dtype: torch.dtype = torch.float64, **settings) -> WideShapNet:
    """Of weights that a seed draws, biases too, which start at 0 otherwise."""
    net = WideShapNet(*arguments, **settings, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        for number, stage in enumerate(net.stages):
            stage.bias.copy_(normal(len(stage.bias), seed=number))
    return net


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**16), st.sampled_from(METHODS), st.data())
def test_theorem_3_and_corollary_4(n, seed, method, data):
    n = min(n, 9) if method == "enumeration" else n
    still = data.draw(st.sets(st.integers(0, n - 1)))
    channels = data.draw(st.sampled_from([(4,), (3, 5), (2, 4, 3)]))
    baseline = normal(n, seed=seed)
    net = made(n, channels, 2, baseline=baseline, method=method)
    x = normal(3, n, seed=seed + 1)
    x[:, list(still)] = baseline[list(still)]
    with torch.no_grad():
        explanation, layers = net.explain(x), net.layers(x)
        at_reference = net(baseline[None])
    assert [tuple(layer.shape) for layer in layers] == [(3, n, c) for c in (*channels[:-1], 2)]
    assert_close(net(x).detach(), explanation.prediction, **F64)
    assert float(explanation.gap().abs().max()) == 0 == float(at_reference.abs().max())
    for layer in layers:
        assert bool((layer[:, list(still)] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_in_every_precision_who_is_absent_is_given_nothing(dtype):
    for n in (3, 70):
        baseline = normal(n, seed=1).to(dtype)
        net = made(n, (6, 5), 2, baseline=baseline, dtype=dtype)
        x = normal(33, n, seed=2).to(dtype)
        x[:, 0] = baseline[0]
        x[::2, n - 1] = baseline[n - 1]
        for graph in (True, False):
            with torch.set_grad_enabled(graph):
                for z in net.layers(x):
                    assert z.dtype == dtype and float(z[:, 0].detach().abs().max()) == 0
                    assert float(z[::2, n - 1].detach().abs().max()) == 0
                    assert bool((z[1::2, n - 1] != 0).any())


def test_missing_somewhere_is_missing_from_there_on():
    """Corollary 4 from a later stage: a representation that was set to zero stays there."""
    net = made(7, (3, 4, 5), 1)
    z = net.layers(normal(2, 7))[0].detach().clone()
    z[:, 5] = 0
    for stage in list(net.stages)[1:]:
        z = stage(z).detach()
        assert float(z[:, 5].abs().max()) == 0 and float(z[:, 4].abs().min()) > 0


@pytest.mark.parametrize("method", METHODS)
def test_one_stage_is_a_perceptron(method):
    """H(x) = V [max(W x + b, 0) - max(W r + b, 0)], whatever the method; its values are those of the perceptron."""
    baseline, x = normal(9, seed=1), normal(4, 9)
    net = made(9, 30, 3, baseline=baseline, method=method)
    (stage,) = net.stages
    hidden = lambda rows: (rows @ stage.weight[..., 0].T + stage.bias).relu() @ stage.readout.T  # noqa: E731
    assert_close(net(x), hidden(x) - hidden(baseline[None]), **F64)
    exact = sn.shapley_values(lambda rows: hidden(rows).detach(), x, baseline)
    attributions = net.explain(x).attributions.detach()
    if method == "enumeration":
        assert_close(attributions, exact, **F64)
    distance = float((attributions - exact).abs().mean() / exact.abs().mean())
    assert distance < {"normal": 0.1, "edgeworth": 0.05, "enumeration": 1e-9}[method]


def test_stages_are_shapley_values_of_neurons_by_all_orders():
    """Definition 4, with vectors of several channels and a reference: each neuron's game, and V of its values."""
    baseline, x = normal(4, 2, seed=1), normal(2, 4, 2)
    net = made(4, (3, 5), 2, in_channels=2, baseline=baseline, method="enumeration")
    z, reference = x, baseline
    for stage, layer in zip(net.stages, net.layers(x), strict=True):
        rows = []
        for one in z:
            table = []
            for coalition in range(2**4):
                present = torch.tensor([bool(coalition >> i & 1) for i in range(4)])[:, None]
                seen = torch.where(present, one, reference)
                table.append(((stage.weight * seen).sum((1, 2)) + stage.bias).relu())
            rows.append(by_permutations(torch.stack(table)))
        z = torch.stack(rows)
        z = z if stage.readout is None else z @ stage.readout.T
        reference = torch.zeros(4, z.shape[2], dtype=torch.float64)
        assert_close(layer, z, **F64)
    assert_close(net(x), z.sum(1), **F64)


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method):
    """Of predictions and of explanations, to inputs and all weights; also where a player is at its reference."""
    net, x = made(4, (3, 2), 2, baseline=0.3, method=method), normal(2, 4)
    x[0, 1] = 0.3
    names = list(dict(net.named_parameters()))

    def of(call):
        def evaluate(x, *weights):
            values = dict(zip(names, weights, strict=True))
            return torch.func.functional_call(net, values, (x,)) if call is None else _layers(net, values, x)

        return evaluate

    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    for call in (None, "layers"):
        assert torch.autograd.gradcheck(of(call), (x.clone().requires_grad_(), *weights))


def _layers(net: WideShapNet, values: dict, x: torch.Tensor) -> torch.Tensor:
    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net.layers(x)[-1]

    return torch.func.functional_call(Last(), {f"net.{name}": value for name, value in values.items()}, (x,))


@pytest.mark.parametrize("n", [8, 30, 100])
def test_random_weights_keep_the_size(n):
    """Over several stages; and the prediction has it as well."""
    net = WideShapNet(n, (60, 60, 60), 50, method="edgeworth", generator=torch.Generator().manual_seed(1))
    x = normal(200, n).float()
    with torch.no_grad():
        sizes = [1.0, *(float((z**2).mean()) for z in net.layers(x)[:-1])]
        assert all(0.8 < after / before < 1.35 for before, after in pairwise(sizes)), sizes
        assert 0.5 < float(net(x).square().mean()) / sizes[-1] < 2
        assert all(not bool(stage.bias.any()) for stage in net.stages)
    vectors = WideShapNet(n, (60, 60), 1, in_channels=20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert 0.8 < float((vectors.layers(normal(50, n, 20).float())[0] ** 2).mean()) < 1.35


def test_penalties_pruning_and_their_gradients():
    net, x = made(6, (4, 3, 3), 2), normal(5, 6)
    layers = net.layers(x)
    (l1_penalty(layers) + linf_penalty(layers)).backward()
    assert all(bool(p.grad.any()) for p in net.parameters())
    with pruned(net, share=1 / 3, stages=0):
        z, *later = net.layers(x)
        prediction = net(x)
    assert bool(((z == 0).all(2).sum(1) == 2).all()) and bool((later[-1][z.abs().sum(2) == 0] == 0).all())
    assert_close(prediction, later[-1].sum(1), rtol=0, atol=0)
    assert float((net(x) - prediction).detach().abs().max()) > 1e-3
    rule = Pruning(share=1 / 3, stages=0)
    assert_close(net.explain(x, rule).attributions, later[-1], rtol=0, atol=0)


def test_hooks_of_the_last_stage_are_called():
    """A prediction computes no values of the last stage, unless somebody looks at them."""
    net, x, seen = made(5, (4, 3), 2), normal(3, 5), []
    expected = net(x)
    net.stages[-1].register_forward_hook(lambda *call: seen.append(call))
    assert_close(net(x), expected, **F64)
    assert len(seen) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_it_gives_the_same_numbers_by_two_programs():
    """With a backend that counts and runs what it is given, which needs no C++ compiler."""
    net, x = made(5, (4, 3), 2), normal(4, 5)
    attributions, prediction = net.explain(x).attributions, net(x)
    programs = []
    net.compile(backend=lambda graph, _: programs.append(graph) or graph.forward, fullgraph=True)
    other = copy.deepcopy(net)
    for _ in range(2):
        assert_close(net.explain(x).attributions, attributions, **F64)
        assert_close(net(x), prediction, **F64)
    assert len(programs) == 2
    assert_close(other(x), prediction, **F64)
    net(x).sum().backward()
    assert net.stages[0].weight.grad is not None and len(programs) == 2


def test_many_networks_can_be_run_as_one():
    nets = [made(5, (4, 3), 2), made(5, (4, 3), 2)]
    nets[1].reset_parameters(torch.Generator().manual_seed(3))
    stacked, _ = torch.func.stack_module_state(nets)
    x = normal(2, 3, 5)
    together = torch.func.vmap(lambda p, x: torch.func.functional_call(nets[0], p, (x,)))(stacked, x)
    assert_close(together, torch.stack([net(one) for net, one in zip(nets, x, strict=True)]), **F64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, "channels is empty; give the number of neurons of each stage"),
        ({"channels": (3, 0)}, "channels must be a whole number, at least 1; got 0"),
        ({"n_features": 0}, "n_features must be a whole number"),
        ({"out_features": True}, "out_features must be a whole number"),
        ({"method": "lattice"}, "method must be one of 'normal', 'edgeworth', 'enumeration'; got 'lattice'"),
        ({"nodes": 0}, "nodes must be a whole number, at least 1; got 0"),
        ({"baseline": torch.zeros(3)}, r"shape \(3,\) does not broadcast to an input \(4,\)"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WideShapNet(**{"n_features": 4, "channels": (3,), "out_features": 2} | arguments)


def test_inputs_that_do_not_fit():
    net = made(4, 3, 2)
    for x, error, message in (
        (normal(3, 5), ValueError, r"\[batch, 4\], at least one input; got shape \(3, 5\)"),
        (normal(3, 4).float(), TypeError, "x is torch.float32 and the network's weights are torch.float64"),
        (normal(3, 4) / 0, ValueError, "infinite in 12 of its"),
    ):
        for call in (net, net.explain, net.layers):
            with pytest.raises(error, match=message):
                call(x)
