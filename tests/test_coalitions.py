"""Coalitions: what is cached, and how many players there may be. Their numbers are in the contracts."""

import numpy as np
import pytest
import torch
from contracts import normal
from oracles import tolerance
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from shapnotes import coalitions as C


def test_cached_tensors_are_made_once_and_serve_gradients():
    made = []

    @C.cached_tensors
    def ones(n):
        made.append(n)
        return torch.ones(n)

    with torch.inference_mode():
        assert ones(3) is ones(3) and made == [3]
    x = torch.ones(3, requires_grad=True)
    (ones(3) * x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1] and made == [3]


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_recorded_program_has_constants_also_when_the_cache_was_empty():
    """`torch.jit.trace` records twice and compares."""

    @C.cached_tensors
    def counted(n: int) -> torch.Tensor:
        return torch.arange(n).double()

    recorded = torch.jit.trace(lambda x: x + counted(3), torch.zeros(3).double())
    assert "aten::arange" not in str(recorded.graph)
    assert recorded(torch.ones(3).double()).tolist() == [1, 2, 3]


@pytest.mark.parametrize("before", [True, False], ids=["cached before", "not cached before"])
def test_what_tracing_makes_is_not_cached(before):
    """And what was cached before is not given to the tracer, which knows its own tensors only."""
    dtype = torch.float32 if before else torch.float16
    table = normal(2**6, dtype=dtype)
    expected = normal(2**6)[C.masks(6)[:, 0]].sum().to(dtype)
    if before:
        C.member_sums(table)
    with FakeTensorMode() as mode:
        assert C.member_sums(mode.from_tensor(table)).shape == (6,)
    assert_close(torch.func.functionalize(C.member_sums)(table)[0], expected, rtol=1e-2, atol=1e-3)
    assert_close(C.member_sums(table)[0], expected, rtol=1e-2, atol=1e-3)


def test_parts_of_no_players():
    """[.., 2**k, d] for every part, of which some are empty."""
    present, absent = normal(2, 3, 4), normal(2, 3, 4, seed=2)
    first, none, last = C.subset_sums(present, absent, (2, 0, 1))
    assert none.shape == (2, 1, 4) and float(none.abs().max()) == 0
    assert_close(first[:, 2], absent[:, 0] + present[:, 1], **tolerance(torch.float64))
    assert_close(last[:, 1], present[:, 2], **tolerance(torch.float64))


def test_dividends_of_a_table_of_any_kind():
    """Without outputs or with many, of whole numbers or of low precision; with gradients."""
    assert C.dividends(torch.tensor([0, 1, 2, 5])).tolist() == [0, 1, 2, 2]
    assert C.dividends(torch.tensor([0, 1, 2, 5])).dtype == torch.float64
    table = normal(8, 2, 3)
    assert_close(C.dividends(table)[:, 1, 2], C.dividends(table[:, 1, 2]), **tolerance(torch.float64))
    assert C.dividends(table.bfloat16()).dtype == torch.bfloat16 and C.dividends(table[:, :0]).shape == (8, 0, 3)
    large = torch.tensor([2.0**24, 2.0**24 + 2, 2.0**24 + 4, 2.0**24 + 8])  # float32 cannot tell these from odd ones
    assert C.dividends(large).tolist() == [2.0**24, 2, 4, 2]
    assert torch.autograd.gradcheck(C.dividends, (normal(8, 2).requires_grad_(),))
    assert torch.equal(table, normal(8, 2, 3))  # and the table is as it was


@pytest.mark.parametrize(
    ("error", "says", "table"),
    [
        (TypeError, "must be a tensor", [0.0, 1.0]),
        (ValueError, "needs 2\\*\\*n rows, one per coalition", torch.ones(6)),
        (ValueError, "needs 2\\*\\*n rows", torch.ones(1)),
        (TypeError, "real numbers", torch.ones(2, dtype=torch.complex64)),
        (ValueError, "NaN or infinity", torch.tensor([0.0, torch.inf])),
    ],
)
def test_what_is_no_table_has_no_dividends(error, says, table):
    with pytest.raises(error, match=says):
        C.dividends(table)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3", None])
@pytest.mark.parametrize("form", [C.masks, C.sizes, C.marginal_weights, C.value_weights, C.shapley_matrix])
def test_a_game_needs_a_whole_number_of_players(form, n):
    with pytest.raises(ValueError, match="whole number of players, at least 1; got n="):
        form(n)


@pytest.mark.parametrize("form", [C.masks, C.sizes, C.marginal_weights, C.value_weights, C.shapley_matrix])
def test_there_is_a_limit(form):
    with pytest.raises(ValueError, match="n=1000000000 players are more than the"):
        form(10**9)


def test_weights_of_many_players_and_numbers_of_numpy():
    assert_close(C.marginal_weights(2000)[[0, -1]], torch.full((2,), 1 / 2000).double())
    assert torch.equal(C.masks(np.int64(3)), C.masks(3))
