"""ResNet-20 v2: the network of the paper's size, one set of weights for all arms, and SA where it can be."""

import warnings

import pytest
import torch
from oracles import tolerance
from torch import nn

from shapnotes.experiments._models.resnet20 import CONVOLUTIONS, Bottleneck, resnet20
from shapnotes.nn import SAConv2d, swap_activations


def made(activation: str, **options) -> nn.Sequential:
    return resnet20(activation, torch.Generator().manual_seed(3), **options)


def test_it_is_as_large_as_the_example_of_keras():
    model = made("relu")
    shapes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(shapes) == 22 and shapes[0] == (16, 3, 3, 3)  # 1 + 6 * 3, and 3 on shortcuts
    # By hand: weights and biases of the convolutions and of the last layer, two numbers per normalised channel.
    convolutions = sum(a * b * k * k + a for a, b, k, _ in shapes)
    normalised = 16 + (16 + 16) + (64 + 16 + 16) + 2 * (64 + 64) + 64 + 128 + 2 * (128 + 128) + 128 + 256 + 256
    assert sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)) == normalised
    assert sum(p.numel() for p in model.parameters()) == convolutions + 2 * normalised + 256 * 10 + 10 == 570_602


def test_sizes_halve_at_the_second_and_third_stage():
    sizes = []
    model = made("relu", width=2)
    for layer in model:
        if isinstance(layer, Bottleneck):
            layer.register_forward_hook(lambda _, inputs, y: sizes.append(tuple(y.shape[1:])))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(8, 32, 32)] * 2 + [(16, 16, 16)] * 2 + [(32, 8, 8)] * 2


@pytest.mark.parametrize("activation", CONVOLUTIONS)
def test_arms_start_from_the_same_weights(activation):
    weights = made("relu", width=2).parameters()
    assert all(torch.equal(a, b) for a, b in zip(weights, made(activation, width=2).parameters(), strict=True))


def test_the_sa_arm_is_the_relu_arm_with_its_activations_swapped(generator):
    """Two routes to one network: built with SA, or built with ReLU and exchanged by tracing."""
    x = torch.randn(4, 3, 8, 8, generator=generator)
    relu, sa = made("relu", width=2), made("sa", width=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        swapped = swap_activations(relu, "sa")
    assert sum(isinstance(m, SAConv2d) for m in sa.modules()) == 13
    assert sum(isinstance(m, SAConv2d) for m in swapped.modules()) == 13
    assert str(told[0].message).count(" after ") == 6  # the sums: five blocks begin with one, and one ends it all
    assert sum(isinstance(m, nn.ReLU) for m in sa.modules()) == 6
    torch.testing.assert_close(sa(x), swapped(x), **tolerance(torch.float32))
    assert not torch.allclose(relu(x), sa(x), **tolerance(torch.float32))


def test_normalisation_comes_after_the_activation():
    for activation in ("relu", "sa"):
        model = made(activation, width=2)
        chains = [m for m in model.modules() if isinstance(m, nn.Sequential) and isinstance(m[-1], nn.BatchNorm2d)]
        assert len(chains) == 19
        assert all(isinstance(chain[-2], nn.ReLU | SAConv2d) for chain in chains)
        assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 19


def test_weights_are_normal_and_cut():
    weight = made("relu")[5].residual[2][0].weight.detach()
    deviation = (2 / weight[0].numel()) ** 0.5
    assert weight.shape == (128, 128, 3, 3)
    assert 0.99 * deviation < float(weight.std()) < 1.01 * deviation
    assert 2.2 * deviation < float(weight.abs().max()) <= 2 * deviation / 0.8796 + 1e-6


@pytest.mark.parametrize("activation", ["relu", "sa"])
def test_it_learns_a_batch_by_heart(activation, generator):
    x, y = torch.randn(20, 3, 8, 8, generator=generator), torch.arange(20) % 10
    model = made(activation, width=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(16):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation must be one of 'relu', .*; got 'tanh'"):
        made("tanh")
