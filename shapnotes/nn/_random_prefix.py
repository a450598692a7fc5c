"""Layers of neurons whose values or gradients come from the normal distribution of a random prefix of their terms.

A neuron adds up terms w_i x_i and a bias b. The sum of those that come first in a random order, their number uniform,
is taken for normal, with standard deviation sigma; z is the standard score at which the neuron fires, and t the sum of
all terms in units of sigma:

    sigma^2 = 1/6 sum_i (w_i x_i)^2 + 1/12 (sum_i w_i x_i)^2,      t = sum_i w_i x_i / sigma,      z = t / 2 + b / sigma

Gradients are made of products like the layer's own. With coefficients that depend on example and neuron only, x_k gets

    sum over neurons of  linear w_k + quadratic w_k^2 x_k + cubic w_k^3 x_k^2,

and w_k the same with x and w exchanged, summed over examples. For the Shapley Activation Phi(z) s, with s the sum of
terms and bias, dz/dt = 1/2 - z t / 12, since sigma depends on t as well, so that

    linear = Phi(z) + phi(z) s/sigma dz/dt,      quadratic = -1/6 phi(z) s/sigma z / sigma.

Examples are x [batch, in] of a linear layer, or [batch, in, height, width] of a convolution with a `Geometry`.
"""

from contextlib import AbstractContextManager, nullcontext
from math import pi, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

MAX_STANDARD_SCORE = 40.0  # standard deviations; Phi and its density are 0 or 1 beyond, in double precision too


class Geometry(NamedTuple):
    """Of a convolution, as in `torch.nn.functional.conv2d`."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def sa_layer(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry | None = None) -> Tensor:
    """Phi(z) (sum_i w_i x_i + b), which has derivatives of any order."""
    autocast = _autocasts(x) and x.dtype != torch.float64
    dtype = torch.get_autocast_dtype(x.device.type) if autocast else x.dtype
    units = units_of(x, weight, dtype)
    guard = units.overflow_guard(weight.shape[1:].numel(), dtype)
    run = _ShapleyActivation.forward if _operations_are_recorded() else _ShapleyActivation.apply
    y: Tensor = run(x, weight, bias, *units, guard, dtype, geometry)[0]
    return y


def shaplu_layer(
    x: Tensor, weight: Tensor, bias: Tensor | None, full_gradient: bool, geometry: Geometry | None = None
) -> Tensor:
    """max(sum_i w_i x_i + b, 0), whose gradient is Li and Cui's equation 4, to be taken once."""
    if not torch.is_grad_enabled():
        return torch.relu(_product(x, weight, geometry, bias))
    y: Tensor = _ShapLU.apply(x, weight, bias, full_gradient, geometry)[0]  # type: ignore[no-untyped-call]  # torch's
    return y


class _Context(FunctionCtx):
    """What a backward pass is given; a declaration, of which no object is made."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    dtype: torch.dtype
    geometry: Geometry | None
    full_gradient: bool


class _ShapleyActivation(torch.autograd.Function):
    """The activation; the sums that it is a function of, for derivatives of its derivative; and what both are made of.

    The sums are those of the terms, times guard, and of the terms' squares, in units.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        x_unit: Tensor,
        weight_unit: Tensor,
        guard: Tensor,
        dtype: torch.dtype,
        geometry: Geometry | None,
    ) -> tuple[Tensor, ...]:
        units = Units(x_unit, weight_unit)
        with _without_autocast(x):
            sums = _product((x * guard).to(dtype), weight.to(dtype), geometry).to(x_unit.dtype)
            scaled = units.scaled(weight)
            squares = _product((x / x_unit).square(), scaled.square(), geometry)
            prefix = _prefix_of(sums / (x_unit * guard) / weight_unit, squares, bias, units)
            s = sums if bias is None else torch.addcmul(sums, units.per_neuron(bias), guard)
            return (prefix.probability * s / guard).to(dtype), sums, squares, scaled, *prefix

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.dtype, ctx.geometry = inputs
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(
        ctx: _Context, grad_y: Tensor | None, grad_sums: Tensor | None, grad_squares: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, x_unit, weight_unit, guard, sums, squares, scaled, *parts = ctx.saved_tensors
        units, prefix = Units(x_unit, weight_unit), _Prefix(*parts)
        with _without_autocast(x):
            if torch.is_grad_enabled():  # as functions of what has gradients
                scaled = units.scaled(weight)
                prefix = _prefix_of(sums / (x_unit * guard) / weight_unit, squares, bias, units)
            grad_y = torch.zeros_like(sums) if grad_y is None else grad_y.to(sums.dtype)
            grad_s, grad_z = grad_y * prefix.probability, grad_y * prefix.density() * prefix.s()
            linear = torch.addcmul(grad_s, grad_z, prefix.dz_dt())
            quadratic = grad_z * prefix.z / prefix.sigma / -6
            if grad_sums is not None:
                linear = linear + grad_sums * guard
            if grad_squares is not None:
                quadratic = quadratic + 2 * grad_squares / weight_unit / x_unit
            grad_x, grad_weight = _input_gradients(ctx, x, weight, scaled, units, ctx.dtype, linear, quadratic)
            grad_bias = _bias_gradient(grad_s + grad_z, bias) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None, None, None, None, None


class _ShapLU(torch.autograd.Function):
    """max(s, 0) with the Shapley gradient; and s, which that needs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, full_gradient: bool, geometry: Geometry | None
    ) -> tuple[Tensor, Tensor]:
        s = _product(x, weight, geometry, bias)
        return torch.relu(s), s

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.full_gradient, ctx.geometry = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: _Context, grad_y: Tensor, _: None) -> tuple[Tensor | None, ...]:
        x, weight, bias, y, s = ctx.saved_tensors
        n = weight.shape[1:].numel()
        with torch.no_grad(), _without_autocast(x):
            units = units_of(x, weight, s.dtype)
            scaled = units.scaled(weight)
            # In place where nothing else needs the weights themselves.
            squared = scaled.square() if ctx.full_gradient else scaled.mul_(scaled)
            squares = _product((x / units.x).square(), squared, ctx.geometry)
            total = s if bias is None else s.to(squares.dtype) - units.per_neuron(bias)
            # Beyond what Cauchy and Schwarz allow it has overflowed, or is what rounding left of s - b for a large b.
            largest = (n * squares).sqrt()
            total = (total / units.x / units.weight).clamp(-largest, largest)
            prefix = _prefix_of(total, squares, bias, units)
            grad_y = grad_y.to(squares.dtype)
            grad_s, density = grad_y * prefix.probability, grad_y * prefix.density()
            linear, quadratic, cubic = grad_s, None, None
            if ctx.full_gradient:
                bias_share, dz_dt = (prefix.z - prefix.t / 2) / n, prefix.dz_dt()  # the share in units of sigma
                linear = torch.addcmul(grad_s, density, bias_share * dz_dt)
                quadratic = density * (dz_dt - bias_share * prefix.z / 6) / prefix.sigma
                cubic = density * prefix.z / prefix.sigma / prefix.sigma / -6
            grad_x, grad_weight = _input_gradients(ctx, x, weight, scaled, units, s.dtype, linear, quadratic, cubic)
            grad_bias = None
            if ctx.needs_input_grad[2]:
                grad_bias = _bias_gradient(torch.addcmul(grad_s, density, prefix.s()), bias)
        gradients: tuple[Tensor | None, ...] = (grad_x, grad_weight, grad_bias)
        if torch.is_grad_enabled():
            once = _DifferentiableOnce.apply
            gradients = tuple(None if g is None else once(g, y) for g in gradients)  # type: ignore[no-untyped-call]
        return *gradients, None, None


class _DifferentiableOnce(torch.autograd.Function):
    """A gradient, and a refusal to differentiate it. y, on which it depends, carries the refusal."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, y: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[None, None]:
        raise RuntimeError(
            "the Shapley gradient of shaplu is not the derivative of a function, so it has no second derivatives; "
            "use shapley_activation where you need them"
        )


# --- the distribution of a random prefix ---------------------------------------------------------------------------


class Units(NamedTuple):
    """What x and weight are divided by before they are squared, so that squares neither overflow nor vanish.

    x      : the largest |x_i| per example, [batch, 1, ...]
    weight : the largest |w_i| per neuron, [out, ...], which broadcasts to the layer's output
    """

    x: Tensor
    weight: Tensor

    def overflow_guard(self, terms: int, dtype: torch.dtype) -> Tensor:
        """A factor per example, [batch, 1, ...], with which sums of this many terms do not overflow: mostly 1."""
        largest = self.weight.nan_to_num(posinf=0).amax() if len(self.weight) else 1.0
        most = torch.finfo(dtype).max / (4 * terms)
        return (most / self.x / largest).clamp(torch.finfo(self.x.dtype).tiny, 1)

    def scaled(self, weight: Tensor) -> Tensor:
        """[out, in, ...] in units."""
        return weight / self.weight.view(-1, *[1] * (weight.dim() - 1))

    def per_neuron(self, bias: Tensor) -> Tensor:
        """[out] as it broadcasts to the layer's output, [out, ...]."""
        return bias.view_as(self.weight)


@torch.no_grad()
def units_of(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Units:
    """The units, in float32 at least, as is all that is computed with them, however narrow `dtype` is."""
    wide = torch.promote_types(dtype, torch.float32)
    inside = tuple(range(1, weight.dim()))
    tiny = torch.finfo(wide).tiny  # smaller ones would not survive a division
    x_unit, weight_unit = (
        torch.maximum(v.amax(inside, keep), -v.amin(inside, keep)).to(wide).clamp(min=tiny)
        for v, keep in ((x, True), (weight, False))
    )
    return Units(x_unit, weight_unit.view(-1, *[1] * (weight.dim() - 2)))


class _Prefix(NamedTuple):
    """The distribution of the sum of a random prefix, [batch, out, ...] each: sigma in units, probability is Phi(z)."""

    z: Tensor
    t: Tensor
    sigma: Tensor
    probability: Tensor

    def density(self) -> Tensor:
        """Of the standard normal distribution at z."""
        return torch.exp(self.z.square() / -2) / sqrt(2 * pi)

    def s(self) -> Tensor:
        """sum_i w_i x_i + b, in units of sigma."""
        return torch.add(self.z, self.t, alpha=1 / 2)

    def dz_dt(self) -> Tensor:
        """The derivative of z by t, on which sigma depends as well."""
        return 1 / 2 - self.z * self.t / 12


def _prefix_of(total: Tensor, squares: Tensor, bias: Tensor | None, units: Units) -> _Prefix:
    """From the sums of terms and of their squares, in units. z ends where Phi is 0 or 1; sigma is never zero."""
    limits = torch.finfo(squares.dtype)
    least, most = 1e6 * limits.tiny, limits.max**0.5
    variance = torch.addcmul(squares, total, total, value=1 / 2) / 6
    sigma = variance.clamp(min=least).sqrt()
    t = total / sigma
    z = t / 2
    if bias is not None:
        z = torch.addcdiv(z, (units.per_neuron(bias) / units.weight / units.x).clamp(-most, most), sigma)
    z = z.clamp(-MAX_STANDARD_SCORE, MAX_STANDARD_SCORE)
    if torch.is_grad_enabled() or _is_jit_tracing():
        # Without terms a derivative depends on the direction one comes from; z is a constant.
        z, t = (torch.where(variance < least, value.detach(), value) for value in (z, t))
    return _Prefix(z, t, sigma, torch.special.erfc(z * -(0.5**0.5)) / 2)


# --- a layer's product, and its adjoints ---------------------------------------------------------------------------


def _input_gradients(
    ctx: _Context,
    x: Tensor,
    weight: Tensor,
    scaled: Tensor,
    units: Units,
    dtype: torch.dtype,
    linear: Tensor,
    quadratic: Tensor | None,
    cubic: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of x and of weight, in their dtypes, from the three coefficients [batch, out, ...].

    `linear` is in no units, and its products are taken in `dtype`; `scaled` is the weight in units.
    """
    grad_x = grad_weight = None
    geometry, scaled_x = ctx.geometry, x / units.x
    narrow = linear.to(dtype), x.to(dtype), weight.to(dtype)
    higher = [(power, factor) for power, factor in enumerate((quadratic, cubic), 1) if factor is not None]
    if ctx.needs_input_grad[0]:
        grad_x = _x_adjoint(*narrow, geometry).to(linear.dtype)
        for power, factor in higher:
            part = _x_adjoint(factor * units.weight, scaled_x, scaled ** (power + 1), geometry)
            grad_x = _add_product(grad_x, part, _power(scaled_x, power))
        grad_x = grad_x.to(x.dtype)
    if ctx.needs_input_grad[1]:
        grad_weight = _weight_adjoint(*narrow, geometry).to(linear.dtype)
        for power, factor in higher:
            part = _weight_adjoint(factor * units.x, scaled_x ** (power + 1), scaled, geometry)
            grad_weight = _add_product(grad_weight, part, _power(scaled, power))
        grad_weight = grad_weight.to(weight.dtype)
    return grad_x, grad_weight


def _power(a: Tensor, power: int) -> Tensor:
    """Without a copy where there is nothing to do."""
    return a if power == 1 else torch.pow(a, power)


def _add_product(total: Tensor, part: Tensor, factor: Tensor) -> Tensor:
    """total + part factor, in the memory of both where no graph is made."""
    return torch.addcmul(total, part, factor) if torch.is_grad_enabled() else total.add_(part.mul_(factor))


def _product(x: Tensor, weight: Tensor, geometry: Geometry | None, bias: Tensor | None = None) -> Tensor:
    """W x + bias, or the convolution: [batch, out, ...]."""
    return F.linear(x, weight, bias) if geometry is None else F.conv2d(x, weight, bias, *geometry)


def _x_adjoint(grad_y: Tensor, x: Tensor, weight: Tensor, geometry: Geometry | None) -> Tensor:
    """The product's transpose in x: [batch, out, ...] -> [batch, in, ...]."""
    return grad_y @ weight if geometry is None else _convolution_adjoint(grad_y, x, weight, geometry, 0)


def _weight_adjoint(grad_y: Tensor, x: Tensor, weight: Tensor, geometry: Geometry | None) -> Tensor:
    """The product's transpose in the weight: [batch, out, ...] -> [out, in, ...]."""
    return grad_y.T @ x if geometry is None else _convolution_adjoint(grad_y, x, weight, geometry, 1)


def _convolution_adjoint(grad_y: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, argument: int) -> Tensor:
    """With respect to x (0) or weight (1). `torch.nn.grad` has them too, and is slower."""
    stride, padding, dilation, groups = geometry
    backward = torch.ops.aten.convolution_backward
    wanted = [argument == 0, argument == 1, False]
    gradients = backward(grad_y, x, weight, None, stride, padding, dilation, False, (0, 0), groups, wanted)
    gradient: Tensor = gradients[argument]
    return gradient


def _bias_gradient(grad_s: Tensor, bias: Tensor) -> Tensor:
    """[batch, out, ...] summed to [out], in the bias's dtype."""
    return grad_s.sum([0, *range(2, grad_s.dim())]).to(bias.dtype)


# --- how it is run -------------------------------------------------------------------------------------------------


def _operations_are_recorded() -> bool:
    """Whether operations are recorded one by one, to be transformed by torch.func or stored by torch.jit.

    A trace cannot store an autograd function, and torch.func takes longer over it than over the operations that it is
    made of. They have the same derivatives, but for those of sums that overflow.
    """
    if torch.compiler.is_compiling():
        return False
    return _is_jit_tracing() or torch._C._are_functorch_transforms_active()


def _is_jit_tracing() -> bool:
    """Whether torch.jit stores the operations."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]  # torch declares neither


def _autocasts(x: Tensor) -> bool:
    """Whether autocast is on for x's kind of device."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Dtypes are those that are written here."""
    return torch.autocast(x.device.type, enabled=False) if _autocasts(x) else nullcontext()
