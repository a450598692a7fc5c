"""The closed form of a ReLU neuron: its numbers, its limits, and how far it is from the exact values."""

import pytest
import torch
from contracts import normal
from oracles import model_values, tolerance
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import shapnotes.nn.functional as F

F64 = tolerance(torch.float64)


def test_exact_values_are_those_of_the_definition():
    x, weight, bias = normal(2, 4), normal(3, 4, seed=2), normal(3, seed=3)
    neuron = lambda z: torch.relu(z @ weight.T + bias)  # noqa: E731
    expected = model_values(neuron, x, torch.zeros(4, dtype=torch.float64)).movedim(1, -1)
    assert_close(F.exact_relu_shapley_values(x, weight, bias), expected, **F64)


def test_what_each_of_the_two_sums_to():
    """Exact values sum to max(s, 0) - max(b, 0); the closed form to Phi s."""
    x, weight, bias = normal(20, 6), normal(4, 6, seed=2), normal(4, seed=3)
    s = x @ weight.T + bias
    assert_close(
        F.exact_relu_shapley_values(x, weight, bias).sum(-1),
        s.clamp(min=0) - bias.clamp(min=0),
        **F64,
    )
    closed = F.relu_shapley_values(x, weight, bias).sum(-1)
    assert bool((closed / s > 0).all()) and bool((closed / s < 1).all())


def test_flipping_all_signs_without_bias():
    """relu(s) - relu(-s) = s, so both forms change by w_k x_k exactly when every sign does."""
    x, weight = normal(5, 6), normal(3, 6, seed=2)
    for form in (F.relu_shapley_values, F.exact_relu_shapley_values):
        assert_close(form(x, weight) - form(-x, weight), x[:, None] * weight, **F64)


@pytest.mark.parametrize("method", ["enumeration", "lattice", "edgeworth", "normal"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_methods_are_for_the_values_of_the_definition(method, dtype):
    x, weight, bias, r = (normal(*s, seed=i, dtype=dtype) for i, s in enumerate([(3, 8), (5, 8), (5,), (8,)], 1))
    x[:, 2] = r[2]
    values, missing = F.relu_shapley_values(x, weight, bias, baseline=r, method=method, return_missing=True)
    exact = F.exact_relu_shapley_values(x - r, weight, bias + weight @ r)
    assert values.shape == (3, 5, 8) and missing.shape == (3, 5) and values.dtype == dtype
    assert_close(values.sum(2), torch.relu(x @ weight.T + bias) - torch.relu(weight @ r + bias), **tolerance(dtype))
    assert float(values[..., 2].abs().max()) == 0
    limit = 1e-4 if method in ("enumeration", "lattice") else 0.06
    assert float((values - exact).abs().mean() / exact.abs().mean()) < limit
    assert (float(missing.abs().max()) < 1e-3) == (limit == 1e-4)


def test_a_baseline_moves_the_inputs_and_the_bias():
    """The closed form as well, which is not closed; what it misses is told."""
    x, weight, bias, r = normal(3, 8), normal(5, 8, seed=2), normal(5, seed=3), normal(8, seed=4)
    values, missing = F.relu_shapley_values(x, weight, bias, baseline=r, return_missing=True)
    assert_close(values, F.relu_shapley_values(x - r, weight, bias + weight @ r), **F64)
    change = torch.relu(x @ weight.T + bias) - torch.relu(weight @ r + bias)
    assert_close(values.sum(2) + missing, change, **F64)
    assert_close(F.relu_shapley_values(x, weight, baseline=0.5), F.relu_shapley_values(x, weight, baseline=r * 0 + 0.5))
    with pytest.raises(ValueError, match="method must be one of"):
        F.relu_shapley_values(x, weight, bias, method="exact")
    with pytest.raises(ValueError, match=r"baseline of shape .* does not broadcast"):
        F.relu_shapley_values(x, weight, bias, baseline=torch.zeros(3, 7))


def test_scale_does_not_matter_without_bias():
    """The form is homogeneous; in float32 it stays so where squares would vanish or overflow."""
    x, weight = normal(3, 5, dtype=torch.float32), normal(2, 5, seed=2, dtype=torch.float32)
    unit = F.relu_shapley_values(x, weight)
    for scale in (1e-30, 1e-20, 1e20, 1e30):
        assert_close(F.relu_shapley_values(scale * x, weight) / scale, unit, rtol=1e-4, atol=1e-6)


def test_a_large_bias_shares_itself_equally():
    """Li and Cui's limit b >> w_i x_i, and its counterpart: a neuron that never fires gives nothing."""
    x, weight = normal(2, 4), normal(1, 4, seed=2)
    always = F.relu_shapley_values(x, weight, torch.tensor([1e6]).double())
    assert_close(always, x[:, None] * weight + 1e6 / 4, rtol=1e-9, atol=0)
    assert float(F.relu_shapley_values(x, weight, torch.tensor([-1e6]).double()).abs().max()) == 0


def test_gradcheck():
    x, weight, bias = (
        normal(2, 3).requires_grad_(),
        normal(2, 3, seed=2).requires_grad_(),
        normal(2, seed=3).requires_grad_(),
    )
    assert torch.autograd.gradcheck(F.relu_shapley_values, (x, weight, bias))
    assert torch.autograd.gradcheck(F.exact_relu_shapley_values, (x, weight, bias))


def test_approximation_improves_with_the_number_of_inputs():
    """A normal distribution for partial sums is poor for two terms, good for twelve: medians of 200 neurons, b = 0."""
    errors = []
    for n in (2, 4, 12):
        x, weight = normal(1, n, seed=n), normal(200, n, seed=n + 1)
        exact = F.exact_relu_shapley_values(x, weight)
        gap = (F.relu_shapley_values(x, weight) - exact).norm(dim=-1) / exact.norm(dim=-1)
        errors.append(float(gap.median()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.15


@pytest.mark.parametrize("form", [F.relu_shapley_values, F.exact_relu_shapley_values])
@pytest.mark.parametrize(
    ("error", "says", "arguments"),
    [
        (ValueError, "must agree on in", (torch.ones(1, 3), torch.ones(2, 4))),
        (ValueError, "must agree on in", (torch.ones(3), torch.ones(2, 3))),
        (ValueError, "bias must be \\[2\\]", (torch.ones(1, 3), torch.ones(2, 3), torch.ones(3))),
        (
            TypeError,
            "weight must be a floating-point",
            (torch.ones(1, 3), torch.ones(2, 3, dtype=torch.int64)),
        ),
        (TypeError, "x must be a floating-point.*list", ([[1.0]], torch.ones(2, 3))),
        (TypeError, "one dtype.*float32.*float64", (torch.ones(1, 3), torch.ones(2, 3).double())),
    ],
)
def test_refusals(form, error, says, arguments):
    with pytest.raises(error, match=says):
        form(*arguments)


def layer(rows: int = 3, inputs: int = 5, outputs: int = 4, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """x, weight and bias, each a leaf."""
    shapes = ((rows, inputs), (outputs, inputs), (outputs,))
    return [normal(*shape, seed=seed, dtype=dtype).requires_grad_() for seed, shape in enumerate(shapes, 1)]


def test_shapley_activation_has_the_gradient_of_its_values():
    assert torch.autograd.gradcheck(F.shapley_activation, layer())
    assert torch.autograd.gradgradcheck(F.shapley_activation, layer())
    image = (normal(1, 2, 3, 3).requires_grad_(), normal(2, 2, 2, 2, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: F.shapley_activation_conv2d(x, w, padding=1), image)
    assert torch.autograd.gradgradcheck(lambda x, w: F.shapley_activation_conv2d(x, w, padding=1), image)


def test_shaplu_does_not_have_the_gradient_of_its_values():
    """On purpose: its backward pass is Li and Cui's equation 4, which is not the derivative of a ReLU. That is the
    method, so nobody should mend it; shapley_activation is the function that owns its gradient."""
    for full_gradient in (False, True):
        form = lambda *leaves: F.shaplu(*leaves, full_gradient=full_gradient)  # noqa: E731, B023
        assert not torch.autograd.gradcheck(form, layer(), raise_exception=False)


def test_shaplu_is_the_diagonal_of_the_jacobian_of_the_closed_form():
    """Equation 3 by automatic differentiation of equation 1; what it leaves out is what makes it another gradient."""
    leaves = layer()
    gradient = normal(3, 4, seed=9)
    by_x, by_weight, by_bias = torch.func.jacrev(F.relu_shapley_values, argnums=(0, 1, 2))(
        *(leaf.detach() for leaf in leaves)
    )
    expected = (
        torch.einsum("bo,bokbk->bk", gradient, by_x),
        torch.einsum("bo,bokok->ok", gradient, by_weight),
        torch.einsum("bo,boko->o", gradient, by_bias),
    )
    got = torch.autograd.grad(F.shaplu(*leaves, full_gradient=True), leaves, gradient)
    for ours, value in zip(got, expected, strict=True):
        assert_close(ours, value, **F64)
    whole = torch.einsum("bo,bokbi->bi", gradient, by_x)
    assert float((whole - expected[0]).abs().max()) > 0.1


def test_gradients_of_the_bias_agree():
    """Each alpha_k depends on the one b, so nothing is left out: ShapLU, short or full, and SA have one gradient."""
    x, weight, bias = layer()
    reference = torch.autograd.grad(F.shapley_activation(x, weight, bias).sum(), bias)[0]
    for full_gradient in (False, True):
        assert_close(torch.autograd.grad(F.shaplu(x, weight, bias, full_gradient).sum(), bias)[0], reference, **F64)


def test_how_close_the_gradients_are():
    """Many small terms, no bias: with z = mu / sigma, ShapLU has Phi(z) w and SA (Phi(z) + z phi(z) (1 - z^2 / 3)) w.

    The same direction while the neuron is on, but a ratio of lengths that is a function of z and does not tend to one
    with n: it lies between -0.15 and 1.3, and at z = -1 it is about zero. The terms that the short form drops do vanish
    with n.
    """
    dropped = []
    for n in (10, 100, 1000):
        x = normal(400, n, seed=n).requires_grad_()
        weight = normal(1, n, seed=n + 1)
        sa, short, full = (
            torch.autograd.grad(y.sum(), x)[0]
            for y in (F.shapley_activation(x, weight), F.shaplu(x, weight), F.shaplu(x, weight, full_gradient=True))
        )
        terms = x.detach() * weight
        z = terms.sum(1) / 2 / (terms.square().sum(1) / 6 + terms.sum(1) ** 2 / 12).sqrt()
        dropped.append(float(((full - short).norm(dim=1) / short.norm(dim=1)).median()))
    ratio = (sa * short).sum(1) / short.square().sum(1)
    density = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5
    assert_close(ratio, 1 + z * density * (1 - z**2 / 3) / torch.special.ndtr(z), rtol=0, atol=0.05)
    assert -0.15 < float(ratio.min()) < 0 and 1.2 < float(ratio.max()) < 1.3
    assert float(torch.cosine_similarity(sa, short)[z > 0].min()) > 0.99
    assert dropped[0] > dropped[1] > dropped[2] and dropped[2] < 0.05


def test_without_a_bias_the_gradient_never_vanishes_with_it_it_does():
    """z >= -sqrt(3) where b = 0, so ShapLU passes on at least 4 % of w; a strong negative bias closes the neuron."""
    x, weight = normal(1, 20).abs().requires_grad_(), -normal(1, 20, seed=2).abs()
    share = torch.autograd.grad(F.shaplu(x, weight).sum(), x)[0] / weight
    assert 0.0416 < float(share.min()) <= float(share.max()) < 0.1
    closed = torch.autograd.grad(F.shaplu(x, weight, torch.tensor([-1e3]).double()).sum(), x)[0]
    assert float(closed.abs().max()) == 0


def test_the_gradient_jumps_at_the_origin_without_bias():
    """The values are homogeneous, so the gradient depends on the direction one comes from, however near one is."""
    weight = torch.ones(1, 2, dtype=torch.float64)
    sides = []
    for scale in (1e-9, -1e-9):
        x = torch.full((1, 2), scale, dtype=torch.float64, requires_grad=True)
        sides.append(float(torch.autograd.grad(F.shapley_activation(x, weight).sum(), x)[0][0, 0]))
    assert sides[0] > 0.85 and sides[1] < 0.15


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize(
    "form",
    [F.shapley_activation, F.shaplu, lambda *leaves: F.shaplu(*leaves, full_gradient=True)],
    ids=["SA", "ShapLU", "full ShapLU"],
)
def test_no_tensor_is_of_the_size_of_all_terms(form):
    """Forward and backward; the closed form of the single values needs one, which shows that the hook sees it."""
    leaves = layer(rows=20, inputs=30, outputs=40)
    with Largest() as seen:
        torch.autograd.grad(form(*leaves).sum(), leaves)
    assert seen.elements == 30 * 40
    with Largest() as seen:
        F.relu_shapley_values(*leaves)
    assert seen.elements == 20 * 30 * 40


def test_per_example_gradients_by_vmap():
    x, weight, bias = (leaf.detach() for leaf in layer())
    for form in (F.shapley_activation, F.shaplu, lambda *leaves: F.shaplu(*leaves, full_gradient=True)):
        loss = lambda w, row, b: form(row, w, b).square().sum()  # noqa: E731, B023
        together = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2)), in_dims=(None, 0, None))(weight, x, bias)
        for i in range(3):
            single = [leaf.clone().requires_grad_() for leaf in (weight, x[i], bias)]
            for got, expected in zip(together, torch.autograd.grad(loss(*single), single), strict=True):
                assert_close(got[i], expected, **F64)


def test_shaplu_is_not_differentiated_twice():
    x, weight, bias = layer()
    first = torch.autograd.grad(F.shaplu(x, weight, bias).sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="no second derivatives; use shapley_activation"):
        first.sum().backward()
    loss = lambda row: F.shaplu(row, weight.detach(), bias.detach()).sum()  # noqa: E731
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.func.grad(lambda row: torch.func.grad(loss)(row).sum())(x.detach())


def test_half_precision():
    """s is nn.Linear's, all else float32: one rounding to bfloat16 on top, in values and in gradients."""
    for dtype in (torch.bfloat16, torch.float16):
        leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in layer(8, 16, 6)]
        doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
        for form in (F.shapley_activation, F.shaplu, lambda *leaves: F.shaplu(*leaves, full_gradient=True)):
            y, reference = form(*leaves), form(*doubles)
            assert y.dtype == dtype
            assert_close(y.double(), reference, **tolerance(torch.bfloat16))
            ours = torch.autograd.grad(y.sum(), leaves)
            for got, expected in zip(ours, torch.autograd.grad(reference.sum(), doubles), strict=True):
                assert got.dtype == dtype
                assert_close(got.double(), expected, **tolerance(torch.bfloat16))
        with torch.no_grad():
            assert torch.equal(F.shaplu(*leaves), torch.relu(torch.nn.functional.linear(*leaves)))


# Pairs of terms whose sums are too large for the dtype: -9e4 in float16, and about -9e38 in the others.
TOO_LARGE = {torch.float16: 300.0, torch.bfloat16: 3e19, torch.float32: 3e19}


def accuracy(dtype: torch.dtype) -> dict[str, float]:
    return tolerance(torch.float32 if dtype == torch.float32 else torch.bfloat16)


@pytest.mark.parametrize("bias", [None, 5.0])
@pytest.mark.parametrize("dtype", TOO_LARGE, ids=str)
def test_sums_that_overflow(dtype, bias):
    """SA of -9e4 is -1.4e4, a number of float16; its gradients are numbers as well, where the sum is -inf and +inf."""
    size = TOO_LARGE[dtype]
    x = torch.tensor([[size, 1.0], [-size, 0.5], [1.0, 2.0]], dtype=dtype)
    weight = torch.tensor([[-size, 2.0], [0.5, -1.0]], dtype=dtype)
    b = [] if bias is None else [torch.full((2,), bias, dtype=dtype)]
    assert float(torch.nn.functional.linear(x, weight)[0, 0]) == -torch.inf
    image = lambda *leaves: F.shapley_activation_conv2d(*(leaf[..., None, None] for leaf in leaves[:2]), *leaves[2:])  # noqa: E731
    for form in (F.shapley_activation, lambda *leaves: image(*leaves)[..., 0, 0]):
        results = []
        for precision in (dtype, torch.float64):
            leaves = [leaf.to(precision, copy=True).requires_grad_() for leaf in (x, weight, *b)]
            y = form(*leaves)
            results.append([y.detach(), *torch.autograd.grad(y[[0, 0, 1, 2, 2], [0, 1, 1, 0, 1]].sum(), leaves)])
        for got, expected in zip(*results, strict=True):
            assert got.dtype == dtype
            unit = expected.abs().clamp(min=1)  # each number by itself: they are of all sizes
            assert_close(got.double() / unit, expected.to(dtype).double() / unit, **accuracy(dtype))
    # ShapLU has the ReLU's values, infinite ones included, and gradients that are numbers.
    for full_gradient in (False, True):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, weight, *b)]
        y = F.shaplu(*leaves, full_gradient=full_gradient)
        assert torch.equal(y, torch.relu(torch.nn.functional.linear(*leaves)))
        for gradient in torch.autograd.grad(y.sum(), leaves):
            assert bool(torch.isfinite(gradient).all())


def test_sums_that_overflow_under_autocast():
    x = torch.tensor([[300.0, 1.0]], requires_grad=True)
    weight = torch.tensor([[-300.0, 2.0]], requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        y = F.shapley_activation(x, weight)
    assert y.dtype == torch.float16
    doubles = [leaf.detach().double().requires_grad_() for leaf in (x, weight)]
    expected = F.shapley_activation(*doubles)
    assert_close(y.double(), expected, rtol=1e-3, atol=0)
    for got, value in zip(
        torch.autograd.grad(y.sum(), (x, weight)),
        torch.autograd.grad(expected, doubles, torch.ones(1, 1).double()),
        strict=True,
    ):
        assert_close(got.double(), value, rtol=2e-3, atol=1e-2)


def test_single_values_whose_terms_overflow():
    """The others' are right, and infinite is only what is too large."""
    for dtype, size in ((torch.float32, 1e30), (torch.bfloat16, 1e30), (torch.float16, 1e4)):
        for sign in (1, -1):
            x = torch.tensor([[size, 1.0, 0.0], [1.0, 2.0, 3.0]], dtype=dtype)
            weight = torch.tensor([[sign * size, 1.0, 5.0]], dtype=dtype)
            for bias in (None, torch.tensor([size], dtype=dtype)):
                expected = F.relu_shapley_values(x.double(), weight.double(), None if bias is None else bias.double())
                got = F.relu_shapley_values(x, weight, bias)
                assert got.dtype == dtype and bool(got[0].isinf().any()) and bool(torch.isfinite(got[0]).any())
                assert_close(got, expected.to(dtype), **accuracy(dtype))


def test_second_derivatives_at_the_edge_of_the_numbers():
    """A bias that is infinite in units of the terms, and no terms at all: finite, and zero."""
    for size, bias_size in ((1e-30, 1e30), (0.0, 1.0), (0.0, 0.0)):
        x = torch.full((1, 3), size, requires_grad=True)
        weight, bias = torch.ones(2, 3, requires_grad=True), torch.full((2,), bias_size, requires_grad=True)
        (first,) = torch.autograd.grad(F.shapley_activation(x, weight, bias).sum(), x, create_graph=True)
        for second in torch.autograd.grad(first.sum(), (x, bias)):
            assert float(second.abs().max()) == 0


def test_not_a_number_stays_one():
    """An activation that hid them would hide a training run that has failed. Other rows and neurons know nothing."""
    x, weight, bias = (leaf.detach() for leaf in layer())
    bad_x, bad_weight = x.clone(), weight.clone()
    for value in (torch.nan, torch.inf):
        bad_x[1, 2], bad_weight[3, 0] = value, value
        assert F.shapley_activation(bad_x, weight, bias).isnan().any(1).tolist() == [False, True, False]
        assert F.shapley_activation(x, bad_weight, bias).isnan().any(0).tolist() == [False, False, False, True]
    bad_x[1, 2] = torch.nan
    assert F.shaplu(bad_x, weight, bias).isnan().any(1).tolist() == [False, True, False]


def test_shapes_without_numbers():
    """On the meta device, where models are laid out before they have weights."""
    meta = lambda *shape: torch.empty(shape, device="meta")  # noqa: E731
    for form in (F.shapley_activation, F.shaplu):
        assert form(meta(2, 3), meta(4, 3), meta(4)).shape == (2, 4)
    assert F.shapley_activation_conv2d(meta(2, 3, 5, 5), meta(4, 3, 2, 2)).shape == (2, 4, 4, 4)


def test_convolutions_have_the_defaults_of_conv2d():
    x, weight, bias = normal(2, 3, 5, 6), normal(4, 3, 2, 2, seed=2), normal(4, seed=3)
    assert_close(F.shaplu_conv2d(x, weight), torch.relu(torch.nn.functional.conv2d(x, weight)), **F64)
    for form in (F.shapley_activation_conv2d, F.shaplu_conv2d):
        plain = form(x, weight, bias)
        assert plain.shape == (2, 4, 4, 5)
        assert torch.equal(form(x, weight, bias, 1, 0, 1, 1), plain)
        assert torch.equal(form(x, weight, bias, padding="valid"), plain)
        assert_close(form(x, weight, bias, padding="same")[..., :-1, :-1], plain, **F64)  # the last of each see zeros
        assert_close(form(x[0], weight, bias), plain[0], **F64)


@pytest.mark.parametrize("form", [F.shapley_activation, F.shaplu])
@pytest.mark.parametrize(
    ("error", "says", "arguments"),
    [
        (ValueError, "must agree on in", (torch.ones(1, 3), torch.ones(2, 4))),
        (ValueError, "must agree on in", (torch.tensor(1.0), torch.ones(2, 4))),
        (ValueError, "must agree on in", (torch.ones(1, 3), torch.ones(3))),
        (ValueError, "in >= 1", (torch.ones(1, 0), torch.ones(2, 0))),
        (ValueError, "bias must be \\[2\\]", (torch.ones(1, 3), torch.ones(2, 3), torch.ones(3))),
        (TypeError, "x must be a floating-point.*int64", (torch.ones(1, 3).long(), torch.ones(2, 3))),
        (TypeError, "weight must be a floating-point.*list", (torch.ones(1, 3), [[1.0, 2.0, 3.0]])),
        (TypeError, "bias must be a floating-point.*bool", (torch.ones(1, 3), torch.ones(2, 3), torch.ones(2).bool())),
        (TypeError, "one dtype.*float32.*float64", (torch.ones(1, 3), torch.ones(2, 3).double())),
        (TypeError, "x must be.*16 bits or more; got torch.float8", (torch.ones(1, 3).to(torch.float8_e5m2),) * 2),
        (TypeError, "weight must be dense; got the layout", (torch.ones(1, 3), torch.ones(2, 3).to_sparse())),
        (ValueError, "one device; got cpu, meta", (torch.ones(1, 3), torch.ones(2, 3, device="meta"))),
    ],
)
def test_activations_refuse(form, error, says, arguments):
    with pytest.raises(error, match=says):
        form(*arguments)


@pytest.mark.parametrize("form", [F.shapley_activation_conv2d, F.shaplu_conv2d])
@pytest.mark.parametrize(
    ("error", "says", "arguments", "groups"),
    [
        (ValueError, "must agree on in.*groups=1", (torch.ones(1, 3, 4, 4), torch.ones(2, 4, 2, 2)), 1),
        (ValueError, "must agree on in.*groups=2", (torch.ones(1, 3, 4, 4), torch.ones(2, 3, 2, 2)), 2),
        (ValueError, "must agree on in", (torch.ones(3, 4), torch.ones(2, 3, 2, 2)), 1),
        (ValueError, "must agree on in", (torch.ones(1, 3, 4, 4), torch.ones(2, 3)), 1),
        (ValueError, "bias must be", (torch.ones(1, 3, 4, 4), torch.ones(2, 3, 2, 2), torch.ones(3)), 1),
        (TypeError, "x must be a floating-point", (torch.ones(1, 3, 4, 4).int(), torch.ones(2, 3, 2, 2)), 1),
        (ValueError, "at stride 1; got stride", (torch.ones(1, 3, 4, 4), torch.ones(2, 3, 2, 2), None, 2, "same"), 1),
        (ValueError, "padding must.*'full'", (torch.ones(1, 3, 4, 4), torch.ones(2, 3, 2, 2), None, 1, "full"), 1),
        (
            ValueError,
            r"or two, one per.*\(1, 1, 1\)",
            (torch.ones(1, 3, 4, 4), torch.ones(2, 3, 2, 2), None, (1,) * 3),
            1,
        ),
    ],
)
def test_convolutions_refuse(form, error, says, arguments, groups):
    with pytest.raises(error, match=says):
        form(*arguments, groups=groups)


@pytest.mark.parametrize("where", ["x", "weight", "bias"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_values_of_what_is_not_finite_are_refused_as_exact_ones_are(where, number):
    layer = {"x": torch.ones(2, 3), "weight": torch.ones(2, 3), "bias": torch.ones(2)}
    layer[where].view(-1)[0] = number
    with pytest.raises(ValueError, match=f"{where} is NaN or infinite in 1 of"):
        F.relu_shapley_values(**layer)
    of_rows = lambda x: F.relu_shapley_values(x[None], layer["weight"], layer["bias"])[0]  # noqa: E731
    if where == "x":
        assert torch.func.vmap(of_rows)(layer["x"]).shape == (2, 2, 3), "nobody can look at them there"
