"""Layer-wise relevance propagation: the relevance of a network's output, handed down to its input layer by layer.

| file | what it holds |
|---|---|
| `propagation.py` | `propagate`: down through the layers, with what is conserved |
| `graph.py` | from a model to its layers, run once |
| `layer.py` | one step of the model's computation |
| `rules.py` | one rule per kind of layer, and the table of rules |
| `output_layers.py` | the relevance to start from: of linear, ReLU and softmax outputs |
"""

from shapnotes.relevance.output_layers import linear_relevance, relu_relevance, softmax_relevance
from shapnotes.relevance.propagation import Relevances, propagate

__all__ = ["Relevances", "linear_relevance", "propagate", "relu_relevance", "softmax_relevance"]
