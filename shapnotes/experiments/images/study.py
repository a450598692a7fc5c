"""Networks for images, trained and kept: what SN-Tab2, SN-F3 to F7, SN-F11 and SN-Tab7 are about.

The paper: channels 1 (or 3), six times 128, and 10; Adam with its defaults, batches of 64. Of the networks of table 2
MNIST and FashionMNIST have 10 epochs and CIFAR-10 60; those of the figures, on MNIST, have 5 (of figure 4 it is not
said). Images are prepared as in `images`. A network is named by its data and by what it is:

    none, l1, l1-layers, linf : a Deep ShapNet without a penalty, with l1 on the last representation, with l1 on all of
                                them, with l-infinity on the last
    cnn                       : the comparable network, convolutions with the same weights, windows and activations

The strengths of penalties are not in the paper. Ours make the penalty about as large as the cross entropy when a small
network is midway in its learning; at the scale "cpu" others are trained as well (`STRENGTHS`). The paper's
comparable network has as many channels, layers and parameters, and leaky ReLUs; ours starts from the same weights and
sees the same images in the same order, so that the two are compared in pairs. A fifth ShapNet is ours, at the scale
"cpu": l1 on all, on images whose background is the reference ("mnist_ink"), which blank pixels then keep at every
stage.

At the scale "cpu" networks are an eighth as wide, learn three times as fast, and see fewer images for two epochs. Our
CIFAR-10 went through JPEG once more.

A run grows by epochs. Its weights are kept beside the record, after the paper's numbers of epochs and the last.
"""

from collections.abc import Iterator
from pathlib import Path

from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.images import data, training

MODELS = {  # kind, penalty, layers, strength
    "none": ("shapnet", "none", "last", 0.0),
    "l1": ("shapnet", "l1", "last", 0.01),
    "cnn": ("cnn", "none", "last", 0.0),
    "l1-layers": ("shapnet", "l1", "all", 0.001),
    "linf": ("shapnet", "linf", "last", 1.0),
}

STRENGTHS = {"l1": (0.001, 0.1, 1.0), "l1-layers": (0.0001, 0.01, 0.1), "linf": (0.1, 10.0, 100.0)}
EPOCHS = {"mnist": 10, "fashion_mnist": 10, "cifar10": 60}  # of table 2
FIGURES = 5  # epochs of the networks of the figures
CHANNELS_IN = {"cifar10": 3}

SETTINGS = {
    "paper": {"images": None, "rate": 0.001, "compiled": True},
    "cpu": {"images": 40_000, "rate": 0.003, "compiled": True},
    "smoke": {"images": 64, "rate": 0.003},
}

TRAININGS = {"paper": 3, "cpu": 5}  # of each network, which differ in first weights and batches
WIDTHS = {"paper": [128] * 6, "cpu": [16] * 6, "smoke": [2]}


def batches(scale: str) -> list[Batch]:
    """All runs of a scale, what most findings need first.

    Stages at the scale "paper": 0, the five networks of MNIST as far as the figures need them; 1, on to table 2's
    epochs; 2, two more trainings of each; 3, CIFAR-10 and FashionMNIST. At "cpu": 0, MNIST; 1, other strengths; 3,
    CIFAR-10.
    """

    def batch(data: str, name: str, seed: int, epochs: int, stage: int = 0, **choice) -> Batch:
        return Batch(configuration(scale, data, name, **choice), (seed,), epochs, stage)

    if scale == "smoke":
        return [batch("digits", name, 0, 2) for name in MODELS]
    seeds = range(TRAININGS[scale])
    if scale == "cpu":
        plan = [batch("mnist", name, seed, 2) for seed in seeds for name in MODELS]
        plan += [batch("mnist_ink", "l1-layers", seed, 2) for seed in seeds]
        plan += [batch("mnist", n, 0, 2, 1, strength=s) for n, strengths in STRENGTHS.items() for s in strengths]
        return plan + [batch("cifar10", name, seed, 2, 3) for seed in seeds for name in ("none", "cnn")]
    return [
        *(batch("mnist", name, 0, FIGURES) for name in MODELS),
        *(batch("mnist", name, 0, EPOCHS["mnist"], 1) for name in MODELS),
        *(batch("mnist", name, seed, FIGURES, 2) for seed in seeds[1:] for name in MODELS),
        *(batch("mnist", name, seed, EPOCHS["mnist"], 2) for seed in seeds[1:] for name in ("none", "cnn")),
        *(batch("cifar10", name, seed, EPOCHS["cifar10"], 3) for seed in seeds for name in ("none", "cnn")),
        *(batch("fashion_mnist", n, s, EPOCHS["fashion_mnist"], 3) for s in seeds for n in ("none", "cnn")),
    ]


def configuration(scale: str, data: str, name: str, **choice) -> dict:
    """How a network is trained; `choice` departs from it, by another `strength`."""
    model, penalty, layers, strength = MODELS[name]
    channels = [CHANNELS_IN.get(data, 1), *WIDTHS[scale], 10]
    config = {"data": data, "model": model, "channels": channels, "batch_size": 64, **SETTINGS[scale]}
    if model == "shapnet":
        return config | {"penalty": penalty, "layers": layers, "strength": strength} | choice
    return {key: value for key, value in config.items() if key != "compiled"}


def smaller(width: int, images: str = "60,000") -> list[str]:
    """How networks of that width are smaller than the paper's, and at what rate they were trained.

    images : how many training images the paper has, those of MNIST if nothing else is said
    """
    full = max(WIDTHS["paper"])
    if width == full:
        return []
    ours = SETTINGS[next(scale for scale, widths in WIDTHS.items() if max(widths) == width)]
    return [
        f"{width} channels in place of {full}",
        f"{ours['images']:,} training images in place of {images}",
        f"a learning rate of {ours['rate']:g} in place of {SETTINGS['paper']['rate']:g}",
    ]


def name_of(config: dict) -> str:
    """The name of a configuration's network, with its data before it: "mnist-l1"; and another strength behind."""
    if config["model"] == "cnn":
        return f"{config['data']}-cnn"
    kind = (config["model"], config["penalty"], config["layers"])
    name = next(name for name, (*one, _) in MODELS.items() if tuple(one) == kind)
    strength = "" if config["strength"] == MODELS[name][3] else f"-{config['strength']:g}"
    return f"{config['data']}-{name}{strength}"


def weights(folder: Path, width: int, name: str, seed: int, epochs: int) -> Path:
    """Where the weights of a network are; `folder` is beside the record and named like it."""
    return folder / str(width) / f"{name}-{seed}-{epochs}.safetensors"


def run(
    config: dict, seeds: tuple[int, ...], device: str, *, folder: Path, epochs: int, checkpoint: Checkpoint
) -> Iterator[list[dict]]:
    """Train a network, measure it on the test images after every epoch, and keep its weights."""
    (seed,) = seeds
    x, y = (t.to(device) for t in data.test_images(config["data"], None if config["data"] != "digits" else 32))
    name, width, kept = name_of(config), config["channels"][1], {FIGURES, EPOCHS.get(config["data"])}

    def measure(net) -> dict:
        return {"test_accuracy": training.accuracy(net, x, y)}

    for net, history in training.training(config, seed, device, checkpoint, epochs, measure):
        done = len(history)
        training.keep(net, weights(folder, width, name, seed, done), config, seed, done)
        for earlier in range(1, done):
            if earlier not in kept:
                weights(folder, width, name, seed, earlier).unlink(missing_ok=True)
        columns = {"test_accuracy": "test_accuracy", "loss": "loss"}
        columns |= {"seconds": "epoch_seconds", "cpu_seconds": "epoch_cpu_seconds"}
        yield [
            {"epochs": done, "measured_at": list(range(1, done + 1)), "images": len(x)}
            | {to: [epoch[column] for epoch in history] for column, to in columns.items()}
        ]


STUDY = Study("image-networks", "Networks for images", batches, run, keeps_files=True)
