"""Layer-wise relevance propagation: the relevance of a network's output, handed down to its input layer by layer."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, fx, nn

from shapnotes._runtime.tracing import Untraceable, all_are_hooked, as_its_class, traced
from shapnotes.exact import shapley_values
from shapnotes.game import Game, GapError
from shapnotes.nn import functional as F
from shapnotes.sampling import sample_shapley_values

CANCELLED = 1e-12  # of the terms' size: a sum that is smaller has at most four digits left
CONSERVED = 1e-7  # of a layer's relevance: what rounding may lose before it is called a gap


class Relevances(list[Tensor]):
    """A list of relevances, one a layer, from the input's to the output's.

    names    : of each entry, the layer whose output it belongs to; the first is "input"
    totals   : [layers, batch], each entry's sum, in float64. In a chain of layers all rows agree when eps = 0, which is
               what conservation says. Where a network branches, an entry holds what runs through its branch alone; the
               first and the last row still agree
    absorbed : [batch], what eps took from each input's relevance in all layers together; zero when eps is

    With several relevances at once, totals is [layers, batch, several] and absorbed [batch, several].
    """

    def __init__(self, relevances: Sequence[Tensor], names: list[str], totals: Tensor, absorbed: Tensor):
        super().__init__(relevances)
        self.names, self.totals, self.absorbed = names, totals, absorbed


def propagate(model: nn.Module, x: Tensor, relevance: Tensor, eps: float = 0.0) -> Relevances:
    """The relevance of every layer's outputs and of the input, given that of the model's output.

        r(x_k <- y) = (w_k x_k + b/n) / (sum_i w_i x_i + b) r(y),        r(x_k) = sum over y of r(x_k <- y)

    y is a neuron with n inputs x_i, weights w_i and bias b. The shares of a neuron sum to one, so the total relevance
    is the same in every layer. With eps > 0 the denominator d becomes d + eps sign(d), where sign(0) = 1; then each
    neuron absorbs the part eps / (|d| + eps) of its relevance.

    model     : a module in evaluation mode that `torch.fx` can trace, made of the layers below. Arguments of its
                forward that have a default have it. While it traces, `torch.fx` patches the modules of the whole
                process: other threads may go on using theirs, but should not trace (compile, export) meanwhile
    x         : [batch, *features]
    relevance : [batch, *outputs], shaped like model(x); or [batch, *outputs, several], each relevance along the last
                axis propagated by itself (one a class, say: `softmax_relevance`)
    eps       : not negative

    Returns a list, [input relevance, ..., output relevance]: one entry for the input and one for the output of each
    layer, in the order of computation, shaped like what they belong to (with `several` last if given), on x's device
    and in x's dtype; no gradients flow. For an nn.Sequential, entry i is the relevance of the input of layer i. The
    list also says names, totals and what eps absorbed; see `Relevances`.

    Layers, and what the formula becomes for them:

    - Linear, and Conv2d with all its arguments; a convolution's neuron has the inputs of its patch. Zeros added as
      padding are no inputs: n counts what lies inside the image, so that no share of the bias leaks away. Padding that
      repeats the image (reflect, replicate, circular) does count, and returns its share to what it repeats.
    - ReLU: unchanged. The factor Phi of the closed form cancels, so a linear layer has one rule with and without ReLU;
      relevance that arrives at a neuron that is off passes through it too. For the same reason the subclasses of
      Linear and Conv2d in `shapnotes.nn`, which hold their activation, have the rule of the layer that they extend.
    - Sums of two layers (+, torch.add): neurons with weights 1 and b = 0. AvgPool2d, AdaptiveAvgPool2d: equal weights.
    - MaxPool2d: all to the largest entry of a window; ties share equally.
    - BatchNorm1d, BatchNorm2d: right after a Linear or Conv2d, which nobody else reads, they are part of its weights
      and bias, as in a network prepared for inference. Elsewhere they have one input each, which gets everything.
    - Flatten, view, reshape; Identity and dropout (which does nothing here): unchanged.

    A neuron whose terms and bias are all zero has 0/0 as share. With eps = 0 its inputs share equally, 1/n each: the
    limit b -> 0. With eps > 0 it absorbs everything, as the formula says.

    Raises TypeError for a layer without a rule, by its name. Raises `GapError` if conservation breaks with eps = 0:
    non-zero relevance arrives at a neuron whose terms cancel to less than 1e-12 of their size (their shares would be
    rounding, or infinite), or which sees nothing but padding. With eps > 0 that relevance is in `absorbed`. Terms that
    cancel less far conserve the total, by shares that are large and of both signs; some eps is wise for those as well.

    Computed in float64 from the model's own activations. Cost: per linear layer three forward and, for each of
    `several`, two backward passes; memory for all activations, and for `several` relevances a layer.

    Source: Li and Cui, equation 2 (after Bach et al., 2015, who have no b/n). The rules for sums, pooling and
    normalisation are ours. It is exact for one linear layer; through more layers it treats neurons as independent
    players, and is an approximation that can be wrong by any amount (the paper's footnote 1).
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, whose layers can be followed; got {type(model).__name__}")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not (isfinite(eps) and eps >= 0):
        raise ValueError(f"eps must be a finite number, 0 or larger; got {eps!r}")
    game = Game(model, x)
    # Inference mode is left because shares are computed by automatic differentiation, layer by layer.
    with torch.inference_mode(False), torch.no_grad():
        prediction = game(x.clone())
        several = _checked_relevance(relevance, prediction)
        layers = _layers(model)
        _run(layers, x, prediction)
        return _hand_down(layers, several, eps, relevance.dim() > prediction.dim(), x.dtype)


# --- the relevance of the output layer -----------------------------------------------------------------------------


def linear_relevance(output: Tensor) -> Tensor:
    """The relevance of a linear output layer: each output is its own, r(y_j) = y_j for output j and 0 for the others.

    output : [batch, out]. Returns [batch, out, out]: entry (j, c) is the relevance of output j for output c. Give it to
    `propagate` as it is for all outputs together, or `[..., c]` for one. Cost: that of the copy.

    Source: Li and Cui, section 2.1.
    """
    _check_outputs("output", output)
    return torch.diag_embed(output)


def relu_relevance(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The relevance of an output layer y = max(W x + b, 0) in closed form, its Shapley Activation.

        r(y_j) = sum_k alpha_jk = Phi((mu + b) / sigma) (W x + b)_j

    with mu, sigma and alpha as in `shapnotes.nn.functional.relu_shapley_values`. Propagated through that layer it
    becomes alpha_jk: what equation 2 does to it is to divide by W x + b and to multiply by w_k x_k + b/n. (Not where
    W x + b = 0: there it is zero, and what is left of the alpha_jk is their sum.)

    x [batch, in], what the layer is given; weight [out, in]; bias [out] or None. Returns [batch, out, out], to be used
    as in `linear_relevance`. Cost: O(batch out in).

    Source: Li and Cui, equation 1 and section 2.1.
    """
    return torch.diag_embed(F.relu_shapley_values(x, weight, bias).sum(-1))


def softmax_relevance(
    logits: Tensor,
    permutations: int | None = 1000,
    generator: torch.Generator | None = None,
    baseline: Tensor | float | None = None,
    *,
    progress: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The relevance of the logits below a softmax, their Shapley values in its outputs, with standard errors.

        r(z_j) for class c = Shapley value of player j in v(S) = softmax(z_S, baseline_{N - S})_c

    Absent means a logit of 0, as absent means an input of 0 for every other neuron of the paper. The paper does not say
    so, and softmax itself does not single out 0: logits that are all larger by the same number give the same
    probabilities and other relevances. `baseline` takes another choice.

    logits       : [batch, classes], the output of `model`, which must end before its softmax
    permutations : how many random orders an input, as in `shapnotes.sample_shapley_values`; None for exact values, by
                   2**classes evaluations, which are fewer than those of 1000 orders up to 13 classes
    generator    : a torch.Generator to draw the orders from
    progress     : True or False shows or hides a bar; None shows it for runs of more than ten seconds

    Returns (values, standard_errors), each [batch, classes, classes]: entry (j, c) belongs to logit j and class c. The
    errors are zero when exact. Over j the values sum to softmax(z)_c - softmax(baseline)_c. `propagate(model, x,
    values)` handles all classes together, `propagate(model, x, values[..., c])` class c alone.

    Cost: permutations * (classes - 1) evaluations of softmax an input.

    Source: Li and Cui, sections 2.1 and 3.2 (1000 paths).
    """
    _check_outputs("logits", logits)
    softmax = lambda z: torch.softmax(z, -1)  # noqa: E731
    if permutations is None:
        values = shapley_values(softmax, logits, baseline, progress=progress)
        return values, torch.zeros_like(values)
    return sample_shapley_values(
        softmax, logits, baseline, permutations=permutations, generator=generator, progress=progress
    )


def _check_outputs(name: str, y: Tensor) -> None:
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor [batch, out]; got {type(y).__name__}")
    if y.dim() != 2:
        raise ValueError(f"{name} must be [batch, out]; got shape {tuple(y.shape)}")


def _checked_relevance(relevance: Tensor, prediction: Tensor) -> Tensor:
    """[several, batch, *outputs] in float64; several is 1 if there is no such axis."""
    if not isinstance(relevance, Tensor) or not relevance.is_floating_point():
        kind = relevance.dtype if isinstance(relevance, Tensor) else type(relevance).__name__
        raise TypeError(f"relevance must be a floating-point tensor shaped like the model's output; got {kind}")
    if relevance.layout != torch.strided:
        raise TypeError(f"relevance must be dense; got the layout {relevance.layout} (use .to_dense())")
    shape = tuple(prediction.shape)
    if relevance.shape != shape and (relevance.shape[:-1] != shape or relevance.shape[-1] == 0):
        raise ValueError(
            f"relevance has shape {tuple(relevance.shape)}, but the model's output is {shape}; give one relevance an "
            f"output, or several along one more axis, [{', '.join(map(str, shape))}, several]"
        )
    if relevance.device != prediction.device:
        raise ValueError(f"relevance is on {relevance.device}, the model's output on {prediction.device}; move one")
    if not bool(torch.isfinite(relevance).all()):
        raise ValueError("relevance holds NaN or infinity; it must say how much each output contributes")
    return (relevance.movedim(-1, 0) if relevance.shape != shape else relevance[None]).double()


# --- from a model to its layers ------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Layer:
    """One step of the model's computation: what it is, whom it reads, and what it put out."""

    name: str
    node: fx.Node
    rule: Callable | None
    module: nn.Module | None = None
    reads: tuple["_Layer", ...] = ()  # those that relevance goes to
    normalised: nn.Module | None = None  # the batch normalisation that counts as part of this layer
    value: object = None

    def input(self) -> Tensor:
        return self.reads[0].value.double()


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, tuple(_MODULES))


def _layers(model: nn.Module) -> list[_Layer]:
    """The steps of the model in the order of computation, the input first; the last one is the output."""
    root = nn.Sequential(model) if _is_layer(model) or fx.Tracer().is_leaf_module(model, "") else model
    try:
        graph = traced(root, _is_layer)
    except Exception as error:
        why = f"torch.fx stopped at: {error}. Write its forward without branches that depend on values"
        why = str(error) if isinstance(error, Untraceable) else f"{why}, or as an nn.Sequential"
        raise TypeError(f"{type(model).__name__} cannot be followed layer by layer: {why}") from error
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)  # nobody reads it: a rule for it would never be used
    layers: dict[fx.Node, _Layer] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            layers[node] = _Layer("input", node, _unchanged)
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


def _layer(node: fx.Node, root: nn.Module, layers: dict[fx.Node, _Layer]) -> _Layer:
    arguments = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    reads = tuple(layers[a] for a in arguments if layers[a].rule is not None)
    if node.op == "call_module":
        module = root.get_submodule(node.target)
        rule = _rule_of(module)
        if rule is not None and len(reads) == 1:
            return _Layer(node.target, node, rule, module, reads)
        what = f"layer {node.target!r} ({type(module).__name__})"
    else:
        inside = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
        what = f"{node.op.removeprefix('call_')} {getattr(node.target, '__name__', node.target)!r}"
        what += f" in {inside[-1]!r}" if inside else " in forward"
        if _is_shape(node, layers):
            return _Layer(node.name, node, None)
        rule = _OPERATIONS.get(node.target)
        terms = 2 if rule is _sum else 1
        # A third argument of a sum would be its scale.
        if (
            rule is not None
            and len(reads) == terms
            and (rule is _unchanged or (len(node.args) == 2 and not node.kwargs))
        ):
            return _Layer(node.name, node, rule, None, reads)
    raise TypeError(
        f"no relevance rule for {what}. There are rules for {', '.join(kind.__name__ for kind in _MODULES)}; for sums "
        "of two layers, relu, flatten, view and reshape; and for the layers of shapnotes.nn. Replace it by these, or "
        "propagate through the part of the model above it"
    )


def _is_shape(node: fx.Node, layers: dict[fx.Node, _Layer]) -> bool:
    """Whether a node asks for a tensor's shape, as x.view(x.size(0), -1) does, or picks from one."""
    if node.op == "call_function" and node.target is operator.getitem:
        return layers[node.args[0]].rule is None
    return (node.op == "call_method" and node.target == "size") or (
        node.op == "call_function" and node.target is getattr and node.args[1] == "shape"
    )


def _rule_of(module: nn.Module) -> Callable | None:
    """The rule of a layer, if its class computes what the rule is for: a subclass with another forward may not."""
    for kind, rule in _MODULES.items():
        if isinstance(module, kind):
            ours = kind in (nn.Linear, nn.Conv2d) and type(module).__module__.startswith("shapnotes.nn.")
            plain = type(module).forward is kind.forward
            return rule if (plain or ours) and not getattr(module, "return_indices", False) else None
    return None


def _join_normalisation(layer: _Layer, layers: dict[fx.Node, _Layer]) -> None:
    users = [layers.get(user) for user in layer.node.users]
    if len(users) != 1 or users[0] is None or not isinstance(users[0].module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return
    # Layers of shapnotes.nn put out an activation: no linear map follows it.
    if layer.rule is _neuron and type(layer.module).forward in (nn.Linear.forward, nn.Conv2d.forward):
        layer.normalised = users[0].module


def _run(layers: list[_Layer], x: Tensor, prediction: Tensor) -> None:
    """Fill in what each step puts out, and make sure that it is what the model computes."""
    values: dict[fx.Node, object] = {}
    for layer in layers:
        if layer.node.op == "placeholder":
            layer.value = x
        else:
            # Steps may write into what they are given; what was put out is still needed.
            args, kwargs = fx.node.map_arg((layer.node.args, layer.node.kwargs), lambda node: _copy(values[node]))
            layer.value = _called(layer, args, kwargs)
        values[layer.node] = layer.value
        if layer.rule is not None:
            _check_value(layer, len(x))
    if not _same(layers[-1].value, prediction):
        raise ValueError(
            "the model's layers, run one by one, do not give the model's output. A hook on the model, or a layer that "
            "writes into a tensor which another one reads, cannot be followed; remove it"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal up to half of the digits: the same steps in another order of rounding."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=torch.finfo(b.dtype).eps ** 0.5)


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def _called(layer: _Layer, args: tuple, kwargs: dict) -> object:
    if layer.node.op == "call_function":
        return layer.node.target(*args, **kwargs)
    if layer.node.op == "call_method":
        return getattr(args[0], layer.node.target)(*args[1:], **kwargs)
    module = layer.module
    more = all_are_hooked() or not as_its_class(module)
    plain = type(module).forward(module, *map(_copy, args), **kwargs) if more else None
    value = module(*args, **kwargs)
    if more and not _same(plain, value):
        raise TypeError(
            f"layer {layer.name!r} has a hook or another forward, so that it puts out something else than "
            f"{type(module).__name__} does, which there is no relevance rule for; remove it"
        )
    return value


def _check_value(layer: _Layer, rows: int) -> None:
    value, module = layer.value, layer.module
    if value.dim() == 0 or value.shape[0] != rows:
        raise ValueError(f"{layer.name!r} puts out shape {tuple(value.shape)}; the first axis must stay the batch's")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{layer.name!r} puts out NaN or infinity at this x; there is no relevance to hand down")
    shapes = [tuple(part.value.shape) for part in layer.reads]
    if layer.rule is _sum and shapes[0] != shapes[1]:
        raise ValueError(f"{layer.name!r} adds shapes {shapes[0]} and {shapes[1]}; they must be equal")
    if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)) and len(shapes[0]) != 4:
        raise ValueError(f"{layer.name!r} is given shape {shapes[0]}; expected [batch, channels, height, width]")
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is None:
        raise ValueError(f"{layer.name!r} normalises by the batch, not by running statistics, which it must track")


# --- down through the layers ---------------------------------------------------------------------------------------

# Inside, relevances are [several, batch, *outputs]. A rule takes the relevance of a layer's output, and returns that of
# each tensor the layer reads and what eps absorbed.
Shares = tuple[list[Tensor], Tensor | float]


def _hand_down(layers: list[_Layer], relevance: Tensor, eps: float, axis: bool, dtype: torch.dtype) -> Relevances:
    found: dict[_Layer, Tensor] = {layers[-1]: relevance}
    layers = [layer for layer in layers if layer.rule is not None]
    absorbed = relevance.new_zeros(relevance.shape[:2])
    for layer in reversed(layers):
        r = found.setdefault(layer, relevance.new_zeros(len(relevance), *layer.value.shape))
        if not layer.reads:
            continue
        parts, lost = layer.rule(layer, r, eps)
        _check_conservation(layer, r, parts, lost)
        absorbed = absorbed + lost
        for read, part in zip(layer.reads, parts, strict=True):
            found[read] = found[read] + part if read in found else part
    last = lambda r: r.movedim(0, -1) if axis else r[0]  # noqa: E731
    return Relevances(
        [last(found[layer]).to(dtype) for layer in layers],
        [layer.name for layer in layers],
        torch.stack([last(_total(found[layer])) for layer in layers]),
        last(absorbed),
    )


def _check_conservation(layer: _Layer, r: Tensor, parts: list[Tensor], lost: Tensor | float) -> None:
    """Raise unless what a layer hands down is what it was given, less what eps absorbed."""
    gap = (_total(r) - lost - sum(_total(part) for part in parts)).abs()
    if not bool((gap <= CONSERVED * _total(r.abs())).all()):
        raise GapError(
            f"relevance is not conserved in {layer.name!r}: the gap is {gap.max():.3g} of {r.abs().sum():.3g}. Its "
            "neurons' terms all but cancel; use eps > 0, larger than it is, so that such neurons absorb their relevance"
        )


def _total(r: Tensor) -> Tensor:
    """Summed over all but several and batch."""
    return r.reshape(*r.shape[:2], -1).sum(2)


def _unchanged(layer: _Layer, r: Tensor, eps: float) -> Shares:
    return [r.reshape(len(r), *layer.reads[0].value.shape)], 0.0


def _neuron(layer: _Layer, r: Tensor, eps: float) -> Shares:
    module, x = layer.module, layer.input()
    convolves = isinstance(module, nn.Conv2d)
    weight = module.weight.double()
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.double()
    if layer.normalised is not None and (convolves or x.dim() == 2):
        scale, shift = _affine(layer.normalised)
        weight, bias = weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), bias * scale + shift
    if convolves:
        apply = lambda z, w: module._conv_forward(z, w, None)  # noqa: E731
        return _share(layer, apply, weight, bias[:, None, None], x, r, eps)
    return _share(layer, nn.functional.linear, weight, bias, x, r, eps)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Batch normalisation in evaluation mode is z scale + shift."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _average(layer: _Layer, r: Tensor, eps: float) -> Shares:
    x = layer.input()
    return _share(layer, lambda z, _: layer.module.forward(z), x.new_ones(()), x.new_zeros(()), x, r, eps)


def _sum(layer: _Layer, r: Tensor, eps: float) -> Shares:
    x = torch.stack([read.value.double() for read in layer.reads], 1)
    parts, lost = _share(layer, lambda z, _: z.sum(1), x.new_ones(()), x.new_zeros(()), x, r, eps)
    return list(parts[0].unbind(2)), lost


def _share(
    layer: _Layer,
    apply: Callable[[Tensor, Tensor], Tensor],
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    r: Tensor,
    eps: float,
) -> Shares:
    """Equation 2 for the neurons apply(x, weight) + bias, apply linear in both."""
    ones = torch.ones_like(weight)
    n = apply(torch.ones_like(x[:1]), ones)  # in an average a multiple of n, and so are the shares 1 below
    total = apply(x, weight) + bias
    size = apply(x.abs(), weight.abs()) + bias.abs()
    empty = (n == 0).expand_as(total)
    sign = torch.where(total < 0, -1.0, 1.0).to(total)
    if eps == 0:
        _refuse_vanishing(layer, r, empty | ((total.abs() <= CANCELLED * size) & (size > 0)))
    denominator = total + eps * sign
    share = torch.where(denominator == 0, 0.0, r / torch.where(denominator == 0, 1.0, denominator))
    equal = share * bias if eps else torch.where(size == 0, r, share * bias)
    equal = equal / torch.where(n == 0, 1.0, n)
    handed = x * _transposed(apply, weight, x, share)
    if bool(equal.any()):
        handed = handed + _transposed(apply, ones, x, equal)
    return [handed], _total(torch.where(empty, r, share * (eps * sign)))


def _refuse_vanishing(layer: _Layer, r: Tensor, vanishing: Tensor) -> None:
    stuck = vanishing & (r != 0)
    if bool(stuck.any()):
        inputs = torch.nonzero(_total(stuck).sum(0)).flatten().tolist()
        raise GapError(
            f"relevance is not conserved in {layer.name!r}: {int(stuck.any(0).sum())} of its neurons, whose terms "
            f"cancel to zero or which see padding only, are due relevance of up to {r[stuck].abs().max():.3g} "
            f"({r[stuck].abs().sum():.3g} in all) and have nobody to hand it to (inputs {inputs[:10]} of the batch). "
            "Use eps > 0, which absorbs it and says how much"
        )


def _transposed(apply: Callable[[Tensor, Tensor], Tensor], weight: Tensor, x: Tensor, share: Tensor) -> Tensor:
    """Each input's sum over neurons of weight times share: [several, *neurons] -> [several, *x]."""
    with torch.enable_grad():
        z = torch.zeros_like(x, requires_grad=True)
        y = apply(z, weight.detach())
    if torch.is_anomaly_enabled():  # which looks for NaN in each gradient, and cannot where several are one
        return torch.stack([torch.autograd.grad(y, z, one, retain_graph=True)[0] for one in share])
    return torch.autograd.grad(y, z, share, is_grads_batched=True)[0]


def _winners(layer: _Layer, r: Tensor, eps: float) -> Shares:
    x, pool = layer.input(), layer.module
    kernel, stride, padding, dilation = (
        (size, size) if isinstance(size, int) else tuple(size)
        for size in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    ends = [
        max(p, (out - 1) * s + d * (k - 1) + 1 - length - p)  # rounding up can look beyond the padding
        for out, s, d, k, length, p in zip(r.shape[-2:], stride, dilation, kernel, x.shape[-2:], padding, strict=True)
    ]
    # Where each entry of each window comes from: 1.. are the entries of the image, 0 is padding.
    places = torch.arange(1.0, x[0, 0].numel() + 1, dtype=x.dtype, device=x.device).reshape(1, 1, *x.shape[-2:])
    places = nn.functional.pad(places, (padding[1], ends[1], padding[0], ends[0]))
    places = nn.functional.unfold(places, kernel, dilation, stride=stride)[0].long()
    planes = nn.functional.pad(x.flatten(2), (1, 0), value=-torch.inf)
    windows = planes[:, :, places]
    largest = (windows == windows.amax(2, keepdim=True)).to(x)
    handed = r.flatten(3)[:, :, :, None] * (largest / largest.sum(2, keepdim=True))
    result = r.new_zeros(*r.shape[:3], planes.shape[2]).index_add_(3, places.flatten(), handed.flatten(3))
    return [result[..., 1:].reshape(len(r), *x.shape)], 0.0


_MODULES: dict[type[nn.Module], Callable] = {
    nn.Linear: _neuron,
    nn.Conv2d: _neuron,
    nn.MaxPool2d: _winners,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _average,
    nn.BatchNorm1d: _unchanged,
    nn.BatchNorm2d: _unchanged,
    nn.ReLU: _unchanged,
    nn.Flatten: _unchanged,
    nn.Identity: _unchanged,
    nn.Dropout: _unchanged,
    nn.Dropout1d: _unchanged,
    nn.Dropout2d: _unchanged,
}
_OPERATIONS: dict[object, Callable] = {
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], _sum),
    **dict.fromkeys([torch.relu, nn.functional.relu, "relu", "relu_"], _unchanged),
    **dict.fromkeys([torch.flatten, torch.reshape, "flatten", "view", "reshape"], _unchanged),
}
