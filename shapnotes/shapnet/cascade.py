"""A cascade of stages on vectors: players in a row, of which a table's features are the first."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import cast

import torch
from torch import Tensor

from shapnotes._runtime.tensors import all_finite
from shapnotes.shapnet.base import Network, Stage
from shapnotes.shapnet.door import flag, whole
from shapnotes.shapnet.traced import is_traced

HAS_OWN_FUNCTIONS = attrgetter("has_own_functions")
TRIED_INPUTS = 4  # at which functions of the user's own are asked twice


class PlayerStage(Stage):
    """A stage for a fixed number of players: z [batch, n_players, in_channels] -> [batch, n_players, out_channels].

    What a `ShapNet` is made of. A kind of stage sets `n_players`, `in_channels` and `out_channels`, and computes
    `forward(z, reference)`, where the reference is [n_players, in_channels] or None for zero; a player at its reference
    is given exactly zero, and has the gradient of its value there.
    """

    n_players: int
    has_own_functions: bool = False  # of the user, which may be random or mix rows

    def refuse_mixing(self, z: Tensor, reference: Tensor | None) -> None:
        """Refuse functions of the user's own that are random or mix rows."""


class ShapNet(Network):
    r"""A cascade of Shapley transforms: a network that predicts by adding up its own explanation.

    .. math::
        H(x) = \sum_i h_i(x), \qquad h = T_L \circ \cdots \circ T_1

    The reference of :math:`T_1` is `baseline`, that of the others 0. A player at its reference after one stage is there
    after all later ones (Corollary 4), so it is given exactly nothing of the prediction. With one stage h is the exact
    Shapley value of H (Theorem 2). H(baseline) is zero whatever the weights are: h explains H(x) - H(baseline) = H(x).

    Parameters
    ----------
    stages : iterable of PlayerStage
        The transforms :math:`T_1, \ldots, T_L`, such as `ShapleyTransform`, of equally many players.
    in_channels : int
        Length of the vector that each player carries in x.
    baseline : Tensor, float or sequence of float, optional
        What stands for absent in x: None (0), a number, or what broadcasts to one input.
    residual : bool
        Add to each stage's representation the one before, in as many channels as both have. That is the Shapley
        transform of :math:`f + \sum_i x_i`.

    Attributes
    ----------
    baseline : Tensor
        A buffer shaped like one input.
    pruning : Pruning or None
        The rule of the `pruned` context that the caller is in.

    Raises
    ------
    ValueError, TypeError
        For stages that do not fit, and for inputs of another shape or dtype, with NaN, or on the wrong device.

    Notes
    -----
    Called with x [batch, n_players] or [batch, n_players, in_channels] it returns H(x) [batch, outputs]. After
    `compile()` all of this is one program.

    Source
    ------
    Shapley Explanation Networks, Definitions 5 and 8.
    """

    def __init__(
        self,
        stages: Iterable[PlayerStage],
        in_channels: int = 1,
        baseline: Tensor | float | Sequence[float] | None = None,
        *,
        residual: bool = False,
    ):
        stages = list(stages) if isinstance(stages, Iterable) else [stages]
        for stage in stages:
            if not isinstance(stage, PlayerStage):
                raise TypeError(f"stages must be transforms, as ShapleyTransform is; got {type(stage).__name__}")
        players = {stage.n_players for stage in stages}
        if len(players) != 1:
            raise ValueError(f"stages must be one or more transforms of as many players each; got {sorted(players)}")
        (n_players,), in_channels = players, whole(in_channels, "in_channels")
        super().__init__(stages, one_input(baseline, n_players, in_channels))
        self.n_players, self.in_channels, self.residual = n_players, in_channels, flag(residual, "residual")
        self._input_shapes = tuple(self.baseline.shape), (n_players, in_channels)
        # As it was given, whatever precision it is converted to.
        self._largest = 0.0 if baseline is None else float(self.baseline.abs().max())

    def _expected_shape(self, x: Tensor) -> str | None:
        if x.shape[1:] in self._input_shapes and x.shape[0]:
            return None
        return f"[batch, {', '.join(map(str, self._input_shapes[0]))}], at least one input"

    def _as_representation(self, x: Tensor) -> Tensor:
        if self._largest > torch.finfo(x.dtype).max and not all_finite(self.baseline.to(x.dtype)):
            raise ValueError(f"the baseline is beyond the largest {x.dtype}, {torch.finfo(x.dtype).max:.3g}")
        return x.reshape(-1, self.n_players, self.in_channels)

    def first_reference(self, dtype: torch.dtype) -> Tensor:
        """The baseline as the first stage takes it, [n_players, in_channels]."""
        return self.baseline.to(dtype).view(self.n_players, -1)

    def _refuse_mixing(self, z: Tensor) -> None:
        if any(map(HAS_OWN_FUNCTIONS, self.stages)) and not is_traced(z):
            self._ask_twice(z[:TRIED_INPUTS])

    @torch.no_grad()
    def _ask_twice(self, z: Tensor) -> None:
        """Have the stages up to the last with functions of the user's own refuse those that are random or mix rows."""
        stages = cast(list[PlayerStage], list(self._each_stage()))
        last = max(number for number, stage in enumerate(stages) if stage.has_own_functions)
        for number, stage in enumerate(stages[: last + 1]):
            if not all_finite(z):
                return
            stage.refuse_mixing(z, self._reference_of(number, z))
            z = self._after_stage(number, stage, z) if number < last else z

    def _reference_of(self, number: int, z: Tensor) -> Tensor | None:
        """What a stage, counted from 0, takes for absent: [n_players, channels], None for zero."""
        return self.first_reference(z.dtype) if number == 0 else None

    def _after_stage(self, number: int, stage: Stage, z: Tensor) -> Tensor:
        reference = self._reference_of(number, z)
        after: Tensor = stage(z, reference)
        if not self.residual:
            return after
        moved = z if reference is None else z - reference
        common = min(moved.shape[2], after.shape[2])
        return torch.cat([after[..., :common] + moved[..., :common], after[..., common:]], 2)


def one_input(baseline: Tensor | float | Sequence[float] | None, n_players: int, in_channels: int) -> Tensor:
    """A baseline spread over one input, [n_players] or [n_players, in_channels], in a precision of its own."""
    shape = (n_players,) if in_channels == 1 else (n_players, in_channels)
    if baseline is None:
        return torch.zeros(shape)
    try:
        baseline = torch.as_tensor(baseline, dtype=None if isinstance(baseline, Tensor) else torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"baseline must be None, a number or a tensor; got {type(baseline).__name__}") from error
    if not baseline.is_floating_point():
        raise TypeError(f"baseline must be floating point, as x is; got {baseline.dtype}")
    if in_channels == 1 and baseline.dim() == 2:
        baseline = baseline.squeeze(-1)
    try:
        baseline = baseline.expand(shape).clone()
    except RuntimeError as error:
        raise ValueError(f"baseline of shape {tuple(baseline.shape)} does not broadcast to an input {shape}") from error
    if not bool(torch.isfinite(baseline).all()):
        raise ValueError("baseline holds NaN or infinity; give a value that stands for absent")
    return baseline
