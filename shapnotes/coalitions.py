"""Coalitions of n players as row numbers, and the linear algebra of the Shapley value over them.

Everywhere in the package a coalition is an integer: bit i of the row number says whether player i is present, so row 0
is the empty coalition and row 2**n - 1 holds all players. A game is then a table of 2**n worths in that order.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from math import comb
from numbers import Integral
from typing import TypeVarTuple

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from shapnotes._runtime.tensors import check_dense

__all__ = [
    "dividends",
    "marginal_weights",
    "masks",
    "member_sums",
    "shapley_matrix",
    "shapley_rows",
    "sizes",
    "subset_sums",
    "value_weights",
]

MAX_TABLE_PLAYERS = 30  # of tables with one row per coalition; with 30 players that is a thousand million rows
MAX_PLAYERS = 2**12  # of weights, one per size; they take comb(n, n/2), an integer of n binary digits

Ts = TypeVarTuple("Ts")


def cached_tensors(build: Callable[[*Ts], Tensor]) -> Callable[[*Ts], Tensor]:
    """`build` with a cache; its arguments are numbers, dtypes and devices, on which alone the tensor depends.

    Tensors are built outside inference mode, since those built inside could never take part in a gradient, and outside
    function transforms (vmap, grad), whose wrappers would not outlive them; and on the CPU unless `build` says where,
    since they outlive a default device too. What is built while PyTorch traces (fake
    tensors, compilers) is valid only there, and not cached. `torch.jit.trace` sees a constant, whether the tensor was
    in the cache or not: how it is built is not recorded.
    """

    @lru_cache(maxsize=64)
    def cached(*key: *Ts) -> Tensor:
        recorder = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]  # not in its stubs
        try:
            with torch.inference_mode(False), torch.device("cpu"):
                return build(*key)
        finally:
            torch._C._set_tracing_state(recorder)  # type: ignore[attr-defined]

    @wraps(build)
    def get(*key: *Ts) -> Tensor:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
            return build(*key)
        if torch._C._functorch.peek_interpreter_stack() is None:
            return cached(*key)
        with temporarily_clear_interpreter_stack():
            return cached(*key)

    return get


def masks(n: int, *, device: torch.device | str | None = None) -> Tensor:
    """All coalitions of n players, one per row.

    Parameters
    ----------
    n : int
        The number of players, at most 30.
    device : torch.device or str, optional
        Where the tensor is made.

    Returns
    -------
    Tensor
        bool [2**n, n]; entry [row, i] is True when player i is present in coalition `row`.

    Raises
    ------
    ValueError
        When n is no such number.

    Examples
    --------
    >>> masks(2).tolist()
    [[False, False], [True, False], [False, True], [True, True]]
    """
    rows = torch.arange(2 ** _checked_players(n, MAX_TABLE_PLAYERS), device=device)
    return rows[:, None].bitwise_and(2 ** torch.arange(n, device=device)) != 0


def sizes(n: int, *, device: torch.device | str | None = None) -> Tensor:
    r"""The number of players :math:`|S|` in each of the 2**n coalitions.

    Parameters
    ----------
    n, device
        As in `masks`, and so are the errors.

    Returns
    -------
    Tensor
        int64 [2**n].

    Examples
    --------
    >>> sizes(3).tolist()
    [0, 1, 1, 2, 1, 2, 2, 3]
    """
    size = torch.zeros(1, dtype=torch.int64, device=device)
    for _ in range(_checked_players(n, MAX_TABLE_PLAYERS)):
        size = torch.cat([size, size + 1])  # the upper half repeats the lower one with one more player
    return size


def marginal_weights(n: int) -> Tensor:
    r"""The weight of a marginal contribution :math:`v(S \cup \{i\}) - v(S)`, for each size :math:`s = |S|`.

    .. math::
        w(s) = \frac{s!\,(n - 1 - s)!}{n!} = \frac{1}{n} \binom{n - 1}{s}^{-1}

    It is the probability that in a uniformly random order exactly the members of :math:`S` come before player
    :math:`i`.

    Parameters
    ----------
    n : int
        The number of players, at most 4096.

    Returns
    -------
    Tensor
        float64 [n], indexed by size.

    Raises
    ------
    ValueError
        When n is no such number.

    Source
    ------
    Shapley (1953), equation 13.
    """
    return torch.tensor(_marginal_weights(n), dtype=torch.float64, device="cpu")


def value_weights(n: int) -> tuple[Tensor, Tensor]:
    r"""The weights of the Shapley value regrouped by coalition instead of by marginal contribution.

    .. math::
        \phi_i = \sum_{S \ni i} a(|S|)\, v(S) - \sum_S w(|S|)\, v(S),

        a(s) = w(s - 1) + w(s) = \frac{1}{s} \binom{n - 1}{s}^{-1}

    Every worth :math:`v(S)` enters the value of a member with :math:`+w(s - 1)` and that of a non-member with
    :math:`-w(s)`. Adding and subtracting the latter for members as well leaves one sum over the coalitions that contain
    :math:`i` and one constant shared by all players. So a table of worths is read twice, whatever the number of
    players, instead of n times.

    Parameters
    ----------
    n : int
        The number of players, at most 4096.

    Returns
    -------
    tuple of Tensor
        (a, w), float64 [n + 1] each, indexed by size; a(n) = 1/n, and a(0) = w(n) = 0 are never needed.

    Raises
    ------
    ValueError
        When n is no such number.

    Source
    ------
    Shapley (1953), equation 13, regrouped.
    """
    zero = torch.zeros(1, dtype=torch.float64, device="cpu")
    w = torch.cat([marginal_weights(n), zero])
    a = w + torch.cat([zero, w[:-1]])
    a[0] = 0.0
    return a, w


def shapley_matrix(n: int) -> Tensor:
    r"""The matrix :math:`M` that takes a game, given as the table :math:`v` of its worths, to its Shapley values.

    .. math::
        \phi = M v, \qquad
        M_{iS} = \begin{cases} w(|S| - 1) & i \in S \\ -w(|S|) & i \notin S \end{cases}

    Each row sums to zero; the rows together sum to -1 in the column of the empty coalition, +1 in the last column and 0
    between (efficiency).

    Parameters
    ----------
    n : int
        The number of players, at most 30.

    Returns
    -------
    Tensor
        float64 [n, 2**n].

    Raises
    ------
    ValueError
        When n is no such number.

    Source
    ------
    Shapley (1953), equation 13.
    """
    a, w = value_weights(n)
    size = sizes(n, device="cpu")
    return masks(n, device="cpu").T * a[size] - w[size]


def shapley_rows(n: int) -> list[list[float]]:
    """`shapley_matrix` as lists of numbers, which a compiler takes for constants.

    Parameters
    ----------
    n : int
        The number of players, at most 4096 (but a row has 2**n entries).

    Returns
    -------
    list of list of float
        n rows of 2**n entries.

    Raises
    ------
    ValueError
        When n is no such number.

    Examples
    --------
    >>> shapley_rows(1)
    [[-1.0, 1.0]]
    """
    w = _marginal_weights(n)
    return [[w[s.bit_count() - 1] if s >> i & 1 else -w[s.bit_count()] for s in range(2**n)] for i in range(n)]


def dividends(values: Tensor) -> Tensor:
    r"""What each coalition adds beyond its smaller coalitions: the dividends of a game, its Möbius transform.

    .. math::
        d(S) = \sum_{T \subseteq S} (-1)^{|S| - |T|}\, v(T)

    They add up to the worths again, :math:`v(S) = \sum_{T \subseteq S} d(T)`, and the Shapley value shares each of them
    equally, :math:`\phi_i = \sum_{S \ni i} d(S) / |S|`. Differentiable; differences are taken in float64.

    Parameters
    ----------
    values : Tensor
        [2**n, *outputs], the worths; bit i of the row number says whether player i is present (row 0: nobody).

    Returns
    -------
    Tensor
        [2**n, *outputs], in the order and the dtype of the table; whole numbers give float64.

    Raises
    ------
    ValueError, TypeError
        For a table without 2**n rows, or with something else than finite real numbers.

    Cost
    ----
    n * 2**n / 2 subtractions per output: player by player, the half of the table without the player is subtracted from
    the half with it.

    Source
    ------
    Harsanyi (1963).

    Examples
    --------
    >>> dividends(torch.tensor([0.0, 1.0, 2.0, 5.0]))
    tensor([0., 1., 2., 2.])
    """
    d, dtype = checked_table(values)
    for player in range(len(d).bit_length() - 1):
        without, present = d.unflatten(0, (-1, 2, 2**player)).unbind(1)
        d = torch.stack([without, present - without], 1).flatten(0, 2)
    return d.to(dtype)


def checked_table(values: Tensor) -> tuple[Tensor, torch.dtype]:
    """A table of worths [2**n, *outputs] in float64, and the dtype of what is made of it; refused if it is none."""
    if not isinstance(values, Tensor):
        raise TypeError(f"values must be a tensor [2**n, *outputs]; got {type(values).__name__}")
    check_dense(values, "values")
    rows = len(values) if values.dim() else 0
    if rows < 2 or rows & (rows - 1):
        raise ValueError(f"values needs 2**n rows, one per coalition, for n >= 1; got shape {tuple(values.shape)}")
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"values must be real numbers; got {values.dtype}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("values holds NaN or infinity; a game must have a value for every coalition")
    return values.to(torch.float64), values.dtype if values.is_floating_point() else torch.float64


@cached_tensors
def cached_matrix(build: Callable[[int], Tensor], n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`build(n)` in this dtype and on this device, made once; build is `masks` or `shapley_matrix`, for example."""
    return build(n).to(device, dtype)


def member_sums(table: Tensor) -> Tensor:
    r"""For each player, the sum of a table over the coalitions that contain the player.

    .. math::
        t_i = \sum_{S \ni i} t(S)

    It is the product of the transposed matrix `masks` with the table, computed for one half of the players at a time:
    seen as a grid (coalition of the last players, coalition of the first ones), the table is first summed along the
    other axis, which leaves the square root of its size.

    Parameters
    ----------
    table : Tensor
        [2**n, ...], floating point.

    Returns
    -------
    Tensor
        [n, ...]

    Cost
    ----
    2 * 2**n additions for all players together.
    """
    first, last = _halves(len(table).bit_length() - 1)
    grid = table.reshape(2**last, 2**first, -1)
    sums = [
        _membership(first, table.dtype, table.device).T @ grid.sum(0),
        _membership(last, table.dtype, table.device).T @ grid.sum(1),
    ]
    return torch.cat(sums).reshape(first + last, *table.shape[1:])


def subset_sums(present: Tensor, absent: Tensor, parts: Sequence[int]) -> tuple[Tensor, ...]:
    r"""For each coalition of each part of the players, the sum of its members' terms and of the others' of that part.

    .. math::
        t(S) = \sum_{i \in S} p_i + \sum_{i \in P \setminus S} a_i, \qquad S \subseteq P

    for each part :math:`P`, with the terms :math:`p_i` of present and :math:`a_i` of absent players.

    Parameters
    ----------
    present, absent : Tensor
        [..., players, d], what a player adds when it is present, and when it is not.
    parts : sequence of int
        How many players each part has, one part after the other; 0 is allowed.

    Returns
    -------
    tuple of Tensor
        [..., 2**k, d] for each part of k players, in the order of its coalitions.

    Cost
    ----
    One product in float64 with a matrix of zeros and ones, of 2**k rows per part.
    """
    both = torch.cat([present, absent], -2).double()
    sums = (_membership_of_parts(tuple(parts), present.device) @ both).to(present.dtype)
    return torch.split(sums, [2**k for k in parts], -2)


def _halves(n: int) -> tuple[int, int]:
    """How many players are in the first half, which has the odd one, and in the second."""
    return n - n // 2, n // 2


@cached_tensors
def _membership(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`masks(n)` as numbers [2**n, n]; cached, since it is asked for halves of the players only. n = 0 gives [1, 0]."""
    return (masks(n, device=device) if n else torch.zeros(1, 0, device=device)).to(dtype)


@cached_tensors
def _membership_of_parts(parts: tuple[int, ...], device: torch.device) -> Tensor:
    """Members and non-members in each coalition of each part: float64 [sum of 2**k, 2 * players]."""
    present = [_membership(k, torch.float64, device) for k in parts]
    absent = [1 - members for members in present]
    return torch.cat([torch.block_diag(*present), torch.block_diag(*absent)], 1)


def _marginal_weights(n: int) -> list[float]:
    """`marginal_weights` as a list."""
    n = _checked_players(n)
    return [1 / (n * comb(n - 1, s)) for s in range(n)]


def _checked_players(n: int, most: int = MAX_PLAYERS) -> int:
    """n as an int; refused where it is no number of players, or above `most`."""
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"a game needs a whole number of players, at least 1; got n={n!r}")
    if n > most:
        raise ValueError(f"n={n} players are more than the {most} that this is made for")
    return int(n)
