"""A model in which every activation is a module of its own, however it is called: for tools that follow modules."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from shapnotes.game import Model

_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
# Each kind of module: the names of its settings, in the order in which its functions take them; and these functions,
# which a module calls as well.
KINDS = {
    nn.ReLU: ((), (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)),
    nn.Tanh: ((), (torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_)),
    nn.Sigmoid: ((), (torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_)),
    nn.LeakyReLU: (("negative_slope",), (F.leaky_relu, F.leaky_relu_)),
    nn.ELU: (("alpha",), (F.elu, F.elu_)),
    nn.Softplus: (("beta", "threshold"), (F.softplus,)),
    nn.MaxPool1d: (_POOL, (F.max_pool1d, torch.max_pool1d)),
    nn.MaxPool2d: (_POOL, (F.max_pool2d, torch.max_pool2d)),
    nn.MaxPool3d: (_POOL, (F.max_pool3d, torch.max_pool3d)),
}
_OF = {function: kind for kind, (_, functions) in KINDS.items() for function in functions}


class ActivationsAsModules(nn.Module):
    """A model's function, with a module for each call of an activation that it makes, and no other modules.

    A module that is called twice becomes two, a call of a function one, and none shares its input with another: hooks
    that are set on them see one call each, and the gradient of that call alone. The model itself is not touched, and
    no part of this one.

    f    : [rows, *features] -> [rows, *outputs], which makes the same calls whatever its rows hold
    rows : some rows; f is called with them once, to see which activations it calls
    """

    def __init__(self, f: Model, rows: Tensor):
        super().__init__()
        self.f = (f,)  # in a tuple, so that it is no part
        self.calls = nn.ModuleList()
        with torch.no_grad(), _Rerouted(self.calls, found=False):
            f(rows.clone())

    def forward(self, rows: Tensor) -> Tensor:
        with _Rerouted(self.calls, found=True):
            return self.f[0](rows.clone())


class _Rerouted(TorchFunctionMode):
    """Has modules answer calls of activations, one after the other; or finds which modules these are."""

    def __init__(self, modules: nn.ModuleList, found: bool):
        super().__init__()
        self.modules, self.found, self.made = modules, found, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = _OF.get(func)
        if kind is None:
            return func(*args, **kwargs)
        names, _ = KINDS[kind]
        given = dict(zip(("input", *names, "inplace"), args, strict=False)) | kwargs
        if not self.found:
            self.modules.append(kind(**{name: given[name] for name in names if name in given}))
        elif self.made == len(self.modules) or type(self.modules[self.made]) is not kind:
            raise ValueError(
                f"f calls {kind.__name__} as its activation number {self.made + 1}, which it did not when it was given "
                "other rows; an activation can be followed where all rows take the same way"
            )
        answer = self.modules[self.made](given["input"].clone())
        self.made += 1
        in_place = given.get("inplace") is True or getattr(func, "__name__", "").endswith("_")
        return given["input"].copy_(answer) if in_place else answer
