"""A ShapNet whose activations are modules, for methods that follow activations."""

import torch
from torch import Tensor, nn

from shapnotes.coalitions import masks
from shapnotes.shapnet import ShapNet
from shapnotes.shapnet.inner.answers import CoalitionValues
from shapnotes.shapnet.transform import contraction


class Transparent(nn.Module):
    """The same function as a ShapNet, with the batch as every first axis and a module for every call of ReLU.

    net : a ShapNet of perceptrons with ReLU, without residual; it is shared, not copied. It has one channel per feature

    Called with x [batch, features] it returns H(x) [batch, outputs]. Cost: 2^k evaluations of each module.
    """

    def __init__(self, net: ShapNet):
        super().__init__()
        self.net = plain(net)
        blocks = [block for stage in net.stages for block in stage.blocks]
        self.relus = nn.ModuleList(nn.ReLU() for block in blocks for _ in block.widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        relus = iter(self.relus)
        z, reference = x[..., None], self.net.baseline.to(x.dtype)[:, None]
        for stage in self.net.stages:
            answers = []
            for block in stage.blocks:
                sets = torch.tensor(block.sets, device=x.device)
                here = masks(block.k, device=x.device)[:, None, :, None]  # coalitions, modules, players, channels
                rows = torch.where(here, z[:, None, sets], reference[sets]).flatten(3)
                h = torch.einsum("bsmi,mhi->bsmh", rows, block.first) + block.bias[..., 0]
                for weight, bias in zip(block.weights, block.biases, strict=True):
                    h = torch.einsum("bsmi,mhi->bsmh", next(relus)(h), weight) + bias[..., 0]
                worths = torch.einsum("bsmi,moi->bmso", next(relus)(h), block.last).flatten(1, 2)
                matrix = contraction(block.sets, self.net.n_players, CoalitionValues(worths, with_empty=True))
                answers.append(matrix.to(worths) @ worths)
            z = sum(answers)
            reference = z.new_zeros(z.shape[1:])
        return z.sum(1)


def plain(net: ShapNet) -> ShapNet:
    """A ShapNet that these evaluations know: perceptrons with ReLU, one channel per feature; or ValueError."""
    blocks = [block for stage in net.stages for block in stage.blocks]
    if net.residual or net.in_channels != 1 or any(getattr(block, "negative_slope", True) for block in blocks):
        raise ValueError(
            "a ShapNet of perceptrons with ReLU is needed, with one channel per feature, without residual or slope"
        )
    return net
