"""Coalitions of n players as row numbers, and the linear algebra of the Shapley value over them.

Everywhere in the package a coalition is an integer: bit i of the row number says whether player i is present, so row 0
is the empty coalition and row 2**n - 1 is everybody. A game is then a table of 2**n values in that order.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from math import comb
from numbers import Integral

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

MAX_TABLE_PLAYERS = 30  # of tables with a row a coalition; those of 30 have a thousand million rows
MAX_PLAYERS = 2**12  # of weights, one a size; they take comb(n, n/2), a number of n binary digits


def lasting(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function `make` of numbers, dtypes and devices, whose tensors are kept.

    They are made outside inference mode, since a tensor made there could never take part in a gradient, and outside
    function transforms (vmap, grad), whose wrappers would not outlive them. What is made while PyTorch traces (fake
    tensors, compilers) is only good there, and not kept.
    """

    @lru_cache(maxsize=64)
    def kept(*key: object) -> Tensor:
        with torch.inference_mode(False):
            return make(*key)

    @wraps(make)
    def get(*key: object) -> Tensor:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
            return make(*key)
        if torch._C._functorch.peek_interpreter_stack() is None:
            return kept(*key)
        with temporarily_clear_interpreter_stack():
            return kept(*key)

    return get


def masks(n: int, *, device: torch.device | str | None = None) -> Tensor:
    """All coalitions of n players, one a row.

    Returns a bool tensor [2**n, n]; entry [row, i] is True when player i is present in coalition `row`.

    >>> masks(2).tolist()
    [[False, False], [True, False], [False, True], [True, True]]
    """
    rows = torch.arange(2 ** _players(n, MAX_TABLE_PLAYERS), device=device)
    return rows[:, None].bitwise_and(2 ** torch.arange(n, device=device)) != 0


def sizes(n: int, *, device: torch.device | str | None = None) -> Tensor:
    """The number of players in each of the 2**n coalitions: int64 [2**n].

    >>> sizes(3).tolist()
    [0, 1, 1, 2, 1, 2, 2, 3]
    """
    size = torch.zeros(1, dtype=torch.int64, device=device)
    for _ in range(_players(n, MAX_TABLE_PLAYERS)):
        size = torch.cat([size, size + 1])  # the upper half repeats the lower one with one more player
    return size


def marginal_weights(n: int) -> Tensor:
    """The weight of the marginal contribution v(S + i) - v(S) for each size s = |S|: float64 [n].

    w(s) = s! (n-1-s)! / n! = 1 / (n C(n-1, s)), the probability that in a random order exactly the members of S come
    before player i. Shapley (1953), equation 13.
    """
    return torch.tensor(_marginal_weights(n), dtype=torch.float64)


def value_weights(n: int) -> tuple[Tensor, Tensor]:
    """The Shapley value regrouped by coalition instead of by marginal contribution.

    Every v(S) enters the value of a member with +w(s-1) and that of a non-member with -w(s). Adding and subtracting
    the latter for members too leaves one sum over the coalitions that hold i and one constant shared by all players:

        phi_i = sum over S with i of a(s) v(S)  -  sum over all S of w(s) v(S),
        a(s)  = w(s-1) + w(s) = 1 / (s C(n-1, s)).

    Returns (a, w), two float64 tensors [n + 1] indexed by size; a(n) = 1/n, and a(0) = w(n) = 0 are never needed. The
    gain: a table of values is read twice, whatever the number of players, instead of n times.
    """
    w = torch.cat([marginal_weights(n), torch.zeros(1, dtype=torch.float64)])
    a = w + torch.cat([torch.zeros(1, dtype=torch.float64), w[:-1]])
    a[0] = 0.0
    return a, w


def shapley_matrix(n: int) -> Tensor:
    """The matrix M with phi = M v for a game given as a table v of 2**n values: float64 [n, 2**n].

    M[i, S] is w(|S|-1) for a member i of S and -w(|S|) otherwise. Each row sums to zero; the rows together sum to
    -1 in the column of the empty coalition, +1 in the last column and 0 between (efficiency).
    """
    a, w = value_weights(n)
    size = sizes(n)
    return masks(n).T * a[size] - w[size]


def shapley_rows(n: int) -> list[list[float]]:
    """`shapley_matrix(n)` in numbers, which a compiler takes for constants.

    >>> shapley_rows(1)
    [[-1.0, 1.0]]
    """
    w = _marginal_weights(n)
    return [[w[s.bit_count() - 1] if s >> i & 1 else -w[s.bit_count()] for s in range(2**n)] for i in range(n)]


@lasting
def kept(form: Callable[[int], Tensor], n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """form(n), which is made once."""
    return form(n).to(device, dtype)


def member_sums(table: Tensor) -> Tensor:
    """For each player the sum of a table over the coalitions that hold that player: [2**n, ...] -> [n, ...].

    The product of the transposed matrix `masks(n)` with the table, one half of the players at a time: seen as a grid
    (coalition of the last players, coalition of the first ones), the table is first summed along the other axis, and
    what is left has the square root of its size. Cost: 2 * 2**n additions for all players together.
    """
    first, last = _halves(len(table).bit_length() - 1)
    grid = table.reshape(2**last, 2**first, -1)
    sums = [
        _members(first, table.dtype, table.device).T @ grid.sum(0),
        _members(last, table.dtype, table.device).T @ grid.sum(1),
    ]
    return torch.cat(sums).reshape(first + last, *table.shape[1:])


def subset_sums(present: Tensor, absent: Tensor, parts: Sequence[int]) -> tuple[Tensor, ...]:
    """For each coalition of each part of the players, what its members and the part's others add: [..., players, d].

    The parts are so many players each, one after the other; a part of k players gives [..., 2**k, d], in the order of
    coalitions. k may be 0. One product in float64 with a matrix of zeros and ones, of 2**k rows a part.
    """
    both = torch.cat([present, absent], -2).double()
    return (_either(tuple(parts), present.device) @ both).to(present.dtype).split([2**k for k in parts], -2)


def _halves(n: int) -> tuple[int, int]:
    return n - n // 2, n // 2


@lasting
def _members(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`masks(n)` as numbers, kept: only halves of the players are asked for, so it is small. n = 0 gives [1, 0]."""
    return (masks(n, device=device) if n else torch.zeros(1, 0, device=device)).to(dtype)


@lasting
def _either(parts: tuple[int, ...], device: torch.device) -> Tensor:
    """Who is present and who is absent in each coalition of each part: float64 [sum of 2**k, 2 * players]."""
    members = [_members(k, torch.float64, device) for k in parts]
    return torch.cat([torch.block_diag(*members), torch.block_diag(*(1 - some for some in members))], 1)


def _marginal_weights(n: int) -> list[float]:
    n = _players(n)
    return [1 / (n * comb(n - 1, s)) for s in range(n)]


def _players(n: int, most: int = MAX_PLAYERS) -> int:
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"a game needs a whole number of players, at least 1; got n={n!r}")
    if n > most:
        raise ValueError(f"n={n} players are more than the {most} that this is made for")
    return int(n)
