"""Which strategy evaluates the perceptrons of a block: thresholds and the choice, and nothing else."""

from typing import NamedTuple

import torch
from torch import Tensor

from shapnotes.shapnet.backends import TOLERANCES, Operation
from shapnotes.shapnet.inner import reference, shared_sums, two_products, unrolled
from shapnotes.shapnet.inner.answers import CoalitionValues, Values
from shapnotes.shapnet.inner.block import Members
from shapnotes.shapnet.inner.weights import Weights

MASKING_MAX_MULTIPLY_ADDS = 2**21  # of the first layer on all 2^k inputs: below, the overhead of calls dominates
TWO_PRODUCTS_MAX_NUMBERS = 32  # that a module sees or answers: above, k products plus additions beat masked products
TWO_PRODUCTS_MAX_PLAYERS = 4
MAX_UNROLLED_PLAYERS = 4  # a program of more would be too long


class Call(NamedTuple):
    """What the values of a block's modules are asked for.

    Attributes
    ----------
    members : Members
        The players of each module.
    present : Tensor
        [n_players, channels, batch], the players' vectors.
    absent : Tensor or None
        [n_players, channels, 1], their reference; None for zero.
    weights : Weights
        Of the perceptrons.
    of_coalitions : bool
        Whether it has to be the values of coalitions.
    """

    members: Members
    present: Tensor
    absent: Tensor | None
    weights: Weights
    of_coalitions: bool = False


def _needs_one_hidden_layer(call: Call) -> str | None:
    if call.of_coalitions:
        return "values of coalitions are needed, and it makes those of players only"
    if call.weights.hidden:
        return f"the perceptrons have {len(call.weights.hidden) + 1} hidden layers, and it is for one"
    return None


class Unrolled:
    """Coalition by coalition: in a program of `torch.compile`."""

    name, tolerances = "unrolled", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        if call.members.k > MAX_UNROLLED_PLAYERS:
            return f"{2**call.members.k} coalitions of {call.members.k} players are too many to be written out"
        return _needs_one_hidden_layer(call)

    def is_fastest(self, call: Call) -> bool:
        return torch.compiler.is_compiling()

    def compute(self, call: Call) -> Values:
        return unrolled.values(*call[:4])


class TwoProducts:
    """Two masked products: for few numbers per module and many inputs."""

    name, tolerances = "two-products", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        return _needs_one_hidden_layer(call)

    def is_fastest(self, call: Call) -> bool:
        (_, outputs, width), k = call.weights.last.shape, call.members.k
        return (
            k <= TWO_PRODUCTS_MAX_PLAYERS
            and call.present.shape[2] >= width
            and k * max(call.members.channels, outputs) <= TWO_PRODUCTS_MAX_NUMBERS
        )

    def compute(self, call: Call) -> Values:
        return two_products.values(*call[:4])


class Reference:
    """Masked inputs, all 2^k of them: where all of it is small."""

    name, tolerances = "reference", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        return None

    def is_fastest(self, call: Call) -> bool:
        inputs: int = 2**call.members.k * call.present.shape[2]
        return inputs * call.weights.first.numel() <= MASKING_MAX_MULTIPLY_ADDS

    def compute(self, call: Call) -> CoalitionValues:
        return reference.coalition_values(*call[:4])


class SharedSums:
    """k products and additions along the coalitions: everything else."""

    name, tolerances = "shared-sums", TOLERANCES

    def unsupported(self, call: Call) -> str | None:
        return None

    def is_fastest(self, call: Call) -> bool:
        return True

    def compute(self, call: Call) -> CoalitionValues:
        return shared_sums.coalition_values(*call[:4])


MODULE_VALUES: Operation[Call, Values | CoalitionValues] = Operation(
    "the values of perceptrons", (Unrolled(), TwoProducts(), Reference(), SharedSums())
)


def module_values(call: Call) -> Values | CoalitionValues:
    """The values of all modules' players, or what gives them: of coalitions."""
    return MODULE_VALUES(call)
