"""A module as a graph of the calls that its forward makes; and a copy of a module, whatever it holds."""

import inspect
import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module

_ONE_AT_A_TIME = threading.RLock()


def traced(model: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> fx.Graph:
    """The graph of a model's forward, in which leaves are calls of modules, and all else calls of functions.

    is_leaf : which modules are taken for what they are, beside those of torch.nn; others are looked into

    Arguments that have a default take it, and the graph has no input for them, nor for further ones (*args, **kwargs).
    A forward that replaces the class's on one instance is the one that is followed; a module that forward makes for
    itself, without parameters, is looked into.

    Raises `Untraceable`, or what a model raises that branches on values.

    While `torch.fx` follows a model, every module of the process runs through its patch of `nn.Module`. It is kept out
    of the way of other threads here, and of another trace; a trace in another thread that is not made here (by
    torch.compile or torch.export, say) it can disturb.
    """
    with _ONE_AT_A_TIME:
        return _Tracer(is_leaf).trace(model)


class Untraceable(TypeError):
    """Of a forward that no graph can hold; the message says why."""


class _Tracer(fx.Tracer):
    # A graph that is unpickled makes one by itself, without arguments.
    def __init__(self, is_leaf: Callable[[nn.Module], bool] = bool) -> None:
        super().__init__()
        self.is_leaf, self.thread = is_leaf, threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self.is_leaf(m) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: object = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        forward = self.root.forward  # the instance's own, where it has one
        inputs: list[Any] = []
        named: dict[str, int] = {}
        for name, parameter in inspect.signature(forward).parameters.items():
            if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                if not inputs:
                    raise Untraceable(f"its forward takes *{name}, any number of inputs; give them names")
                continue
            inputs.append(self.create_proxy("placeholder", name, (), {}))
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[name] = len(inputs) - 1

        def bound(*inputs: Any) -> Any:
            positional = [value for i, value in enumerate(inputs) if i not in named.values()]
            return forward(*positional, **{name: inputs[i] for name, i in named.items()})

        return bound, inputs

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        if m in (self.submodule_paths or {}):
            return super().call_module(m, forward, args, kwargs)
        if list(m.parameters()):
            raise Untraceable(
                f"its forward calls a {type(m).__name__} that is no part of it; make it once, in __init__"
            )
        return forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def as_its_class(module: nn.Module) -> bool:
    """Whether calling a module is calling its class's forward: it has no hook and no forward of its own.

    >>> as_its_class(nn.Linear(2, 2))
    True
    """
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return not (hooks or "forward" in vars(module))


def all_are_hooked() -> bool:
    """Whether there are hooks of all modules: of a profiler, say, that changes nothing, or of a tool that does."""
    return bool(torch_module._has_any_global_hook())


def all_are_hooked_backwards() -> bool:
    """Whether there are hooks of all modules on the backward pass, which the answers of a forward pass do not show."""
    return bool(torch_module._global_backward_hooks or torch_module._global_backward_pre_hooks)


def copied(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with a model.

    Tensors that modules keep as a result of others (the weight of a pruned layer, after a forward pass) are copied as
    numbers: the next forward pass makes them anew.

    Raises TypeError for a model that holds such tensors elsewhere, in a list say.
    """
    results = {id(v): v.detach().clone() for m in model.modules() for v in vars(m).values() if _is_result(v)}
    try:
        copy = deepcopy(model, results)
        for before, after in zip(model.modules(), copy.modules(), strict=True):
            if isinstance(before, fx.GraphModule):  # whose own way to be copied forgets them
                after.__dict__.update(
                    {k: deepcopy(v, results) for k, v in vars(before).items() if k.endswith("_hooks")}
                )
        return copy
    except RuntimeError as error:
        if "deepcopy protocol" not in str(error):
            raise
        raise TypeError(
            f"{type(model).__name__} cannot be copied: it keeps a tensor that belongs to a gradient's graph. Delete "
            "it, or detach it where it is kept"
        ) from error


def _is_result(value: object) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None
