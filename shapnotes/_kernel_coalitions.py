"""Coalitions in the proportions of the Shapley kernel, each of which stands for itself and its complement.

A pair {S, N - S} has the size of its smaller half, s = 1 .. n / 2. The kernel gives all pairs of a size together a
share in proportion to 2 / (s (n - s)), half of that for s = n / 2, where both halves have the same size.

Sizes with few pairs are taken whole, from s = 1 on, as long as that takes no more than their share of the pairs that
are wanted. The rest is spread over the other sizes by one random number (systematic sampling), so that a
size gets the whole number below or above its share; within a size no pair comes twice.
"""

from math import comb, inf
from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes.coalitions import cached_tensors

MAX_NUMBERED = 2**62  # pairs of one size up to which each has a number; of more, none comes twice by chance
SORTED_AT_ONCE = 2**22  # random numbers


class Pairs(NamedTuple):
    """Coalitions that stand for themselves and their complements.

    Attributes
    ----------
    present : Tensor
        bool [pairs, n], one half of each pair.
    weight : Tensor
        float64 [pairs]: what a pair counts in a sum over all pairs by the kernel that is estimated from these.
    unseen : Tensor
        float64 [pairs]: the share of the pairs of this size that are not here; 0 for a size that is taken whole.
    """

    present: Tensor
    weight: Tensor
    unseen: Tensor


def kernel_pairs(n: int, count: int, generator: torch.Generator | None, device: torch.device) -> Pairs:
    """So many pairs of coalitions of n players, fewer than there are."""
    draw_on = torch.device("cpu") if generator is None else generator.device
    shares = [(1 if 2 * s == n else 2) / (s * (n - s)) for s in range(1, n // 2 + 1)]
    existing = _existing(n)
    left, rest, whole = float(count), sum(shares), 0
    while left * shares[whole] / rest >= existing[whole]:
        left, rest, whole = left - existing[whole], rest - shares[whole], whole + 1
    spread = _spread(shares[whole:], int(left), generator, draw_on)
    drawn = [*map(int, existing[:whole]), *spread]
    weight = [share / number for share, number in zip(shares[:whole], existing, strict=False)]
    weight += [rest / left] * len(spread)
    unseen = [1 - here / number for here, number in zip(drawn, existing, strict=True)]
    counts = torch.tensor(drawn, device=device)
    each = torch.tensor([weight, unseen], dtype=torch.float64, device=device).repeat_interleave(counts, 1)
    return Pairs(_drawn(n, drawn, existing, generator, draw_on).to(device), each[0] / sum(shares), each[1])


def _existing(n: int) -> list[float]:
    """How many pairs there are of each size; infinity for more than have numbers."""
    counts: list[float] = []
    number = 1
    for s in range(1, n // 2 + 1):
        number = min(number * (n + 1 - s) // s, 2 * MAX_NUMBERED + 1)
        pairs = number // 2 if 2 * s == n else number
        counts.append(pairs if pairs <= MAX_NUMBERED else inf)
    return counts


def _spread(shares: list[float], count: int, generator: torch.Generator | None, draw_on: torch.device) -> list[int]:
    """`count` in proportion to the shares, each rounded down or up, so that its mean is the proportion."""
    until = torch.tensor([0.0, *shares], dtype=torch.float64).cumsum(0)
    start = torch.rand((), generator=generator, dtype=torch.float64, device=draw_on).cpu()
    counts: list[int] = (until / until[-1] * count + start).floor().diff().long().tolist()
    return counts


def _drawn(
    n: int, drawn: list[int], existing: list[float], generator: torch.Generator | None, draw_on: torch.device
) -> Tensor:
    """So many of the pairs that exist of each size, by size: bool [pairs, n]."""
    numbered = existing.index(inf) if inf in existing else len(existing)
    numbers = [
        _distinct(count, int(number), generator, draw_on)
        for count, number in zip(drawn[:numbered], existing[:numbered], strict=True)
    ]
    sizes = torch.arange(1, len(drawn) + 1, device=draw_on).repeat_interleave(torch.tensor(drawn, device=draw_on))
    few, many = sizes.split([sum(drawn[:numbered]), sum(drawn[numbered:])])
    parts = [_numbered(torch.cat(numbers), few, n)] if len(few) else []
    for some in many.split(max(1, SORTED_AT_ONCE // n)):
        ranks = torch.rand(len(some), n, generator=generator, dtype=torch.float64, device=draw_on).argsort(1)
        parts.append(ranks < some[:, None])
    return torch.cat(parts)


def _distinct(count: int, number: int, generator: torch.Generator | None, draw_on: torch.device) -> Tensor:
    """`count` distinct whole numbers below `number`, every set of them with the same chance: int64 [count]."""
    if count == number:
        return torch.arange(number, device=draw_on)
    if 2 * count > number:
        return torch.randperm(number, generator=generator, device=draw_on)[:count]
    found = torch.empty(0, dtype=torch.int64, device=draw_on)
    while len(found) < count:
        more = torch.randint(number, (count - len(found),), generator=generator, device=draw_on)
        found = torch.cat([found, more]).unique()
    return found


def _numbered(numbers: Tensor, sizes: Tensor, n: int) -> Tensor:
    """The coalitions with these numbers among those of their size: [rows] and [rows] -> bool [rows, n].

    In the combinatorial number system: the number of a coalition of the players c_1 < c_2 < ... is the sum over j of
    comb(c_j, j), so that coalitions without the last player come first.
    """
    ways = _ways(n, int(sizes.max()), numbers.device)
    present = torch.empty(len(numbers), n, dtype=torch.bool, device=numbers.device)
    for j in reversed(range(n)):
        below = ways[j][sizes]
        here = (sizes > 0) & (numbers >= below)
        present[:, j] = here
        numbers, sizes = numbers - torch.where(here, below, 0), sizes - here.long()
    return present


@cached_tensors
def _ways(n: int, most: int, device: torch.device) -> Tensor:
    """comb(j, s), or 2**62 where it is more, for j < n and s up to `most`: int64 [n, most + 1]."""
    return torch.tensor([[min(comb(j, s), MAX_NUMBERED) for s in range(most + 1)] for j in range(n)], device=device)
