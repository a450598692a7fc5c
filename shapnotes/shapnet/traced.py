"""Whether the numbers in a tensor may be looked at: not while a computation is traced, transformed or imitated."""

from math import isfinite

import torch
from torch import Tensor, nn

PLAIN_TYPES = frozenset({Tensor, nn.Parameter})  # known to be what they seem; looked up first, for speed


def is_recording() -> bool:
    """Whether `torch.jit.trace` records the computation."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def is_traced(*tensors: Tensor) -> bool:
    """Whether control flow must not depend on the numbers in these tensors, and nothing may be cached of them.

    True under `torch.compile`, `torch.jit.trace` and the transforms of `torch.func`, and for tensors that answer
    operations themselves (`__torch_dispatch__`), as fake tensors do.
    """
    if torch.compiler.is_compiling() or is_recording():
        return True
    for tensor in tensors:
        kind = type(tensor)
        if kind not in PLAIN_TYPES and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return True
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return True
    return False


def all_finite(x: Tensor) -> bool:
    """Whether all of x is finite; True where that cannot be known."""
    if torch.compiler.is_compiling() or is_recording():
        return True
    try:
        return isfinite(float(x.detach().sum())) or bool(torch.isfinite(x).all())  # a sum of large numbers may overflow
    except RuntimeError:  # inside torch.func.vmap, and on the meta device
        return True
