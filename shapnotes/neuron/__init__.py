"""Shapley values of one ReLU neuron, and of one hidden layer, for any number of inputs and any baseline.

method        what it is                                      cost per neuron
enumeration   all coalitions: the definition                  2**n
lattice       exact to a wanted accuracy, with a bound        nodes * n * frequencies
edgeworth     four cumulants for every rate                   nodes * n
normal        a normal distribution for every rate            nodes * n
li-cui        one normal distribution for all rates           n
"""

from shapnotes.neuron.dispatch import METHODS, NeuronValues, relu_values
from shapnotes.neuron.hidden_layer import hidden_layer_shapley_values

__all__ = ["METHODS", "NeuronValues", "hidden_layer_shapley_values", "relu_values"]
