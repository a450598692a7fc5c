"""Layer-wise relevance propagation: the relevance of a network's output, handed down to its input layer by layer.

Examples
--------
All outputs at once: `relevances[0][b, :, c]` is the relevance of the features of input b for output c.

>>> import torch
>>> from torch import nn
>>> import shapnotes as sn
>>> model = nn.Sequential(
...     nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)
... )
>>> x = torch.rand(5, 4)
>>> start = sn.relevance.linear_relevance(model(x))
>>> relevances = sn.relevance.propagate(model, x, start)
>>> relevances.names
['input', '0', '1', '2']
>>> relevances[0].shape  # inputs, features, outputs
torch.Size([5, 4, 3])
>>> input_totals, *_, output_totals = relevances.totals  # conserved
>>> bool((input_totals - output_totals).abs().max() < 1e-6)
True
"""

# propagation.py     `propagate`: down through the layers, with what is conserved
# graph.py           from a model to its layers, run once
# layer.py           one step of the model's computation
# rules.py           one rule per kind of layer, and the table of rules
# output_layers.py   the relevance to start from: of linear, ReLU and softmax outputs

from shapnotes.relevance.output_layers import linear_relevance, relu_relevance, softmax_relevance
from shapnotes.relevance.propagation import Relevances, propagate

__all__ = ["Relevances", "linear_relevance", "propagate", "relu_relevance", "softmax_relevance"]
