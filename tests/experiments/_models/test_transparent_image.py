"""An image ShapNet evaluated in another way is the same function, and other methods see through it."""

import pytest
import torch
from oracles import tolerance
from torch.nn.functional import leaky_relu

from shapnotes import GapError, explainers
from shapnotes.experiments._models.transparent_image import TransparentImage
from shapnotes.shapnet import DeepShapNet, ImageShapNet

F64 = tolerance(torch.float64)
SHAPES = {  # channels, settings, height, width
    "the paper's windows": ((1, 5, 4, 3), {"dilations": (1, 3, 5)}, 9, 11),
    "no padding": ((2, 4, 3), {"dilations": (1, 2), "padding": 0}, 6, 5),
    "much padding": ((1, 3, 2), {"dilations": (2, 1), "padding": 3}, 4, 5),
    "wide windows": ((1, 3, 2), {"kernel_size": (2, 3), "dilations": ((2, 1), (1, 2)), "negative_slope": 0.2}, 6, 7),
    "wider than the image": ((1, 4, 2), {"dilations": (3, 7)}, 5, 4),
}


def made(shape: str, rows: int = 3) -> tuple[ImageShapNet, torch.Tensor]:
    """A network with random weights, and images some of whose pixels are blank."""
    channels, settings, height, width = SHAPES[shape]
    generator = torch.Generator().manual_seed(7)
    net = ImageShapNet(channels, **settings)
    net.reset_parameters(generator)
    x = torch.randn(rows, channels[0], height, width, generator=generator, dtype=torch.float64)
    return net.double().requires_grad_(False), x.masked_fill(torch.rand(x.shape[2:], generator=generator) < 0.2, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_numbers_are_the_networks_own(shape):
    net, x = made(shape)
    x.requires_grad_()
    same = TransparentImage(net)
    torch.testing.assert_close(same(x), net(x), **F64)
    slopes = [torch.autograd.grad(f(x).square().sum(), x)[0] for f in (same, net)]
    torch.testing.assert_close(*slopes, **F64)
    assert slopes[0].abs().max() > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rescale_rule_sums_to_the_output_and_is_one_rule(shape):
    """captum's and shap's code of it; both refuse a sum that does not close."""
    net, x = made(shape)
    deeplift, deep_shap = (explain(TransparentImage(net), x) for explain in (explainers.deeplift, explainers.deep_shap))
    torch.testing.assert_close(deeplift.sum((1, 2, 3)), net(x), **F64)
    torch.testing.assert_close(deep_shap, deeplift, **F64)
    own = net.explain(x).attributions
    assert (deeplift.sum(1) - own).abs().max() > 0.01 * own.abs().max()


def test_one_stage_by_hand():
    """Summed over players only the full coalition of a window counts: [a(s) - a(b)] / (s - b) times W_j x_j."""
    net, x = made("no padding")
    net = ImageShapNet((2, 3), dilations=(2,), padding=0).double().requires_grad_(False)
    net.reset_parameters(torch.Generator().manual_seed(8))
    (stage,) = net.stages
    wanted = torch.zeros(*x.shape, 3, dtype=torch.float64)
    for row in range(x.shape[2] - 2):
        for column in range(x.shape[3] - 2):
            window = x[:, :, row : row + 3 : 2, column : column + 3 : 2, None] * stage.weight.permute(1, 2, 3, 0)
            s = window.sum((1, 2, 3)) + stage.bias
            chord = (leaky_relu(s, 0.01) - leaky_relu(stage.bias, 0.01)) / (s - stage.bias)
            wanted[:, :, row : row + 3 : 2, column : column + 3 : 2] += window * chord[:, None, None, None]
    torch.testing.assert_close(explainers.deeplift(TransparentImage(net), x), wanted, **F64)


def test_without_it_activations_escape():
    """Of the network itself both methods see no activation: they refuse. shap has x times the slope at 0."""
    net, x = made("the paper's windows")
    for explain in (explainers.deeplift, explainers.deep_shap):
        with pytest.raises(GapError, match=r"activations that are modules|Another activation escapes"):
            explain(net, x)
    shap = pytest.importorskip("shap")
    with pytest.warns(UserWarning, match="unrecognized nn.Module: ImageTransform"):
        escaped = shap.DeepExplainer(net, 0 * x[:1]).shap_values(x, check_additivity=False)
    torch.testing.assert_close(torch.from_numpy(escaped), slopes_at_zero(net, x) * x[..., None], **F64)


def slopes_at_zero(net: ImageShapNet, x: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros_like(x[:1]).requires_grad_()
    answer = net(zero)[0]
    return torch.stack([torch.autograd.grad(a, zero, retain_graph=True)[0] for a in answer], -1)


def test_coalitions_first_is_the_same_function_and_is_mispaired():
    """At the reference all coalitions have the same sum: shap, which reads slopes there, finds the gradient."""
    shap = pytest.importorskip("shap")
    net, x = made("the paper's windows")
    same = TransparentImage(net, coalitions_first=True)
    torch.testing.assert_close(same(x), net(x), **F64)
    for explain in (explainers.deeplift, explainers.deep_shap):
        with pytest.raises(GapError):
            explain(same, x)
    found = shap.DeepExplainer(same, 0 * x[:1]).shap_values(x, check_additivity=False)
    torch.testing.assert_close(torch.from_numpy(found), slopes_at_zero(net, x) * x[..., None], **F64)


def test_refusals():
    for other in (ImageShapNet((1, 4, 4, 2), coupling=True), DeepShapNet(4, 3, 1)):
        with pytest.raises(ValueError, match="an ImageShapNet without coupling is needed; got"):
            TransparentImage(other)
