"""Linear layers and convolutions with a Shapley Activation or a ShapLU built in, and their swap in whole models."""

import warnings

import torch
from torch import Tensor, fx, nn

from shapnotes._runtime.tracing import Untraceable, as_its_class, copied, traced
from shapnotes.nn import functional


class SALinear(nn.Linear):
    """`nn.Linear` and a Shapley Activation in one: Phi((mu + b) / sigma) (W x + b) in place of max(W x + b, 0).

    Constructor, parameters, initialisation and state_dict are those of `nn.Linear`. [..., in] -> [..., out]. See
    `shapnotes.nn.functional.shapley_activation` for the formula, its limits and its cost.

    Source: Li and Cui, equation 5.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.shapley_activation(x, self.weight, self.bias)


class SAConv2d(nn.Conv2d):
    """`nn.Conv2d` and a Shapley Activation in one; a neuron's inputs are the pixels of its patch.

    Constructor, parameters, initialisation and state_dict are those of `nn.Conv2d`. Padded pixels are inputs like
    others, with the value padding_mode gives them. See `shapnotes.nn.functional.shapley_activation_conv2d`.

    Source: Li and Cui, equation 5 and section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.shapley_activation_conv2d(*_convolution(self, x))


class ShapLULinear(nn.Linear):
    """`nn.Linear` and a ReLU in one, trained by the Shapley gradient instead of the derivative.

    Constructor as `nn.Linear` and full_gradient (False drops the terms the paper drops in its runs); parameters,
    initialisation and state_dict are those of `nn.Linear`. [..., in] -> [..., out]. See
    `shapnotes.nn.functional.shaplu`.

    Source: Li and Cui, equations 3 and 4.
    """

    full_gradient = False

    def __init__(self, *args, full_gradient: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.full_gradient = full_gradient

    def forward(self, x: Tensor) -> Tensor:
        return functional.shaplu(x, self.weight, self.bias, self.full_gradient)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, full_gradient={self.full_gradient}"


class ShapLUConv2d(nn.Conv2d):
    """`nn.Conv2d` and a ReLU in one, trained by the Shapley gradient instead of the derivative.

    Constructor as `nn.Conv2d` and full_gradient (False drops the terms the paper drops in its runs); parameters,
    initialisation and state_dict are those of `nn.Conv2d`. See `shapnotes.nn.functional.shaplu_conv2d`.

    Source: Li and Cui, equations 3 and 4.
    """

    full_gradient = False

    def __init__(self, *args, full_gradient: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.full_gradient = full_gradient

    def forward(self, x: Tensor) -> Tensor:
        return functional.shaplu_conv2d(*_convolution(self, x), self.full_gradient)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, full_gradient={self.full_gradient}"


def _convolution(layer: nn.Conv2d, x: Tensor) -> tuple:
    """The arguments of a convolution; x is padded by anything but zeros before, as `nn.Conv2d` does it."""
    padding = layer.padding
    if layer.padding_mode != "zeros":
        x, padding = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), 0
    return x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups


# What computes W x + b under each name; "relu" is the plain layer, which is followed by a ReLU of its own.
KINDS = {
    "relu": (nn.Linear, nn.Conv2d),
    "sa": (SALinear, SAConv2d),
    "shaplu": (ShapLULinear, ShapLUConv2d),
}
RELU_FUNCTIONS = (torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_)
RELU_METHODS = ("relu", "relu_")


def swap_activations(model: nn.Module, to: str = "sa") -> fx.GraphModule:
    """A copy of a model in which linear layers and convolutions have another activation, with the same weights.

    to="sa" or "shaplu" replaces each `nn.Linear` or `nn.Conv2d` together with the ReLU that follows it, be it a module
    (of its own or shared), a function or a method, and layers of the other kind; to="relu" puts the plain layer and a
    ReLU back. Going there and back gives the same outputs, bit by bit.

    A pair is swapped where the ReLU is the only one that uses what the layer computes, at each of the layer's calls.
    With a normalisation in between it is not: the activation needs the neuron's own terms, and folding the
    normalisation into them would hold in evaluation mode only. Put it after the activation, as Li and Cui do.

    A layer whose forward was replaced on the instance is left as it is, and so is a ReLU with a hook.

    model : any module that `torch.fx` can trace: its forward must not branch on values, nor depend on train or eval
            other than through its layers (`nn.Dropout`, not `F.dropout(x, training=self.training)`)
    to    : "sa", "shaplu" or "relu"

    Returns a `torch.fx.GraphModule` that shares nothing with `model`: the layers have the names they had, and with them
    their state_dict, hooks and training flags; what forward does not use is left out. Its forward takes the arguments
    that have no default; the others have theirs for good. Warns of each ReLU that is left.

    Raises ValueError where nothing can be swapped, saying what was found, and TypeError for a model that cannot be
    traced. While it traces, `torch.fx` patches the modules of the whole process: other threads may go on using theirs,
    but not this very model, and they should not trace (compile, export) others.
    """
    if to not in KINDS:
        raise ValueError(f'to must be "sa", "shaplu" or "relu"; got {to!r}')
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}")
    model = copied(model)
    graph = _trace(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    swapped = 0
    for target, calls in _calls_of_layers(graph, modules).items():
        layer = modules[target]
        if type(layer) in KINDS[to] or _replaced(layer):
            continue
        if type(layer) in KINDS["relu"]:
            relus = [_only_relu(call, modules) for call in calls]
            if None in relus:
                continue
            for call, relu in zip(calls, relus, strict=True):
                relu.replace_all_uses_with(call)
                graph.erase_node(relu)
        elif to == "relu":
            for call in calls:
                with graph.inserting_after(call):
                    relu = graph.call_function(torch.relu, (call,))
                call.replace_all_uses_with(relu, delete_user_cb=lambda user, relu=relu: user is not relu)
        model.set_submodule(target, _as_kind(layer, to))
        swapped += len(calls)
    left = [node for node in graph.nodes if _is_relu(node, modules)] if to != "relu" else []
    if not swapped:
        raise ValueError(f"nothing to swap for {to!r}: {_inventory(graph, modules, left)}")
    if left:
        warnings.warn(f"left as they are: {_described(left, modules)}", stacklevel=2)
    graph.lint()
    result = fx.GraphModule(model, graph, class_name=type(model).__name__)
    result.__dict__.update({name: value for name, value in vars(model).items() if name.endswith("_hooks")})
    return result


def _is_ours(module: nn.Module) -> bool:
    """Taken for what it is, not for the arithmetic inside."""
    return any(isinstance(module, kind) for kinds in KINDS.values() for kind in kinds)


def _replaced(module: nn.Module) -> bool:
    return "forward" in vars(module)


def _trace(model: nn.Module) -> fx.Graph:
    """The model's graph, refused if it is another one with every training flag turned over."""
    graphs = []
    try:
        for _ in range(2):
            graphs.append(traced(model, _is_ours))
            for module in model.modules():
                module.training = not module.training
    except Exception as error:
        why = f"{type(error).__name__}: {error}; its forward must not branch on values"
        why = str(error) if isinstance(error, Untraceable) else why
        raise TypeError(
            f"{type(model).__name__} cannot be traced by torch.fx ({why}). Or use layers of shapnotes.nn in its code"
        ) from error
    if len({graph.python_code("self").src for graph in graphs}) > 1:
        raise TypeError(
            f"{type(model).__name__}.forward computes something else in training than in evaluation, which a traced "
            "copy could not; use modules such as nn.Dropout in place of functions that are given self.training"
        )
    return graphs[0]


def _calls_of_layers(graph: fx.Graph, modules: dict[str, nn.Module]) -> dict[str, list[fx.Node]]:
    kinds = {kind for pair in KINDS.values() for kind in pair}
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and type(modules[node.target]) in kinds:
            calls.setdefault(node.target, []).append(node)
    return calls


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    return (
        (node.op == "call_module" and type(modules[node.target]) is nn.ReLU)
        or (node.op == "call_function" and node.target in RELU_FUNCTIONS)
        or (node.op == "call_method" and node.target in RELU_METHODS)
    )


def _only_relu(call: fx.Node, modules: dict[str, nn.Module]) -> fx.Node | None:
    users = list(call.users)
    if len(users) == 1 and _is_relu(users[0], modules):
        # A hook would be gone with its module.
        return None if users[0].op == "call_module" and not as_its_class(modules[users[0].target]) else users[0]
    return None


def _as_kind(layer: nn.Module, to: str) -> nn.Module:
    """The same parameters, hooks and settings in a layer of another class."""
    kind = KINDS[to][isinstance(layer, nn.Conv2d)]
    swapped = kind.__new__(kind)
    swapped.__dict__.update(layer.__dict__)
    if to != "shaplu":
        swapped.__dict__.pop("full_gradient", None)
    return swapped


def _described(relus: list[fx.Node], modules: dict[str, nn.Module]) -> str:
    """Each ReLU and what it is applied to."""
    parts = []
    for relu in relus:
        before = relu.all_input_nodes[0]
        kind = f" ({_named(modules[before.target])})" if before.op == "call_module" else ""
        hooked = relu.op == "call_module" and not as_its_class(modules[relu.target])
        parts.append(f"{relu.name}{' (with a hook or another forward)' if hooked else ''} after {before.name}{kind}")
    return ", ".join(parts)


def _named(layer: nn.Module) -> str:
    return f"{type(layer).__name__}{' whose forward was replaced' if _replaced(layer) else ''}"


def _inventory(graph: fx.Graph, modules: dict[str, nn.Module], left: list[fx.Node]) -> str:
    layers = [f"{target} ({_named(modules[target])})" for target in _calls_of_layers(graph, modules)]
    found = f"found {', '.join(layers) or 'no nn.Linear or nn.Conv2d'}"
    if left:
        found += f" and the ReLUs {_described(left, modules)}; a ReLU must follow its layer directly, and alone"
    return found
