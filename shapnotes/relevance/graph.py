"""From a model to its layers, in the order of computation, and one run of them that is checked against the model."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from shapnotes._runtime.tracing import Untraceable, all_are_hooked, as_its_class, traced
from shapnotes.relevance.layer import Layer, Rule
from shapnotes.relevance.rules import MODULE_RULES, OPERATION_RULES, rule_of_module, sum_of_two, unchanged

Value = Tensor | torch.Size | int  # what a step of a model may put out: activations, or their shape


def layers_of(model: nn.Module) -> list[Layer]:
    """The steps of a model in the order of computation, the input first; the last one is the output."""
    root = nn.Sequential(model) if _is_of_a_kind(model) or fx.Tracer().is_leaf_module(model, "") else model
    try:
        graph = traced(root, _is_of_a_kind)
    except Exception as error:
        why = f"torch.fx stopped at: {error}. Write its forward without branches that depend on values"
        why = str(error) if isinstance(error, Untraceable) else f"{why}, or as an nn.Sequential"
        raise TypeError(f"{type(model).__name__} cannot be followed layer by layer: {why}") from error
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)  # no layer reads it: a rule for it would never be used
    layers: dict[fx.Node, Layer] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            layers[node] = Layer("input", node, unchanged)
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise TypeError(f"{type(model).__name__} returns several results; relevance starts from one tensor")
            last = layers[node.args[0]]
        else:
            layers[node] = _layer(node, root, layers)
    for layer in layers.values():
        _join_normalisation(layer, layers)
    order = list(layers.values())
    return order[: order.index(last) + 1]


def run(layers: list[Layer], x: Tensor, prediction: Tensor) -> None:
    """Fill in what each layer puts out for x, and make sure that the last is what the model computes."""
    values: dict[fx.Node, Value] = {}
    for layer in layers:
        value = x if layer.node.op == "placeholder" else _computed(layer, values)
        values[layer.node] = value
        if layer.rule is not None:
            layer.output = _checked_output(layer, value, len(x))
    if not _agree(layers[-1].output, prediction):
        raise ValueError(
            "the model's layers, run one by one, do not give the model's output. A hook on the model, or a layer that "
            "writes into a tensor which another one reads, cannot be followed; remove it"
        )


# --- what a node of the graph is -----------------------------------------------------------------------------------


def _is_of_a_kind(module: nn.Module) -> bool:
    """Whether there is a rule for modules of this kind; then its forward is not looked into."""
    return isinstance(module, tuple(MODULE_RULES))


def _layer(node: fx.Node, root: nn.Module, layers: Mapping[fx.Node, Layer]) -> Layer:
    """The layer of a node, or a refusal where there is no rule."""
    arguments = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    reads = tuple(layers[a] for a in arguments if layers[a].rule is not None)
    module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
    if module is not None:
        rule = rule_of_module(module)
        if rule is not None and len(reads) == 1:
            return Layer(str(node.target), node, rule, module, reads)
    elif _is_shape(node, layers):
        return Layer(node.name, node, None)
    else:
        rule = _rule_of_operation(node, len(reads))
        if rule is not None:
            return Layer(node.name, node, rule, None, reads)
    raise TypeError(
        f"no relevance rule for {_described(node, module)}. There are rules for "
        f"{', '.join(kind.__name__ for kind in MODULE_RULES)}; for sums of two layers, relu, flatten, view and "
        "reshape; and for the layers of shapnotes.nn. Replace it by these, or propagate through the part of the model "
        "above it"
    )


def _described(node: fx.Node, module: nn.Module | None) -> str:
    """A layer or an operation, and where in the model it is."""
    if module is not None:
        return f"layer {node.target!r} ({type(module).__name__})"
    stack: Mapping[str, tuple[str, object]] = node.meta.get("nn_module_stack", {})
    inside = [path for path, _ in stack.values() if path]
    where = f"in {inside[-1]!r}" if inside else "in forward"
    return f"{node.op.removeprefix('call_')} {getattr(node.target, '__name__', node.target)!r} {where}"


def _rule_of_operation(node: fx.Node, reads: int) -> Rule | None:
    """The rule of an operation that reads so many layers, if there is one for how it is called."""
    rule = OPERATION_RULES.get(node.target)
    if rule is sum_of_two:
        only_terms = len(node.args) == 2 and not node.kwargs  # a third argument would be a scale
        return rule if reads == 2 and only_terms else None
    return rule if reads == 1 else None


def _is_shape(node: fx.Node, layers: Mapping[fx.Node, Layer]) -> bool:
    """Whether a node asks for a tensor's shape, as x.view(x.size(0), -1) does, or picks from one."""
    if node.op == "call_function" and node.target is operator.getitem:
        return layers[cast(fx.Node, node.args[0])].rule is None
    return (node.op == "call_method" and node.target == "size") or (
        node.op == "call_function" and node.target is getattr and node.args[1] == "shape"
    )


def _join_normalisation(layer: Layer, layers: Mapping[fx.Node, Layer]) -> None:
    """Let a linear layer know of the batch normalisation right behind it, where no other layer reads it."""
    readers = [layers.get(user) for user in layer.node.users]
    norm = readers[0].module if len(readers) == 1 and readers[0] is not None else None
    # Layers of shapnotes.nn put out an activation: no linear map follows it.
    linear = layer.module is not None and type(layer.module).forward in (nn.Linear.forward, nn.Conv2d.forward)
    if linear and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        layer.normalisation = norm


# --- one run -------------------------------------------------------------------------------------------------------


def _computed(layer: Layer, values: Mapping[fx.Node, Value]) -> Value:
    """What a layer puts out for what was put out before it."""
    node = layer.node
    # Layers may write into what they are given; what was put out is still needed.
    arguments = fx.node.map_arg((node.args, node.kwargs), lambda argument: cast(Tensor, _copy(values[argument])))
    args, kwargs = cast(tuple[tuple[Tensor, ...], dict[str, Any]], arguments)
    if layer.module is not None:
        return _computed_by_module(layer.name, layer.module, args, kwargs)
    if node.op == "call_method":
        return cast(Value, getattr(args[0], str(node.target))(*args[1:], **kwargs))
    return cast(Value, cast(Callable[..., object], node.target)(*args, **kwargs))


def _computed_by_module(name: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Tensor:
    """With the module's hooks, which must not change what its class computes."""
    if not all_are_hooked() and as_its_class(module):
        return cast(Tensor, module(*args, **kwargs))
    plain: Tensor = type(module).forward(module, *map(_copy, args), **kwargs)
    hooked: Tensor = module(*args, **kwargs)
    if not _agree(plain, hooked):
        raise TypeError(
            f"layer {name!r} has a hook or another forward, so that it puts out something else than "
            f"{type(module).__name__} does, which there is no relevance rule for; remove it"
        )
    return hooked


def _copy(value: Value) -> Value:
    """Of a tensor; shapes and numbers cannot be written into."""
    return value.clone() if isinstance(value, Tensor) else value


def _agree(a: Tensor, b: Tensor) -> bool:
    """Equal up to half of the digits: the same steps in another order of rounding."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=torch.finfo(b.dtype).eps ** 0.5)


def _checked_output(layer: Layer, value: Value, rows: int) -> Tensor:
    """[batch, *outputs], or a refusal of what no rule can read."""
    module = layer.module
    assert isinstance(value, Tensor)
    if value.dim() == 0 or value.shape[0] != rows:
        raise ValueError(f"{layer.name!r} puts out shape {tuple(value.shape)}; the first axis must stay the batch's")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{layer.name!r} puts out NaN or infinity at this x; there is no relevance to hand down")
    shapes = [tuple(read.output.shape) for read in layer.reads]
    if layer.rule is sum_of_two and shapes[0] != shapes[1]:
        raise ValueError(f"{layer.name!r} adds shapes {shapes[0]} and {shapes[1]}; they must be equal")
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d) and len(shapes[0]) != 4:
        raise ValueError(f"{layer.name!r} is given shape {shapes[0]}; expected [batch, channels, height, width]")
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is None:
        raise ValueError(f"{layer.name!r} normalises by the batch, not by running statistics, which it must track")
    return value
