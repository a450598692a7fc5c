"""The CIFAR-10 perceptron: dropout whose masks are given to it, and the optimisers of Keras."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from shapnotes.experiments._models import perceptron


class Perceptron(nn.Module):
    """Hidden layers with an activation, and a last layer; with masks, a hidden layer's output is multiplied by its own.

    widths     : [in, *hidden, out]
    activation : one of ACTIVATIONS
    generator  : of the weights, Glorot-uniform; biases start at zero

    forward(x, *masks): x [batch, in]; none, or one mask [batch, width] for each hidden layer. Returns [batch, out].
    """

    def __init__(self, widths: Sequence[int], activation: str, generator: torch.Generator):
        super().__init__()
        flat = perceptron.network(list(widths), {"activation": activation, "init": "flux"}, generator)
        parts = (len(flat) - 1) // (len(widths) - 2)  # 1 where the layer is its own activation, else 2
        self.hidden = nn.ModuleList(flat[i : i + parts] for i in range(0, len(flat) - 1, parts))
        self.last = flat[-1]

    def forward(self, x: Tensor, *masks: Tensor) -> Tensor:
        if masks and len(masks) != len(self.hidden):
            raise ValueError(f"{len(self.hidden)} hidden layers need a mask each, or none; got {len(masks)} masks")
        for i, layer in enumerate(self.hidden):
            x = layer(x) * masks[i] if masks else layer(x)
        return self.last(x)


def masks(widths: Sequence[int], rate: float) -> Callable[[torch.Generator, int], list[Tensor]]:
    """What dropout multiplies layers of these widths by: 0 with probability `rate`, else 1 / (1 - rate).

    Returns a function of a generator and a number of rows, for `train_together`: one tensor [rows, width] per layer.
    """

    def draw(generator: torch.Generator, rows: int) -> list[Tensor]:
        empty = (torch.empty(rows, width, device=generator.device) for width in widths)
        return [tensor.bernoulli_(1 - rate, generator=generator).div_(1 - rate) for tensor in empty]

    return draw


def optimiser(name: str, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """ "Adam 0.001" and the like, with Keras's other settings, which are the paper's where it gives any.

    They are: epsilon 1e-7 (PyTorch: 1e-8), the mean square of RMSprop over .9 of its past (PyTorch: .99), no momentum.
    """
    kind, rate = name.split()
    kinds = {
        "SGD": torch.optim.SGD,
        "Adam": partial(torch.optim.Adam, eps=1e-7, fused=True),
        "RMSprop": partial(torch.optim.RMSprop, alpha=0.9, eps=1e-7),
    }
    return kinds[kind](parameters, lr=float(rate))
