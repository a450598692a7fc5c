"""An image ShapNet evaluated in another way: for methods that follow activations."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shapnotes.coalitions import masks, shapley_matrix
from shapnotes.shapnet import ImageShapNet
from shapnotes.shapnet.image_transform import ImageTransform


class TransparentImage(nn.Module):
    """The same function as an ImageShapNet, with the batch as every first axis and one nn.LeakyReLU per stage.

        s_S = b + sum over j in S of W_j x_j,      Z = fold of  M a(s),      M the Shapley matrix

    All sums s_S of all coalitions of all windows go into the stage's activation together. A position of a window
    that is outside the image adds nothing to a sum: it is a null player, and does not change what the others are due.

    net               : an ImageShapNet without coupling; it is shared, not copied
    coalitions_first  : give activations the coalitions as the first axis, and the batch as the second. Every number is
                        the same. But methods that put x and its reference into one batch, and later take the first half
                        of an activation's first axis for x, then compare coalitions with each other

    Called with x [batch, channels, height, width] it returns H(x) [batch, outputs]. Cost: the network's own, but all
    2^k sums of a stage are in memory at once, and kept for a gradient: at 32 x 32 pixels, 16 channels and 2 x 2 windows
    1 MiB per image and stage in single precision, three times over.
    """

    def __init__(self, net: ImageShapNet, coalitions_first: bool = False):
        super().__init__()
        if not isinstance(net, ImageShapNet) or any(seen is not None for seen in net.seen):
            raise ValueError(f"an ImageShapNet without coupling is needed; got {type(net).__name__}")
        self.net, self.coalitions_first = net, coalitions_first
        self.activations = nn.ModuleList(nn.LeakyReLU(stage.negative_slope) for stage in net.stages)

    def forward(self, x: Tensor) -> Tensor:
        z = x.permute(0, 2, 3, 1)
        for stage, activation in zip(self.net.stages, self.activations, strict=True):
            z = _opened(stage, activation, z, self.coalitions_first)
        return z.sum((1, 2))


def _opened(stage: ImageTransform, activation: nn.Module, x: Tensor, coalitions_first: bool) -> Tensor:
    """A stage at stride 1: [batch, height, width, channels] to the same with the stage's outputs."""
    (kh, kw), (dh, dw), _, ((top, bottom), (left, right)) = stage.geometry
    terms = (x @ stage.weight.flatten(2).permute(1, 2, 0).flatten(1)).unflatten(3, (kh * kw, -1))
    terms = pad(terms, (0, 0, 0, 0, left, right, top, bottom))
    rows, columns = terms.shape[1] - dh * (kh - 1), terms.shape[2] - dw * (kw - 1)
    corners = [(dh * u, dw * v) for u in range(kh) for v in range(kw)]
    windows = [(slice(None), slice(y, y + rows), slice(x, x + columns)) for y, x in corners]
    listed = torch.stack([terms[at][..., j, :] for j, at in enumerate(windows)], 1)
    here, matrix = masks(kh * kw, device=x.device).to(x), shapley_matrix(kh * kw).to(x)
    sums = (here @ listed.flatten(2)).unflatten(2, listed.shape[2:]) + stage.bias
    worths = activation(sums.transpose(0, 1)).transpose(0, 1) if coalitions_first else activation(sums)
    values = (matrix @ worths.flatten(2)).unflatten(2, listed.shape[2:])
    z = values.new_zeros(len(x), *terms.shape[1:3], stage.out_channels)
    for at, value in zip(windows, values.unbind(1), strict=True):
        z[at] += value
    return z[:, top : top + x.shape[1], left : left + x.shape[2]]
