"""A perceptron trained on digits, and what every pixel of images that it has not seen is due for every class."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shapnotes import datasets
from shapnotes.experiments._models.perceptron import network, optimiser
from shapnotes.experiments.pixel_maps.maps import parts
from shapnotes.relevance import Relevances, propagate, softmax_relevance
from shapnotes.sampling import sample_shapley_values

SAMPLED = (200, 20)  # images and random orders per image, for the Shapley values of the whole network
BATCH = 100


@dataclass(frozen=True)
class Explained:
    """A trained network, images that it has not seen, and what their pixels are due for each class.

    accuracy      : of all training and of all test images
    x, others     : [images, pixels], those explained and the next as many
    y             : [images], the labels of x
    start, errors : [images, logit, class], Shapley values of the softmax and their standard errors
    relevance     : from the pixels' [images, pixels, class] to `start`
    shapley       : [first images, pixels, class], Shapley values of the network's probabilities from random orders
    """

    model: nn.Sequential
    accuracy: dict[str, float]
    x: Tensor
    y: Tensor
    others: Tensor
    start: Tensor
    errors: Tensor
    relevance: Relevances
    shapley: Tensor

    def probabilities(self, x: Tensor) -> Tensor:
        return torch.softmax(self.model(x), -1)


def explained(config: dict, seed: int, device: str) -> Explained:
    """Train the network of a seed on the whole training set and explain the first test images."""
    mnist = config["data"] == "mnist"
    train, test = (datasets.mnist("train"), datasets.mnist("test")) if mnist else (datasets.digits(),) * 2
    generator = torch.Generator().manual_seed(seed)
    widths = [train.x[0].numel(), *config["hidden"], 10]
    model = network(widths, {"activation": "relu", "init": "flux"}, generator).to(device)
    (seen, seen_y), (images, y) = ((d.x.flatten(1).to(device), d.y.to(device)) for d in (train, test))
    fit(model, seen, seen_y, config["epochs"], generator)
    accuracy = {"train": _accuracy(model, seen, seen_y), "test": _accuracy(model, images, y)}
    model.double().eval().requires_grad_(False)
    x, others = images[: 2 * config["images"]].double().split(config["images"])
    start, errors = softmax_relevance(model(x), config["permutations"], generator, progress=False)
    first, orders = SAMPLED
    shapley, _ = sample_shapley_values(
        lambda v: torch.softmax(model(v), -1), x[:first], permutations=orders, generator=generator, progress=False
    )
    relevance = propagate(model, x, start, eps=config["eps"])
    return Explained(model, accuracy, x, y[: len(x)], others, start, errors, relevance, shapley)


@torch.no_grad()
def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return round(float((model(x).argmax(1) == y).double().mean()), 5)


def fit(model: nn.Module, x: Tensor, y: Tensor, epochs: int, generator: torch.Generator) -> None:
    """Minimise the cross entropy by Adam, at a rate that falls from 0.001 to 0 in a straight line."""
    steps = optimiser("Adam 0.001", model.parameters())
    rate = torch.optim.lr_scheduler.LinearLR(steps, 1.0, 0.0, total_iters=epochs * -(-len(x) // BATCH))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).to(x.device).split(BATCH):
            steps.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            steps.step()
            rate.step()


def measured_increase(subject: Explained, ink: bool = False) -> Tensor:
    """Parts [2, classes, pixels] of the increase in probability when a pixel alone grows by 1, by evaluation.

    With ink an image counts only at pixels that are not blank in it, as it does for relevance per unit of grey.
    """
    first, rest = subject.model[0], subject.model[1:]
    total = 0.0
    for x in subject.x.split(50):
        raised = first(x)[:, None] + first.weight.T  # [images, pixels, neurons]: only the first layer's sums change
        change = torch.softmax(rest(raised), -1) - subject.probabilities(x)[:, None]
        total = total + len(x) * parts(change * (x > 0)[:, :, None] if ink else change)
    return total / len(subject.x)
