"""Networks made of Shapley transforms, and what their inputs have to be."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.hooks import RemovableHandle

from shapnotes._runtime.memory import keep_freed_memory
from shapnotes.explanation import Explanation
from shapnotes.shapnet.door import check_finite, check_fits, check_tensor, flag, whole
from shapnotes.shapnet.pruning import Prunable, Pruning, checked_rule
from shapnotes.shapnet.tracing import finite, own_program
from shapnotes.shapnet.transform import ShapleyTransform


class ShapNet(Prunable, nn.Module):
    """A cascade of Shapley transforms: a network that predicts by adding up its own explanation.

        H(x) = sum_i h_i(x),      h = T_L o ... o T_1

    The reference of T_1 is `baseline`, that of the others 0. A player at its reference after one stage is there after
    all later ones (Corollary 4), so it is given exactly nothing of the prediction. With one stage h is the exact
    Shapley value of H (Theorem 2). H(baseline) is zero whatever the weights are: h explains H(x) - H(baseline) = H(x).

    stages      : the transforms T_1, ..., T_L, of as many players each
    in_channels : length of the vector that each player carries in x
    baseline    : what stands for absent in x: None (0), a number, or a tensor that broadcasts to one input
    residual    : add to each stage's representation the one before, in as many channels as both have. That is the
                  Shapley transform of f + sum_i x_i

    Attributes: `baseline`, a buffer shaped like one input; `pruning`, the rule of the `pruned` context that one is in.

    Called with x [batch, n_players] or [batch, n_players, in_channels] it returns H(x) [batch, outputs]. After
    `compile()` all of this is one program.

    Raises ValueError or TypeError for inputs of another shape or dtype, with NaN, or on the wrong device.

    Source: Shapley Explanation Networks, Definitions 5 and 8.
    """

    def __init__(
        self,
        stages: Iterable[ShapleyTransform],
        in_channels: int = 1,
        baseline: Tensor | float | Sequence[float] | None = None,
        *,
        residual: bool = False,
    ):
        super().__init__()
        keep_freed_memory()  # a training step takes a tenth less
        stages = list(stages) if isinstance(stages, Iterable) else [stages]
        for stage in stages:
            if not hasattr(stage, "n_players"):
                raise TypeError(f"stages must be transforms, as ShapleyTransform is; got {type(stage).__name__}")
            stage.checks = False  # the network looks at its inputs
        self.stages = nn.ModuleList(stages)
        players = {stage.n_players for stage in self.stages}
        if len(players) != 1:
            raise ValueError(f"stages must be one or more transforms of as many players each; got {sorted(players)}")
        self.n_players, self.in_channels = players.pop(), whole(in_channels, "in_channels")
        self.residual = flag(residual, "residual")
        self._program: Callable[[Tensor, Pruning | None], list[Tensor]] | None = None
        self.register_buffer("baseline", one_input(baseline, self.n_players, self.in_channels))
        # As it was given, whatever precision it is converted to.
        self._largest = 0.0 if baseline is None else float(self.baseline.abs().max())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[-1].sum(1)

    def explain(self, x: Tensor, pruning: Pruning | None = None) -> Explanation:
        """The prediction and what it is the sum of: attributions [batch, n_players, outputs]."""
        h = self.layers(x, pruning)[-1]
        return Explanation(h, h.sum(1), inputs=x)

    def layers(self, x: Tensor, pruning: Pruning | None = None) -> list[Tensor]:
        """The representation after each stage, [batch, n_players, channels]; the last is the explanation."""
        z, rule = self._opened(x), checked_rule(pruning) or self.pruning
        if rule or self._program is None or (torch.is_grad_enabled() and z.requires_grad) or self._hooked():
            return self._representations(z, rule)
        return self._program(z, None)

    def compile(self, **settings) -> None:
        """Have `torch.compile`, with these settings, make one program of all stages.

        The same numbers, faster: of modules with one hidden layer and up to four players, which are written out
        coalition by coalition, most intermediate results then never reach memory. A C++ compiler must be there. The
        program is made at the first call, in some seconds, and once more when the number of inputs changes.

        It is used where nothing is pruned, no module has a hook, and x needs no gradient itself: the compiler makes no
        second derivatives, as penalties on gradients take, and refuses those by weights alone. A copy of the network is
        not compiled.
        """
        self._program, self._registrations = own_program(self._representations, **settings), -1

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"_program": None}  # which belongs to this object

    def _hooked(self) -> bool:
        """Whether there are hooks, which a program that is there already would pass by."""
        registrations = RemovableHandle.next_id
        if self._registrations == registrations:  # nobody has registered any since none were found
            return False
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        found = _has_any_global_hook() or any(getattr(m, name) for m in self.stages.modules() for name in hooks)
        if not found:
            self._registrations = registrations
        return found

    def _representations(self, z: Tensor, rule: Pruning | None) -> list[Tensor]:
        reference = self.baseline.to(z.dtype).view(self.n_players, -1)
        representations = []
        for number, stage in enumerate(self.stages):
            before = z if reference is None or not self.residual else z - reference
            z = stage(z, reference)
            if self.residual:
                common = min(before.shape[2], z.shape[2])
                z = torch.cat([z[..., :common] + before[..., :common], z[..., common:]], 2)
            if rule is not None:
                z = rule.after(number, z, len(self.stages))
            representations.append(z)
            reference = None
        return representations

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, those of the perceptrons; of `generator` where one is given."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters(generator)

    def _opened(self, x: Tensor) -> Tensor:
        """x as [batch, n_players, in_channels], or a refusal."""
        one, baseline = (self.n_players, self.in_channels), self.baseline
        check_tensor(x)
        if tuple(x.shape[1:]) not in (baseline.shape, one) or not len(x):
            raise ValueError(
                f"x must be [batch, {', '.join(map(str, baseline.shape))}], at least one input; got shape "
                f"{tuple(x.shape)}"
            )
        weight = getattr(self.stages[0].blocks[0], "first", None)  # faster than to go through all parameters
        check_fits(x, next(self.parameters(), x) if weight is None else weight, "network")
        if x.device != baseline.device:
            raise ValueError(f"x is on {x.device} and the baseline on {baseline.device}; move one of them")
        check_finite(x)
        if self._largest > torch.finfo(x.dtype).max and not finite(baseline.to(x.dtype)):
            raise ValueError(f"the baseline is beyond the largest {x.dtype}, {torch.finfo(x.dtype).max:.3g}")
        return x.reshape(-1, *one)


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
