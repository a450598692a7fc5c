"""The convolutional network that an image ShapNet is compared with."""

from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from shapnotes.shapnet import ImageShapNet


class ComparableNetwork(nn.Module):
    """Convolutions with the weights, windows and activations of an image ShapNet's stages, and a sum over the image."""

    def __init__(self, net: ImageShapNet):
        super().__init__()
        self.negative_slope = net.stages[0].negative_slope
        self.convolutions = nn.ModuleList()
        for stage in net.stages:
            dilation = stage.geometry.dilation[0]
            convolution = nn.Conv2d(stage.in_channels, stage.out_channels, 2, dilation=dilation, padding=dilation // 2)
            convolution.load_state_dict(stage.state_dict())
            self.convolutions.append(convolution.to(stage.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:  # "same" padding: where it is odd, one more row and column at the end
            odd = convolution.dilation[0] % 2
            x = leaky_relu(convolution(pad(x, (0, odd, 0, odd))), self.negative_slope)
        return x.sum((2, 3))
