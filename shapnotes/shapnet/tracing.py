"""Numbers that may not be looked at, since somebody records, maps or only imitates the computation; and programs."""

from collections.abc import Callable
from functools import update_wrapper
from math import isfinite
from types import FunctionType, MethodType

import torch
from torch import Tensor, nn

PLAIN = frozenset({Tensor, nn.Parameter})  # kinds that are known to be what they seem, for speed


def opaque(*tensors: Tensor) -> bool:
    """Whether nothing may depend on what is in these tensors, nor be kept of them.

    That is so under `torch.compile`, `torch.jit.trace` and the transforms of `torch.func`, and for tensors that answer
    operations themselves (`__torch_dispatch__`), as imitations without numbers do.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    for tensor in tensors:
        kind = type(tensor)
        if kind not in PLAIN and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return True
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return True
    return False


def finite(x: Tensor) -> bool:
    """Whether all of x is; true where that cannot be told."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    try:
        return isfinite(float(x.detach().sum())) or bool(torch.isfinite(x).all())  # a sum of large numbers may overflow
    except RuntimeError:  # inside torch.func.vmap, and on the meta device
        return True


def own_program(function: Callable, **settings) -> Callable:
    """What `torch.compile` makes of a function (or bound method) with these settings, whatever else it made of it.

    PyTorch makes a program for each kind of arguments, eight of a function at most, and counts by its code: of networks
    that share it only the first few would be compiled. So this one has code of its own.
    """
    plain = function.__func__ if isinstance(function, MethodType) else function
    own = update_wrapper(FunctionType(plain.__code__.replace(), plain.__globals__, closure=plain.__closure__), plain)
    own.__defaults__, own.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
    return torch.compile(own if plain is function else MethodType(own, function.__self__), **settings)
