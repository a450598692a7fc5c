"""LC-F5: ResNet-20 v2 on CIFAR-10 with ReLU and with Shapley Activations (Li and Cui, figure 5).

The paper: an example of Keras, unchanged but for normalisation, which comes after the activation in both arms; jumps at
the epochs 80 and 120; 8 runs; about 92.5 % on the test images. It writes down no more, and no number of epochs. The
example, which it cites for the rest, has 200 of them, batches of 32, Adam at 0.001, cut to 1e-4, 1e-5, 1e-6 and 5e-7
from the epochs 82, 122, 162 and 182 on, 1e-4 times the squared weights of the convolutions added to the loss, the mean
training image subtracted, and images mirrored and moved by up to a tenth of their size, their border repeated. Its
moves are real numbers and interpolate; ours are whole pixels, -3 to 3. Training accuracy is the one Keras shows: over
an epoch's batches as they are trained on. Which convolutions have an SA the paper leaves open; here the 13 whose output
goes to a ReLU and nowhere else. Arithmetic is float32, without autocast (PyTorch's default on a GPU: TF32 inside
convolutions). Our CIFAR-10 went through JPEG once more.

Runs are compared at equal epochs, as many as all pairs have.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from shapnotes import datasets
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments._harness.training import epochs_alone
from shapnotes.experiments._models.resnet20 import resnet20

ARMS = ("sa", "relu")

# [first epoch, learning rate]. The example's comparisons are strict, so a cut "at 80" is felt from epoch 81 on.
RATES = [[0, 1e-3], [81, 1e-4], [121, 1e-5], [161, 1e-6], [181, 5e-7]]
PAPER = {"data": "cifar10", "images": 50_000, "test_images": 10_000, "width": 16, "rates": RATES}

# In a network half as wide, three fifths of the steps of one of the paper's epochs.
CPU = {"data": "cifar10", "images": 10_000, "test_images": 2_000, "width": 8, "rates": RATES[:1]}
SMOKE = {"data": "digits", "images": 256, "test_images": 256, "width": 2, "rates": [[0, 1e-3], [1, 1e-4]]}
SETTINGS = {"paper": (PAPER, 8, 200), "cpu": (CPU, 3, 3), "smoke": (SMOKE, 2, 2)}  # repeats, epochs
FIRST = (2, 10)  # pairs and epochs to begin with, at the paper's scale


def batches(scale: str) -> list[Batch]:
    """All runs of a scale, each on its own: both arms for one seed after the other; 0, the first, and 1, the rest."""
    settings, repeats, epochs = SETTINGS[scale]

    def pairs(count: int, epochs: int, stage: int) -> list[Batch]:
        return [
            Batch({"activation": arm, "batch_size": 32, **settings}, (seed,), epochs, stage)
            for seed in range(count)
            for arm in ARMS
        ]

    return [*(pairs(*FIRST, 0) if scale == "paper" else []), *pairs(repeats, epochs, 1)]


def run(
    config: dict, seeds: tuple[int, ...], device: str, *, epochs: int, checkpoint: Checkpoint
) -> Iterator[list[dict]]:
    """Train one network: normalisation has running means, which do not mix."""
    (seed,) = seeds
    if config["data"] == "cifar10":
        train, test = datasets.cifar10("train"), datasets.cifar10("test")
    else:
        train = test = datasets.digits()
    x, y = train.x[: config["images"]], train.y[: config["images"]].to(device)
    middle = x.mean(0)
    x = (x - middle).to(device)
    unseen = ((test.x[-config["test_images"] :] - middle).to(device), test.y[-config["test_images"] :].to(device))
    generator = torch.Generator().manual_seed(seed)
    model = resnet20(config["activation"], generator, width=config["width"], in_channels=x.shape[1])
    model.to(x.device, memory_format=torch.channels_last)
    optimiser = adam(model)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        # On the CPU for the whole epoch: the same chances on every device.
        order = torch.randperm(len(x), generator=generator)
        moves = torch.randint(-3, 4, (len(x), 2), generator=generator)
        return order, moves, torch.rand(len(x), generator=generator) < 0.5

    def step(rows: Tensor, epoch: int, order: Tensor, moves: Tensor, mirrored: Tensor) -> Tensor:
        model.train()
        for group in optimiser.param_groups:
            group["lr"] = rate_at(config["rates"], epoch)
        optimiser.zero_grad()
        logits = model(augmented(x[rows], moves[rows].to(x.device), mirrored[rows].to(x.device)))
        nn.functional.cross_entropy(logits, y[rows]).backward()
        optimiser.step()
        return (logits.argmax(1) == y[rows]).sum()

    for history in epochs_alone(
        model,
        optimiser,
        generator,
        draw=draw,
        step=step,
        measure=lambda right: {"train_accuracy": right / len(x), "test_accuracy": accuracy(model, *unseen)},
        batch_size=config["batch_size"],
        epochs=epochs,
        checkpoint=checkpoint,
    ):
        curves = {name: [epoch[name] for epoch in history] for name in ("train_accuracy", "test_accuracy")}
        seconds = {"epoch_seconds": [epoch["seconds"] for epoch in history]}
        yield [{"epochs": len(history), "data": train.note} | curves | seconds]


def augmented(x: Tensor, moves: Tensor, mirrored: Tensor) -> Tensor:
    """Images moved up and to the left by whole pixels, the border repeated, then mirrored sideways if `mirrored`.

    x [batch, channels, height, width], moves [batch, 2] (down the rows, along the columns), mirrored [batch] of truth
    values; returns the shape of x.
    """
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + moves[:, 1:]).clamp(0, width - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    own = torch.arange(len(x), device=x.device)[:, None, None]
    return x[own, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def adam(model: nn.Module) -> torch.optim.Adam:
    """Adam with the settings of Keras, and its penalty on the weights of convolutions, whose gradient is 2e-4 w."""
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    chosen = {id(weight) for weight in kernels}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return torch.optim.Adam([{"params": kernels, "weight_decay": 2e-4}, {"params": others}], lr=1e-3, eps=1e-7)


def rate_at(rates: list[list[float]], epoch: int) -> float:
    """The learning rate of an epoch, counted from zero."""
    return [rate for first, rate in rates if first <= epoch][-1]


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of rows that a classifier in evaluation mode puts into their class."""
    model.eval()
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return right / len(x)


STUDY = Study("LC-F5", "ResNet-20 v2 on CIFAR-10, normalised after the activation", batches, run)
