"""ReLU neurons and layers: Shapley values of their inputs, in Li and Cui's closed form, and layers made of it.

Examples
--------
Another activation for a model that is there; going back gives the same outputs.

>>> import torch
>>> from torch import nn
>>> import shapnotes as sn
>>> model = nn.Sequential(
...     nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)
... )
>>> smooth = sn.nn.swap_activations(model, to="sa")
>>> smooth.get_submodule("0")
SALinear(in_features=4, out_features=8, bias=True)
>>> x = torch.rand(5, 4)
>>> back = sn.nn.swap_activations(smooth, to="relu")
>>> torch.equal(back(x), model(x))
True

A layer in a new model, a ReLU layer that is trained by the Shapley gradient:

>>> model = nn.Sequential(
...     sn.nn.ShapLULinear(4, 8), nn.Linear(8, 3)
... )
>>> model(x).shape
torch.Size([5, 3])
"""

from shapnotes.nn import functional
from shapnotes.nn.layers import SAConv2d, SALinear, ShapLUConv2d, ShapLULinear
from shapnotes.nn.swap import swap_activations

__all__ = ["SAConv2d", "SALinear", "ShapLUConv2d", "ShapLULinear", "functional", "swap_activations"]
