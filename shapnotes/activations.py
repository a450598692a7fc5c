"""A model in which every call of an activation is a module of its own, for tools that set hooks on modules."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from shapnotes.game import Model

_POOLING = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
# For each kind of module the names of its settings, in the order in which its functions take them; and these functions,
# which the module itself calls as well.
KINDS: dict[type[nn.Module], tuple[tuple[str, ...], tuple[Callable[..., Any], ...]]] = {
    nn.ReLU: ((), (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)),
    nn.Tanh: ((), (torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_)),
    nn.Sigmoid: ((), (torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_)),
    nn.LeakyReLU: (("negative_slope",), (F.leaky_relu, F.leaky_relu_)),
    nn.ELU: (("alpha",), (F.elu, F.elu_)),
    nn.Softplus: (("beta", "threshold"), (F.softplus,)),
    nn.MaxPool1d: (_POOLING, (F.max_pool1d, torch.max_pool1d)),
    nn.MaxPool2d: (_POOLING, (F.max_pool2d, torch.max_pool2d)),
    nn.MaxPool3d: (_POOLING, (F.max_pool3d, torch.max_pool3d)),
}
_KIND_OF_FUNCTION = {function: kind for kind, (_, functions) in KINDS.items() for function in functions}


class ActivationsAsModules(nn.Module):
    """A model's function, with one module for each call of an activation that it makes, and no other modules.

    A module that is called twice becomes two, a call of a function becomes one, and none shares its input with another:
    hooks set on them see one call each, and the gradient of that call alone. The model itself is not changed, and is no
    submodule.

    Parameters
    ----------
    f : callable
        [rows, *features] -> [rows, *outputs], which makes the same calls whatever its rows contain.
    rows : Tensor
        [rows, *features]; f is called with them once, to see which activations it calls.
    """

    def __init__(self, f: Model, rows: Tensor) -> None:
        super().__init__()
        self.f = (f,)  # in a tuple, so that it is not registered as a submodule
        self.calls = nn.ModuleList()
        with torch.no_grad(), _Record(self.calls):
            f(rows.clone())

    def forward(self, rows: Tensor) -> object:
        """What f returns, [rows, *outputs]."""
        with _Replay(self.calls):
            return self.f[0](rows.clone())


class _Calls(TorchFunctionMode):
    """Has modules compute the calls of activations, the module of each call being that of `module_of`."""

    def __init__(self, modules: nn.ModuleList) -> None:
        super().__init__()
        self.modules, self.count = modules, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        kind = _KIND_OF_FUNCTION.get(func)
        if kind is None:
            return func(*args, **kwargs)
        names, _ = KINDS[kind]
        arguments = dict(zip(("input", *names, "inplace"), args, strict=False)) | kwargs
        module = self.module_of(kind, {name: arguments[name] for name in names if name in arguments})
        result = module(arguments["input"].clone())
        self.count += 1
        in_place = arguments.get("inplace") is True or getattr(func, "__name__", "").endswith("_")
        return arguments["input"].copy_(result) if in_place else result

    def module_of(self, kind: type[nn.Module], settings: dict[str, Any]) -> nn.Module:
        """The module that computes this call."""
        raise NotImplementedError


class _Record(_Calls):
    """Makes a module for each call, with its settings."""

    def module_of(self, kind: type[nn.Module], settings: dict[str, Any]) -> nn.Module:
        self.modules.append(kind(**settings))
        return self.modules[-1]


class _Replay(_Calls):
    """Uses the modules that were made, in the order of the calls; refuses any other call."""

    def module_of(self, kind: type[nn.Module], settings: dict[str, Any]) -> nn.Module:
        if self.count == len(self.modules) or type(self.modules[self.count]) is not kind:
            raise ValueError(
                f"f calls {kind.__name__} as its activation number {self.count + 1}, which it did not when it was "
                "given other rows; an activation can be followed where all rows take the same way"
            )
        return self.modules[self.count]
