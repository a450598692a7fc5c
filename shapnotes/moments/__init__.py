"""Approximate Shapley values of deep ReLU networks: mean and variance of every unit, carried through the layers.

layers       from the moments of what a layer is given to those of what it puts out
propagated   the public function: the moments with a player present and absent, at every time of arrival
"""
