"""LC-F4: a CIFAR-10 perceptron with dropout, with ReLU, SA and today's activations, under Adam (Li and Cui, figure 4).

The paper: 3072-1024-512-512-10, dropout of 0.2 after each hidden activation, Glorot-uniform weights, batches of 128,
Adam(1e-3, .9, .999), 20 repeats; its table 2, LC-T2, has the same network under other optimisers. It was written in
Keras, whose defaults stand for what the paper leaves open: pixels lie in [0, 1], and so on (`optimiser`). The paper
says that biases start Glorot-uniform as well, by default; here they start at zero, which is Keras's default. The number
of epochs is not given: ten or more are taken for the paper's scale here. Runs go on to 20, and the record has both
accuracies after every epoch. They are compared at equal epochs, as many as all of them have.

The training accuracy is measured after each epoch on the first 5,000 training images, without dropout. (Keras shows the
mean over the epoch's batches, with dropout and with weights that move; figure 4 does not say which it is.)

Our CIFAR-10 went through JPEG once more. The scale "cpu" keeps the images, the batches, dropout, initialisation and
optimisers; it has an eighth of the paper's width, 6 epochs and 4 repeats: another, smaller experiment.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial

import torch

from shapnotes import datasets
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments._harness.training import curves_by_epoch
from shapnotes.experiments._models.dropout_perceptron import Perceptron, masks, optimiser

ACTIVATIONS = ("relu", "sa", "shaplu", "gelu", "silu", "leaky_relu")
NETWORK = "3072-1024-512-512-10"
FULL = {"data": "cifar10", "hidden": [1024, 512, 512]}

SIZES = {
    "paper": FULL,
    "cpu": FULL | {"hidden": [128, 64, 64]},
    "smoke": {"data": "digits", "hidden": [8, 8, 8]},
}

EPOCHS = {"paper": 20, "cpu": 6, "smoke": 1}
EARLY = 10  # epochs that are enough for the paper's scale
REPEATS = {"paper": 20, "cpu": 4, "smoke": 2}
TOGETHER = 4  # repeats that are trained side by side
DROPOUT = 0.2
BATCH_SIZE = 128
MEASURED = 5000  # training images


def batches(scale: str) -> list[Batch]:
    """All runs of a scale under Adam(1e-3): first (stage 0) the paper's activations and GELU, then the others."""
    return [
        Batch(configuration(scale, activation, "Adam 0.001"), seeds, EPOCHS[scale], int(i >= 4))
        for i, activation in enumerate(ACTIVATIONS)
        for seeds in groups(range(REPEATS[scale]))
    ]


def groups(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """Seeds, as many as are trained side by side in each."""
    return [tuple(seeds[i : i + TOGETHER]) for i in range(0, len(seeds), TOGETHER)]


def configuration(scale: str, activation: str, optimiser: str) -> dict:
    """One configuration of this experiment or of LC-T2."""
    return {"activation": activation, "optimiser": optimiser, "dropout": DROPOUT, **SIZES[scale]}


def run(
    config: dict, seeds: tuple[int, ...], device: str, *, epochs: int, checkpoint: Checkpoint
) -> Iterator[list[dict]]:
    """Train one network per seed, all of them together."""
    train, test = _data(config["data"])
    x, y = train.x.flatten(1).to(device), train.y.to(device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    widths = [x.shape[1], *config["hidden"], len(train.class_names)]
    models = [Perceptron(widths, config["activation"], g).to(device) for g in generators]
    for curves in curves_by_epoch(
        models,
        (x, y),
        (test.x.flatten(1).to(device), test.y.to(device)),
        optimiser=partial(optimiser, config["optimiser"]),
        epochs=epochs,
        batch_size=BATCH_SIZE,
        generators=generators,
        measure_every=-(-len(x) // BATCH_SIZE),
        measure_on=MEASURED,
        follow_test=True,
        noise=masks(config["hidden"], config["dropout"]),
        checkpoint=checkpoint,
    ):
        yield [vars(curve) | {"epochs": len(curve.steps) - 1, "images": train.note} for curve in curves]


@cache
def _data(name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    if name == "digits":
        return datasets.digits(), datasets.digits()
    return datasets.cifar10("train"), datasets.cifar10("test")


STUDY = Study("LC-F4", "CIFAR-10 perceptron under Adam", batches, run)
