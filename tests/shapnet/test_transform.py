"""The Shapley transform: Lemma 1, gradients, any sets, and what is refused. Its values are in the contracts."""

import copy
import pickle

import pytest
import torch
from contracts import normal
from hypothesis import given
from hypothesis import strategies as st
from oracles import by_permutations, tolerance
from shapnet_contracts import slow_transform
from torch import nn
from torch.testing import assert_close

from shapnotes.shapnet import ShapleyTransform, use_backend
from shapnotes.shapnet.inner.answers import CoalitionValues, Values
from shapnotes.shapnet.inner.block import Block
from shapnotes.shapnet.transform import contraction

F64 = tolerance(torch.float64)


def made(*arguments, **settings) -> ShapleyTransform:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ShapleyTransform(*arguments, **settings).double()


sets_of_seven = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True), min_size=1, max_size=5)


@given(sets_of_seven, st.integers(0, 2**16))
def test_it_is_its_definition_for_any_sets(sets, seed):
    stage = made(sets, 7, 1, 2, hidden=(4,))
    x, reference = normal(1, 7, 1, seed=seed), normal(7, 1, seed=seed + 1)
    expected = slow_transform(stage, x, reference).detach()
    assert_close(stage(x, reference).detach(), expected, **F64)


@given(sets_of_seven, st.integers(0, 2**16))
def test_lemma_1(sets, seed):
    """A linear map of the representation is the representation of the mapped functions."""
    a = normal(3, 2, seed=seed)
    x = normal(2, 7, 1, seed=seed + 1)
    stage = made(sets, 7, 1, 2, hidden=(4,))
    mapped = copy.deepcopy(stage)
    for block in mapped.blocks:
        block.last = nn.Parameter(a @ block.last)
    assert_close(stage(x) @ a.T, mapped(x), **F64)


@pytest.mark.parametrize("backend", ["reference", "shared-sums"])
def test_gradients_are_those_of_finite_differences(backend):
    stage = made([(0, 1), (2, 1, 3), (3,)], 4, 2, 2, hidden=(3, 2), negative_slope=0.2)
    x, reference = normal(2, 4, 2).requires_grad_(), normal(4, 2, seed=9).requires_grad_()
    names, weights = zip(*stage.named_parameters(), strict=True)

    def f(x, reference, *weights):
        return torch.func.functional_call(stage, dict(zip(names, weights, strict=True)), (x, reference))

    with use_backend(backend):
        assert torch.autograd.gradcheck(f, (x, reference, *weights))


def test_modules_that_are_called_in_turn_give_their_gradients():
    f = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    stage = ShapleyTransform([(0, 1), (1, 2)], 3, inner=f)
    assert len(list(stage.parameters())) == 4
    stage(normal(2, 3, 1)).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in [*f[0].parameters(), f[2].weight])
    assert float(f[2].bias.grad.abs().max()) < 1e-12  # a constant is worth nothing


def test_answers_say_what_they_are():
    """Values of players are added up; those of coalitions are contracted first, with the empty one or without it."""
    sets, numbers = [(0, 2), (2, 1)], normal(8, 1)
    matrix = contraction(sets, 3, Values(numbers[:4]))
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    tables = numbers.view(2, 4, 1)
    for start in (tables, tables.clone().index_fill(1, torch.tensor([0]), 0)):
        values = [by_permutations(table) for table in start]
        expected = torch.stack([values[0][0], values[1][1], values[0][1] + values[1][0]])
        whole = CoalitionValues(start.flatten(0, 1), with_empty=True)
        assert_close(contraction(sets, 3, whole) @ whole.numbers, expected, **F64)
    without = CoalitionValues(start[:, 1:].flatten(0, 1), with_empty=False)
    assert_close(contraction(sets, 3, without) @ without.numbers, expected, **F64)


def test_one_player_s_answer_is_not_guessed_from_its_rows():
    """One row for a module of one player: its value, and also its only coalition's."""
    for answer in (Values(normal(1, 3)), CoalitionValues(normal(1, 3), with_empty=False)):
        assert contraction([(1,)], 2, answer).tolist() == [[0.0], [1.0]]
    assert contraction([(1,)], 2, CoalitionValues(normal(2, 3), with_empty=True)).tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_a_block_may_have_a_closed_form():
    """Two players share their product equally; sets that part the players need no addition, others do."""

    class Products(Block):
        def forward(self, present, absent):
            vectors = self.members().gathered(present)
            return Values(vectors.prod(1, keepdim=True).expand(-1, 2, -1).flatten(0, 1) / 2)

    for sets in ([(0, 2), (3, 1)], [(0, 2), (2, 1), (3, 0)]):
        x, stage = normal(5, 4, 1), ShapleyTransform(sets, 4, inner=lambda rows: rows.prod(1, keepdim=True))
        expected = stage(x)
        stage.blocks = nn.ModuleList([Products(sets, 4, 1)])
        stage._arrange()
        assert_close(stage(x), expected, **F64)


def test_copies_and_precisions():
    stage = made([(0, 1), (2,)], 3, 1, 2, hidden=(4,))
    x = normal(3, 3, 1)
    expected = stage(x)  # keeps matrices in float64
    for other in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        assert_close(other(x), expected, rtol=0, atol=0)
    assert_close(stage.float()(x.float()).double(), expected, **tolerance(torch.float32))
    assert_close(stage.bfloat16()(x.bfloat16()).double(), expected, **tolerance(torch.bfloat16))
    assert list(stage.state_dict()) == [f"blocks.{b}.{name}" for b in (0, 1) for name in ("first", "bias", "last")]


def test_after_inference_mode_gradients_still_flow():
    stage = made([(0, 1)], 2, hidden=(3,))
    with torch.inference_mode():
        stage(normal(1, 2, 1))
    stage(normal(1, 2, 1)).sum().backward()


def test_the_contraction_for_large_sets():
    """Six players, 64 coalitions: the sum of a module's values is what it predicts beyond the reference."""
    f = lambda rows: rows.sin().prod(1, keepdim=True) + rows.max(1, keepdim=True).values  # noqa: E731
    stage = ShapleyTransform([tuple(range(6))], 6, inner=f)
    x, reference = normal(4, 6, 1), normal(6, 1, seed=9)
    total = f(x.flatten(1)) - f(reference.flatten()[None])
    assert_close(stage(x, reference).sum(1), total, **F64)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one set"),
        ([(0,), ()], "active set is empty"),
        ([(0, 1, 0)], r"\(0, 1, 0\) names a player twice"),
        ([(0, 3)], r"\(0, 3\) is out of range: the players are 0..2"),
        ([(-1, 0)], "out of range"),
        ([tuple(range(17))], "out of range"),
    ],
)
def test_sets_that_make_no_sense_are_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        ShapleyTransform(sets, 3)


def test_sets_that_cost_too_much_are_refused():
    with pytest.raises(ValueError, match=r"2\*\*17 coalitions an input; 16 players are the most"):
        ShapleyTransform([range(17)], 17)
    with pytest.raises(TypeError, match="float"):
        ShapleyTransform([(0, 1.5)], 3)


def test_inner_functions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 inner functions for 2 active sets"):
        ShapleyTransform([(0,), (1,)], 2, inner=[torch.sin])
    with pytest.raises(TypeError, match=r"an inner function takes rows .*; got int"):
        ShapleyTransform([(0,)], 2, inner=[3])
    with pytest.raises(ValueError, match="it must return one result a row"):
        ShapleyTransform([(0, 1)], 2, inner=lambda rows: rows.sum(0))(normal(3, 2, 1))
    with pytest.raises(ValueError, match="at least one hidden layer"):
        ShapleyTransform([(0,)], 2, hidden=())


def test_representations_that_do_not_fit_are_refused():
    stage = made([(0, 1)], 3, 2)
    for shape in ((4, 3, 1), (4, 2, 2), (4, 6)):
        with pytest.raises(ValueError, match=r"3 players with 2 channels each takes \[batch, 3, 2\]; got shape"):
            stage(normal(*shape))


def test_defaults_are_one_output_of_a_hundred_units():
    stage = ShapleyTransform([(0, 1), (2,)], 3)
    assert [block.widths for block in stage.blocks] == [(100, 1)] * 2 and stage.in_channels == 1


def test_it_says_what_it_is():
    text = repr(ShapleyTransform([(0, 1), (2,), (1, 2)], 3, 4, 5, hidden=(7, 6)))
    assert "3 players, active sets: 1 of 1, 2 of 2" in text and "2 modules of 2 players: 2 * 4 -> 7 -> 6 -> 5" in text
