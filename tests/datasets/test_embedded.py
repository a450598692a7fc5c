"""The data that need no network are what they are said to be."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from shapnotes import datasets


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("reading", ["product", "sum"])
def test_synthetic_target_is_the_formula(reading):
    data = datasets.synthetic_regression(50, generator=generator(3), noise=0.0, reading=reading)
    for row, target in zip(data.x.double().numpy(), data.y.numpy(), strict=True):
        first = np.prod(row) if reading == "product" else np.sum(row)
        # float32, sixteen terms of at most 1/2
        np.testing.assert_allclose(target, first + np.sum(row**2), rtol=0, atol=2e-6)
    assert data.x.shape == (50, 16) and data.y.shape == (50,)
    assert data.x.dtype == data.y.dtype == torch.float32
    assert len(data.feature_names) == 16 and data.class_names == ()


def test_synthetic_inputs_are_uniform_and_the_noise_has_its_floor():
    data = datasets.synthetic_regression(20_000, generator=generator(1))
    assert data.x.min() >= -0.5 and data.x.max() <= 0.5
    assert_close(data.x.mean(0), torch.zeros(16), rtol=0, atol=0.01)  # 5 standard errors: 0.0102
    assert_close(data.x.var(0), torch.full((16,), 1 / 12), rtol=0.03, atol=0)
    residual = data.y - data.x.prod(1) - data.x.square().sum(1)
    assert abs(residual.square().mean().item() - 0.0025) < 0.0025 * 0.05
    assert abs(residual.mean().item()) < 5 * 0.05 / 20_000**0.5


def test_synthetic_depends_on_the_generator_only():
    first, again, other = (datasets.synthetic_regression(5, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    assert not torch.equal(first.x, other.x)
    louder = datasets.synthetic_regression(5, generator=generator(0), noise=1.0)
    assert torch.equal(first.x, louder.x) and not torch.equal(first.y, louder.y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "at least 1, got 0"),
        ({"n_samples": 2.0}, TypeError, "integer, got 2.0"),
        ({"n_samples": True}, TypeError, "integer, got True"),
        ({"noise": "0.1"}, ValueError, "noise must be .* got 0.1"),
        ({"noise": None}, ValueError, "noise must be .* got None"),
        ({"reading": "max"}, ValueError, '"product" or "sum", got \'max\''),
        ({"noise": -1.0}, ValueError, "noise must be .* got -1.0"),
        ({"noise": float("nan")}, ValueError, "noise must be .* got nan"),
        ({"generator": None}, TypeError, "torch.Generator.*got None"),
        ({"generator": 0}, TypeError, "torch.Generator.*got 0"),
    ],
)
def test_synthetic_refuses_bad_input(change, error, message):
    arguments = {"n_samples": 3, "generator": generator()} | change
    with pytest.raises(error, match=message):
        datasets.synthetic_regression(**arguments)


def test_synthetic_takes_numpys_numbers():
    given = datasets.synthetic_regression(np.int64(4), generator=generator(), noise=np.float32(0.5))
    plain = datasets.synthetic_regression(4, generator=generator(), noise=0.5)
    assert torch.equal(given.x, plain.x) and torch.equal(given.y, plain.y)


def test_synthetic_needs_a_generator():
    with pytest.raises(TypeError, match="generator"):
        datasets.synthetic_regression(3)


def test_digits():
    data = datasets.digits()
    assert data.x.shape == (1797, 1, 8, 8) and data.x.dtype == torch.float32
    assert data.x.min() == 0 and data.x.max() == 1
    assert torch.equal(data.x * 16, (data.x * 16).round())
    assert data.y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.class_names == tuple("0123456789") and len(data) == 1797


def test_breast_cancer():
    data = datasets.breast_cancer()
    assert data.x.shape == (569, 30) and data.x.dtype == torch.float32
    assert data.y.dtype == torch.int64 and data.y.bincount().tolist() == [212, 357]
    assert data.class_names == ("malignant", "benign")
    assert data.feature_names[0] == "mean radius" and len(data.feature_names) == 30
    assert_close(data.x[0, 0].item(), 17.99, rtol=1e-6, atol=0)


def test_dataset_is_frozen_and_shows_itself_briefly():
    data = datasets.digits()
    with pytest.raises(AttributeError):
        data.x = None
    assert repr(data) == "Dataset('digits', x [1797, 1, 8, 8]: as shipped with scikit-learn)"
