"""What a block of modules answers with: the values of their players, or what their functions give to coalitions."""

from typing import NamedTuple

from torch import Tensor


class Values(NamedTuple):
    """The Shapley values of each module's players.

    Attributes
    ----------
    numbers : Tensor
        [modules * k, outputs * batch], module after module.
    """

    numbers: Tensor


class CoalitionValues(NamedTuple):
    """The values v(S) of coalitions of each module's players, in the order of their numbers.

    Attributes
    ----------
    numbers : Tensor
        [modules * coalitions, outputs * batch], module after module.
    with_empty : bool
        Whether the empty coalition, number 0, is there: then 2^k coalitions per module. Without it there are 2^k - 1,
        and v(S) is measured from the value of the empty one, which is zero then.
    """

    numbers: Tensor
    with_empty: bool
