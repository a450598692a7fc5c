"""One function of a few features, answered with its Shapley values."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from shapnotes.shapnet.base import ShapNet
from shapnotes.shapnet.transform import Inner, ShapleyTransform, listed_sets


class ShapleyModule(ShapNet):
    """The Shapley values of one inner function of the few features of its active set, and zero for all others.

        F_i(x) = phi_i(f, x) for i in the active set A, 0 otherwise

    inner       : f: [rows, k * in_channels] -> [rows, outputs] of the k features of A in the order given, any function
                  or nn.Module; deterministic, each row by itself. An nn.Module with dropout or batch statistics is
                  refused, by a ValueError, until it is in eval(): its values would not add up
    active_set  : A, the indices of the features that f sees, counted from 0
    n_features  : how many there are; 1 + the largest of A when None
    in_channels : length of the vector that each feature carries
    baseline    : what stands for absent: None (0), a number, or a tensor that broadcasts to one input

    Called with x [batch, n_features] or [batch, n_features, in_channels] it returns F(x) [batch, n_features, outputs],
    whose sum over features is f(x) - f(baseline).

    Cost: 2^k rows of f an input.

    Source: Shapley Explanation Networks, Definition 7, which gives the range of F for one output; with several it is
    D x C'.

    >>> import torch
    >>> module = ShapleyModule(lambda rows: rows.prod(1, keepdim=True), active_set=(0, 2))
    >>> module(torch.tensor([[2.0, 5.0, 3.0]]))
    tensor([[[3.],
             [0.],
             [3.]]])
    """

    def __init__(
        self,
        inner: Inner,
        active_set: Iterable[int],
        n_features: int | None = None,
        in_channels: int = 1,
        baseline: Tensor | float | Sequence[float] | None = None,
    ):
        (active_set,) = listed_sets([active_set])
        n_features = max(active_set, default=0) + 1 if n_features is None else n_features
        super().__init__([ShapleyTransform([active_set], n_features, in_channels, inner=inner)], in_channels, baseline)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[-1]
