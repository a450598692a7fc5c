"""Every method for the values of ReLU neurons: against all coalitions, its limits, its gradients, its refusals."""

import pytest
import torch
from contracts import normal
from oracles import model_values, tolerance
from torch.testing import assert_close

from shapnotes.neuron import METHODS, relu_values
from shapnotes.neuron import normal as normal_values
from shapnotes.neuron.lattice import row
from shapnotes.neuron.owen import enough_nodes

F64 = tolerance(torch.float64)
APPROXIMATE = ("edgeworth", "normal", "li-cui")
SMOOTH = ("edgeworth", "normal", "li-cui", "enumeration")


def neurons(rows: int, n: int, bias: float = 0.5, dtype: torch.dtype = torch.float64, seed: int = 1):
    """Terms [rows, n], offsets [rows] of the size of their sum."""
    return normal(rows, n, seed=seed, dtype=dtype), bias * n**0.5 * normal(rows, seed=seed + 100, dtype=dtype)


def error(method: str, terms: torch.Tensor, offset: torch.Tensor, exact: torch.Tensor) -> float:
    """Mean error over mean size."""
    return float((relu_values(terms, offset, method=method).values - exact).abs().mean() / exact.abs().mean())


def one_way(n: int, mixed: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Terms that pull one way, the more so the less `mixed`, of neurons with kinks at six times of arrival."""
    terms = 1 + mixed * normal(6, n, seed=n, dtype=torch.float64)
    at = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.8, 0.97], dtype=torch.float64)
    return terms, -at * terms.sum(1)


@pytest.mark.parametrize("method", ["normal", "edgeworth"])
@pytest.mark.parametrize(("n", "mixed"), [(20, 0.3), (100, 1.0), (784, 0.3), (784, 2.0), (3000, 0.6)])
def test_terms_that_pull_one_way_have_enough_nodes(n, mixed, method):
    terms, offset = one_way(n, mixed)
    exact = relu_values(terms, offset, method=method, nodes=2048).values
    gaps = []
    for nodes in (None, 16):
        gap = relu_values(terms, offset, method=method, nodes=nodes).values - exact
        gaps.append(float((gap.abs().mean(1) / exact.abs().mean(1)).max()))
    assert gaps[0] < 2e-3 and (gaps[1] > 0.01 or n <= 100)


def test_neurons_have_the_nodes_that_each_asks_for():
    mixed, offset = neurons(6, 784)
    terms, offsets = (torch.stack(two, 1).flatten(0, 1) for two in zip((mixed, offset), one_way(784, 0.3), strict=True))
    counts = enough_nodes(terms)
    assert counts[::2].tolist() == [16] * 6 and counts[1::2].tolist() == [128] * 6
    found = relu_values(terms.view(3, 4, -1), offsets.view(3, 4), method="normal").values.view(12, -1)
    alone = [
        relu_values(a[None], b[None], method="normal", nodes=n).values[0]
        for a, b, n in zip(terms, offsets, counts.tolist(), strict=True)
    ]
    assert_close(found, torch.stack(alone), **F64)
    assert enough_nodes(torch.zeros(2, 5)).tolist() == [16, 16]
    assert enough_nodes(torch.full((1, 2**20), 1.0)).tolist() == [1024]


def test_a_mapped_neuron_has_the_fewest_nodes():
    terms, offset = one_way(100, 0.3)
    mapped = torch.func.vmap(lambda a, b: relu_values(a, b, method="normal").values)(terms[:, None], offset[:, None])
    assert_close(mapped[:, 0], relu_values(terms, offset, method="normal", nodes=16).values, **F64)


def test_enumeration_is_the_definition():
    terms, offset = neurons(3, 5)
    found = relu_values(terms, offset, method="enumeration")
    for a, b, values in zip(terms, offset, found.values, strict=True):
        game = lambda rows: torch.relu(rows.sum(1) + b)  # noqa: E731, B023
        assert_close(values, model_values(game, a[None], torch.zeros(5, dtype=torch.float64))[0], **F64)
    assert float(found.missing.abs().max()) < 1e-14


@pytest.mark.parametrize("bias", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 16])
def test_the_lattice_is_within_what_it_promises(n, bias):
    terms, offset = neurons(10, n, bias)
    exact = relu_values(terms, offset, method="enumeration").values
    for accuracy in (1e-2, 1e-4, 1e-6):
        for a, b, phi in zip(terms, offset, exact, strict=True):
            found = row(a, float(b), accuracy)
            assert float((found.values - phi).abs().max()) <= found.bound + 1e-14
            assert found.bound <= accuracy * max(float(phi.abs().mean()) * 1.01, float(a.abs().mean()) / 1000)


# Largest relative errors at 4, 8 and 16 terms, offsets of half the size of the sum: what is measured, and a third.
ERRORS = {"edgeworth": (0.03, 0.02, 0.007), "normal": (0.05, 0.035, 0.015), "li-cui": (0.10, 0.06, 0.045)}


@pytest.mark.parametrize("method", APPROXIMATE)
def test_how_far_methods_are_from_all_coalitions(method):
    found = []
    for n in (4, 8, 16):
        terms, offset = neurons(100, n)
        found.append(error(method, terms, offset, relu_values(terms, offset, method="enumeration").values))
    assert all(one < most for one, most in zip(found, ERRORS[method], strict=True)) and found[2] < found[0] / 1.4


def test_the_order_of_each_method():
    """From 16 to 100 terms: n to the power -1.4 and -0.9; one distribution for all times gains nothing."""
    gains = {}
    for method in APPROXIMATE:
        errors = []
        for n in (16, 100):
            terms, offset = neurons(20, n)
            exact = relu_values(terms, offset, method="lattice", accuracy=1e-5).values
            errors.append(error(method, terms, offset, exact))
        gains[method] = errors[0] / errors[1]
    assert gains["edgeworth"] > 100 / 16 and gains["normal"] > (100 / 16) ** 0.7 and gains["li-cui"] < 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_close_and_what_adds_nothing_is_given_nothing(method, dtype):
    terms, offset = neurons(20, 9, dtype=dtype)
    terms[:, 4] = 0
    found = relu_values(terms, offset, method=method)
    assert found.values.dtype == found.missing.dtype == dtype
    change = (offset + terms.sum(1)).relu() - offset.relu()
    assert_close(found.values.sum(1), change, **tolerance(dtype))
    assert float(found.values[:, 4].abs().max()) == 0
    exact = relu_values(terms.double(), offset.double(), method="enumeration").values
    assert float((found.values - exact).abs().mean() / exact.abs().mean()) < 0.1


@pytest.mark.parametrize("method", APPROXIMATE)
def test_single_precision_is_double_precision_rounded(method):
    for n in (2, 30, 300):
        terms, offset = neurons(10, n, dtype=torch.float32)
        single = relu_values(terms, offset, method=method).values
        assert_close(single.double(), relu_values(terms.double(), offset.double(), method=method).values, **F32)


F32 = tolerance(torch.float32)


@pytest.mark.parametrize("method", APPROXIMATE)
def test_one_large_term_hides_no_small_ones(method):
    """In float32 the others' squares vanish beside its own, from which it is taken away again."""
    terms = torch.tensor([[1.0, 3e-4, -2e-4, 1e-4]])
    for b in (0.0, -1e-4, -0.5):
        single = relu_values(terms, torch.tensor([b]), method=method).values
        double = relu_values(terms.double(), torch.tensor([b]).double(), method=method).values
        assert_close(single.double(), double, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_blank_inputs_and_single_ones(method):
    terms = torch.zeros(3, 6, dtype=torch.float64)
    offset = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    assert float(relu_values(terms, offset, method=method).values.abs().max()) == 0
    terms[:, 2] = torch.tensor([3.0, -1.0, -3.0])
    found = relu_values(terms, offset, method=method)
    assert_close(found.values[:, 2], torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64), **F64)
    assert relu_values(terms[:0], offset[:0], method=method).values.shape == (0, 6)


@pytest.mark.parametrize("method", METHODS)
def test_equal_terms_have_equal_values(method):
    for b in (0.0, -3.0, -3.5):
        terms = torch.ones(1, 8, dtype=torch.float64)
        found = relu_values(terms, torch.tensor([b], dtype=torch.float64), method=method).values
        assert_close(found, torch.full_like(found, (8 + b) / 8), **F64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_far_from_its_kink_a_neuron_is_linear(method, dtype):
    terms, _ = neurons(4, 10, dtype=dtype)
    for b in (1e4, 1e30):
        assert_close(relu_values(terms, torch.full((4,), b, dtype=dtype), method=method).values, terms, **F32)
        off = relu_values(terms, torch.full((4,), -b, dtype=dtype), method=method)
        assert float(off.values.abs().max()) == float(off.missing.abs().max()) == 0


@pytest.mark.parametrize("method", METHODS)
def test_values_have_the_scale_of_the_terms(method):
    terms, offset = neurons(3, 6, dtype=torch.float32)
    unit = relu_values(terms, offset, method=method).values
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        scaled = relu_values(terms * scale, offset * scale, method=method).values
        assert_close(scaled / scale, unit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", SMOOTH)
def test_gradients(method):
    terms, offset = neurons(2, 5)
    terms[0, 1], terms[1, 2] = 0, terms[1, 3]
    leaves = terms.requires_grad_(), offset.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: relu_values(a, b, method=method).values, leaves)
    assert torch.autograd.gradgradcheck(lambda a, b: relu_values(a, b, method=method, nodes=4).values, leaves)


def test_gradients_of_blank_inputs_are_finite():
    for method in SMOOTH:
        terms = torch.zeros(2, 4, requires_grad=True)
        offset = torch.tensor([1.0, -1.0], requires_grad=True)
        for gradient in torch.autograd.grad(relu_values(terms, offset, method=method).values.sum(), (terms, offset)):
            assert bool(torch.isfinite(gradient).all())


def test_a_block_at_a_time_gives_the_same(monkeypatch):
    """With gradients, without, and where a block is computed again in the backward pass."""
    terms, offset = neurons(7, 20)
    whole = relu_values(terms, offset).values
    leaf = terms.clone().requires_grad_()
    gradient = torch.autograd.grad(relu_values(leaf, offset).values.square().sum(), leaf)[0]
    monkeypatch.setattr(normal_values, "BLOCK_NUMBERS", 700)
    monkeypatch.setattr(normal_values, "KEPT_NUMBERS", 700)
    assert_close(relu_values(terms, offset).values, whole, **F64)
    again = torch.autograd.grad(relu_values(leaf, offset).values.square().sum(), leaf)[0]
    assert_close(again, gradient, **F64)


def test_more_axes_are_more_neurons():
    terms, offset = neurons(6, 5)
    for method in METHODS:
        flat = relu_values(terms, offset, method=method)
        deep = relu_values(terms.view(2, 3, 5), offset.view(2, 3), method=method)
        assert_close(deep.values.flatten(0, 1), flat.values, **F64)
        assert deep.missing.shape == (2, 3)


def test_refusals():
    terms, offset = neurons(1, 21)
    with pytest.raises(ValueError, match=r"method must be one of .*'li-cui'; got 'exact'"):
        relu_values(terms, offset, method="exact")
    with pytest.raises(ValueError, match=r"up to 20 inputs, and 21 have 2\*\*21 coalitions; method='lattice'"):
        relu_values(terms, offset, method="enumeration")
    with pytest.raises(ValueError, match=r"no gradients; call it under torch\.no_grad"):
        relu_values(terms.requires_grad_(), offset, method="lattice")
    for nodes in (0, True, 2.0):
        with pytest.raises(ValueError, match="nodes must be a whole number, at least 1, or None"):
            relu_values(terms, offset, nodes=nodes)
    for accuracy in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="accuracy must be a share"):
            relu_values(terms, offset, accuracy=accuracy)
