"""Lower and upper bounds of exact Shapley values that hold, for networks of linear layers and ReLUs.

cubes         what a sub-cube of coalitions weighs, and how it is split
bands         linear bounds of units, and of a player's effect on them, from layer to layer
certificate   the public function: the widest sub-cube first, until the bounds meet or the budget is spent
"""
