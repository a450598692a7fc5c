"""One function of a few features, answered with its Shapley values."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from shapnotes.shapnet.cascade import ShapNet
from shapnotes.shapnet.inner.any_function import Inner
from shapnotes.shapnet.transform import ShapleyTransform, listed_sets


class ShapleyModule(ShapNet):
    r"""The Shapley values of one inner function of the few features of its active set, and zero for all others.

    .. math::
        F_i(x) = \phi_i(f, x) \text{ for } i \in A, \quad 0 \text{ otherwise},

        \sum_i F_i(x) = f(x) - f(r)

    Parameters
    ----------
    inner : callable
        f: [rows, k * in_channels] -> [rows, outputs] of the k features of A in the order given, any function or
        nn.Module; deterministic, each row by itself.
    active_set : iterable of int
        A, the indices of the features that f sees, counted from 0.
    n_features : int, optional
        How many there are; 1 + the largest of A when None.
    in_channels : int
        Length of the vector that each feature carries.
    baseline : Tensor, float or sequence of float, optional
        r, what stands for absent: None (0), a number, or what broadcasts to one input.

    Raises
    ------
    ValueError, TypeError
        As `ShapNet`; and for an nn.Module with dropout or batch statistics until it is in eval(): its values would not
        add up.

    Notes
    -----
    A network of one module. `values(x)` is F(x) [batch, n_features, outputs], for x [batch, n_features] or [batch,
    n_features, in_channels]. As every network it is called for the prediction, f(x) - f(r) [batch, outputs], and
    `explain(x)` has both.

    Cost
    ----
    2**k rows of f per input.

    Source
    ------
    Shapley Explanation Networks, Definition 7, which gives the range of F for one output; with several it is D x C'.

    Examples
    --------
    >>> import torch
    >>> def product(rows):
    ...     return rows.prod(1, keepdim=True)
    >>> module = ShapleyModule(product, active_set=(0, 2))
    >>> module.values(torch.tensor([[2.0, 5.0, 3.0]]))
    tensor([[[3.],
             [0.],
             [3.]]])
    >>> module(torch.tensor([[2.0, 5.0, 3.0]]))
    tensor([[6.]])
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

    def values(self, x: Tensor) -> Tensor:
        """F(x), the attributions.

        Parameters
        ----------
        x : Tensor
            [batch, n_features] or [batch, n_features, in_channels].

        Returns
        -------
        Tensor
            [batch, n_features, outputs].
        """
        return self.layers(x)[-1]
