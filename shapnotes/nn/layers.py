"""Linear layers and convolutions with a Shapley Activation or a ShapLU built in."""

from typing import Any

from torch import Tensor, nn

from shapnotes.nn import functional
from shapnotes.nn.functional import Pair


class SALinear(nn.Linear):
    r"""`nn.Linear` and a Shapley Activation in one, in place of max(W x + b, 0).

    .. math::
        y = \Phi\left(\frac{\mu + b}{\sigma}\right) (W x + b)

    Constructor, parameters, initialisation and state_dict are those of `nn.Linear`. [..., in] -> [..., out]. See
    `shapnotes.nn.functional.shapley_activation` for the formula, its limits and its cost.

    Source
    ------
    Li and Cui, equation 5.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.shapley_activation(x, self.weight, self.bias)


class SAConv2d(nn.Conv2d):
    r"""`nn.Conv2d` and a Shapley Activation in one; a neuron's inputs are the pixels of its patch.

    .. math::
        y = \Phi\left(\frac{\mu + b}{\sigma}\right) (W * x + b)

    Constructor, parameters, initialisation and state_dict are those of `nn.Conv2d`. Padded pixels are inputs like
    others, with the value padding_mode gives them. See `shapnotes.nn.functional.shapley_activation_conv2d`.

    Source
    ------
    Li and Cui, equation 5 and section 3.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.shapley_activation_conv2d(*_convolution(self, x))


class ShapLULinear(nn.Linear):
    r"""`nn.Linear` and a ReLU in one, trained by the Shapley gradient instead of the derivative.

    .. math::
        y = \max(W x + b, 0), \qquad \frac{dy}{dx_k} := \frac{d\alpha_k}{dx_k}

    Parameters, initialisation and state_dict are those of `nn.Linear`. [..., in] -> [..., out]. See
    `shapnotes.nn.functional.shaplu`.

    Parameters
    ----------
    *args, **kwargs
        As `nn.Linear` takes them.
    full_gradient : bool
        False drops the terms that the paper drops in its runs.

    Source
    ------
    Li and Cui, equations 3 and 4.
    """

    full_gradient = False

    def __init__(self, *args: Any, full_gradient: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.full_gradient = full_gradient

    def forward(self, x: Tensor) -> Tensor:
        return functional.shaplu(x, self.weight, self.bias, self.full_gradient)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, full_gradient={self.full_gradient}"


class ShapLUConv2d(nn.Conv2d):
    r"""`nn.Conv2d` and a ReLU in one, trained by the Shapley gradient instead of the derivative.

    .. math::
        y = \max(W * x + b, 0), \qquad \frac{dy}{dx_k} := \frac{d\alpha_k}{dx_k}

    Parameters, initialisation and state_dict are those of `nn.Conv2d`. See `shapnotes.nn.functional.shaplu_conv2d`.

    Parameters
    ----------
    *args, **kwargs
        As `nn.Conv2d` takes them.
    full_gradient : bool
        False drops the terms that the paper drops in its runs.

    Source
    ------
    Li and Cui, equations 3 and 4.
    """

    full_gradient = False

    def __init__(self, *args: Any, full_gradient: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.full_gradient = full_gradient

    def forward(self, x: Tensor) -> Tensor:
        return functional.shaplu_conv2d(*_convolution(self, x), full_gradient=self.full_gradient)

    def extra_repr(self) -> str:
        return f"{nn.Conv2d.extra_repr(self)}, full_gradient={self.full_gradient}"


def _convolution(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair | str, Pair, int]:
    """The arguments of a convolution; x is padded by anything but zeros before, as `nn.Conv2d` does it."""
    padding: Pair | str = layer.padding
    if layer.padding_mode != "zeros":
        x, padding = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), 0
    return x, layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups
