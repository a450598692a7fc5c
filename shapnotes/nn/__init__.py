"""Neurons and layers whose Shapley values have a closed form."""

from shapnotes.nn import functional

__all__ = ["functional"]
