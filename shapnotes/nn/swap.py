"""The swap of activations in whole models, which rewrites the graph of their forward."""

import warnings

import torch
from torch import fx, nn

from shapnotes._runtime.tracing import Untraceable, all_are_hooked, as_its_class, copied, traced
from shapnotes.nn.layers import SAConv2d, SALinear, ShapLUConv2d, ShapLULinear

# What computes W x + b under each name; "relu" is the plain layer, which is followed by a ReLU of its own.
KINDS: dict[str, tuple[type[nn.Linear], type[nn.Conv2d]]] = {
    "relu": (nn.Linear, nn.Conv2d),
    "sa": (SALinear, SAConv2d),
    "shaplu": (ShapLULinear, ShapLUConv2d),
}
RELU_FUNCTIONS = (torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_)
RELU_METHODS = ("relu", "relu_")

Modules = dict[str, nn.Module]  # by their path in the model


def swap_activations(model: nn.Module, to: str = "sa") -> fx.GraphModule:
    r"""A copy of a model in which linear layers and convolutions have another activation, with the same weights.

    .. math::
        \begin{aligned}
        \max(W x + b, 0) &\longleftrightarrow \mathrm{SA}(x; W, b) \\
        &\longleftrightarrow \mathrm{ShapLU}(x; W, b)
        \end{aligned}

    to="sa" or "shaplu" replaces each `nn.Linear` or `nn.Conv2d` together with the ReLU that follows it, be it a module
    (of its own or shared), a function or a method, and layers of the other kind; to="relu" puts the plain layer and a
    ReLU back. Going there and back gives the same outputs, bit by bit.

    A pair is swapped where the ReLU is the only one that uses what the layer computes, at each of the layer's calls.
    With a normalisation in between it is not: the activation needs the neuron's own terms, and folding the
    normalisation into them would hold in evaluation mode only. Put it after the activation, as Li and Cui do. A layer
    whose forward was replaced on the instance is left as it is, and so is a ReLU with a hook.

    While it traces, `torch.fx` patches the modules of the whole process: other threads may go on using theirs, but not
    this very model, and they should not trace (compile, export) others.

    Parameters
    ----------
    model : nn.Module
        Any module that `torch.fx` can trace: its forward must not branch on values, nor depend on train or eval other
        than through its layers (`nn.Dropout`, not `F.dropout(x, training=self.training)`).
    to : str
        "sa", "shaplu" or "relu".

    Returns
    -------
    torch.fx.GraphModule
        It shares nothing with `model`: the layers have the names they had, and with them their state_dict, hooks and
        training flags; what forward does not use is left out. Its forward takes the arguments that have no default;
        the others have theirs for good.

    Raises
    ------
    ValueError
        Where nothing can be swapped, with what there is.
    TypeError
        For a model that cannot be traced.

    Warns
    -----
    UserWarning
        Of each ReLU that is left, and of hooks of all modules that a ReLU module is taken away from.

    Cost
    ----
    A copy of the model, and two traces of its forward.
    """
    if to not in KINDS:
        raise ValueError(f'to must be "sa", "shaplu" or "relu"; got {to!r}')
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}")
    model = copied(model)
    graph = _trace(model)
    modules: Modules = dict(model.named_modules(remove_duplicate=False))
    swapped, unseen = 0, 0
    for path, calls in _calls_of_layers(graph, modules).items():
        layer = modules[path]
        if not isinstance(layer, nn.Linear | nn.Conv2d) or type(layer) in KINDS[to] or _has_own_forward(layer):
            continue
        if type(layer) in KINDS["relu"]:
            relus = [relu for call in calls if (relu := _only_relu(call, modules)) is not None]
            if len(relus) < len(calls):
                continue
            for call, relu in zip(calls, relus, strict=True):
                relu.replace_all_uses_with(call)
                unseen += _called(relu, modules) is not None
                graph.erase_node(relu)
        elif to == "relu":
            for call in calls:
                _put_relu_after(call, graph)
        model.set_submodule(path, _as_kind(layer, to))
        swapped += len(calls)
    left = [node for node in graph.nodes if _is_relu(node, modules)] if to != "relu" else []
    if not swapped:
        raise ValueError(f"nothing to swap for {to!r}: {_inventory(graph, modules, left)}")
    if left:
        warnings.warn(f"left as they are: {_described(left, modules)}", stacklevel=2)
    if unseen and all_are_hooked():
        warnings.warn(
            f"there are hooks of all modules, which do not see the {unseen} ReLUs that were taken away: where they "
            "change answers, this model's are others",
            stacklevel=2,
        )
    graph.lint()
    result = fx.GraphModule(model, graph, class_name=type(model).__name__)
    result.__dict__.update({name: value for name, value in vars(model).items() if name.endswith("_hooks")})
    return result


def _is_of_a_kind(module: nn.Module) -> bool:
    """Taken for what it is, not for the arithmetic inside."""
    return any(isinstance(module, kind) for kinds in KINDS.values() for kind in kinds)


def _has_own_forward(module: nn.Module) -> bool:
    """Whether its forward was replaced on the instance."""
    return "forward" in vars(module)


def _trace(model: nn.Module) -> fx.Graph:
    """The model's graph, refused if it is another one with every training flag turned over."""
    graphs = []
    try:
        for _ in range(2):
            graphs.append(traced(model, _is_of_a_kind))
            for module in model.modules():
                module.training = not module.training
    except Exception as error:
        why = f"{type(error).__name__}: {error}; its forward must not branch on values"
        why = str(error) if isinstance(error, Untraceable) else why
        replaced = [name or "its own" for name, m in model.named_modules() if _has_own_forward(m)]
        if isinstance(error, Untraceable) and replaced:
            why = (
                f"a forward was replaced on the instance, {replaced[0]}, by a function that calls the layers of the "
                "original and not those of a copy; write it as a method of a class"
            )
        raise TypeError(
            f"{type(model).__name__} cannot be traced by torch.fx ({why}). Or use layers of shapnotes.nn in its code"
        ) from error
    if len({graph.python_code("self").src for graph in graphs}) > 1:
        raise TypeError(
            f"{type(model).__name__}.forward computes something else in training than in evaluation, which a traced "
            "copy could not; use modules such as nn.Dropout in place of functions that are given self.training"
        )
    return graphs[0]


def _called(node: fx.Node, modules: Modules) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return modules[str(node.target)] if node.op == "call_module" else None


def _calls_of_layers(graph: fx.Graph, modules: Modules) -> dict[str, list[fx.Node]]:
    """The calls of each linear layer and convolution, by its path."""
    kinds = {kind for pair in KINDS.values() for kind in pair}
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if type(_called(node, modules)) in kinds:
            calls.setdefault(str(node.target), []).append(node)
    return calls


def _is_relu(node: fx.Node, modules: Modules) -> bool:
    """A module, a function or a method."""
    return (
        type(_called(node, modules)) is nn.ReLU
        or (node.op == "call_function" and node.target in RELU_FUNCTIONS)
        or (node.op == "call_method" and node.target in RELU_METHODS)
    )


def _has_hook(relu: fx.Node, modules: Modules) -> bool:
    """Or another forward; either would be gone with its module."""
    module = _called(relu, modules)
    return module is not None and not as_its_class(module)


def _only_relu(call: fx.Node, modules: Modules) -> fx.Node | None:
    """The ReLU that follows a call of a layer, where nothing else does and it may be taken away."""
    users = list(call.users)
    if len(users) == 1 and _is_relu(users[0], modules) and not _has_hook(users[0], modules):
        return users[0]
    return None


def _put_relu_after(call: fx.Node, graph: fx.Graph) -> None:
    """Between a call and all that use it."""
    with graph.inserting_after(call):
        relu = graph.call_function(torch.relu, (call,))

    def is_another(user: fx.Node) -> bool:
        return user is not relu

    call.replace_all_uses_with(relu, delete_user_cb=is_another)


def _as_kind(layer: nn.Linear | nn.Conv2d, to: str) -> nn.Module:
    """The same parameters, hooks and settings in a layer of another class."""
    kind = KINDS[to][isinstance(layer, nn.Conv2d)]
    swapped = kind.__new__(kind)
    swapped.__dict__.update(layer.__dict__)
    if to != "shaplu":
        swapped.__dict__.pop("full_gradient", None)
    return swapped


def _described(relus: list[fx.Node], modules: Modules) -> str:
    """Each ReLU and what it is applied to."""
    parts = []
    for relu in relus:
        before = relu.all_input_nodes[0]
        layer = _called(before, modules)
        kind = f" ({_named(layer)})" if layer is not None else ""
        hooked = " (with a hook or another forward)" if _has_hook(relu, modules) else ""
        parts.append(f"{relu.name}{hooked} after {before.name}{kind}")
    return ", ".join(parts)


def _named(layer: nn.Module) -> str:
    """A layer's class, and whether it computes something else."""
    return f"{type(layer).__name__}{' whose forward was replaced' if _has_own_forward(layer) else ''}"


def _inventory(graph: fx.Graph, modules: Modules, left: list[fx.Node]) -> str:
    """What there is to swap, for an error."""
    layers = [f"{path} ({_named(modules[path])})" for path in _calls_of_layers(graph, modules)]
    text = f"found {', '.join(layers) or 'no nn.Linear or nn.Conv2d'}"
    if left:
        text += f" and the ReLUs {_described(left, modules)}; a ReLU must follow its layer directly, and alone"
    return text
