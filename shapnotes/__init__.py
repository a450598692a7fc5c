"""Shapley values inside neural networks.

Attributions of a model are [batch, *players, *outputs], on the input's device and in its dtype.

Examples
--------
>>> import torch
>>> from torch import nn
>>> import shapnotes as sn
>>> model = nn.Sequential(
...     nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)
... )
>>> explanation = sn.explain(model, torch.rand(5, 4))
>>> explanation.attributions.shape  # inputs, features, outputs
torch.Size([5, 4, 3])
>>> bool(explanation.gap().abs().max() < 1e-5)
True
"""

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from shapnotes import coalitions, datasets, explainers, metrics, nn, plots, relevance, shapnet
from shapnotes._runtime.devices import device
from shapnotes.bounds.certificate import ShapleyBounds, shapley_bounds
from shapnotes.exact import explain, shapley_from_table, shapley_values
from shapnotes.explanation import Explanation, GapError
from shapnotes.moments.propagated import propagated_shapley_values
from shapnotes.neuron import hidden_layer_shapley_values
from shapnotes.regression import regression_shapley_values
from shapnotes.sampling import sample_shapley_values

__all__ = [
    "Explanation",
    "GapError",
    "ShapleyBounds",
    "coalitions",
    "datasets",
    "device",
    "estimators",
    "explain",
    "explainers",
    "hidden_layer_shapley_values",
    "metrics",
    "nn",
    "plots",
    "propagated_shapley_values",
    "regression_shapley_values",
    "relevance",
    "sample_shapley_values",
    "shapley_bounds",
    "shapley_from_table",
    "shapley_values",
    "shapnet",
]
__version__ = version("shapnotes")


def __getattr__(name: str) -> ModuleType:
    """`estimators` on first use: importing scikit-learn takes about as long as importing PyTorch."""
    if name == "estimators":
        return import_module("shapnotes.estimators")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
