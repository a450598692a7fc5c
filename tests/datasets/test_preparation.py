"""Rows are parted and columns are scaled by what is asked for, and by nothing else."""

import pytest
import torch
from torch.testing import assert_close

from shapnotes import datasets


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_split_parts_the_rows_and_keeps_pairs():
    x = torch.arange(40.0).reshape(20, 2)
    y = torch.arange(20)
    x_train, x_test, y_train, y_test = datasets.train_test_split(x, y, generator=generator())
    assert len(x_train) == len(y_train) == 15 and len(x_test) == len(y_test) == 5
    assert sorted([*y_train.tolist(), *y_test.tolist()]) == list(range(20))
    assert torch.equal(x_train, x[y_train]) and torch.equal(x_test, x[y_test])
    again = datasets.train_test_split(x, y, generator=generator())
    other = datasets.train_test_split(x, y, generator=generator(1))
    assert torch.equal(again[3], y_test) and not torch.equal(other[3], y_test)


def test_split_refuses_bad_input():
    x, y = torch.zeros(4, 2), torch.zeros(4)
    for fraction in (0, 1, -0.5, 1.5, 0.01, 0.99, float("nan")):
        with pytest.raises(ValueError, match="leaves one side empty"):
            datasets.train_test_split(x, y, fraction, generator=generator())
    with pytest.raises(ValueError, match="x has 4 rows and y 3"):
        datasets.train_test_split(x, y[:3], generator=generator())
    with pytest.raises(TypeError, match=r"torch.Generator.*got 0"):
        datasets.train_test_split(x, y, generator=0)
    for name, given in (("x", (x.numpy(), y)), ("x", (x.tolist(), y)), ("y", (x, None)), ("y", (x, torch.tensor(1.0)))):
        with pytest.raises(TypeError, match=rf"{name} must be a tensor \[rows, ...\], got"):
            datasets.train_test_split(*given, generator=generator())
    with pytest.raises(TypeError, match="test_fraction must be a number, got"):
        datasets.train_test_split(x, y, "0.5", generator=generator())


def test_standardise_uses_training_statistics():
    train = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    test = torch.tensor([[5.0, 20.0]])
    standard, other = datasets.standardise(train, test)
    assert_close(standard, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert_close(other, torch.tensor([[3.0, 0.0]]))
    assert torch.equal(train, torch.tensor([[1.0, 10.0], [3.0, 30.0]]))  # not in place


def test_standardise_only_centres_constant_columns():
    train = torch.full((7, 1), 0.1)
    standard, other = datasets.standardise(train, train + 2)
    assert_close(standard, torch.zeros(7, 1), rtol=0, atol=1e-7)
    assert_close(other, torch.full((7, 1), 2.0))


def test_standardise_refuses_bad_input():
    with pytest.raises(ValueError, match=r"expected \['rows', 2\], got \[3, 1\]"):
        datasets.standardise(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="NaN"):
        datasets.standardise(torch.tensor([[float("nan")], [1.0]]))
    with pytest.raises(ValueError, match="must have rows"):
        datasets.standardise(torch.zeros(0, 2))
    train = torch.tensor([[1.0], [2.0], [3.0], [10.0]])
    for odd in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="neither it nor the others NaN or infinity"):
            datasets.standardise(train, torch.tensor([[odd]]))
    for integers in (train.long(), train.to(torch.uint8), train > 2, train.to(torch.complex64)):
        for given in ((integers,), (train, integers)):
            with pytest.raises(TypeError, match=f"floating-point numbers, got {integers.dtype}"):
                datasets.standardise(*given)
    for other in (train.numpy(), train.tolist(), None):
        with pytest.raises(TypeError, match=f"floating-point numbers, got {type(other).__name__}"):
            datasets.standardise(other)


@pytest.mark.parametrize(
    "given",
    [
        (torch.tensor([[1e308], [-1e308]], dtype=torch.float64),),
        (torch.tensor([[1e-3], [-1e-3]]).half(), torch.tensor([[6e4]]).half()),
    ],
)
def test_standardise_says_when_numbers_are_too_large(given):
    with pytest.raises(ValueError, match="too large for its precision"):
        datasets.standardise(*given)
