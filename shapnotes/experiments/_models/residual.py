"""A feed-forward network with residual connections."""

import torch
from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """relu(W x + b), then h + relu(W h + b) for each further hidden layer, then a linear layer."""

    def __init__(self, features: int, width: int, depth: int, outputs: int):
        super().__init__()
        self.first = nn.Linear(features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, outputs)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw weights and biases as nn.Linear does, uniform within 1 / sqrt(fan-in), from `generator`."""
        for layer in (self.first, *self.hidden, self.last):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        for layer in self.hidden:
            h = h + layer(h).relu()
        return self.last(h)
