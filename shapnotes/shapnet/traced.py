"""Whether the numbers in a tensor may be looked at: not while a computation is traced, transformed or imitated."""

import torch
from torch import Tensor, nn

from shapnotes._runtime.tensors import is_recording

PLAIN_TYPES = frozenset({Tensor, nn.Parameter})  # known to be what they seem; looked up first, for speed


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
