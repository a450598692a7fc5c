"""Networks that read scikit-learn's digits: small enough to be trained where a page is executed."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from shapnotes import datasets
from shapnotes.shapnet import ImageShapNet

TRAINING_ROWS, BATCH, FASTEST_RATE = 1300, 32, 0.01

Penalty = Callable[[list[Tensor]], Tensor]  # of the representations after every stage


def parted() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images [rows, 1, 8, 8] and labels [rows], 1300 to train on and 497 to test, always the same; ink is 0 to 1."""
    data = datasets.digits()
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(0))
    here, there = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    return data.x[here], data.y[here], data.x[there], data.y[there]


# Chapter 13 prints this function, so that its lines are those of a page.
def fit(
    net: ImageShapNet,
    x: Tensor,
    y: Tensor,
    seed: int,
    epochs: int,
    penalty: Penalty | None = None,
) -> ImageShapNet:
    """The network, trained in place; weights and order are of one seed.

    By cross entropy and a penalty, with Adam in batches of 32, whose rate
    rises to 0.01 and falls again; afterwards nothing is to be trained.
    """
    generator = torch.Generator().manual_seed(seed)
    net.reset_parameters(generator)
    optimiser = torch.optim.Adam(net.parameters())
    steps = epochs * -(-len(x) // BATCH)
    schedule = OneCycleLR(optimiser, FASTEST_RATE, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(BATCH):
            layers = net.layers(x[rows])
            loss = cross_entropy(layers[-1].sum((1, 2)), y[rows])
            if penalty is not None:
                loss = loss + penalty(layers)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.requires_grad_(False)
