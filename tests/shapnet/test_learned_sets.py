"""Sizes of modules, and what is left when the small ones are taken away."""

import copy
from itertools import combinations

import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch import nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes.shapnet import (
    DeepShapNet,
    ShallowShapNet,
    ShapleyTransform,
    ShapNet,
    all_pairs,
    l1_penalty,
    learn_active_sets,
    module_sizes,
    singletons,
    strip,
)
from shapnotes.shapnet.inner.answers import Values
from shapnotes.shapnet.inner.block import Block

F64 = tolerance(torch.float64)
SETS = [(2,), (0, 1), (3, 1, 2), (1, 3), (0,)]  # sizes mixed, so that blocks and sets are in different orders


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shallow(**settings) -> ShallowShapNet:
    net = ShallowShapNet(SETS, 2, hidden=(6,), baseline=0.3, keep_variance=True, **settings)
    net.reset_parameters(seeded(0))
    return net.double().requires_grad_(False)


def alone(net: ShapNet, j: int) -> ShapNet:
    """The network of module j and no other."""
    copied = copy.deepcopy(net)
    strip(copied, 0, [j])
    return copied


def test_sizes_are_their_definitions():
    net, x = shallow(), normal(30, 4)
    sizes = {by: module_sizes(net, x, by)[0] for by in ("dividend", "values", "inputs")}
    for j, players in enumerate(SETS):
        one = alone(net, j)
        assert_close(sizes["values"][j], one.explain(x).attributions.abs().sum(1).mean(), **F64)
        dividend = 0
        for size in range(len(players) + 1):
            for members in combinations(players, size):
                z = net.baseline.expand_as(x).clone()
                z[:, list(members)] = x[:, list(members)]
                dividend = dividend + (-1) ** (len(players) - size) * one(z)
        assert_close(sizes["dividend"][j], dividend.abs().mean(), **F64)
        assert_close(sizes["inputs"][j], (x - 0.3)[:, list(players)].abs().sum(1).mean(), **F64)


def test_a_stripped_network_is_the_sum_of_what_is_left():
    net, x = shallow(), normal(20, 4)
    left = copy.deepcopy(net)
    strip(left, 0, [1, 2])
    assert left.stages[0].active_sets == [(0, 1), (3, 1, 2)]
    expected = sum(alone(net, j).explain(x).attributions for j in (1, 2))
    assert_close(left.explain(x).attributions, expected, **F64)
    lost = (net(x) - left(x)).abs().mean()
    assert lost <= module_sizes(net, x, "values")[0][[0, 3, 4]].sum()


def test_two_modules_of_the_same_players_are_told_apart():
    net = ShallowShapNet([(0, 1), (0, 1)], 1, hidden=(4,), keep_variance=True)
    net.reset_parameters(seeded(1))
    x = normal(10, 2).float()
    whole = net(x)
    parts = [alone(net, j)(x) for j in (0, 1)]
    assert_close(sum(parts), whole)
    sizes = module_sizes(net, x, "values")[0]
    for j in (0, 1):
        assert_close(sizes[j], alone(net, j).explain(x).attributions.abs().sum(1).mean())


def test_functions_of_ones_own_can_be_stripped():
    inner = [lambda rows: rows.prod(1, keepdim=True), lambda rows: rows.sum(1, keepdim=True)]
    net = ShapNet([ShapleyTransform([(0, 1), (1, 2)], 3, inner=inner)])
    x = torch.tensor([[2.0, 3.0, 4.0]])
    assert module_sizes(net, x)[0].tolist() == [6.0, 0.0]  # a sum has no interaction
    strip(net, 0, [0])
    assert net(x).item() == 6.0


def test_it_finds_the_interactions_that_are_there():
    """Of fifteen pairs the two of the target; the paper's measure, sizes of inputs, does not tell them from others."""
    net = ShallowShapNet(all_pairs(6) + singletons(6), 1, hidden=(8,), keep_variance=True)
    net.reset_parameters(seeded(0))
    g = seeded(1)

    def train(net):
        optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(120):
            x = 2 * torch.rand(64, 6, generator=g) - 1
            h = net.explain(x)
            truth = 2 * x[:, 0] * x[:, 3] + 2 * torch.sin(2 * x[:, 1]) * x[:, 5] + x[:, 2]
            loss = (h.prediction[:, 0] - truth).square().mean() + 0.003 * l1_penalty(h.attributions)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    x = 2 * torch.rand(200, 6, generator=seeded(2)) - 1
    left = learn_active_sets(net, train, x, keep=2)
    assert set(left[0]) == {(0, 3), (1, 5), *singletons(6)}
    sizes = module_sizes(net, x, "inputs")[0]
    assert sizes.max() < 2.5 * sizes.min()


def test_stages_are_stripped_from_the_last_to_the_first():
    net = DeepShapNet(4, 2, 1, hidden=(3,), active_sets=[all_pairs(4)] * 2)
    seen = []
    left = learn_active_sets(
        net, lambda n: seen.append([len(stage.active_sets) for stage in n.stages]), normal(5, 4).float(), keep=[1, 2]
    )
    assert seen == [[6, 6], [6, 2], [1, 2]]
    assert [len(sets) for sets in left] == [1, 2] and net(normal(5, 4).float()).shape == (5, 1)


@pytest.mark.parametrize("keep", [[], [-1], [5]])
def test_impossible_modules_are_refused(keep):
    with pytest.raises(ValueError, match="at least one index from 0 to 4"):
        strip(shallow(), 0, keep)


class Products(Block):
    """A block that answers with values: of pairs with a product, half of it each; the reference is zero."""

    def forward(self, present, absent):
        pairs = self.members().gathered(present)
        return Values((pairs.prod(1, keepdim=True) / 2).expand(-1, 2, -1).reshape(2 * len(self.sets), -1))


def test_modules_that_answer_with_values_have_no_dividends():
    net = ShallowShapNet([(0, 1), (1, 2)], 1, inner=lambda rows: rows.prod(1, keepdim=True))
    x, expected = normal(5, 3), net.explain(normal(5, 3)).attributions
    sizes = {by: module_sizes(net, x, by)[0] for by in ("values", "inputs")}
    net.stages[0].blocks = nn.ModuleList([Products([(0, 1), (1, 2)], 3, 1)])
    assert_close(net.explain(x).attributions, expected, **F64)
    for by, size in sizes.items():
        assert_close(module_sizes(net, x, by)[0], size, **F64)
    with pytest.raises(ValueError, match="answer with values and have no values of coalitions; use by='values'"):
        module_sizes(net, x, "dividend")


def test_unknown_measures_and_numbers_are_refused():
    net, x = shallow(), normal(3, 4)
    with pytest.raises(ValueError, match="dividend, values, inputs"):
        module_sizes(net, x, "size")
    for keep in ([1, 2], -1):
        with pytest.raises(ValueError, match="one number of modules"):
            learn_active_sets(net, lambda n: None, x, keep)
    assert sn.shapnet.module_sizes is module_sizes
