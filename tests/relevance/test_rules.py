"""The rules: equation 2 by hand, by loops, and by another library."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from relevance_models import Residual, by_loops, mlp, neuron, row, seeded
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import relevance as R

F64 = tolerance(torch.float64)


# --- by hand ------------------------------------------------------------------------------------------------------


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


# --- against another library ---------------------------------------------------------------------------------------


class Convolutional(nn.Module):
    """A network that captum can follow: each module once, and no biases, since b/n is not in its rule."""

    def __init__(self, pool: nn.Module):
        super().__init__()
        self.first, self.pool, self.relu = nn.Conv2d(2, 3, 3, padding=1, bias=False), pool, nn.ReLU()
        self.second, self.average = nn.Conv2d(3, 4, 2, stride=2, bias=False), nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(16, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.average(self.second(self.relu(self.pool(self.first(x))))).flatten(1))


@pytest.mark.parametrize("eps", [1e-9, 0.3])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: mlp(4, 6, 5, 3, bias=False), (4,)),
        (lambda: Convolutional(nn.MaxPool2d(2)), (2, 8, 8)),
        (lambda: Convolutional(nn.AvgPool2d(2)), (2, 8, 8)),
    ],
    ids=["perceptron", "largest", "average"],
)
def test_without_biases_it_is_the_epsilon_rule_of_captum(make, shape, eps):
    attr = pytest.importorskip("captum.attr", reason="needs the extra shapnotes[notebooks]")
    rule = pytest.importorskip("captum.attr._utils.lrp_rules").EpsilonRule
    model, x = seeded(make), normal(3, *shape)
    ours = R.propagate(model, x, R.linear_relevance(model(x).detach()), eps)
    for c in range(3):
        for module in model.modules():  # captum takes its rules away when it is done
            if not list(module.children()):
                module.rule = rule(0.0 if isinstance(module, nn.MaxPool2d) else eps)
        theirs = attr.LRP(model).attribute(x.clone().requires_grad_(), target=c)
        assert_close(ours[0][..., c], theirs.detach(), **F64)
