"""A device that is not there: its tensors are computed on the CPU, and refuse to meet those of the CPU, as on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("lazy", 0)  # a kind that PyTorch knows, needs no start, and runs backward in the same thread
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray)


class Distant(Tensor):
    """A tensor that says it is elsewhere; its numbers are those of `numbers`, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor):
        made = Tensor._make_wrapper_subclass(
            cls, numbers.shape, numbers.stride(), numbers.storage_offset(), dtype=numbers.dtype, device=ELSEWHERE
        )
        made.numbers = numbers
        return made

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.tolist:
                return args[0].numbers.tolist()
            if func is Tensor.__getitem__ and isinstance(args[1], list):  # made a tensor without asking a mode
                args = args[0], Distant(torch.tensor(args[1]))
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func, args, kwargs):
    """What an operation makes, on the device of what it is given, or on the one that is asked for."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    distant = [tensor for tensor in tensors if isinstance(tensor, Distant)]
    near = [tensor for tensor in tensors if not isinstance(tensor, Distant)]
    if distant and func not in MOVES and any(tensor.dim() for tensor in near):  # one number is welcome, as on a GPU
        shapes = ", ".join(f"{tuple(t.shape)} {'elsewhere' if isinstance(t, Distant) else 'here'}" for t in tensors)
        raise RuntimeError(f"{func} mixes devices: {shapes}")
    device = kwargs.get("device")
    made_distant = bool(distant) if device is None else torch.device(device).type == ELSEWHERE.type
    if func is torch.ops.aten.copy_.default:
        made_distant = isinstance(args[0], Distant)
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda leaf: leaf.numbers if isinstance(leaf, Distant) else leaf, (args, kwargs))
    results = func(*args, **kwargs)
    same = {id(tensor.numbers): tensor for tensor in distant}  # what an operation in place gives back

    def placed(result):
        if not isinstance(result, Tensor) or not made_distant:
            return result
        return same[id(result)] if id(result) in same else Distant(result)

    return tree_map(placed, results)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class _FromData(TorchFunctionMode):
    """Tensors from numbers, which PyTorch puts on a device without asking a mode."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in FROM_DATA and device is not None and torch.device(device).type == ELSEWHERE.type:
            if isinstance(args[0], Tensor):
                return args[0].to(device, kwargs.get("dtype") or args[0].dtype)
            return Distant(func(*args, **kwargs | {"device": "cpu"}))
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """A context in which tensors can be made on a device that is not there, or moved to it."""
    usual = torch.is_autocast_enabled  # which knows no such kind of device

    def is_autocast_enabled(kind: str = "cuda") -> bool:
        return kind != ELSEWHERE.type and usual(kind)

    with _FromData(), _Operations(), patch.object(torch, "is_autocast_enabled", is_autocast_enabled):
        yield ELSEWHERE
