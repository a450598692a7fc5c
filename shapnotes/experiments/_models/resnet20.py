"""ResNet-20 v2 with normalisation after the activation, so that a Shapley Activation can take a ReLU's place.

Li and Cui take the ResNet-20 v2 of the examples of Keras and move batch normalisation behind the activation in both
arms, but do not say which convolutions have a Shapley Activation. It needs a neuron's own terms w_i x_i, so here it
takes the place of those 13 pairs of a convolution and the ReLU of nothing but its output: the first convolution, and in
each of the 6 blocks the first (1 x 1) and the second (3 x 3). The other 9 convolutions end in a sum, the third of each
block and the 3 on a shortcut. What follows a sum, at the start of a block or before the pooling, stays a ReLU.
"""

from functools import partial

import torch
from torch import Tensor, nn

from shapnotes.nn import SAConv2d, ShapLUConv2d

CONVOLUTIONS = {
    "relu": nn.Conv2d,
    "gelu": nn.Conv2d,
    "shaplu": ShapLUConv2d,
    "shaplu, full": partial(ShapLUConv2d, full_gradient=True),
    "sa": SAConv2d,
}

POINTWISE = {"relu": nn.ReLU, "gelu": nn.GELU}


def resnet20(
    activation: str, generator: torch.Generator, *, width: int = 16, in_channels: int = 3, classes: int = 10
) -> nn.Sequential:
    """ResNet-20 v2: one convolution, three stages of two bottleneck blocks at sizes 1, 1/2 and 1/4, pooling, logits.

    activation : "relu", "gelu", "shaplu", "shaplu, full" or "sa"; with one generator's seed all start from the same
                 weights: normal, cut at two standard deviations, of variance 2 / fan-in; biases zero
    width      : channels of the first convolution, 16 in the paper; the stages end in 4, 8 and 16 times as many

    [batch, in_channels, height, width] -> [batch, classes]

    Source: Li and Cui, section 3.1, and the example of Keras they name, with n = 2.
    """
    if activation not in CONVOLUTIONS:
        raise ValueError(f"activation must be one of {', '.join(map(repr, CONVOLUTIONS))}; got {activation!r}")
    layers: list[nn.Module] = [_activated(activation, in_channels, width, 3)]
    inside, before = width, width
    for stage in range(3):
        after = (4 if stage == 0 else 2) * inside
        for block in range(2):
            layers.append(
                Bottleneck(
                    activation,
                    before,
                    inside,
                    after,
                    stride=2 if stage and not block else 1,
                    projected=not block,
                    normalised=bool(stage or block),
                )
            )
            before = after
        inside = after
    layers += [_normalised_sum(activation, after), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(after, classes)]
    model = nn.Sequential(*layers)
    _initialise(model, generator)
    return model


class Bottleneck(nn.Module):
    """x + conv(a(conv(a(conv(a(x)))))) with kernels 1, 3, 1 and a an activation with a normalisation after it.

    projected  : x itself passes a convolution, where a stage changes the number of channels
    normalised : False leaves out a(x), as the first block does, whose x is normalised already
    """

    def __init__(
        self,
        activation: str,
        before: int,
        inside: int,
        after: int,
        *,
        stride: int,
        projected: bool,
        normalised: bool,
    ):
        super().__init__()
        self.residual = nn.Sequential(
            _normalised_sum(activation, before) if normalised else nn.Identity(),
            _activated(activation, before, inside, 1, stride),
            _activated(activation, inside, inside, 3),
            nn.Conv2d(inside, after, 1),
        )
        self.shortcut = nn.Conv2d(before, after, 1, stride) if projected else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


def _activated(activation: str, before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution, its activation, and the normalisation."""
    layers = [CONVOLUTIONS[activation](before, after, kernel, stride, kernel // 2)]
    layers += [POINTWISE[activation]()] if activation in POINTWISE else []
    return nn.Sequential(*layers, _normalisation(after))


def _normalised_sum(activation: str, channels: int) -> nn.Sequential:
    return nn.Sequential(POINTWISE.get(activation, nn.ReLU)(), _normalisation(channels))


def _normalisation(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # the defaults of Keras


@torch.no_grad()
def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Cutting a normal distribution at two standard deviations leaves 0.8796 of its standard deviation.
            deviation = (2 / layer.weight[0].numel()) ** 0.5 / 0.87962566
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator)
            layer.bias.zero_()
