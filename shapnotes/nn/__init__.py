"""Neurons and layers whose Shapley values have a closed form."""

from shapnotes.nn import functional
from shapnotes.nn.layers import SAConv2d, SALinear, ShapLUConv2d, ShapLULinear
from shapnotes.nn.swap import swap_activations

__all__ = ["SAConv2d", "SALinear", "ShapLUConv2d", "ShapLULinear", "functional", "swap_activations"]
