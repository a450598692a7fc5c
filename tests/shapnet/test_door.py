"""What networks refuse, in words that name it, and what they take: numbers of any library, and no others."""

from collections import namedtuple
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

from shapnotes.shapnet import (
    DeepShapNet,
    ImageShapNet,
    ImageTransform,
    Pruning,
    ShallowShapNet,
    ShapleyModule,
    ShapleyTransform,
    ShapNet,
    all_pairs,
    butterfly,
    learn_active_sets,
    module_sizes,
    singletons,
    strip,
)

F64 = tolerance(torch.float64)
NAN, two, three = float("nan"), np.int64(2), torch.tensor(3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair() -> ShapleyTransform:
    return ShapleyTransform([(0, 1)], 2, hidden=(3,), generator=seeded())


def shallow() -> ShallowShapNet:
    return ShallowShapNet(all_pairs(3), 1, hidden=(3,), generator=seeded())


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (partial(DeepShapNet, np.int8(5), three, two, (three,), two), partial(DeepShapNet, 5, 3, 2, (3,), 2)),
        (partial(DeepShapNet, 5, np.array([2, 3]), 2, np.array([4])), partial(DeepShapNet, 5, (2, 3), 2, (4,))),
        (partial(DeepShapNet, 4, 1, 1, np.array([[4], [3]])), partial(DeepShapNet, 4, 1, 1, ((4,), (3,)))),
        (
            partial(ShallowShapNet, np.array([[0, 1], [1, 2]]), two, iter([three]), np.uint8(1), np.int32(4)),
            partial(ShallowShapNet, [(0, 1), (1, 2)], 2, (3,), 1, 4),
        ),
        (
            partial(ImageShapNet, np.array([1, 2, 3]), two, torch.tensor([1, 2]), np.float32(0.5), padding=(two, two)),
            partial(ImageShapNet, (1, 2, 3), 2, (1, 2), 0.5, padding=2),
        ),
        (
            partial(ImageTransform, np.int64(1), three, np.array([1, 2]), dilation=two, stride=two),
            partial(ImageTransform, 1, 3, (1, 2), dilation=2, stride=2),
        ),
    ],
)
def test_whole_numbers_are_those_of_any_library(given, plain):
    one, other = given(generator=seeded()), plain(generator=seeded())
    assert repr(one) == repr(other)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_so_are_those_of_functions():
    assert butterfly(np.int64(5)) == butterfly(5)
    assert all_pairs(three) == all_pairs(3) and singletons(two) == singletons(2)
    assert Pruning(share=np.float32(0.5), stages=two) == Pruning(share=0.5, stages=2)
    given = Pruning(threshold=np.array([1, 2]), stages=torch.tensor([0, 3]))
    assert given == Pruning(threshold=(1.0, 2.0), stages=(0, 3)) and len({given}) == 1
    net = shallow()
    strip(net, np.int64(0), np.array([2, 0]))
    assert net.stages[0].active_sets == [(0, 1), (1, 2)]
    assert learn_active_sets(net, lambda net: None, torch.ones(2, 3), np.int64(1)) == [net.stages[0].active_sets]
    module = ShapleyModule(lambda rows: rows.prod(1, keepdim=True), np.array([2, 0]), two + 1)
    assert module.values(torch.tensor([[2.0, 5.0, 3.0]])).flatten().tolist() == [3, 0, 3]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ShapleyTransform([(0, 1)], "2"), ValueError, "n_players must be a whole number, at least 1; got '2'"),
        (lambda: ShapleyTransform([(0, 1)], 2.0), ValueError, "n_players must be .* got 2.0"),
        (lambda: ShapleyTransform([(0,)], 2, in_channels=-1), ValueError, "in_channels must be .* got -1"),
        (lambda: ShapleyTransform([(0,)], 2, out_channels=0), ValueError, "out_channels must be .* got 0"),
        (lambda: ShapleyTransform([(0,)], 2, hidden=3), ValueError, "hidden must be a sequence of whole .* got 3"),
        (lambda: ShapleyTransform([(0,)], 2, hidden="3"), ValueError, "hidden must be a sequence .* got '3'"),
        (lambda: ShapleyTransform([(0,)], 2, hidden=(2.5,)), ValueError, "hidden must be a whole .* got 2.5"),
        (lambda: ShapleyTransform([(0,)], 2, hidden=(True,)), ValueError, "hidden must be a whole .* got True"),
        (
            lambda: ShapleyTransform([(0,)], 2, variance=NAN),
            ValueError,
            "variance must be a number, at least 0; got nan",
        ),
        (lambda: ShapleyTransform([(0,)], 2, negative_slope=-0.1), ValueError, "negative_slope must be .* got -0.1"),
        (lambda: ShapleyTransform([(0,)], 2, negative_slope=float("inf")), ValueError, "negative_slope must be .* inf"),
        (lambda: ShapleyTransform([(0,)], 2, negative_slope=None), ValueError, "negative_slope must be .* got None"),
        (lambda: ShapleyTransform([0, 1], 2), TypeError, r"active_sets must hold sets of players, as .* got \[0, 1\]"),
        (lambda: ShapleyTransform(None, 2), TypeError, "active_sets must hold sets of players, .* got None"),
        (lambda: ShapleyTransform(["ab"], 2), TypeError, "active_sets must hold sets of players"),
        (lambda: ShapleyTransform([(0,)], 2, inner=3), TypeError, "inner must be a function of rows .* got 3"),
        (
            lambda: ShallowShapNet([(0, 1.5)], 1),
            TypeError,
            "players are whole numbers, counted from 0; got 1.5, a float",
        ),
        (lambda: ShallowShapNet([(0, 1)], 1, keep_variance="no"), ValueError, "keep_variance must be True or False"),
        (lambda: DeepShapNet(4, 3, 2, residual="no"), ValueError, "residual must be True or False; got 'no'"),
        (lambda: DeepShapNet(4, 3, 2, keep_variance=0), ValueError, "keep_variance must be True or False; got 0"),
        (lambda: DeepShapNet("4", 3, 2), ValueError, "n_features must be a whole number"),
        (lambda: DeepShapNet(4, None, 2), ValueError, "channels must be a sequence .* got None"),
        (lambda: DeepShapNet(4, 3, 2.5), ValueError, "out_features must be .* got 2.5"),
        (lambda: DeepShapNet(4, 3, 2, hidden=[(3,), 4]), ValueError, "hidden must be a sequence .* got 4"),
        (lambda: DeepShapNet(4, 3, 2, active_sets=[]), ValueError, "a list of sets for each stage, at least one"),
        (lambda: DeepShapNet(4, 3, 2, active_sets=[(0, 1)]), TypeError, "active_sets must hold sets of players"),
        (lambda: ImageShapNet(None), ValueError, "channels must be a sequence of whole numbers, .* got None"),
        (lambda: ImageShapNet((1, 2), dilations=2), ValueError, "dilations must be a sequence, .* got 2"),
        (lambda: ImageShapNet((1, 2), coupling="no"), ValueError, "coupling must be True or False; got 'no'"),
        (lambda: ImageShapNet((1, 2), True), ValueError, "kernel_size must be a whole number .* got True"),
        (lambda: ShapNet(None), TypeError, "stages must be transforms, as ShapleyTransform is; got NoneType"),
        (lambda: ShapNet([nn.Linear(2, 2)]), TypeError, "stages must be transforms, .* got Linear"),
        (lambda: all_pairs(-1), ValueError, "n must be a whole number, at least 1; got -1"),
        (lambda: singletons(1.5), ValueError, "n must be a whole number, at least 1; got 1.5"),
        (lambda: Pruning(share=0.5).after("2", torch.ones(1, 2, 2), 3), ValueError, "stage='2': the network has 3"),
        (lambda: Pruning(share=0.5).after(3, torch.ones(1, 2, 2), 3), ValueError, "stage=3: .* counted 0 to 2"),
        (lambda: shallow().explain(torch.ones(1, 3), 3), TypeError, "pruning must be a Pruning or None; got int"),
        (lambda: strip(shallow(), 0, [1.7]), ValueError, r"keep=\[1.7\] must name some of the 3 modules of stage 0"),
        (lambda: strip(shallow(), 0, [True]), ValueError, "at least one index from 0 to 2"),
        (lambda: strip(shallow(), 0, 1), ValueError, "keep=1 must name some of the 3 modules"),
        (lambda: strip(shallow(), 9, [0]), ValueError, "stage=9: the network has 1, counted 0 to 0"),
        (lambda: strip(None, 0, [0]), TypeError, "net must be a ShapNet; got NoneType"),
        (lambda: module_sizes(nn.Linear(2, 2), torch.ones(1, 2)), TypeError, "net must be a ShapNet; got Linear"),
        (lambda: module_sizes(shallow(), torch.ones(1, 4)), ValueError, r"x must be \[batch, 3\], .* shape \(1, 4\)"),
        (lambda: module_sizes(shallow(), None), TypeError, "x must be a tensor; got NoneType"),
        (lambda: learn_active_sets(shallow(), None, torch.ones(1, 3), 1), TypeError, "train must be a function"),
        (lambda: learn_active_sets(shallow(), print, torch.ones(1, 3), 1.5), ValueError, "keep=1.5; give one number"),
    ],
)
def test_what_makes_no_sense_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        ([[1.0, 2.0, 3.0]], "got list .torch.as_tensor makes one"),
        (np.ones((1, 3)), "got ndarray .torch.as_tensor makes one"),
        ((torch.ones(3), torch.ones(3)), "got tuple .torch.stack makes one of several"),
        (namedtuple("Inputs", "a b")(torch.ones(3), torch.ones(3)), "got Inputs .torch.stack makes one"),
        ({"a": torch.ones(1), "b": torch.ones(1)}, r"got dict .of columns, torch.stack\(list\(columns.values"),
        (pd.DataFrame({"a": [1.0], "b": [2.0]}), r"got DataFrame .torch.tensor\(table.to_numpy"),
        (torch.ones(1, 3, dtype=torch.int64), "floating point and dense; got torch.int64 .use .float"),
        (torch.ones(1, 3, dtype=torch.complex64), "floating point and dense; got torch.complex64"),
        (torch.ones(1, 3).to_sparse(), "floating point and dense; got torch.sparse_coo"),
    ],
)
def test_what_is_no_tensor_is_refused_with_a_way_to_make_one(x, hint):
    for call in (shallow(), ShapleyTransform([(0, 1)], 3), ImageShapNet((1, 2)), ImageTransform(1, 1)):
        with pytest.raises(TypeError, match=hint):
            call(x)


def test_the_hints_work():
    net, expected = shallow(), shallow()(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    table = pd.DataFrame({"a": [1, 4], "b": [2, 5], "c": [3, 6]})
    columns = {name: torch.tensor(values.to_list()) * 1.0 for name, values in table.items()}
    rows = (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0]))
    for x in (
        torch.tensor(table.to_numpy(), dtype=torch.float32),
        torch.stack(list(columns.values()), 1),
        torch.stack(rows),
        torch.as_tensor(table.to_numpy().tolist()).float(),
    ):
        assert torch.equal(net(x), expected)


@pytest.mark.parametrize(
    ("x", "reference", "message"),
    [
        (torch.full((2, 2, 1), NAN), None, "x is NaN or infinite in 4 of"),
        (torch.ones(0, 2, 1), None, "x must hold at least one input"),
        (torch.ones(1, 2, 1).double(), None, "x is torch.float64 and the transform's weights are torch.float32"),
        (torch.ones(1, 2, 1, device="meta"), None, "x is on meta and the transform on cpu"),
        (torch.ones(1, 2, 1), 1.0, "reference must be a tensor; got float"),
        (torch.ones(1, 2, 1), torch.ones(3, 1), r"reference must be one input, \(2, 1\); got shape \(3, 1\)"),
        (torch.ones(1, 2, 1), torch.ones(2), r"reference must be one input, \(2, 1\); got shape \(2,\)"),
        (torch.ones(1, 2, 1), torch.ones(2, 1).double(), "reference is torch.float64"),
        (torch.ones(1, 2, 1), torch.full((2, 1), float("inf")), "reference is NaN or infinite in 2 of"),
    ],
)
def test_transforms_by_themselves_have_a_door_too(x, reference, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pair()(x, reference)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((1, 3, 3, 1), NAN), "x is NaN or infinite in 9 of"),
        (torch.ones(0, 3, 3, 1), "x must hold at least one image"),
        (torch.ones(1, 3, 3, 1).double(), "x is torch.float64 and the transform's weights are torch.float32"),
        (torch.ones(1, 3, 3, 1, device="meta"), "x is on meta and the transform on cpu"),
    ],
)
def test_so_have_windows(x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ImageTransform(1, 1)(x)


def test_a_network_looks_at_its_inputs_once(monkeypatch):
    """What overflows on the way is no input; training notices it in the loss."""
    looked = []
    monkeypatch.setattr("shapnotes._runtime.tensors.all_finite", lambda x: looked.append(x.shape) or True)
    DeepShapNet(4, 3, 2)(torch.ones(5, 4))
    ImageShapNet((1, 2, 2), coupling=True)(torch.ones(1, 1, 4, 4))
    assert looked == [(5, 4), (1, 1, 4, 4)]


@pytest.mark.parametrize("baseline", [1e300, [0.0, -1e39], torch.full((2,), 1e39, dtype=torch.float64)])
def test_a_baseline_has_to_be_a_number_of_the_input_s_precision(baseline):
    net, x = ShallowShapNet([(0, 1)], 1, hidden=(3,), baseline=baseline), torch.ones(1, 2)
    with pytest.raises(ValueError, match=r"the baseline is beyond the largest torch.float32, 3.4e\+38"):
        net(x)
    assert bool(torch.isfinite(net.double()(x.double())).all())


def test_a_baseline_that_half_precision_cannot_hold():
    net = ShallowShapNet([(0, 1)], 1, hidden=(3,), baseline=1e5)
    assert bool(torch.isfinite(net(torch.ones(1, 2))).all())
    with pytest.raises(ValueError, match=r"the baseline is beyond the largest torch.float16"):
        net.half()(torch.ones(1, 2).half())
    net.baseline.fill_(1.0)  # as a state that is loaded
    assert bool(torch.isfinite(net(torch.ones(1, 2).half())).all())


def test_generators_draw_the_weights():
    before = torch.get_rng_state()
    for make in (
        partial(DeepShapNet, 5, 3, 2, keep_variance=True),
        partial(ShallowShapNet, all_pairs(3), 1),
        partial(ImageShapNet, (1, 2, 3)),
        partial(ImageTransform, 1, 2),
        partial(ShapleyTransform, [(0, 1), (2,)], 3),
    ):
        one, same, other = (make(generator=seeded(seed)) for seed in (1, 1, 2))
        for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_padding_beyond_the_reach_of_windows_costs_nothing():
    """Windows in it hold nobody."""
    x = normal(1, 4, 5, 2)
    for settings in ({"kernel_size": 2, "dilation": 2}, {"kernel_size": (1, 3), "stride": 2}):
        near, far = (ImageTransform(2, 3, padding=p, generator=seeded(), **settings).double() for p in (4, 4 + 10**9))
        assert_close(far(x), near(x), **F64)
