"""Relevance: equation 2 term by term, what is conserved and what is not, and what is refused."""

import math
from itertools import pairwise

import pytest
import torch
from contracts import normal
from hypothesis import given
from hypothesis import strategies as st
from oracles import tolerance
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import relevance as R

F64 = tolerance(torch.float64)


# --- the same by loops --------------------------------------------------------------------------------------------


def one_neuron_at_a_time(
    x: list[float], weight: list[list[float]], counts: list[list[float]], bias: list[float], r: list[float], eps: float
) -> list[float]:
    """Equation 2 for the inputs of a layer; counts[j][k] is proportional to how often neuron j has input k."""
    handed = [0.0] * len(x)
    for w, c, b, r_y in zip(weight, counts, bias, r, strict=True):
        n = sum(c)
        terms = [w_i * x_i for w_i, x_i in zip(w, x, strict=True)]
        if eps == 0 and not any(terms) and b == 0:
            b = 1e-300  # the limit from above; that from below is the same
        total = sum(terms) + b
        for k in range(len(x)):
            handed[k] += (terms[k] + c[k] * b / n) / (total + math.copysign(eps, total)) * r_y
    return handed


def as_matrix(layer: nn.Module, shape: torch.Size) -> Tensor:
    """The matrix of a linear layer without its bias, a column an input: [out, in]."""
    unit = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    return (layer(unit) - layer(torch.zeros_like(unit))).flatten(1).T.detach()


def by_loops(layer: nn.Module, x: Tensor, r: Tensor, eps: float = 0.0) -> Tensor:
    """One input at a time through one linear layer, its matrix found by probing."""
    weight = as_matrix(layer, x.shape[1:])
    state = {name: p.clone() for name, p in layer.named_parameters()}
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1)
        counts = as_matrix(layer, x.shape[1:])
        for name, p in layer.named_parameters():
            p.copy_(state[name])
        bias = layer(torch.zeros_like(x[:1])).flatten()
    rows = [
        one_neuron_at_a_time(*(t.tolist() for t in (one, weight, counts, bias, r_y)), eps)
        for one, r_y in zip(x.flatten(1), r.flatten(1), strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(x.shape)


def seeded(make, seed: int = 0) -> nn.Module:
    """A module in float64 and evaluation mode whose parameters and statistics all differ from their defaults."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().double().eval()
        for norm in model.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                    tensor.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b, bias), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """Two branches and their sum, an activation used twice and in place, a view."""

    def __init__(self, channels: int = 3, add=lambda a, b: a + b):
        super().__init__()
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4 * channels, 2)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.norm(self.first(x)))
        h = self.relu(self.add(self.second(h), h))
        return self.head(self.pool(h).view(h.size(0), -1))


# --- by hand ------------------------------------------------------------------------------------------------------


def neuron(weight: list[list[float]], bias: list[float] | None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
    if bias is not None:
        layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return layer


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_a_neuron_by_hand():
    """Terms 2, 3 and bias 1: shares (2.5, 3.5) / 6 of the relevance 12."""
    found = R.propagate(neuron([[1.0, 3.0]], [1.0]), row(2, 1), row(12))
    assert [tuple(r.shape) for r in found] == [(1, 2), (1, 1)]
    assert_close(found[0], row(5, 7), **F64)
    assert found[1].item() == 12
    assert found.names == ["input", "0"]


def test_two_layers_by_hand():
    """Hidden 2 and 6 (terms 1+1 and 2+4); output 2+6 = 8, so that relevance 8 is (2, 6), then (1+2, 1+4)."""
    model = nn.Sequential(neuron([[1.0, 1.0], [2.0, 4.0]], None), nn.ReLU(), neuron([[1.0, 1.0]], None))
    found = R.propagate(model, row(1, 1), row(8))
    assert_close(found[2], row(2, 6), **F64)
    assert_close(found[0], row(3, 5), **F64)
    assert torch.equal(found[1], found[2])


def test_a_linear_model_hands_out_its_terms():
    """With the output as relevance: w_k x_k + b / n, which sums to the output; with b = 0 the Shapley values."""
    for bias in (True, False):
        layer, x = seeded(lambda: nn.Linear(5, 1, bias)).requires_grad_(False), normal(4, 5)  # noqa: B023
        found = R.propagate(layer, x, layer(x))[0]
        expected = layer.weight * x + (layer.bias / 5 if bias else 0)
        assert_close(found, expected, **F64)
        assert_close(found.sum(1, keepdim=True), layer(x), **F64)
        if not bias:
            assert_close(found, sn.shapley_values(layer, x)[..., 0], **F64)


def test_a_large_bias_is_shared_equally():
    """b >> w_i x_i: no input makes a difference. Without b / n the shares would be those of b = 0."""
    x, r = normal(2, 4), normal(2, 1, seed=3)
    for bias, far in ((1e3, 1e-2), (-1e6, 1e-5)):
        layer = neuron([[0.5, -1.0, 2.0, 0.3]], [bias])
        shares = R.propagate(layer, x, r)[0] / r
        assert_close(shares, torch.full_like(shares, 0.25), rtol=0, atol=far)
        assert float((shares - 0.25).abs().max()) > far / 1e3


def test_no_terms_at_all_are_the_limit_of_a_small_bias():
    """0/0 becomes 1/n, which is what any bias, however small, gives."""
    for bias in (1e-300, -1e-300, 0.0, None):
        found = R.propagate(neuron([[1.0, 2.0, -3.0]], None if bias is None else [bias]), row(0, 0, 0), row(6))
        assert_close(found[0], row(2, 2, 2), **F64)
    pooled = R.propagate(nn.AvgPool2d(2), torch.zeros(1, 1, 2, 2).double(), row(8).reshape(1, 1, 1, 1))[0]
    assert_close(pooled, torch.full((1, 1, 2, 2), 2.0).double(), **F64)


def test_a_neuron_that_is_off_hands_down_too():
    """Phi cancels: whether the ReLU fires plays no part."""
    model = nn.Sequential(neuron([[1.0, -3.0]], None), nn.ReLU())
    found = R.propagate(model, row(1, 1), row(4))
    assert model(row(1, 1)).item() == 0
    assert_close(found[0], row(-2, 6), **F64)


def test_largest_entries_win_and_ties_share():
    x = torch.tensor([[[[1.0, 5.0, 7.0, 7.0], [2.0, 0.0, 7.0, 1.0]]]]).double()
    found = R.propagate(nn.MaxPool2d(2), x, torch.tensor([[[[3.0, 6.0]]]]).double())[0]
    assert found.tolist() == [[[[0, 3, 2, 2], [0, 0, 2, 0]]]]


def test_zeros_of_the_padding_take_no_part_in_the_bias():
    """A corner of a 3 x 3 convolution has four inputs, not nine; x = 0 makes shares of the bias alone."""
    layer = seeded(lambda: nn.Conv2d(1, 1, 3, padding=1))
    r = torch.zeros(1, 1, 5, 5).double()
    r[0, 0, 0, 0] = 4
    found = R.propagate(layer, torch.zeros(1, 1, 5, 5).double(), r)[0]
    expected = torch.zeros(1, 1, 5, 5).double()
    expected[..., :2, :2] = 1
    assert_close(found, expected, **F64)


# --- against loops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_one_hidden_layer_against_loops(bias, eps):
    model, x, r = seeded(lambda: mlp(4, 6, 2, bias=bias)), normal(3, 4), normal(3, 2, seed=2)
    found = R.propagate(model, x, r, eps)
    hidden = by_loops(model[2], model[:2](x), r, eps)
    assert_close(found[2], hidden, **F64)
    assert_close(found[1], hidden, **F64)
    assert_close(found[0], by_loops(model[0], x, hidden, eps), **F64)


@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(2, 3, 3),
        lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
        lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2, bias=False),
        lambda: nn.Conv2d(2, 2, 2, padding=1, padding_mode="reflect"),
        lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        lambda: nn.Conv2d(2, 2, 3, padding=2, padding_mode="replicate", stride=2),
        lambda: nn.AvgPool2d(2),
        lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda: nn.AvgPool2d(2, 1, 1, divisor_override=3),
        lambda: nn.AdaptiveAvgPool2d((2, 3)),
    ],
    ids=["plain", "all", "same", "reflect", "circular", "replicate", "pool", "ceil", "divisor", "adaptive"],
)
def test_layers_against_loops(layer, eps):
    layer, x = seeded(layer), normal(2, 2, 5, 4)
    r = normal(*layer(x).shape, seed=2)
    assert_close(R.propagate(layer, x, r, eps)[0], by_loops(layer, x, r, eps), **F64)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d((2, 3), (1, 2), dilation=(2, 1)),
        nn.MaxPool2d(2, 2, 1, ceil_mode=True),
        nn.MaxPool2d(3, 3, ceil_mode=True),
    ],
    ids=str,
)
def test_pooling_by_the_largest_is_its_gradient(pool):
    """Without ties all relevance goes where the gradient goes."""
    x = normal(2, 3, 7, 8).requires_grad_()
    r = normal(*pool(x).shape, seed=2)
    expected = torch.autograd.grad(pool(x), x, r)[0]
    assert_close(R.propagate(pool, x.detach(), r)[0], expected, **F64)


@pytest.mark.parametrize("add", [lambda a, b: a + b, torch.add, lambda a, b: a.add_(b), lambda a, b: a.add(b)])
def test_sums_share_in_proportion(add):
    model, x, r = seeded(lambda: Residual(add=add)), normal(2, 2, 4, 4), normal(2, 2, seed=2)
    found = R.propagate(model, x, r)
    assert found.names[0] == "input" and found.names[-1] == "head"
    fused = fuse_conv_bn_eval(model.first, model.norm)
    h = torch.relu(fused(x))
    g = model.second(h)
    r = by_loops(model.head, model.pool(torch.relu(g + h)).flatten(1), r).reshape(2, 3, 2, 2)
    r = by_loops(model.pool, torch.relu(g + h), r)
    assert_close(found[found.names.index("pool") - 1], r, **F64)
    to_h = h / (g + h) * r + by_loops(model.second, h, g / (g + h) * r)
    assert_close(found[3], to_h, **F64)
    assert_close(found[0], by_loops(fused, x, to_h), **F64)


def test_a_layer_added_to_itself():
    class Twice(nn.Module):
        def forward(self, x):
            return x + x

    assert_close(R.propagate(Twice(), row(1, 2), row(3, 4))[0], row(3, 4), **F64)


def test_normalisation_belongs_to_the_layer_it_follows():
    """The same function has the same relevance, whether its normalisation was folded into weights or not."""
    x, r = normal(2, 2, 5, 5), normal(2, 3, 3, 3, seed=2)
    model = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU()))
    fused = fuse_conv_bn_eval(model[0], model[1])
    assert_close(R.propagate(model, x, r)[0], R.propagate(fused, x, r)[0], **F64)
    x, r = normal(2, 4), normal(2, 3, seed=2)
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    fused = fuse_linear_bn_eval(model[0], model[1])
    assert_close(R.propagate(model, x, r)[0], R.propagate(fused, x, r)[0], **F64)
    # Not of the features: here the axis that is normalised is another.
    x, r = normal(2, 4, 5), normal(2, 4, 3, seed=2)
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(4)))
    expected = torch.cat([R.propagate(model[0], x[:, c], r[:, c])[0][:, None] for c in range(4)], 1)
    assert_close(R.propagate(model, x, r)[0], expected, **F64)


def test_normalisation_does_not_belong_to_a_layer_that_others_read():
    """y = norm(h) + h hands all of its relevance to h, whatever the shares; h hands it on by its own weights."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)

        def forward(self, x):
            h = self.layer(x)
            return self.norm(h) + h

    model, x, r = seeded(Both), normal(2, 3), normal(2, 2, seed=2)
    assert_close(R.propagate(model, x, r)[0], by_loops(model.layer, x, r), **F64)


def test_normalisation_elsewhere_has_one_input():
    model = seeded(lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Identity()))
    r = normal(2, 3)
    for found in R.propagate(model, normal(2, 3, seed=2), r):
        assert_close(found, r, **F64)


@pytest.mark.parametrize("name", ["SALinear", "ShapLULinear", "SAConv2d", "ShapLUConv2d"])
def test_layers_of_the_package_have_the_rule_of_what_they_extend(name):
    """Their activations differ, and with them what the layers below are given; their own shares do not."""
    if name.endswith("Linear"):
        make, plain, x, norm = (lambda kind: kind(4, 3)), nn.Linear, normal(2, 4), nn.BatchNorm1d(3)
    else:
        make, plain, x, norm = (lambda kind: kind(2, 3, 3, 2, 1)), nn.Conv2d, normal(2, 2, 5, 5), nn.BatchNorm2d(3)
    layer = seeded(lambda: make(getattr(sn.nn, name)))
    linear = seeded(lambda: make(plain))
    linear.load_state_dict(layer.state_dict())
    r = normal(*layer(x).shape, seed=2)
    assert_close(R.propagate(layer, x, r)[0], by_loops(linear, x, r), **F64)
    # Normalisation comes after their activation, and does not belong to the linear map.
    normed = seeded(lambda: nn.Sequential(layer, norm))
    assert_close(R.propagate(normed, x, r)[0], by_loops(linear, x, r), **F64)


def test_a_swapped_model_has_the_relevance_of_the_original():
    model, x, r = seeded(lambda: mlp(4, 6, 5, 2)), normal(2, 4), normal(2, 2)
    swapped = sn.nn.swap_activations(model, to="shaplu")
    assert_close(R.propagate(swapped, x, r)[0], R.propagate(model, x, r)[0], **F64)


def test_activations_in_place_and_modules_used_twice():
    relu = nn.ReLU(inplace=True)
    shared = seeded(lambda: nn.Sequential(nn.Linear(3, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 2)))
    plain = nn.Sequential(shared[0], nn.ReLU(), shared[2], nn.ReLU(), shared[4])
    x, r = normal(2, 3), normal(2, 2, seed=2)
    found = R.propagate(shared, x, r)
    assert len(found) == 6
    for got, expected in zip(found, R.propagate(plain, x, r), strict=True):
        assert_close(got, expected, **F64)
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1).double())
    kept = x.clone()
    R.propagate(first, x, normal(2, 1))
    assert torch.equal(x, kept)


def test_parametrised_weights_are_those_in_force():
    layer = nn.utils.parametrizations.weight_norm(seeded(lambda: nn.Linear(3, 2)))
    x, r = normal(2, 3), normal(2, 2, seed=2)
    assert_close(R.propagate(layer, x, r)[0], by_loops(neuron(layer.weight.tolist(), layer.bias.tolist()), x, r), **F64)


# --- conservation -------------------------------------------------------------------------------------------------


def conserved(model: nn.Module, x: Tensor, r: Tensor, chain: bool = True) -> None:
    found = R.propagate(model, x, r)
    totals = found.totals
    assert totals.shape == (len(found), len(x), *r.shape[model(x).dim() :])
    for part, total in zip(found, totals, strict=True):
        assert_close(part.reshape(len(x), -1, *total.shape[1:]).sum(1), total, rtol=1e-11, atol=1e-9)
    # Shares may be of any size; sums of them are exact up to rounding of the largest.
    largest = max(float(part.abs().max()) for part in found) * max(part[0].numel() for part in found)
    for level in totals if chain else totals[[0, -1]]:
        assert_close(level, totals[-1], rtol=0, atol=1e-12 * largest + 1e-12)
    assert float(found.absorbed.abs().max()) == 0


seeds = st.integers(0, 10_000)


@given(widths=st.lists(st.integers(1, 7), min_size=2, max_size=5), bias=st.booleans(), seed=seeds)
def test_networks_conserve(widths, bias, seed):
    model = seeded(lambda: mlp(*widths, bias=bias), seed)
    conserved(model, normal(2, widths[0], seed=seed), normal(2, widths[-1], seed=seed + 1))


@given(
    channels=st.integers(1, 4),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    pool=st.sampled_from([nn.AvgPool2d(2), nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(2), nn.Identity()]),
    seed=seeds,
)
def test_convolutions_conserve(channels, kernel, stride, padding, pool, seed):
    if padding >= kernel:
        padding = 0  # a neuron that sees nothing but padding has nobody to hand relevance to: tested below
    convolution = lambda: nn.Conv2d(2, channels, kernel, stride, padding)  # noqa: E731
    head = lambda: nn.Sequential(convolution(), nn.BatchNorm2d(channels), nn.ReLU(), pool, nn.Flatten())  # noqa: E731
    model, x = seeded(head, seed), normal(2, 2, 6, 6, seed=seed)
    conserved(model, x, normal(*model(x).shape, seed=seed + 1))


@given(channels=st.integers(1, 4), seed=seeds)
def test_residual_networks_conserve(channels, seed):
    model = seeded(lambda: Residual(channels), seed)
    conserved(model, normal(2, 2, 5, 5, seed=seed), normal(2, 2, seed=seed + 1), chain=False)


def test_several_relevances_at_once_are_each_by_itself():
    for model, x in (
        (seeded(lambda: mlp(4, 6, 3)), normal(2, 4)),
        (seeded(lambda: nn.Sequential(Residual(), nn.Linear(2, 3))), normal(2, 2, 4, 4)),
        (seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), nn.Flatten())), normal(2, 1, 4, 4)),
    ):
        r = normal(*model(x).shape, 3, seed=2)
        conserved(model, x, r, chain=False)
        for eps in (0.0, 0.1):
            together = R.propagate(model, x, r, eps)
            for c in range(3):
                alone = R.propagate(model, x, r[..., c], eps)
                assert_close(together.totals[..., c], alone.totals, **F64)
                assert_close(together.absorbed[..., c], alone.absorbed, **F64)
                for got, expected in zip(together, alone, strict=True):
                    assert_close(got[..., c], expected, **F64)


def test_eps_absorbs_what_it_says():
    """Of each neuron's relevance the part eps / (|d| + eps): here 1 / 4 of 8 and 1 / 3 of 9, d = 3 and -2."""
    layer = neuron([[1.0, 1.0], [1.0, -3.0]], [0.0, -1.0])
    found = R.propagate(layer, row(2, 1), row(8, 9), eps=1)
    assert_close(found.absorbed, torch.tensor([5.0]).double(), **F64)
    assert_close(found.totals[:, 0], torch.tensor([12.0, 17.0]).double(), **F64)
    model, x, r = seeded(lambda: mlp(4, 6, 5, 2)), normal(3, 4), normal(3, 2, seed=2)
    lost = [R.propagate(model, x, r, eps).absorbed.abs().max() for eps in (0.0, 1e-9, 1e-3, 1.0)]
    assert lost[0] == 0 and 0 < lost[1] < lost[2] < lost[3]
    found = R.propagate(model, x, r, 0.1)
    assert_close(found.totals[-1] - found.totals[0], found.absorbed, **F64)


def test_a_neuron_at_zero_absorbs_with_eps_and_sign_zero_is_one():
    """Terms 1 and -1 over 0 + eps: shares of +-1 / eps that cancel, all relevance gone."""
    found = R.propagate(neuron([[1.0, -1.0]], None), row(1, 1), row(3), eps=0.5)
    assert_close(found[0], row(6, -6), **F64)
    assert_close(found.absorbed, torch.tensor([3.0]).double(), **F64)
    nothing = R.propagate(neuron([[1.0, -1.0]], None), row(0, 0), row(3), eps=0.5)
    assert nothing[0].tolist() == [[0, 0]] and nothing.absorbed.tolist() == [3]


@pytest.mark.parametrize("bias", [-(0.1 + 0.2), -0.3, -0.3 - 1e-14])
def test_neurons_whose_terms_cancel_are_raised_with_their_size(bias):
    layer = neuron([[1.0, 1.0], [2.0, 2.0], [1.0, 5.0]], [bias, 2 * bias, 1.0])
    x = torch.cat([row(1, 1), row(0.1, 0.2)])
    with pytest.raises(
        sn.GapError, match=r"'0': 2 of its neurons.*up to 5 \(7.5 in all\).*inputs \[1\] of the batch.*eps > 0"
    ):
        R.propagate(layer, x, torch.tensor([[1.0, 1.0, 1.0], [2.5, 5.0, 1.0]]).double())
    harmless = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).double()  # nothing arrives there
    assert bool(torch.isfinite(R.propagate(layer, x, harmless)[0]).all())


def test_neurons_that_see_padding_only_are_raised_or_absorb():
    layer, x, r = seeded(lambda: nn.Conv2d(1, 1, 1, padding=1)), normal(1, 1, 2, 2), torch.ones(1, 1, 4, 4).double()
    with pytest.raises(sn.GapError, match=r"12 of its neurons.*padding only.*12 in all"):
        R.propagate(layer, x, r)
    assert float(R.propagate(layer, x, r, eps=1e-9).absorbed) == pytest.approx(12, abs=1e-6)
    r[..., 0], r[..., -1], r[..., 0, :], r[..., -1, :] = 0, 0, 0, 0
    assert_close(R.propagate(layer, x, r)[0], r[..., 1:-1, 1:-1], **F64)


def test_a_rule_that_leaks_is_raised(monkeypatch):
    def leaking(layer, r, eps):
        return [0.9 * r], 0.0

    monkeypatch.setitem(R._MODULES, nn.ReLU, leaking)
    with pytest.raises(sn.GapError, match=r"not conserved in '0': the gap is 0\.2 of 2"):
        R.propagate(nn.ReLU(), row(1, 2), row(1, 1))


# --- the output layer ---------------------------------------------------------------------------------------------


def test_a_linear_output_is_its_own_relevance():
    y = normal(2, 3)
    values = R.linear_relevance(y)
    assert_close(values.sum(1), y, **F64)
    assert_close(values, sn.shapley_values(lambda z: z, y), **F64)


def test_a_relu_output_is_handed_down_as_the_closed_form():
    layer, x = seeded(lambda: nn.Linear(4, 3)).requires_grad_(False), normal(2, 4)
    values = R.relu_relevance(x, layer.weight, layer.bias)
    found = R.propagate(nn.Sequential(layer, nn.ReLU()), x, values)[0]
    expected = sn.nn.functional.relu_shapley_values(x, layer.weight, layer.bias)
    assert_close(found.movedim(-1, 1), expected, **F64)


def test_softmax_is_estimated_within_its_errors(generator):
    z = normal(2, 5)
    exact, none = R.softmax_relevance(z, None)
    assert_close(exact, sn.shapley_values(lambda rows: torch.softmax(rows, -1), z), **F64)
    assert float(none.abs().max()) == 0
    values, errors = R.softmax_relevance(z, generator=generator)
    assert values.shape == errors.shape == (2, 5, 5)
    assert float(errors.min()) > 0 and float(errors.max()) < 0.02
    assert bool(((values - exact).abs() < 5 * errors).all())
    assert_close(values.sum(1), torch.softmax(z, 1) - 1 / 5, **F64)
    # Absent is 0, which is a choice: from another baseline the same probabilities have other values.
    shifted, _ = R.softmax_relevance(z + 1, None)
    assert float((shifted - exact).abs().max()) > 0.01
    assert_close(R.softmax_relevance(z + 1, None, baseline=1.0)[0], exact, **F64)


@pytest.mark.parametrize("permutations", [None, 4])
def test_softmax_relevance_shows_its_progress_when_asked(permutations, capsys):
    R.softmax_relevance(normal(2, 3), permutations, progress=False)
    assert capsys.readouterr().err == ""
    R.softmax_relevance(normal(2, 3), permutations, progress=True)
    assert "%" in capsys.readouterr().err


def test_softmax_relevance_goes_through_a_network(generator):
    model, x = seeded(lambda: mlp(4, 6, 3)).requires_grad_(False), normal(2, 4)
    values, _ = R.softmax_relevance(model(x), 50, generator)
    found = R.propagate(model, x, values)
    assert found[0].shape == (2, 4, 3)
    assert_close(found.totals[0], torch.softmax(model(x), 1) - 1 / 3, **F64)
    for c in range(3):
        assert_close(R.propagate(model, x, values[..., c])[0], found[0][..., c], **F64)


# --- where the rule is wrong --------------------------------------------------------------------------------------


def test_two_neurons_that_never_fire_together():
    """The paper's footnote 1: x_1 reaches the output only through neurons of which at most one is on.

    h_1 = relu(x_1 + x_2 - 1), h_2 = relu(x_2), h_3 = relu(x_3), y = relu(h_1 - 3 h_2 + h_3): h_1 is on only if x_2 is
    there, and then y is off. At x = (1, 1, 1) the game is v(S) = 1 if x_3 is in S and x_2 is not, and x_1 never counts.
    """
    hidden = neuron([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [-1.0, 0.0, 0.0])
    last = neuron([[1.0, -3.0, 1.0]], None)
    model, x = nn.Sequential(hidden, nn.ReLU(), last, nn.ReLU()), row(1, 1, 1)
    masks = sn.coalitions.masks(3).double()
    h = model[:2](masks)
    assert bool((model(masks)[:, 0] * h[:, 0] == 0).all()) and bool((h[:, 0] > 0).any())
    assert_close(sn.shapley_values(model, x)[..., 0], row(0, -1 / 2, 1 / 2), **F64)
    relevance = R.relu_relevance(h[-1:], last.weight, last.bias)[..., 0]
    found = R.propagate(model, x, relevance)
    # y hands 1 / (1 - 3 + 1) of its relevance to h_1, which hands 1 - 1/3 of that to x_1.
    assert relevance.item() < -0.1
    assert_close(found[2][0, 0], -relevance[0, 0], **F64)
    assert_close(found[0][0, 0], -2 / 3 * relevance[0, 0], **F64)


# --- what is left behind ------------------------------------------------------------------------------------------


def traces(model: nn.Module) -> tuple:
    """Everything a run might leave: hooks, patched methods, gradients, modes."""
    hooks = [
        len(d)
        for module in model.modules()
        for d in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    ]
    everywhere = [
        len(d) for name, d in vars(nn.modules.module).items() if name.startswith("_global_") and d is not None
    ]
    gradients = [p.grad for p in model.parameters()]
    own = [sorted(vars(module)) for module in model.modules()]
    return hooks, everywhere, gradients, own, nn.Module.__call__, nn.Module.__getattr__, torch.is_grad_enabled()


class Stops(nn.Module):
    """Fails inside forward once it is followed step by step."""

    def __init__(self):
        super().__init__()
        self.calls, self.layer = 0, nn.Linear(3, 2)

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("stops")
        return self.layer(x)


def test_nothing_is_left_behind():
    model, x, r = seeded(lambda: mlp(3, 4, 2)), normal(2, 3), normal(2, 2)
    cancelling, stopping = nn.Sequential(neuron([[1.0, -1.0]], None)), Stops().double()
    for module, inputs, relevance, error in (
        (model, x, r, None),
        (model, x, normal(2, 3), ValueError),
        (cancelling, row(1, 1), row(1), sn.GapError),
        (stopping, x, r, TypeError),
        (nn.Sequential(nn.Linear(3, 2).double(), nn.Tanh()), x, r, TypeError),
    ):
        before = traces(module)
        if error is None:
            R.propagate(module, inputs, relevance)
        else:
            with pytest.raises(error):
                R.propagate(module, inputs, relevance)
        assert traces(module) == before


def test_a_crash_inside_a_layer_is_passed_on():
    """The first call is the model's own, the second the one layer by layer."""
    model, calls = seeded(lambda: mlp(3, 4, 2)), []

    def stop(module, args, out):
        calls.append(out)
        if len(calls) == 2:
            raise RuntimeError("stops")

    handle = model[2].register_forward_hook(stop)
    before = traces(model)
    with pytest.raises(RuntimeError, match="stops"):
        R.propagate(model, normal(2, 3), normal(2, 2))
    assert traces(model) == before
    handle.remove()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_play_no_part(context):
    model, x, r = seeded(lambda: Residual()), normal(2, 2, 4, 4), normal(2, 2)
    expected = R.propagate(model.requires_grad_(False), x, r)
    model.requires_grad_()
    with context():
        found = R.propagate(model, x + 0, r + 0)
    assert not any(part.requires_grad for part in found)
    for got, wanted in zip(found, expected, strict=True):
        assert_close(got, wanted, **F64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_relevances_have_the_inputs_dtype(dtype):
    model, x, r = seeded(lambda: mlp(4, 6, 2)), normal(3, 4).to(dtype), normal(3, 2).to(dtype)
    model = model.to(dtype)
    found = R.propagate(model, x, r)
    assert {part.dtype for part in found} == {dtype}
    rounded = R.propagate(model.double(), x.double(), r.double())
    if dtype == torch.float32:
        assert_close(found[0].double(), rounded[0], rtol=1e-4, atol=1e-4)


def test_gradients_that_are_watched():
    """Anomaly detection looks into every gradient, one at a time."""
    model, x, r = seeded(lambda: mlp(4, 6, 2)), normal(3, 4), normal(3, 2, 3, seed=2)
    with torch.autograd.set_detect_anomaly(True):
        found = R.propagate(model, x, r)
    for got, expected in zip(found, R.propagate(model, x, r), strict=True):
        assert_close(got, expected, **F64)


class Optional(nn.Module):
    """Arguments that have a default, and a module made on the way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, mask=None, repeats=2):
        for _ in range(repeats):
            x = nn.ReLU()(x)
        x = self.layer(x)
        return x if mask is None else x * mask


def test_arguments_with_a_default_have_it():
    model, x, r = seeded(Optional), normal(2, 3), normal(2, 2)
    assert_close(R.propagate(model, x, r)[0], R.propagate(model.layer, torch.relu(x), r)[0], **F64)


def test_hooks_of_all_modules_are_seen():
    model, x, r = seeded(lambda: mlp(4, 6, 2)), normal(3, 4), normal(3, 2, seed=2)
    for change, harmless in ((lambda *call: None, True), (lambda *call: 2 * call[2], False)):
        handle = nn.modules.module.register_module_forward_hook(change)
        try:
            if harmless:
                R.propagate(model, x, r)
            else:
                with pytest.raises(TypeError, match="'0' has a hook or another forward"):
                    R.propagate(model, x, r)
        finally:
            handle.remove()


def test_outputs_without_an_axis():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x):
            return self.layer(x).view(x.shape[0])

    model, x = seeded(Single), normal(2, 3)
    conserved(model, x, normal(2))
    conserved(model, x, normal(2, 5))


def test_branches_nobody_reads_need_no_rule():
    class Dead(nn.Module):
        def forward(self, x):
            torch.tanh(x)
            return torch.relu(x)

    assert_close(R.propagate(Dead(), row(1, 2), row(3, 4))[0], row(3, 4), **F64)


# --- refused at the door ------------------------------------------------------------------------------------------


class Does(nn.Module):
    """A model whose forward is a function of the module and its input."""

    def __init__(self, forward):
        super().__init__()
        self.does, self.layer, self.relu = forward, nn.Linear(2, 2).double(), nn.ReLU()
        self.offset = nn.Parameter(torch.ones(2).double())

    def forward(self, x):
        return self.does(self, x)


class Second(nn.Linear):
    """Extends a layer, with another forward, and is not of this package."""

    def forward(self, x):
        return super().forward(x) ** 2


class TwoInputs(nn.Module):
    """The second one without a default."""

    def forward(self, x, mask):
        return torch.relu(x)


def changed(change) -> nn.Module:
    model = mlp(2, 3, 2).double()
    change(model)
    return model


def patched(model: nn.Module) -> None:
    model[0].forward = lambda x: nn.functional.linear(x, 2 * model[0].weight)


def written_over(model: nn.Module, x: Tensor) -> Tensor:
    h = model.layer(x)
    h.add_(x)
    return model.relu(h)


X, GOOD = row(0.5, 1.0), row(1.0, 2.0)
LINEAR = neuron([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])


@pytest.mark.parametrize(
    ("error", "says", "model"),
    [
        (TypeError, r"layer '1' \(Tanh\).*rules for Linear, .*Replace it", nn.Sequential(LINEAR, nn.Tanh())),
        (TypeError, r"layer '0' \(Softmax\)", nn.Softmax(1)),
        (TypeError, r"layer '0' \(LeakyReLU\)", nn.LeakyReLU()),
        (TypeError, r"layer '0\.1' \(GELU\)", nn.Sequential(nn.Sequential(LINEAR, nn.GELU()))),
        (TypeError, r"layer '0' \(Second\)", nn.Sequential(Second(2, 2).double())),
        (TypeError, r"function 'tanh' in forward", Does(lambda m, x: torch.tanh(m.layer(x)))),
        (TypeError, r"function 'sigmoid' in '1'", nn.Sequential(LINEAR, Does(lambda m, x: torch.sigmoid(x)))),
        (TypeError, r"method 'mean' in forward", Does(lambda m, x: x.mean(1))),
        (TypeError, r"function 'getitem' in forward", Does(lambda m, x: m.layer(x)[:, [1, 0]])),
        (TypeError, r"function 'add' in forward.*sums of two layers", Does(lambda m, x: x + 1)),
        (TypeError, r"function 'add' in forward", Does(lambda m, x: torch.add(x, m.layer(x), alpha=2))),
        (TypeError, r"get_attr 'offset' in forward", Does(lambda m, x: x + m.offset)),
        (TypeError, r"cannot be followed.*torch\.fx stopped at", Does(lambda m, x: m.layer(x) if x.sum() > 0 else x)),
        (TypeError, r"missing 1 required positional argument: 'mask'", TwoInputs()),
        (TypeError, r"'0' has a hook", changed(lambda m: m[0].register_forward_hook(lambda *a: 2 * a[2]))),
        (TypeError, r"'0' has a hook", changed(lambda m: m[0].register_forward_pre_hook(lambda _, a: (a[0] + 1,)))),
        (TypeError, r"'0' has a hook or another forward", changed(patched)),
        (
            ValueError,
            r"do not give the model's output",
            changed(lambda m: m.register_forward_hook(lambda *a: a[2] + 1)),
        ),
        (ValueError, r"do not give the model's output", Does(written_over)),
        (TypeError, r"f must return a tensor", Does(lambda m, x: (x, x))),
        (ValueError, r"call f\.eval\(\) first", nn.Sequential(LINEAR, nn.Dropout(0.5))),
        (
            ValueError,
            r"'1' normalises by the batch",
            nn.Sequential(LINEAR, nn.BatchNorm1d(2, track_running_stats=False)).double().eval(),
        ),
        (TypeError, r"model must be a torch\.nn\.Module.*function", torch.relu),
    ],
)
def test_models_that_are_refused(error, says, model):
    with pytest.raises(error, match=says):
        R.propagate(model, X.expand(2, 2), GOOD.expand(2, 2))


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (
            ValueError,
            r"shape \(1, 3\), but the model's output is \(1, 2\)",
            lambda: R.propagate(LINEAR, X, row(1, 2, 3)),
        ),
        (ValueError, r"\[1, 2, several\]", lambda: R.propagate(LINEAR, X, torch.ones(2))),
        (ValueError, r"shape \(1, 2, 0\)", lambda: R.propagate(LINEAR, X, torch.ones(1, 2, 0))),
        (TypeError, r"relevance must be.*got list", lambda: R.propagate(LINEAR, X, [[1.0, 2.0]])),
        (TypeError, r"relevance must be.*got torch\.int64", lambda: R.propagate(LINEAR, X, torch.ones(1, 2).long())),
        (TypeError, r"relevance must be dense; got the layout", lambda: R.propagate(LINEAR, X, GOOD.to_sparse())),
        (ValueError, r"relevance holds NaN", lambda: R.propagate(LINEAR, X, row(1, torch.nan))),
        (ValueError, r"relevance is on meta", lambda: R.propagate(LINEAR, X, GOOD.to("meta"))),
        (ValueError, r"eps must be.*got -1", lambda: R.propagate(LINEAR, X, GOOD, eps=-1)),
        (ValueError, r"eps must be.*got nan", lambda: R.propagate(LINEAR, X, GOOD, eps=math.nan)),
        (ValueError, r"eps must be.*got True", lambda: R.propagate(LINEAR, X, GOOD, eps=True)),
        (ValueError, r"eps must be.*got '0'", lambda: R.propagate(LINEAR, X, GOOD, eps="0")),
        (TypeError, r"x must be a tensor", lambda: R.propagate(LINEAR, [[1.0, 2.0]], GOOD)),
        (ValueError, r"x holds 1 entries", lambda: R.propagate(LINEAR, row(1, torch.nan), GOOD)),
        (ValueError, r"'0' puts out NaN", lambda: R.propagate(LINEAR, row(1e308, 1e308), GOOD)),
        (ValueError, r"'view' puts out", lambda: R.propagate(Does(lambda m, x: x.view(-1).view(1, -1)), X, GOOD)),
        (
            ValueError,
            r"adds shapes \(1, 2\) and \(1, 2, 1\)",
            lambda: R.propagate(
                Does(lambda m, x: x + m.layer(x).view(x.shape[0], 2, 1)), X, torch.ones(1, 2, 2).double()
            ),
        ),
        (
            ValueError,
            r"'0' is given shape \(2, 4, 4\); expected \[batch, channels",
            lambda: R.propagate(nn.AvgPool2d(2), torch.ones(2, 4, 4), torch.ones(2, 2, 2)),
        ),
        (ValueError, r"output must be \[batch, out\]", lambda: R.linear_relevance(torch.ones(3))),
        (TypeError, r"output must be a floating", lambda: R.linear_relevance([1.0])),
        (ValueError, r"logits must be \[batch, out\]", lambda: R.softmax_relevance(torch.ones(1, 2, 3))),
        (TypeError, r"logits must be a floating", lambda: R.softmax_relevance(torch.ones(1, 2).long())),
        (ValueError, r"permutations must be", lambda: R.softmax_relevance(torch.ones(1, 2), 3)),
        (ValueError, r"must agree on in", lambda: R.relu_relevance(torch.ones(1, 2), torch.ones(3, 3))),
    ],
)
def test_refusals(error, says, call):
    with pytest.raises(error, match=says):
        call()
