"""Shapley values inside neural networks.

Axes are the same everywhere: [batch, *players, *outputs]. Tensors in, tensors out, on the input's device and dtype.
"""

from importlib.metadata import version

from shapnotes import coalitions, datasets, estimators, explainers, metrics, nn, plots, relevance, shapnet
from shapnotes.exact import explain, shapley_from_table, shapley_values
from shapnotes.explanation import Explanation
from shapnotes.game import GapError
from shapnotes.sampling import sample_shapley_values

__all__ = [
    "Explanation",
    "GapError",
    "coalitions",
    "datasets",
    "estimators",
    "explain",
    "explainers",
    "metrics",
    "nn",
    "plots",
    "relevance",
    "sample_shapley_values",
    "shapley_from_table",
    "shapley_values",
    "shapnet",
]
__version__ = version("shapnotes")
