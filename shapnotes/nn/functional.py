"""A ReLU neuron: its inputs' Shapley values, approximated in closed form and exact, and activations made of them."""

from collections.abc import Callable
from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from shapnotes._runtime.tensors import check_finite
from shapnotes.exact import shapley_values
from shapnotes.game import checked_baseline
from shapnotes.neuron import li_cui, relu_values
from shapnotes.neuron.owen import gain
from shapnotes.nn._random_prefix import Geometry, sa_layer, shaplu_layer, units_of

FLOATING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Pair = int | tuple[int, ...]  # one number for both axes of an image, or one each


@overload
def relu_shapley_values(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    baseline: Tensor | float | None = None,
    method: str = "li-cui",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: Literal[False] = False,
) -> Tensor: ...


@overload
def relu_shapley_values(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    baseline: Tensor | float | None = None,
    method: str = "li-cui",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def relu_shapley_values(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    baseline: Tensor | float | None = None,
    method: str = "li-cui",
    nodes: int | None = None,
    accuracy: float = 1e-5,
    return_missing: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""The Shapley values of the inputs of y = max(W x + b, 0), for every neuron, by one of several methods.

    The default is Li and Cui's analytical approximation,

    .. math::
        \alpha_k = \Phi\left(\frac{\mu + b}{\sigma}\right) \left(a_k + \frac{b}{n}\right),

        a_i = w_i (x_i - r_i), \qquad
        \mu = \frac{1}{2} \sum_i a_i,

        \sigma^2 = \frac{1}{6} \sum_i a_i^2 + \frac{1}{12} \Big(\sum_i a_i\Big)^2

    :math:`\Phi` is the standard normal distribution function; :math:`\mu` and :math:`\sigma` are mean and standard
    deviation of the sum of the :math:`a_i` that come first in a random order, their number uniform on 0..n. "Absent"
    means :math:`x_i = r_i`, the baseline; where it is not zero, b is what the neuron is given there,
    :math:`\sum_i w_i r_i + b`. The approximation is to take that sum for normal; it shares the bias equally among the
    inputs, so the values of a neuron sum to its Shapley Activation :math:`\Phi((\mu + b) / \sigma) (\sum_i a_i + b)`,
    not to its output.

    The other methods are for the values of the definition (`exact_relu_shapley_values`). An input at its baseline is
    given exactly nothing, and the values of a neuron sum to y(x) - y(r): what a method's sum lacks is shared in
    proportion to the :math:`a_k^2`.

    Parameters
    ----------
    x : Tensor
        [batch, in].
    weight : Tensor
        [out, in].
    bias : Tensor, optional
        [out]; zero where there is none.
    baseline : Tensor or float, optional
        What stands for absent: None (zero), a number, or a tensor that broadcasts to x.
    method : str
        "li-cui"; "normal", a normal distribution per rate at which other inputs are present; "edgeworth", one with
        third and fourth cumulants; "lattice", exact to a wanted accuracy; "enumeration", all coalitions of up to 20.
    nodes : int, optional
        For "normal" and "edgeworth": of the quadrature over the rate. None chooses, neuron by neuron: 16 where
        :math:`|\sum_i a_i| \le 6.4 \sqrt{\sum_i a_i^2}`, and more where terms pull one way; 16 for all in a compiled
        program, where numbers cannot be looked at.
    accuracy : float
        For "lattice": the largest error of a value, in units of the mean size of the neuron's values whose inputs
        differ from the baseline (and of a thousandth of the mean :math:`|a_i|`, where that is more).
    return_missing : bool
        Whether to return what the sums lacked, too.

    Returns
    -------
    Tensor
        [batch, out, in], computed in float32 at least. By "li-cui", where sigma is zero (every :math:`a_i` is), the
        limit: max(b, 0) / n each; where an :math:`a_i` overflows, its own value does, and those of the others are
        right. With return_missing a pair, the second [batch, out]: y(x) - y(r) less the sum of the values as the method
        makes them, before it is closed ("li-cui" is left as it is).

    Raises
    ------
    TypeError
        For anything but floating-point tensors of one dtype.
    ValueError
        For shapes that do not fit, for NaN and infinity, for an unknown method, and where a method cannot serve a call:
        more than 20 inputs of "enumeration", gradients through "lattice", or an accuracy that takes it too long
        or is finer than float64 allows.

    Cost
    ----
    Memory: that of the result. Time per number of the result: a few operations by "li-cui"; 2 nodes normal distribution
    functions by "normal" and "edgeworth"; by "lattice" some 40 to 80 nodes times hundreds of frequencies, and by
    "enumeration" 2**in operations.

    Source
    ------
    "li-cui": Li and Cui, equation 1. Our `weight`, `bias` are their w and b; their y is the output of one neuron. The
    others: ours, from Owen (1972), multilinear extensions of games.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0, 3.0]])
    >>> weight = torch.tensor([[1.0, 1.0, -1.0]])
    >>> relu_shapley_values(x, weight, method="lattice")
    tensor([[[ 0.5000,  1.0000, -1.5000]]])
    """
    _check_layer(x, weight, bias)
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is not None:
            check_finite(tensor, name)
    dtype = x.dtype
    x, weight = (tensor.to(torch.promote_types(dtype, torch.float32)) for tensor in (x, weight))
    b = x.new_zeros(len(weight)) if bias is None else bias.to(x.dtype)
    if baseline is not None:
        absent = checked_baseline(baseline, x)
        x, b = x - absent, linear(absent, weight, b)
    guard = units_of(x, weight, x.dtype).overflow_guard(1, x.dtype)
    terms = (x * guard)[:, None] * weight
    offset = (b * guard).expand(terms.shape[:-1])
    if method == "li-cui":
        values = li_cui.values(terms, offset)
        missing = gain(offset, terms.sum(-1)) - values.sum(-1) if return_missing else offset
    else:
        values, missing = relu_values(terms, offset, method=method, nodes=nodes, accuracy=accuracy)
    values = (values / guard[..., None]).to(dtype)
    return (values, (missing / guard).to(dtype)) if return_missing else values


def exact_relu_shapley_values(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""The exact Shapley values of the inputs of y = max(W x + b, 0), for every neuron, by enumerating all coalitions.

    .. math::
        \begin{aligned}
        \phi_k = \sum_{S \not\ni k} &\frac{|S|!\,(n - 1 - |S|)!}{n!} \\
        &\times [v(S + k) - v(S)],
        \end{aligned}

        v(S) = \max\Big(\sum_{i \in S} w_i x_i + b,\ 0\Big)

    Absent means :math:`x_i = 0`. The values of a neuron sum to max(W x + b, 0) - max(b, 0).

    Parameters
    ----------
    x, weight, bias
        As in `relu_shapley_values`.

    Returns
    -------
    Tensor
        [batch, out, in].

    Raises
    ------
    TypeError
        For anything but floating-point tensors of one dtype.
    ValueError
        For shapes that do not fit, and for more inputs than can be enumerated, as in `shapnotes.shapley_values`.

    Cost
    ----
    2**in additions and one maximum each, per example and neuron.

    Source
    ------
    Shapley (1953); Li and Cui, section 2.1 and Table 1.
    """
    _check_layer(x, weight, bias)
    return shapley_values(lambda rows: torch.relu(linear(rows, weight, bias)), x).movedim(1, -1)


def shapley_activation(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""The Shapley Activation of a layer of neurons: a smooth relative of max(W x + b, 0).

    .. math::
        \mathrm{SA} = \Phi\left(\frac{\mu + b}{\sigma}\right) \Big(\sum_i w_i x_i + b\Big),

        \mu = \frac{1}{2} \sum_i w_i x_i,

        \sigma^2 = \frac{1}{6} \sum_i (w_i x_i)^2 + \frac{1}{12} \Big(\sum_i w_i x_i\Big)^2

    It is the sum over the inputs of `relu_shapley_values`. :math:`\Phi` is the standard normal distribution function.
    SA depends on the single terms :math:`w_i x_i` through :math:`\sigma`, so it is no function of their sum alone: it
    takes the place of a layer together with its ReLU.

    Parameters
    ----------
    x : Tensor
        [..., in].
    weight : Tensor
        [out, in].
    bias : Tensor, optional
        [out]; zero where there is none.

    Returns
    -------
    Tensor
        [..., out], with gradients of any order, to all three arguments.

        Where sigma is zero (a blank input, zero weights) the limit max(b, 0), with the gradient of Phi's limit: 1 for
        b > 0, 0 for b < 0, one half of either at b = 0. There the limit of the gradient depends on the direction one
        comes from, so no value would make it continuous. sigma is taken for no smaller than about 1e-16 (float32) or
        1e-151 (float64) of max|x| max|w|: squares of such terms vanish in rounding.

        Half precisions and autocast: the sums of the :math:`w_i x_i` are taken as in `nn.Linear`, which decides the
        result's dtype; all else is computed in float32. Where a sum overflows, SA and its gradients are right all the
        same, as far as they are numbers of that dtype themselves (gradients by torch.func are not).

    Raises
    ------
    TypeError
        For anything but floating-point tensors of one dtype.
    ValueError
        For shapes that do not fit.

    Cost
    ----
    Two matrix products, W x and the squares of W times those of x, and four for the gradients; O(batch out) memory
    beside the arguments and their squares, never [batch, out, in].

    Source
    ------
    Li and Cui, equation 5. Our `weight`, `bias` are their w and b.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    >>> shapley_activation(x, torch.eye(2), torch.tensor([0.0, 2.0])).shape
    torch.Size([2, 2])
    """
    _check_linear(x, weight, bias)
    rows = sa_layer(x.reshape(-1, x.shape[-1]), weight, bias)
    return rows.view(*x.shape[:-1], len(weight))


def shapley_activation_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    r"""`shapley_activation` of neurons that share weights and look at patches: in place of `conv2d` and a ReLU.

    .. math::
        \mathrm{SA} = \Phi\left(\frac{\mu + b}{\sigma}\right) \Big(\sum_i w_i x_i + b\Big)

    The sums are over the pixels i of a patch, a neuron's n = in/groups kh kw inputs. Zeros that padding puts there are
    inputs like others, whose term is zero: they change neither mu nor sigma. (They count in n, which SA does not depend
    on.)

    Parameters
    ----------
    x : Tensor
        [batch, in, height, width] or [in, height, width].
    weight : Tensor
        [out, in/groups, kh, kw].
    bias : Tensor, optional
        [out]; zero where there is none.
    stride, padding, dilation, groups
        As in `torch.nn.functional.conv2d`.

    Returns
    -------
    Tensor
        Shape and dtype of what `conv2d` returns. Limits and precisions as in `shapley_activation`, where "max|x|" now
        is that of a whole image.

    Raises
    ------
    TypeError, ValueError
        As in `shapley_activation`, and for a padding that is none.

    Cost
    ----
    Two convolutions, and as much as four for the gradients.

    Source
    ------
    Li and Cui, equation 5 and section 3.
    """
    return _convolved(sa_layer, x, weight, bias, stride, padding, dilation, groups)


def shaplu(x: Tensor, weight: Tensor, bias: Tensor | None = None, full_gradient: bool = False) -> Tensor:
    r"""The Shapley Linear Unit: forward a ReLU layer, max(W x + b, 0), backward the Shapley gradient.

    .. math::
        \frac{dy}{dx_k} &:= \frac{d\alpha_k}{dx_k} = \Phi(z)\,w_k + g_k w_k t_k \\
        \frac{dy}{dw_k} &:= \frac{d\alpha_k}{dw_k} = \Phi(z)\,x_k + g_k x_k t_k \\
        \frac{dy}{db} &:= \sum_k \frac{d\alpha_k}{db} = \Phi(z) + \sum_k \frac{g_k}{\sigma}

    .. math::
        z = \frac{\mu + b}{\sigma}, \qquad
        g_k = \varphi(z) \left(w_k x_k + \frac{b}{n}\right),

        t_k = \frac{1}{2 \sigma} - \frac{(\mu + b)(w_k x_k + \mu)}{6 \sigma^3}

    Here :math:`\alpha_k` are the Shapley values of `relu_shapley_values`, with their :math:`\mu` and :math:`\sigma`,
    and :math:`\varphi` is the standard normal density. Of the matrix :math:`d\alpha_i / dx_k` this keeps the diagonal.
    It is not the derivative of the forward pass, nor of any function, and therefore is not differentiated again.

    Parameters
    ----------
    x : Tensor
        [..., in].
    weight : Tensor
        [out, in].
    bias : Tensor, optional
        [out]; zero where there is none.
    full_gradient : bool
        False leaves out the terms with :math:`t_k`, as the paper does in its runs. Beside :math:`\Phi` they are of the
        order of :math:`w_k x_k / \sigma`, :math:`1 / \sqrt{n}` for n terms of a size. The gradient of b keeps its
        second term, which does not fall with n: :math:`\sum_k g_k = \varphi(z) s`.

    Returns
    -------
    Tensor
        [..., out]. Where sigma is zero, the gradients are step(b) w_k, step(b) x_k and step(b), with step(0) = 1/2.
        Precisions as in `shapley_activation`; the forward pass is that of `nn.Linear` and a ReLU in each. Where its sum
        overflows, the gradient takes it for the largest or smallest that terms of these squares can have,
        :math:`\sigma^2 = (1/6 + n/12) \sum_i (w_i x_i)^2`.

    Raises
    ------
    TypeError
        For anything but floating-point tensors of one dtype.
    ValueError
        For shapes that do not fit.
    RuntimeError
        By a second backward pass, through the first one.

    Cost
    ----
    Forward a linear layer and its ReLU, backward three matrix products, one of them of squares; four more with
    full_gradient. :math:`t_k` makes the gradient a polynomial in :math:`w_k` and :math:`x_k` with coefficients that
    depend on the neuron only, so that it is made of matrix products, never of a [batch, out, in] tensor.

    Source
    ------
    Li and Cui, equations 3 and 4.
    """
    _check_linear(x, weight, bias)
    rows = shaplu_layer(x.reshape(-1, x.shape[-1]), weight, bias, full_gradient)
    return rows.view(*x.shape[:-1], len(weight))


def shaplu_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    full_gradient: bool = False,
) -> Tensor:
    r"""`shaplu` of neurons that share weights and look at patches: forward `conv2d` and a ReLU.

    .. math::
        y = \max\Big(\sum_i w_i x_i + b,\ 0\Big)

    The sum is over the pixels i of a patch. As in `shapley_activation_conv2d`, zeros that padding puts there are inputs
    with a term of zero. They count in n = in/groups kh kw, which enters :math:`g_k` through b/n: at the border each
    pixel is given the same share of the bias as elsewhere. Only full_gradient sees that; in the gradient of b the
    shares add up to b whatever n is.

    Parameters
    ----------
    x, weight, bias, stride, padding, dilation, groups
        As in `shapley_activation_conv2d`.
    full_gradient : bool
        As in `shaplu`.

    Returns
    -------
    Tensor
        Shape and dtype of what `conv2d` returns.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `shaplu`, and for a padding that is none.

    Cost
    ----
    That of `shaplu`, in convolutions.

    Source
    ------
    Li and Cui, equations 3 and 4.
    """
    layer = partial(shaplu_layer, full_gradient=full_gradient)
    return _convolved(layer, x, weight, bias, stride, padding, dilation, groups)


def _convolved(
    layer: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """`sa_layer` or `shaplu_layer`, for arguments as `conv2d` takes them."""
    _check_conv2d(x, weight, bias, groups)
    stride, dilation = _pair(stride), _pair(dilation)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f'padding="same" leaves as many pixels as there were, at stride 1; got stride {stride}')
        down, right = (d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True))
        # Where it is odd, the pixel more is on the right and below.
        x = pad(x, (0, right % 2, 0, down % 2)) if down % 2 or right % 2 else x
        padding = (down // 2, right // 2)
    elif isinstance(padding, str):
        if padding != "valid":
            raise ValueError(f'padding must be a number, two, "same" or "valid"; got {padding!r}')
        padding = 0
    geometry = Geometry(stride, _pair(padding), dilation, groups)
    images = layer(x if x.dim() == 4 else x[None], weight, bias, geometry=geometry)
    return images if x.dim() == 4 else images[0]


def _pair(size: Pair) -> tuple[int, int]:
    """One number per axis of an image."""
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise ValueError(f"stride, padding and dilation are a number, or two, one per axis of an image; got {size}")
    down, right = size
    return down, right


def _check_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """x [batch, in], weight [out, in], bias [out]."""
    _check_floating(x, weight, bias)
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1] or x.shape[1] == 0:
        raise ValueError(
            f"x [batch, in] and weight [out, in] must agree on in >= 1; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    _check_bias(weight, bias)
    _check_together(x, weight, bias)


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """x [..., in], weight [out, in], bias [out]."""
    _check_floating(x, weight, bias)
    if x.dim() == 0 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or x.shape[-1] == 0:
        raise ValueError(
            f"x [..., in] and weight [out, in] must agree on in >= 1; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    _check_bias(weight, bias)
    _check_together(x, weight, bias)


def _check_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """x [batch, in, height, width] or without batch, weight [out, in/groups, kh, kw], bias [out]."""
    _check_floating(x, weight, bias)
    if x.dim() not in (3, 4) or weight.dim() != 4 or x.shape[-3] != groups * weight.shape[1] or x.shape[-3] == 0:
        raise ValueError(
            "x [batch, in, height, width] and weight [out, in/groups, kh, kw] must agree on in >= 1; "
            f"got {tuple(x.shape)} and {tuple(weight.shape)} with groups={groups}"
        )
    _check_bias(weight, bias)
    _check_together(x, weight, bias)


def _check_together(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """One device and, outside autocast, one dtype."""
    devices, dtypes = ({getattr(t, key) for t in (x, weight, bias) if t is not None} for key in ("device", "dtype"))
    if len(devices) > 1:
        raise ValueError(f"x, weight and bias must be on one device; got {', '.join(sorted(map(str, devices)))}")
    if len(dtypes) > 1 and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"x, weight and bias must have one dtype outside autocast; got {', '.join(sorted(map(str, dtypes)))}"
        )


def _check_floating(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Dense tensors of floating-point numbers."""
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATING_DTYPES:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor of 16 bits or more; got {kind}")
        if tensor.layout != torch.strided:
            raise TypeError(f"{name} must be dense; got the layout {tensor.layout} (use .to_dense())")


def _check_bias(weight: Tensor, bias: Tensor | None) -> None:
    """One number per neuron."""
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{len(weight)}], one per neuron; got shape {tuple(bias.shape)}")
