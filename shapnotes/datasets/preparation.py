"""Rows parted into training and test rows, and columns brought to one scale."""

from numbers import Real

import torch
from torch import Tensor

from shapnotes._runtime.tensors import check_dense


def train_test_split(
    x: Tensor, y: Tensor, test_fraction: float = 0.25, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shuffle the rows and part them into training and test rows.

    Parameters
    ----------
    x : Tensor
        [rows, ...].
    y : Tensor
        [rows, ...], as many.
    test_fraction : float
        round(test_fraction * rows) rows are for testing.
    generator : torch.Generator
        To draw the order from.

    Returns
    -------
    x_train, x_test, y_train, y_test : Tensor
        Copies, each on the device of what it is part of.

    Raises
    ------
    TypeError
        For anything but tensors, a number and a generator.
    ValueError
        If x and y differ in their rows, or if either side is left empty.
    """
    check_generator(generator)
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor) or not tensor.dim():
            got = "a single number" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a tensor [rows, ...], got {got} (torch.as_tensor makes one)")
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y {len(y)}; they must be equal")
    if not isinstance(test_fraction, Real):
        raise TypeError(f"test_fraction must be a number, got {test_fraction!r}")
    n_test = round(test_fraction * len(x)) if 0 < test_fraction < 1 else 0
    if not 0 < n_test < len(x):
        raise ValueError(f"test_fraction {test_fraction} of {len(x)} rows leaves one side empty")
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    test, train = order[:n_test], order[n_test:]
    return x[train], x[test], y[train.to(y.device)], y[test.to(y.device)]


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    r"""Subtract the training mean of each column and divide by its standard deviation.

    .. math::
        z_{ij} = \frac{x_{ij} - \bar x_j}{s_j},

        \bar x_j = \frac{1}{m} \sum_i x_{ij}, \qquad
        s_j^2 = \frac{1}{m} \sum_i (x_{ij} - \bar x_j)^2

    with mean and deviation over the m rows of `train`. A column that is constant there is only centred.

    Parameters
    ----------
    train : Tensor
        [rows, *features], whose statistics are taken.
    *others : Tensor
        [any, *features] each.

    Returns
    -------
    tuple of Tensor
        All of them, in order, in their own dtype.

    Raises
    ------
    TypeError
        For what is not floating point.
    ValueError
        For other shapes, NaN or infinity in whichever of them, and for what is too large for its precision.
    """
    for i, tensor in enumerate((train, *others)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"expected tensors of floating-point numbers, got {got} (use .float())")
        check_dense(tensor, f"others[{i - 1}]" if i else "train")
        if tensor.shape[1:] != train.shape[1:] or tensor.ndim < 2:
            expected = ["rows", *train.shape[1:]] if train.ndim > 1 else ["rows", "features"]
            raise ValueError(f"expected {expected}, got {list(tensor.shape)}")
    if not len(train) or not all(t.isfinite().all() for t in (train, *others)):
        raise ValueError("train must have rows, and neither it nor the others NaN or infinity")
    # float64, and max = min for "constant": rounding must not turn a constant column into noise.
    mean = train.double().mean(dim=0)
    deviation = train.double().std(dim=0, correction=0)
    deviation[train.amax(dim=0) == train.amin(dim=0)] = 1.0
    standard = tuple(((t.double() - mean) / deviation).to(t.dtype) for t in (train, *others))
    if not deviation.isfinite().all() or not all(t.isfinite().all() for t in standard):
        raise ValueError("what is standardised is too large for its precision; divide it by a constant first")
    return standard


def check_generator(generator: torch.Generator) -> None:
    """TypeError for anything but a generator."""
    if not isinstance(generator, torch.Generator):
        hint = "e.g. torch.Generator().manual_seed(0)"
        raise TypeError(f"generator must be a torch.Generator, {hint}; got {generator!r}")
