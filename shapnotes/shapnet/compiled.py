"""Programs that `torch.compile` makes of a function, counted separately for each caller."""

from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def separate_program(function: Callable[P, R], *args: Any, **kwargs: Any) -> Callable[P, R]:
    """`torch.compile(function, *args, **kwargs)`, whatever else has been compiled of this function or bound method.

    PyTorch compiles a function anew for each kind of arguments, at most eight times, and counts by its code object: of
    many networks that share the code only the first few would be compiled. So this one gets a code object of its own.
    """
    plain = cast(FunctionType, function.__func__ if isinstance(function, MethodType) else function)
    own = FunctionType(plain.__code__.replace(), plain.__globals__, closure=plain.__closure__)
    update_wrapper(own, plain)
    own.__defaults__, own.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
    bound = MethodType(own, function.__self__) if isinstance(function, MethodType) else own
    return cast(Callable[P, R], torch.compile(bound, *args, **kwargs))
