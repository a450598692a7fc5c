"""Operation 1: the values of many small functions of k players. `dispatch` chooses; the others compute.

=============  ==================================================  ==============  ==============================
backend        how                                                 hidden layers   where
=============  ==================================================  ==============  ==============================
unrolled       coalition by coalition, k products or sums          one             `torch.compile`, k up to 4
two-products   masked weights, Shapley matrix times last layer     one             few channels, many inputs
reference      masked inputs, all 2^k of them                      any             small: the fewest calls
shared-sums    k products, additions along the coalitions          any             everything else
=============  ==================================================  ==============  ==============================

All are differentiable tensor operations, on any device and in any precision, and can be mapped and differentiated
twice. Cost: 2^k - 1 evaluations of all layers but the first, whose products are k (shared-sums, unrolled) or 2^k.
"""
