"""What all networks that explain themselves share: the door for inputs, explanations, pruning, and compilation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.hooks import RemovableHandle

from shapnotes._runtime.memory import keep_freed_memory
from shapnotes._runtime.tensors import all_finite, check_finite
from shapnotes.explanation import Explanation
from shapnotes.shapnet.backends import backend_is_asked_for
from shapnotes.shapnet.compiled import separate_program
from shapnotes.shapnet.door import check_fits, check_tensor
from shapnotes.shapnet.pruning import Prunable, Pruning, checked_rule

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
Computed = tuple[list[Tensor], Tensor]  # the representation after each stage, and the prediction
UNKNOWN = -1  # no state of PyTorch's counter of hooks


class Stage(nn.Module):
    """One layer of such a network, from a representation [batch, *players, in_channels] to the next.

    A stage gives each player a vector, and a player at its reference exactly zero, with the gradient of its value.

    Attributes
    ----------
    in_channels, out_channels : int or None
        Lengths of the players' vectors before and after; None where that is not known.
    checks : bool
        Whether it looks at its input itself; False as a stage of a network, which has done so.
    """

    in_channels: int
    out_channels: int | None
    checks: bool = True

    def a_weight(self) -> Tensor | None:
        """A parameter, whose device and dtype inputs have to have; None if there is none."""
        return next(self.parameters(), None)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights anew, of `generator` or of PyTorch's global one; functions of the user's own are left alone."""


class Network(Prunable, nn.Module):
    r"""A cascade of stages that predicts by adding up its own explanation.

    .. math::
        H(x) = \sum_i h_i(x), \qquad h = T_L \circ \cdots \circ T_1

    The sum is over players i. A kind of network says how an input becomes the first representation (`_expected_shape`,
    `_as_representation`) and what a stage makes of one (`_after_stage`). Predictions, explanations, pruning and
    compilation are the same for all.

    Parameters
    ----------
    stages : iterable of Stage
        :math:`T_1, \ldots, T_L`.
    baseline : Tensor
        What stands for absent; a buffer.
    """

    stages: nn.ModuleList
    baseline: Tensor

    def __init__(self, stages: Iterable[Stage], baseline: Tensor):
        super().__init__()
        keep_freed_memory()  # a training step takes a tenth less
        self.stages = nn.ModuleList(stages)
        for stage in self._each_stage():
            stage.checks = False  # the network looks at its inputs
        self.register_buffer("baseline", baseline)
        self._program: Callable[[Tensor, Pruning | None], Computed] | None = None
        self._hooks_seen = UNKNOWN

    def _expected_shape(self, x: Tensor) -> str | None:
        """What shape x should have, in words; None if it has it."""
        raise NotImplementedError

    def _as_representation(self, x: Tensor) -> Tensor:
        """x, which has passed the door, as [batch, *players, in_channels]."""
        raise NotImplementedError

    def _after_stage(self, number: int, stage: Stage, z: Tensor) -> Tensor:
        """The representation after a stage, counted from 0, of the one before it."""
        raise NotImplementedError

    def _refuse_mixing(self, z: Tensor) -> None:
        """Refuse functions of the user's own that are random or mix rows, at the first representation z."""

    def forward(self, x: Tensor) -> Tensor:
        """The prediction.

        Parameters
        ----------
        x : Tensor
            As the network takes it.

        Returns
        -------
        Tensor
            [batch, outputs], the sum of the explanation over players.
        """
        return self._prediction(self._through_the_door(x))

    def explain(self, x: Tensor, pruning: Pruning | None = None) -> Explanation:
        """The prediction and what it is the sum of.

        Parameters
        ----------
        x : Tensor
            As the network takes it.
        pruning : Pruning, optional
            A rule for this call, stronger than that of a `pruned` context.

        Returns
        -------
        Explanation
            With attributions [batch, *players, outputs].

        Raises
        ------
        ValueError, TypeError
            For what the network refuses, and for a rule with stages that it does not have; a
            ValueError where the explanation is not finite, which a prediction need not be.
        GapError
            Where an inner function of the user's own is random or mixes rows: it is asked twice at a few inputs.
        """
        z, rule = self._through_the_door(x), checked_rule(pruning) or self.pruning
        self._refuse_mixing(z)
        representations, prediction = self._computed(z, rule)
        h = representations[-1]
        if not (all_finite(prediction) or all_finite(h)):  # a sum with NaN or infinity in it is not finite
            raise ValueError(
                f"the explanation holds NaN or infinity: numbers on the way are beyond the largest {h.dtype}, or "
                "weights are not finite. Give smaller inputs, or convert the network and x to a wider dtype"
            )
        return Explanation(h, prediction, inputs=x)

    def layers(self, x: Tensor, pruning: Pruning | None = None) -> list[Tensor]:
        """The representation after each stage, of which the last is the explanation.

        Parameters
        ----------
        x : Tensor
            As the network takes it.
        pruning : Pruning, optional
            A rule for this call, stronger than that of a `pruned` context.

        Returns
        -------
        list of Tensor
            [batch, *players, channels] for each stage.

        Raises
        ------
        ValueError, TypeError
            For what the network refuses, and for a rule with stages that it does not have.
        """
        return self._computed(self._through_the_door(x), checked_rule(pruning) or self.pruning)[0]

    def _prediction(self, z: Tensor) -> Tensor:
        """The prediction [batch, outputs], from the first representation."""
        return self._computed(z, self.pruning)[1]

    def _computed(self, z: Tensor, rule: Pruning | None) -> Computed:
        """The representation after each stage, from the first one, and the prediction."""
        if self._program is not None and self._program_serves(z, rule):
            return self._program(z, None)
        return self._all_of(z, rule)

    def _program_serves(self, z: Tensor, rule: Pruning | None) -> bool:
        """Whether a compiled program computes what is asked for."""
        return not (
            rule is not None
            or backend_is_asked_for()
            or (torch.is_grad_enabled() and z.requires_grad)
            or self._has_hooks()
        )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have `torch.compile` make one program of all stages; in place.

        The same numbers, faster: of modules with one hidden layer and up to four players, which are written out
        coalition by coalition, most intermediate results then never reach memory. A C++ compiler must be there. The
        program is made at the first call, in some seconds, and once more when the number of inputs changes.

        As `nn.Module.compile` does it compiles what calling the network computes; here also what `explain` and `layers`
        do. The program is used where nothing is pruned, no backend is asked for (`use_backend`), no module has a hook,
        and x needs no gradient itself: the compiler makes no second derivatives, as penalties on gradients take, and
        refuses those by weights alone. A copy of the network is not compiled.

        Parameters
        ----------
        *args, **kwargs : optional
            For `torch.compile`.
        """
        self._program, self._hooks_seen = separate_program(self._all_of, *args, **kwargs), UNKNOWN

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Parameters
        ----------
        generator : torch.Generator, optional
            Draws them; None is PyTorch's global one.
        """
        for stage in self._each_stage():
            stage.reset_parameters(generator)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_program": None, "_contexts": 0}  # a copy is another network: not compiled, and not pruned

    def _each_stage(self) -> Iterator[Stage]:
        return cast(Iterator[Stage], iter(self.stages))

    def _all_of(self, z: Tensor, rule: Pruning | None) -> Computed:
        representations = []
        for number, stage in enumerate(self._each_stage()):
            z = self._after_stage(number, stage, z)
            if rule is not None:
                z = rule.after(number, z, len(self.stages))
            representations.append(z)
        return representations, _sum_over_players(z)

    def _through_the_door(self, x: Tensor) -> Tensor:
        """x as the first representation, or a refusal."""
        check_tensor(x)
        if (expected := self._expected_shape(x)) is not None:
            raise ValueError(f"x must be {expected}; got shape {tuple(x.shape)}")
        for stage in self._each_stage():
            if (weight := stage.a_weight()) is not None:
                check_fits(x, weight, "network")
                break
        if x.device != self.baseline.device:
            raise ValueError(f"x is on {x.device} and the baseline on {self.baseline.device}; move one of them")
        check_finite(x)
        return self._as_representation(x)

    def _has_hooks(self) -> bool:
        """Whether there are hooks, which a program that is there already would pass by."""
        registered = RemovableHandle.next_id
        if self._hooks_seen == registered:  # nobody has registered any since none were there
            return False
        everywhere = _has_any_global_hook()
        hooks = everywhere or any(getattr(m, name) for m in self.stages.modules() for name in HOOKS)
        if not hooks:
            self._hooks_seen = registered
        return hooks


def _sum_over_players(h: Tensor) -> Tensor:
    """[batch, *players, outputs] -> [batch, outputs]."""
    return h.sum(tuple(range(1, h.dim() - 1)))
