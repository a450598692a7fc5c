"""Programs that `torch.compile` makes of a function, counted separately for each caller."""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")

OUR_MODULES = f"G['__import_{__package__.partition('.')[0]}_dot_"  # as the compiler writes them: G are globals


def separate_program(function: Callable[P, R], *args: Any, **kwargs: Any) -> Callable[P, R]:
    """`torch.compile(function, *args, **kwargs)`, whatever else has been compiled of this function or bound method.

    PyTorch compiles a function anew for each kind of arguments, at most eight times, and counts by its code object: of
    many networks that share the code only the first few would be compiled. So this one gets a code object of its own.

    At each call a program looks whether what it was made from is as it was. That includes every function and constant
    of this package that it came by, which nobody changes: not to look at these is a tenth of a small network's time.
    """
    if hasattr(torch.compiler, "skip_guard_on_globals_unsafe") and not {"backend", "mode", "options"} & kwargs.keys():
        kwargs = kwargs | {"options": {"guard_filter_fn": _not_of_our_modules}}
    plain = cast(FunctionType, function.__func__ if isinstance(function, MethodType) else function)
    own = FunctionType(plain.__code__.replace(), plain.__globals__, closure=plain.__closure__)
    update_wrapper(own, plain)
    own.__defaults__, own.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
    bound = MethodType(own, function.__self__) if isinstance(function, MethodType) else own
    return cast(Callable[P, R], torch.compile(bound, *args, **kwargs))


def _not_of_our_modules(guards: Sequence[Any]) -> list[bool]:
    """Which of the compiler's guards to keep: those of a function of the user's own, of weights and of inputs."""
    return [not guard.name.startswith(OUR_MODULES) for guard in guards]
