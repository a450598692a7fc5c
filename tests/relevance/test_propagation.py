"""Down through the layers: what is conserved and what is not, and what is refused."""

import math

import pytest
import torch
from contracts import normal
from hypothesis import given
from hypothesis import strategies as st
from oracles import tolerance
from relevance_models import Does, Residual, mlp, neuron, row, seeded
from torch import Tensor, nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import relevance as R
from shapnotes.relevance.graph import layers_of, run
from shapnotes.relevance.propagation import hand_down

F64 = tolerance(torch.float64)
X, GOOD = row(0.5, 1.0), row(1.0, 2.0)
LINEAR = neuron([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])


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


def test_a_rule_that_leaks_is_raised():
    def leaking(layer, relevance, eps):
        return [0.9 * relevance], 0.0

    layers = layers_of(nn.ReLU())
    run(layers, row(1, 2), row(1, 2))
    layers[-1].rule = leaking
    with pytest.raises(sn.GapError, match=r"not conserved in '0': the gap is 0\.2 of 2"):
        hand_down(layers, row(1, 1)[None], 0.0)


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


# --- numbers and gradients ----------------------------------------------------------------------------------------


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


# --- refused at the door ------------------------------------------------------------------------------------------


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
        (ValueError, r"x is NaN or infinite in 1 of", lambda: R.propagate(LINEAR, row(1, torch.nan), GOOD)),
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


def test_a_model_of_another_dtype_is_told_by_name():
    with pytest.raises(ValueError, match=r"f does not take x as it is, torch.float64; give x and f's parameters one"):
        R.propagate(nn.Linear(3, 1), torch.ones(1, 3).double(), torch.ones(1, 1).double())
