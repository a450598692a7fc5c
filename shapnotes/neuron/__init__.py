"""Shapley values of one ReLU neuron, and of one hidden layer, for any number of inputs and any baseline.

    method        what it is                                  error                          cost per neuron
    enumeration   all coalitions                              rounding                       2**n
    lattice       terms on a grid, Fourier transforms         bounded, chosen                nodes * n * points
    edgeworth     four cumulants at every time of arrival     order 1/n^2, relative          nodes * n
    normal        a normal distribution at every time         order 1/n                      nodes * n
    li-cui        one normal distribution for all times       does not fall with n           n

The first two are exact, the others fall in accuracy and rise in speed.
"""

from shapnotes.neuron.dispatch import METHODS, NeuronValues, relu_values

__all__ = ["METHODS", "NeuronValues", "relu_values"]
