"""Sub-cubes of coalitions that a player can join: some of the others are present, some absent, some free.

The Shapley weights of the coalitions in a sub-cube with p present and a absent players sum to

    integral over q in (0, 1) of q^p (1 - q)^a  =  p! a! / (p + a + 1)!,

the chance that, in a random order, the player comes after the p and before the a. Given that, every free player comes
before it with chance (p + 1) / (p + a + 2). So a function that is linear in who is there has a known average.
"""

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cubes:
    """Sub-cubes, each of the coalitions that one player can join.

    player  : int64 [cubes]
    free    : bool [cubes, n], who may be present or not; never the player
    present : bool [cubes, n], who is present; all others are absent
    """

    player: Tensor
    free: Tensor
    present: Tensor

    def part(self, part: Tensor | slice) -> "Cubes":
        return Cubes(self.player[part], self.free[part], self.present[part])

    def weights(self) -> Tensor:
        """What the coalitions of each sub-cube weigh together, to the last digit but one: [cubes]."""
        present, absent = self.counts()
        n = self.free.shape[1]
        table = [[1 / ((p + a + 1) * comb(p + a, p)) for a in range(n - p)] + [0.0] * p for p in range(n)]
        return torch.tensor(table, dtype=torch.float64, device=self.free.device)[present, absent]

    def chance(self) -> Tensor:
        """How often a free player is there before the player: [cubes]."""
        present, absent = self.counts()
        return (present + 1).double() / (present + absent + 2)

    def counts(self) -> tuple[Tensor, Tensor]:
        """How many are present and how many absent, the player not counted: int64 [cubes] each."""
        present = self.present.sum(1)
        return present, self.free.shape[1] - 1 - self.free.sum(1) - present

    def split(self, by: Tensor) -> "Cubes":
        """Both halves of every sub-cube, in which a free player `by` [cubes] is present, or absent."""
        row = torch.arange(len(by), device=by.device)
        free, joined = self.free.clone(), self.present.clone()
        free[row, by], joined[row, by] = False, True
        return Cubes(self.player.repeat(2), free.repeat(2, 1), torch.cat([joined, self.present]))


def all_coalitions(n: int, device: torch.device) -> Cubes:
    """For every player the sub-cube of all coalitions of the others."""
    player = torch.arange(n, device=device)
    everyone = torch.ones(n, n, dtype=torch.bool, device=device)
    return Cubes(player, everyone ^ torch.eye(n, dtype=torch.bool, device=device), torch.zeros_like(everyone))


def joined(parts: list[Cubes]) -> Cubes:
    return Cubes(*(torch.cat([getattr(part, name) for part in parts]) for name in ("player", "free", "present")))
