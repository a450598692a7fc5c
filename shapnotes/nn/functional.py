"""A ReLU neuron: the Shapley values of its inputs, in closed form and exactly, and the activations made of them."""

from collections.abc import Callable
from functools import partial
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

from shapnotes.exact import shapley_values

SATURATED = 40.0  # standard deviations; Phi and its density are 0 or 1 beyond, in double precision too


def relu_shapley_values(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The analytical approximation of the Shapley values of the inputs of y = max(W x + b, 0), for every neuron.

        alpha_k = Phi((mu + b) / sigma) (w_k x_k + b / n)
        mu      = 1/2 sum_i w_i x_i
        sigma^2 = 1/6 sum_i (w_i x_i)^2 + 1/12 (sum_i w_i x_i)^2

    Phi is the standard normal distribution function; mu and sigma are mean and standard deviation of the sum of the
    w_i x_i that come first in a random order, their number uniform on 0..n. "Absent" means x_i = 0. The approximation
    is one of a normal law for that sum; it shares the bias equally among the inputs, so the values of a neuron sum to
    its Shapley Activation Phi((mu + b) / sigma) (W x + b), not to its output. `exact_relu_shapley_values` has the
    exact ones.

    x      : [batch, in]
    weight : [out, in]
    bias   : [out] or None (zero)

    Returns [batch, out, in]. Where sigma is zero (every w_i x_i is), the limit: max(b, 0) / n each. Cost:
    O(batch out in) time and memory.

    Source: Li and Cui, equation 1. Our `weight`, `bias` are their w and b; their y is the output of one neuron.
    """
    _check_layer(x, weight, bias)
    n = weight.shape[1]
    terms = x[:, None, :] * weight
    b = x.new_zeros(()) if bias is None else bias[:, None]
    # Measured in units of the largest term, so that squares neither overflow nor vanish.
    unit = terms.detach().abs().amax(-1, keepdim=True)
    moving = unit > 0
    unit = torch.where(moving, unit, 1.0)
    scaled = terms / unit
    total = scaled.sum(-1, keepdim=True)
    variance = (scaled**2).sum(-1, keepdim=True) / 6 + total**2 / 12
    sigma = torch.where(moving, variance, 1.0).sqrt()
    step = (torch.sign(b.detach()) + 1) / 2  # the limit of Phi as sigma goes to 0; one half is the middle at b = 0
    probability = torch.where(moving, torch.special.ndtr((total / 2 + b / unit) / sigma), step)
    return probability * (terms + b / n)


def exact_relu_shapley_values(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The exact Shapley values of the inputs of y = max(W x + b, 0), for every neuron, by enumerating 2**in coalitions.

    Absent means x_i = 0. The values of a neuron sum to max(W x + b, 0) - max(b, 0).

    x [batch, in], weight [out, in], bias [out] or None; returns [batch, out, in]. Cost: 2**in additions and one maximum
    a neuron; refused where that is hopeless, as in `shapnotes.shapley_values`.

    Source: Shapley (1953); Li and Cui, section 2.1 and Table 1.
    """
    _check_layer(x, weight, bias)
    return shapley_values(lambda rows: torch.relu(linear(rows, weight, bias)), x).movedim(1, -1)


def shapley_activation(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The Shapley Activation of a layer of neurons: a smooth relative of max(W x + b, 0).

        SA      = Phi((mu + b) / sigma) s,      s = sum_i w_i x_i + b
        mu      = 1/2 sum_i w_i x_i
        sigma^2 = 1/6 sum_i (w_i x_i)^2 + 1/12 (sum_i w_i x_i)^2

    the sum over the inputs of `relu_shapley_values`. Phi is the standard normal distribution function. SA depends on
    the single terms w_i x_i through sigma, so it is no function of s alone: it takes the place of a layer together with
    its ReLU.

    x      : [..., in]
    weight : [out, in]
    bias   : [out] or None (zero)

    Returns [..., out]. Where sigma is zero (a blank input, zero weights) the limit max(b, 0), with the gradient of
    Phi's limit: 1 for b > 0, 0 for b < 0, one half of either at b = 0. There the limit of the gradient depends on the
    direction one comes from, so no value would make it continuous. Phi is its limit, step(mu + b), as well where sigma
    is below about 1e-16 (float32) or 1e-151 (float64) of max|x| max|w|: squares of such terms vanish in rounding.

    Half precisions and autocast: s is what `nn.Linear` computes and decides the result's dtype; sigma, Phi and the
    product with s are computed in float32.

    Gradients of any order, to all three. Cost: two matrix products, W x and the squares of W times those of x;
    O(batch out) memory beside the arguments and their squares, never [batch, out, in].

    Raises TypeError for anything but floating-point tensors of one dtype, ValueError for shapes that do not fit.

    Source: Li and Cui, equation 5. Our `weight`, `bias` are their w and b.

    >>> shapley_activation(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.eye(2), torch.tensor([0.0, 2.0])).shape
    torch.Size([2, 2])
    """
    _check_linear(x, weight, bias)
    return _shapley_activation_of(linear, x, weight, bias)


def shapley_activation_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """`shapley_activation` of neurons that share weights and look at patches: in place of `conv2d` and a ReLU.

    A neuron's n = in/groups kh kw inputs are the pixels of its patch. Zeros that padding puts there are inputs like
    others, whose term is zero: they change neither mu nor sigma. (They count in n, which SA does not depend on.)

    x      : [batch, in, height, width] or [in, height, width]
    weight : [out, in/groups, kh, kw]
    bias   : [out] or None (zero)
    stride, padding, dilation, groups: as in `torch.nn.functional.conv2d`

    Returns what `conv2d` returns, in shape and dtype. Cost: two convolutions. All else, limits, precisions and errors,
    as in `shapley_activation`, where "max|x|" now is that of a whole image.

    Source: Li and Cui, equation 5 and section 3.
    """
    _check_conv2d(x, weight, bias, groups)
    convolve = partial(conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _shapley_activation_of(convolve, x, weight, bias)


def shaplu(x: Tensor, weight: Tensor, bias: Tensor | None = None, full_gradient: bool = False) -> Tensor:
    """The Shapley Linear Unit: forward a ReLU layer, max(W x + b, 0), backward the Shapley gradient.

        dy/dx_k := d alpha_k / dx_k = Phi(z) w_k + g_k w_k t_k
        dy/dw_k := d alpha_k / dw_k = Phi(z) x_k + g_k x_k t_k
        dy/db   := sum_k d alpha_k / db = Phi(z) + sum_k g_k / sigma

        z   = (mu + b) / sigma
        g_k = phi(z) (w_k x_k + b / n)
        t_k = 1 / (2 sigma) - (mu + b) (w_k x_k + mu) / (6 sigma^3)

    where alpha_k are the Shapley values of `relu_shapley_values`, with their mu and sigma, and phi is the standard
    normal density. Of the matrix d alpha_i / d x_k this keeps the diagonal. It is not the derivative of the forward
    pass, nor of any function, and therefore is not differentiated again: a second backward pass raises RuntimeError.

    x             : [..., in]
    weight        : [out, in]
    bias          : [out] or None (zero)
    full_gradient : False leaves out the terms with t_k, as the paper does in its runs. Beside Phi they are of
                    the order of w_k x_k / sigma, 1 / sqrt(n) for n terms of a size. The gradient of b keeps its second
                    term, which does not fall with n: sum_k g_k = phi(z) s

    Returns [..., out]. Where sigma is zero, the gradients are step(b) w_k, step(b) x_k and step(b), with step(0) = 1/2.
    Precisions and errors as in `shapley_activation`; the forward pass is that of `nn.Linear` and a ReLU in each.

    Cost: forward as `shapley_activation`; a third product, of cubes, with full_gradient. t_k makes the gradient a
    polynomial in w_k and x_k with coefficients that depend on the neuron only, so that the backward pass is made of
    matrix products as well, never of a [batch, out, in] tensor. Without autograd, only the ReLU layer is computed.

    Source: Li and Cui, equations 3 and 4.
    """
    _check_linear(x, weight, bias)
    return _shaplu_of(linear, x, weight, bias, full_gradient)


def shaplu_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    full_gradient: bool = False,
) -> Tensor:
    """`shaplu` of neurons that share weights and look at patches: forward `conv2d` and a ReLU.

    As in `shapley_activation_conv2d`, zeros that padding puts into a patch are inputs with a term of zero. They count
    in n = in/groups kh kw, which enters g_k through b/n: at the border each pixel is given the same share of the bias
    as elsewhere. Only full_gradient sees that; in the gradient of b the shares add up to b whatever n is.

    Arguments as in `shapley_activation_conv2d` and `shaplu`. Returns what `conv2d` returns, in shape and dtype.

    Source: Li and Cui, equations 3 and 4.
    """
    _check_conv2d(x, weight, bias, groups)
    convolve = partial(conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _shaplu_of(convolve, x, weight, bias, full_gradient)


# A layer's sums of terms: (x, weight, bias) -> [batch, out, ...], linear in x and in weight.
_Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _shapley_activation_of(product: _Product, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`shapley_activation` of any layer that sums terms w_i x_i: `product` is `linear`, a convolution, ...

    The first axis of weight is that of the neurons; product(x**2, weight**2, None) has to be the sum of the squares of
    the terms that product(x, weight, None) sums, which holds wherever each term is one weight times one value.
    """
    _check_tensors(x, weight, bias)
    s = product(x, weight, bias)
    b = _spread_bias(weight, bias, s)
    scaled = _scale(x, weight, s)
    probability = _prefix(s, b, scaled, _powers(product, scaled, 2)).probability
    return (probability * s).to(s.dtype)


def _shaplu_of(product: _Product, x: Tensor, weight: Tensor, bias: Tensor | None, full_gradient: bool) -> Tensor:
    """`shaplu` of any layer that sums terms w_i x_i; `product` as in `_shapley_activation_of`."""
    _check_tensors(x, weight, bias)
    s = product(x, weight, bias)
    if not torch.is_grad_enabled():
        return torch.relu(s)
    b = _spread_bias(weight, bias, s)
    n = weight.shape[1:].numel()
    scaled = _scale(x, weight, s)
    with torch.set_grad_enabled(full_gradient):
        squares = _powers(product, scaled, 2)
        cubes = _powers(product, scaled, 3) if full_gradient else None
    # The Jacobian's diagonal is the gradient of Phi s + sum_k h(w_k x_k), the neuron's coefficients in the cubic h held
    # fixed, where h(0) = 0 and h'(a) = phi (a + b/n) t(a). Of the terms, that needs the sums of three powers.
    with torch.no_grad():
        p = _prefix(s, b, scaled, squares)
        density = torch.where(p.saturated, 0.0, torch.exp(-(p.z**2) / 2) / (2 * pi) ** 0.5)
        on_s, on_b, on_squares, on_cubes = p.probability, density * p.s / p.sigma, None, None
        if full_gradient:
            share = p.b / n
            cubic = p.z / p.sigma**2 / 6
            level = 1 / (2 * p.sigma) - cubic * p.mu
            on_s = on_s + density * share * level
            on_b = on_b - density * share * level  # b is part of s, and its gradient has no such term
            on_squares = density * (level - share * cubic) / 2 * scaled.x_unit * scaled.weight_unit
            on_cubes = -density * cubic / 3 * scaled.x_unit * scaled.weight_unit
        on_s = on_s.to(s.dtype)
    return _ReLUWithGradient.apply(s, b, squares, cubes, on_s, on_b, on_squares, on_cubes)


class _ReLUWithGradient(torch.autograd.Function):
    """max(s, 0), whose gradients with respect to four tensors are four given ones."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s, b, squares, cubes, on_s, on_b, on_squares, on_cubes):
        return torch.relu(s)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output, *inputs[4:])

    @staticmethod
    def backward(ctx, gradient):
        y, *replacements = ctx.saved_tensors
        wanted = [
            _TimesOnce.apply(gradient, on, y) if needed and on is not None else None
            for on, needed in zip(replacements, ctx.needs_input_grad[:4], strict=True)
        ]
        return *wanted, None, None, None, None


class _TimesOnce(torch.autograd.Function):
    """gradient * on, and a refusal to differentiate it. y, which it depends on by way of `on`, carries the refusal."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, on, y):
        return gradient * on

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError(
            "the Shapley gradient of shaplu is not the derivative of a function, so it has no second derivatives; "
            "use shapley_activation where you need them"
        )


class _Scaled(NamedTuple):
    """x and weight with absolute values up to 1, so that powers neither overflow nor vanish, and their units."""

    x: Tensor
    weight: Tensor
    x_unit: Tensor
    weight_unit: Tensor


class _Prefix(NamedTuple):
    """The law of a random prefix of a neuron's terms, all in units of x_unit * weight_unit; zeros where saturated."""

    probability: Tensor
    z: Tensor
    s: Tensor
    b: Tensor
    mu: Tensor
    sigma: Tensor
    saturated: Tensor


def _scale(x: Tensor, weight: Tensor, s: Tensor) -> _Scaled:
    wide = torch.promote_types(s.dtype, torch.float32)
    x, weight = x.to(wide), weight.to(wide)
    axes = tuple(range(1 - weight.dim(), 0))  # those of one example
    x_unit = x.detach().abs().amax(axes, keepdim=True)
    weight_unit = weight.detach().abs().flatten(1).amax(1)
    # Nothing depends on the units but rounding, hence the detach. Subnormal ones would not survive a division.
    x_unit, weight_unit = (torch.where(u >= torch.finfo(wide).tiny, u, 1.0) for u in (x_unit, weight_unit))
    of_weight = weight_unit.view(-1, *[1] * (weight.dim() - 1))
    return _Scaled(x / x_unit, weight / of_weight, x_unit, _beside(weight_unit, weight))


def _beside(vector: Tensor, weight: Tensor) -> Tensor:
    """One number a neuron, so that it broadcasts to the layer's output."""
    return vector.view(-1, *[1] * (weight.dim() - 2))


def _spread_bias(weight: Tensor, bias: Tensor | None, s: Tensor) -> Tensor:
    wide = torch.promote_types(s.dtype, torch.float32)
    return (s.new_zeros((), dtype=wide) if bias is None else _beside(bias.to(wide), weight)).expand_as(s)


def _powers(product: _Product, scaled: _Scaled, power: int) -> Tensor:
    """sum_i (w_i x_i)^power, in full precision under autocast as well."""
    with torch.autocast(scaled.x.device.type, enabled=False):
        return product(scaled.x**power, scaled.weight**power, None)


def _prefix(s: Tensor, b: Tensor, scaled: _Scaled, squares: Tensor) -> _Prefix:
    n = scaled.weight.shape[1:].numel()

    def in_units(value: Tensor) -> Tensor:
        return value / scaled.x_unit / scaled.weight_unit  # one after the other: their product may overflow

    def variance_of(total: Tensor) -> Tensor:
        return (2 * squares + total**2) / 12

    s = s.to(squares.dtype)
    with torch.no_grad():
        middle = s / 2 + b / 2  # mu + b
        # |total| <= n; what lies far outside is the rounding of s - b under a bias that saturates the neuron anyway.
        variance = variance_of(in_units(s - b).clamp(-2 * n, 2 * n))
        saturated = in_units(middle).abs() >= SATURATED * variance.sqrt()
        saturated = saturated | (variance < 1e6 * torch.finfo(s.dtype).tiny)
        limit = (torch.sign(middle) + 1) / 2
    s, b = (in_units(torch.where(saturated, 0.0, value)) for value in (s, b))
    sigma = torch.where(saturated, 1.0, variance_of(s - b)).sqrt()
    z = (s + b) / 2 / sigma
    probability = torch.where(saturated, limit, torch.special.ndtr(z))
    return _Prefix(probability, z, s, b, (s - b) / 2, sigma, saturated)


def _check_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    _check_floating(x, weight, bias)
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"x [batch, in] and weight [out, in] must agree on in >= 1; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    _check_bias(weight, bias)


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    _check_floating(x, weight, bias)
    if x.dim() == 0 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or x.shape[-1] == 0:
        raise ValueError(
            f"x [..., in] and weight [out, in] must agree on in >= 1; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )


def _check_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    _check_floating(x, weight, bias)
    if x.dim() not in (3, 4) or weight.dim() != 4 or x.shape[-3] != groups * weight.shape[1] or x.shape[-3] == 0:
        raise ValueError(
            "x [batch, in, height, width] and weight [out, in/groups, kh, kw] must agree on in >= 1; "
            f"got {tuple(x.shape)} and {tuple(weight.shape)} with groups={groups}"
        )


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    _check_floating(x, weight, bias)
    _check_bias(weight, bias)
    dtypes = {tensor.dtype for tensor in (x, weight, bias) if tensor is not None}
    if len(dtypes) > 1 and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"x, weight and bias must have one dtype outside autocast; got {', '.join(sorted(map(str, dtypes)))}"
        )


def _check_floating(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {kind}")


def _check_bias(weight: Tensor, bias: Tensor | None) -> None:
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{len(weight)}], one a neuron; got shape {tuple(bias.shape)}")
