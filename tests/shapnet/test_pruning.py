"""What pruning sets to zero, that it stays zero, and that it says no to what makes no sense."""

import asyncio
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.shapnet import (
    DeepShapNet,
    ImageShapNet,
    Pruning,
    ShallowShapNet,
    ShapleyTransform,
    ShapNet,
    all_pairs,
    pruned,
    use_backend,
)
from shapnotes.shapnet.pruning import prune_least
from shapnotes.shapnet.windows import blank_pixels

F64 = tolerance(torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(net, dtype=torch.float64):
    net.reset_parameters(seeded(0))
    return net.to(dtype).requires_grad_(False)


NETS = {
    "shallow": (lambda: ShallowShapNet(all_pairs(5), 2, hidden=(6,), baseline=0.3), (7, 5)),
    "deep": (lambda: DeepShapNet(7, (4, 3), 2, hidden=(6,), baseline=0.3), (7, 7)),
    "residual": (lambda: DeepShapNet(8, 3, 3, hidden=(6,), in_channels=3, residual=True), (7, 8, 3)),
    "image": (lambda: ImageShapNet((2, 4, 4, 4, 3), dilations=(1, 3)), (7, 2, 6, 5)),
    "coupling": (lambda: ImageShapNet((2, 4, 4, 4, 3), dilations=(1, 3), coupling=True), (7, 2, 6, 5)),
}


def by_hand(net, x, stage, share):
    """Stage by stage: the smallest players of one input after the other set to zero, in a loop."""
    layers = net.layers(x)
    z = layers[stage].clone()
    for one in z:
        flat = one.view(-1, one.shape[-1])
        norms = [(float(sum(abs(channel) for channel in player)), i) for i, player in enumerate(flat)]
        for _, i in sorted(norms)[: round(share * len(norms))]:
            flat[i] = 0
    return [*layers[:stage], z, *continued(net, z, stage)]


def continued(net, z, stage):
    """The representations after later stages of a network that is given one of its own."""
    later = net.stages[stage + 1 :]
    if not len(later):
        return []
    if isinstance(net, ImageShapNet):
        rest = copy.deepcopy(net)
        rest.stages, rest.seen, rest.channels = later, rest.seen[stage + 1 :], rest.channels[stage + 1 :]
        return rest.layers(z.permute(0, 3, 1, 2))
    return ShapNet(later, z.shape[-1], residual=net.residual).to(z.dtype).layers(z)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_least_are_pruned_and_stay_zero(kind, dtype):
    """At one stage at a time as in figure 5; exactly zero after all later stages (Corollary 4), in every precision."""
    make, shape = NETS[kind]
    net, x = drawn(make(), dtype), normal(*shape).to(dtype)
    for stage in range(len(net.stages)):
        for share in (0.25, 0.5, 0.8):
            with pruned(net, share=share, stages=stage):
                layers, explanation, prediction = net.layers(x), net.explain(x), net(x)
            for z, expected in zip(layers, by_hand(net, x, stage, share), strict=True):
                assert_close(z, expected, **tolerance(dtype))
            gone = (layers[stage] == 0).all(-1)
            assert bool((gone.flatten(1).sum(1) == round(share * gone[0].numel())).all())
            assert not any(bool(z[gone].any()) for z in layers[stage:])
            assert torch.equal(explanation.attributions, layers[-1]) and torch.equal(prediction, explanation.prediction)
            assert_close(explanation.gap(), torch.zeros_like(prediction), **tolerance(dtype))
            assert not torch.equal(prediction, net(x))


@pytest.mark.parametrize("kind", NETS)
def test_a_threshold_is_in_the_unit_of_its_stage(kind):
    make, shape = NETS[kind]
    net, x = drawn(make()), normal(*shape)
    for stage in range(len(net.stages)):
        sizes = net.layers(x)[stage].abs().sum(-1)
        threshold = float(sizes.median())
        left = net.explain(x, pruning=Pruning(threshold=threshold, stages=[stage]))
        z = net.layers(x, Pruning(threshold=threshold, stages=[stage]))[stage]
        assert torch.equal((z == 0).all(-1), sizes < threshold)  # the median itself is kept
        assert not bool(left.attributions[sizes < threshold].any())
        assert len(set((sizes < threshold).flatten(1).sum(1).tolist())) > 1  # input by input


def test_nothing_and_everything():
    net, x = drawn(NETS["image"][0]()), normal(3, 2, 6, 5)
    with pruned(net, threshold=0):
        assert torch.equal(net(x), net.explain(x, pruning=Pruning(share=0)).prediction)
    assert torch.equal(net.explain(x, Pruning(share=0)).attributions, net.explain(x).attributions)
    for all_of_it in (Pruning(share=1, stages=0), Pruning(threshold=float("inf"), stages=3)):
        assert not bool(net.explain(x, all_of_it).prediction.any())


def test_several_stages_have_amounts_of_their_own():
    net, x = drawn(NETS["image"][0]()), normal(3, 2, 6, 5)
    with pruned(net, share=(0.9, 0.2), stages=(2, 0)):
        layers = net.layers(x)
    assert [int((z[0] == 0).all(-1).sum()) for z in layers] == [6, 6, 27, 27]
    first = net.layers(x, Pruning(share=0.2, stages=0))
    assert torch.equal(layers[1], first[1])
    with pruned(net, share=(0.2, 0.3, 0.4, 0.5)):
        assert [int((z[1] == 0).all(-1).sum()) for z in net.layers(x)] == [6, 9, 12, 15]


def test_of_equals_the_first_go():
    z = torch.tensor([[[1.0], [0.0], [-1.0], [2.0], [1.0]], [[0.0], [0.0], [0.0], [0.0], [5.0]]])
    kept = [[[False, False, False, True, True], [False, False, False, False, True]], [[True, False, True, True, True]]]
    assert (prune_least(z, 0.6) != 0)[..., 0].tolist() == kept[0]
    assert (prune_least(z, 0.2) != 0)[:1, :, 0].tolist() == kept[1]
    assert torch.equal(prune_least(z, 0.09), z)


def test_contexts_end_and_the_argument_is_stronger():
    net, x = drawn(NETS["deep"][0]()), normal(4, 7)
    whole = net(x)
    with pruned(net, share=1.0):
        assert not bool(net(x).any())
        with pruned(net, share=0.0):
            assert torch.equal(net(x), whole)
        assert torch.equal(net.explain(x, pruning=Pruning(threshold=0)).prediction, whole)
        assert not bool(net(x).any())
        for another in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(another(x), whole) and another.pruning is None
    assert torch.equal(net(x), whole)
    with pytest.raises(ZeroDivisionError), pruned(net, share=1.0):
        _ = 1 / 0
    assert torch.equal(net(x), whole) and net.pruning is None


def test_contexts_may_end_in_any_order():
    net, x = drawn(NETS["deep"][0]()), normal(4, 7)
    whole, half, most = net(x), *(net.explain(x, Pruning(share=share)).prediction for share in (0.5, 0.8))
    first, second = pruned(net, share=0.5), pruned(net, share=0.8)
    first.__enter__()
    assert torch.equal(net(x), half)
    second.__enter__()
    assert torch.equal(net(x), most) and net.pruning == Pruning(share=0.8)
    first.__exit__(None, None, None)
    assert torch.equal(net(x), most)
    second.__exit__(None, None, None)
    assert torch.equal(net(x), whole) and net.pruning is None


@pytest.mark.parametrize("kind", ["deep", "image"])
def test_contexts_are_those_of_a_thread(kind):
    """One that is held open here leaves others' results alone, and the other way round."""
    make, shape = NETS[kind]
    net, x = drawn(make()), normal(*shape)
    whole, half = net(x), net.explain(x, Pruning(share=0.5)).prediction

    def inside():
        with pruned(net, share=0.9):
            return net(x), net.pruning

    with ThreadPoolExecutor(1) as elsewhere, pruned(net, share=0.5):
        assert torch.equal(elsewhere.submit(net, x).result(), whole)
        assert elsewhere.submit(lambda: net.pruning).result() is None
        there, rule = elsewhere.submit(inside).result()
        assert rule == Pruning(share=0.9) and not torch.equal(there, half)
        assert torch.equal(net(x), half)
    assert torch.equal(net(x), whole)


def test_contexts_are_those_of_a_task():
    net, x = drawn(NETS["deep"][0]()), normal(4, 7)
    whole, half = net(x), net.explain(x, Pruning(share=0.5)).prediction

    async def inside(entered: asyncio.Event, leave: asyncio.Event):
        with pruned(net, share=0.5):
            entered.set()
            await leave.wait()
            return net(x)

    async def both():
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(inside(entered, leave))
        await entered.wait()
        here = net(x)
        leave.set()
        return here, await task

    here, there = asyncio.run(both())
    assert torch.equal(here, whole) and torch.equal(there, half)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["deep", "image"])
def test_compiled_networks_are_pruned_too(kind):
    """By `torch.compile` around the network, before the context and in it."""
    make, shape = NETS[kind]
    net, x = drawn(make()), normal(*shape)
    compiled, whole = torch.compile(net, backend="eager"), net(x)
    assert_close(compiled(x), whole, **F64)
    for share in (0.5, 0.8):
        expected = net.explain(x, Pruning(share=share)).prediction
        for one in (net, compiled):
            with pruned(one, share=share):
                assert_close(compiled(x), expected, **F64)
                assert torch.equal(net(x), expected)
    assert_close(compiled(x), whole, **F64)


def test_gradients_are_those_of_what_is_left():
    net, x = drawn(NETS["image"][0]()), normal(2, 2, 6, 5).requires_grad_()
    net.requires_grad_(True)
    with pruned(net, share=0.5, stages=1):
        layers = net.layers(x)
        gone = (layers[1] == 0).all(-1)
        gradient = torch.autograd.grad(layers[-1].square().sum(), layers[1])[0]
        assert bool(gradient[~gone].any(-1).all())
        before = torch.autograd.grad(net.layers(x)[-1].sum(), net.stages[0].weight)[0]
    assert bool(before.any())

    def of_what_is_left(x):  # where the choice is made once
        z = net.layers(x)[1].masked_fill(gone[..., None], 0)
        return continued(net, z, 1)[-1].sum()

    with pruned(net, share=0.5, stages=1):
        ours = torch.autograd.grad(net(x).sum(), x)[0]
    assert_close(ours, torch.autograd.grad(of_what_is_left(x), x)[0], **F64)


def test_what_is_pruned_is_not_computed(monkeypatch):
    """The transforms after a pruned stage leave blank pixels out, with the same numbers."""
    net, x = drawn(ImageShapNet((1, 4, 4, 4, 2))), normal(8, 1, 9, 9)
    taken, compute = [], blank_pixels.window_values
    monkeypatch.setattr(blank_pixels, "window_values", lambda *given: taken.append(given[0]) or compute(*given))
    explained = net.explain(x, Pruning(share=0.8, stages=1))
    assert len(taken) == 2 and all(int(blank_pixels.active_pixels(z)[0].sum()) == 81 - 65 for z in taken)
    with use_backend("reference"):
        whole = net.explain(x, Pruning(share=0.8, stages=1))
    assert len(taken) == 2
    assert_close(explained.attributions, whole.attributions, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either a threshold or a share .* got threshold=None and share=None"),
        ({"threshold": 0.1, "share": 0.1}, "got threshold=0.1 and share=0.1"),
        ({"share": 1.1}, "share must be a number, from 0 to 1; got 1.1"),
        ({"share": -0.1}, "share must be a number, from 0 to 1; got -0.1"),
        ({"share": (0.1, 2)}, r"share must be a number, from 0 to 1; got 2"),
        ({"share": float("nan")}, "share must be a number, from 0 to 1; got nan"),
        ({"share": True}, "share must be a number, from 0 to 1; got True"),
        ({"threshold": -1e-9}, "threshold must be a number, at least 0; got -1e-09"),
        ({"threshold": "small"}, "threshold must be a number, at least 0; got 'small'"),
        ({"share": 0.1, "stages": -1}, "a stage to prune after, counted from 0, must be .* got -1"),
        ({"share": 0.1, "stages": (1, 1)}, r"each of the stages is named once; got \(1, 1\)"),
        ({"share": 0.1, "stages": ()}, r"got \(\) \(None stands for all\)"),
        ({"share": 0.1, "stages": 0.5}, "got 0.5"),
        ({"share": 0.1, "stages": 3}, "stages=3: the network has 3, counted 0 to 2"),
        ({"share": (0.1, 0.2)}, "2 amounts to prune, .* for 3 stages; give one for each"),
        ({"threshold": (0.1,), "stages": (0, 1)}, "1 amounts to prune"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    net = drawn(NETS["deep"][0]())
    with pytest.raises(ValueError, match=message), pruned(net, **settings):
        pass
    assert net.pruning is None
    with pytest.raises(ValueError, match=message):
        net.explain(normal(2, 7), Pruning(**settings))


def test_only_shapley_networks_can_prune():
    with pytest.raises(TypeError, match="net must be a ShapNet or an ImageShapNet, which can prune; got Linear"):
        with pruned(torch.nn.Linear(2, 2), share=0.5):
            pass
    net = ShapNet([ShapleyTransform([(0, 1)], 2, inner=lambda rows: rows.prod(1, keepdim=True))])
    assert net(torch.tensor([[2.0, 3.0]])).item() == 6
    with pruned(net, threshold=3.5):
        assert net(torch.tensor([[2.0, 3.0]])).item() == 0
