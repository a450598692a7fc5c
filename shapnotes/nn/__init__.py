"""ReLU neurons and layers: Shapley values of their inputs, in Li and Cui's closed form, and layers made of it."""

from shapnotes.nn import functional
from shapnotes.nn.layers import SAConv2d, SALinear, ShapLUConv2d, ShapLULinear
from shapnotes.nn.swap import swap_activations

__all__ = ["SAConv2d", "SALinear", "ShapLUConv2d", "ShapLULinear", "functional", "swap_activations"]
