"""Layers of neurons whose values or gradients come from the normal distribution of a random prefix of their terms.

A neuron adds up terms w_i x_i and a bias b. The sum of those that come first in a random order, their number uniform,
is taken for normal, with standard deviation sigma; z is the standard score at which the neuron fires, and t the sum of
all terms in units of sigma:

    sigma^2 = 1/6 sum_i (w_i x_i)^2 + 1/12 (sum_i w_i x_i)^2,      t = sum_i w_i x_i / sigma,      z = t / 2 + b / sigma

Gradients are made of products like the layer's own. With coefficients that depend on example and neuron only, x_k gets

    sum over neurons of  along w_k + curved w_k^2 x_k + cubic w_k^3 x_k^2,

and w_k the same with x and w exchanged, summed over examples.

Examples are x [batch, in] of a linear layer, or [batch, in, height, width] of a convolution with a `Geometry`.
"""

from contextlib import AbstractContextManager, nullcontext
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

SATURATED = 40.0  # standard deviations; Phi and its density are 0 or 1 beyond, in double precision too


class Geometry(NamedTuple):
    """Of a convolution, as in `torch.nn.functional.conv2d`."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def sa_layer(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry | None = None) -> Tensor:
    """Phi(z) (sum_i w_i x_i + b), which has derivatives of any order."""
    autocast = _autocast(x) and x.dtype != torch.float64
    dtype = torch.get_autocast_dtype(x.device.type) if autocast else x.dtype
    units = measured(x, weight, dtype)
    guard = units.guard(weight.shape[1:].numel(), dtype)
    run = _ShapleyActivation.forward if _operation_by_operation() else _ShapleyActivation.apply
    return run(x, weight, bias, *units, guard, dtype, geometry)[0]


def shaplu_layer(
    x: Tensor, weight: Tensor, bias: Tensor | None, full_gradient: bool, geometry: Geometry | None = None
) -> Tensor:
    """max(sum_i w_i x_i + b, 0), whose gradient is Li and Cui's equation 4, to be taken once."""
    if not torch.is_grad_enabled():
        return torch.relu(_product(x, weight, geometry, bias))
    return _ShapLU.apply(x, weight, bias, full_gradient, geometry)[0]


class _ShapleyActivation(torch.autograd.Function):
    """The activation; the sums that it is a function of, for derivatives of its derivative; and what both are made of.

    The sums are those of the terms, times guard, and of the terms' squares, in units.
    """

    @staticmethod
    def forward(x, weight, bias, x_unit, weight_unit, guard, dtype, geometry):
        units = Units(x_unit, weight_unit)
        with _as_given(x):
            sums = _product((x * guard).to(dtype), weight.to(dtype), geometry).to(x_unit.dtype)
            scaled = units.weigh(weight)
            squares = _product((x / x_unit).square(), scaled.square(), geometry)
            parts = _parts(sums / (x_unit * guard) / weight_unit, squares, bias, units)
            s = sums if bias is None else torch.addcmul(sums, units.beside(bias), guard)
            return (parts.probability * s / guard).to(dtype), sums, squares, scaled, *parts

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.dtype, ctx.geometry = inputs
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx, on_y, on_sums, on_squares, *_):
        x, weight, bias, x_unit, weight_unit, guard, sums, squares, scaled, *parts = ctx.saved_tensors
        units, p = Units(x_unit, weight_unit), _Parts(*parts)
        with _as_given(x):
            if torch.is_grad_enabled():  # as functions of what has gradients
                scaled, p = units.weigh(weight), _parts(sums / (x_unit * guard) / weight_unit, squares, bias, units)
            on_y = torch.zeros_like(sums) if on_y is None else on_y.to(sums.dtype)
            fired, level = on_y * p.probability, on_y * p.density() * p.height()
            along = torch.addcmul(fired, level, p.slope())
            curved = level * p.z / p.sigma / -6
            if on_sums is not None:
                along = along + on_sums * guard
            if on_squares is not None:
                curved = curved + 2 * on_squares / weight_unit / x_unit
            on_x, on_weight = _handed_down(ctx, x, weight, scaled, units, ctx.dtype, along, curved)
            on_bias = _on_bias(fired + level, bias) if ctx.needs_input_grad[2] else None
        return on_x, on_weight, on_bias, None, None, None, None, None


class _ShapLU(torch.autograd.Function):
    """max(s, 0) with the Shapley gradient; and s, which that needs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, full_gradient, geometry):
        s = _product(x, weight, geometry, bias)
        return torch.relu(s), s

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.full_gradient, ctx.geometry = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx, on_y, _):
        x, weight, bias, y, s = ctx.saved_tensors
        n = weight.shape[1:].numel()
        with torch.no_grad(), _as_given(x):
            units = measured(x, weight, s.dtype)
            scaled = units.weigh(weight)
            squared = scaled.square() if ctx.full_gradient else scaled.mul_(scaled)  # which nobody else needs
            squares = _product((x / units.x).square(), squared, ctx.geometry)
            total = s if bias is None else s.to(squares.dtype) - units.beside(bias)
            # Beyond what Cauchy and Schwarz allow it has overflowed, or is what rounding left of s - b for a large b.
            largest = (n * squares).sqrt()
            total = (total / units.x / units.weight).clamp(-largest, largest)
            p = _parts(total, squares, bias, units)
            on_y = on_y.to(squares.dtype)
            fired, level = on_y * p.probability, on_y * p.density()
            along, curved, cubic = fired, None, None
            if ctx.full_gradient:
                share, slope = (p.z - p.t / 2) / n, p.slope()  # of the bias, in units of sigma
                along = torch.addcmul(fired, level, share * slope)
                curved = level * (slope - share * p.z / 6) / p.sigma
                cubic = level * p.z / p.sigma / p.sigma / -6
            on_x, on_weight = _handed_down(ctx, x, weight, scaled, units, s.dtype, along, curved, cubic)
            on_bias = _on_bias(torch.addcmul(fired, level, p.height()), bias) if ctx.needs_input_grad[2] else None
        gradients = on_x, on_weight, on_bias
        if torch.is_grad_enabled():
            gradients = tuple(None if value is None else _Once.apply(value, y) for value in gradients)
        return *gradients, None, None


class _Once(torch.autograd.Function):
    """A gradient, and a refusal to differentiate it. y, on which it depends, carries the refusal."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient, y):
        return gradient.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError(
            "the Shapley gradient of shaplu is not the derivative of a function, so it has no second derivatives; "
            "use shapley_activation where you need them"
        )


# --- the distribution of a random prefix ---------------------------------------------------------------------------


class Units(NamedTuple):
    """What x and weight are divided by before they are squared, so that squares neither overflow nor vanish.

    x      : the largest |x_i| of each example, [batch, 1, ...]
    weight : the largest |w_i| of each neuron, [out, ...], which broadcasts to the layer's output
    """

    x: Tensor
    weight: Tensor

    def guard(self, terms: int, dtype: torch.dtype) -> Tensor:
        """What x is multiplied by for the sums of so many terms not to overflow: 1, unless they might. As x."""
        largest = self.weight.nan_to_num(posinf=0).amax() if len(self.weight) else 1.0
        most = torch.finfo(dtype).max / (4 * terms)
        return (most / self.x / largest).clamp(torch.finfo(self.x.dtype).tiny, 1)

    def weigh(self, weight: Tensor) -> Tensor:
        return weight / self.weight.view(-1, *[1] * (weight.dim() - 1))

    def beside(self, bias: Tensor) -> Tensor:
        """One number a neuron, so that it broadcasts to the layer's output."""
        return bias.view_as(self.weight)


@torch.no_grad()
def measured(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Units:
    """The units, in float32 at least, as is all that is computed with them, however narrow `dtype` is."""
    wide = torch.promote_types(dtype, torch.float32)
    inside = tuple(range(1, weight.dim()))
    tiny = torch.finfo(wide).tiny  # smaller ones would not survive a division
    of_x, of_weight = (
        torch.maximum(v.amax(inside, keep), -v.amin(inside, keep)).to(wide).clamp(min=tiny)
        for v, keep in ((x, True), (weight, False))
    )
    return Units(of_x, of_weight.view(-1, *[1] * (weight.dim() - 2)))


class _Parts(NamedTuple):
    """What gradients are made of; sigma is in units, probability is Phi(z)."""

    z: Tensor
    t: Tensor
    sigma: Tensor
    probability: Tensor

    def density(self) -> Tensor:
        return torch.exp(self.z.square() / -2) / (2 * pi) ** 0.5

    def height(self) -> Tensor:
        """sum_i w_i x_i + b, in units of sigma."""
        return torch.add(self.z, self.t, alpha=1 / 2)

    def slope(self) -> Tensor:
        """dz/dt, where sigma changes as well."""
        return 1 / 2 - self.z * self.t / 12


def _parts(total: Tensor, squares: Tensor, bias: Tensor | None, units: Units) -> _Parts:
    """From the sums of terms and of their squares, in units. z ends where Phi is 0 or 1; sigma is never zero."""
    limits = torch.finfo(squares.dtype)
    least, most = 1e6 * limits.tiny, limits.max**0.5
    variance = torch.addcmul(squares, total, total, value=1 / 2) / 6
    sigma = variance.clamp(min=least).sqrt()
    t = total / sigma
    z = t / 2
    if bias is not None:
        z = torch.addcdiv(z, (units.beside(bias) / units.weight / units.x).clamp(-most, most), sigma)
    z = z.clamp(-SATURATED, SATURATED)
    if torch.is_grad_enabled() or torch.jit.is_tracing():
        # Without terms a derivative depends on the direction one comes from; z is a constant.
        z, t = (torch.where(variance < least, value.detach(), value) for value in (z, t))
    return _Parts(z, t, sigma, torch.special.erfc(z * -(0.5**0.5)) / 2)


# --- a layer's product, and its adjoints ---------------------------------------------------------------------------


def _handed_down(
    ctx: torch.autograd.function.FunctionCtx,
    x: Tensor,
    weight: Tensor,
    scaled: Tensor,
    units: Units,
    dtype: torch.dtype,
    along: Tensor,
    curved: Tensor | None,
    cubic: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of x and of weight, in their dtypes; products with `along` are taken in `dtype`."""
    on_x = on_weight = None
    geometry, scaled_x = ctx.geometry, x / units.x
    narrow = along.to(dtype), x.to(dtype), weight.to(dtype)
    bends = [(power, bend) for power, bend in enumerate((curved, cubic), 1) if bend is not None]
    if ctx.needs_input_grad[0]:
        on_x = _onto_x(*narrow, geometry).to(along.dtype)
        for power, bend in bends:
            part = _onto_x(bend * units.weight, scaled_x, scaled ** (power + 1), geometry)
            on_x = _plus(on_x, part, _power(scaled_x, power))
        on_x = on_x.to(x.dtype)
    if ctx.needs_input_grad[1]:
        on_weight = _onto_weight(*narrow, geometry).to(along.dtype)
        for power, bend in bends:
            part = _onto_weight(bend * units.x, scaled_x ** (power + 1), scaled, geometry)
            on_weight = _plus(on_weight, part, _power(scaled, power))
        on_weight = on_weight.to(weight.dtype)
    return on_x, on_weight


def _power(a: Tensor, power: int) -> Tensor:
    return a if power == 1 else a**power  # which would copy it


def _plus(total: Tensor, part: Tensor, factor: Tensor) -> Tensor:
    """total + part factor, in the memory of both where no graph is made."""
    return torch.addcmul(total, part, factor) if torch.is_grad_enabled() else total.add_(part.mul_(factor))


def _product(x: Tensor, weight: Tensor, geometry: Geometry | None, bias: Tensor | None = None) -> Tensor:
    return linear(x, weight, bias) if geometry is None else conv2d(x, weight, bias, *geometry)


def _onto_x(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry | None) -> Tensor:
    return gradient @ weight if geometry is None else _adjoint(gradient, x, weight, geometry, 0)


def _onto_weight(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry | None) -> Tensor:
    return gradient.T @ x if geometry is None else _adjoint(gradient, x, weight, geometry, 1)


def _adjoint(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, of: int) -> Tensor:
    """A convolution's, for x (0) or weight (1). `torch.nn.grad` has them too, and takes longer."""
    stride, padding, dilation, groups = geometry
    backward = torch.ops.aten.convolution_backward
    wanted = [of == 0, of == 1, False]
    return backward(gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups, wanted)[of]


def _on_bias(gradient: Tensor, bias: Tensor) -> Tensor:
    return gradient.sum([0, *range(2, gradient.dim())]).to(bias.dtype)


def _operation_by_operation() -> bool:
    """Whether what is computed is recorded, to be transformed or stored.

    A function of its own is nothing that a trace could store, and takes torch.func longer than the operations that it
    is made of. They have the same derivatives, but for those of sums that overflow.
    """
    if torch.compiler.is_compiling():
        return False
    return torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def _autocast(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _as_given(x: Tensor) -> AbstractContextManager:
    """Without autocast: dtypes are those that are written here."""
    return torch.autocast(x.device.type, enabled=False) if _autocast(x) else nullcontext()
