"""Images of 32 x 32 pixels, prepared as in appendix I.3.2, and networks that are trained on them.

The reference is zero, which after normalisation is a grey: paper is -0.42 for MNIST. "mnist_ink" is MNIST scaled and
not shifted, so that paper is the reference. Training images are moved by a random crop, and for CIFAR-10 mirrored; test
images are only padded.

A network is one of

    shapnet : `ImageShapNet` of the configuration's channels, dilations 1, 3, ..., 13
    cnn     : the comparable one: convolutions of the same weights, windows and activations, and a sum over the image

A training that was stopped, at any moment, goes on from its checkpoint to the same numbers.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, leaky_relu, pad

from shapnotes import datasets
from shapnotes._runtime.extras import extra
from shapnotes.experiments.checkpoint import Checkpoint, atomic
from shapnotes.experiments.training import epochs_alone
from shapnotes.shapnet import ImageShapNet
from shapnotes.shapnet.image_network import DILATIONS
from shapnotes.shapnet.penalties import l1_penalty, linf_penalty

SIZE = 32
MARGIN = 4  # pixels added on each side before a random crop
# Mean and standard deviation of each channel, as in the paper.
NORMS = {
    "mnist": ((0.1307,), (0.3081,)),
    "mnist_ink": ((0.0,), (0.3081,)),  # the same images, but paper is the reference
    "fashion_mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "digits": ((0.1307,), (0.3081,)),  # scikit-learn's, in the place of MNIST
}
PENALTIES = {"l1": l1_penalty, "linf": linf_penalty}
MEASURED_AT_ONCE = 250


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


def network(model: str, channels: Sequence[int], generator: torch.Generator) -> nn.Module:
    """A network with weights drawn from a generator: the two kinds have the same weights."""
    net = ImageShapNet(channels, dilations=DILATIONS)
    net.reset_parameters(generator)
    return net if model == "shapnet" else ComparableNetwork(net)


# --- images --------------------------------------------------------------------------------------------------------


@cache
def _read(data: str, split: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and their classes."""
    if data == "digits":
        found = datasets.digits()
        test = torch.arange(len(found)) % 4 == 3
        rows = test if split == "test" else ~test
        return _enlarged(found.x[rows]), found.y[rows]
    found = getattr(datasets, data.removesuffix("_ink"))(split)
    return found.x, found.y


def _enlarged(digits: Tensor) -> Tensor:
    """Scikit-learn's digits [n, 1, 8, 8] made like those of MNIST: 20 x 20 pixels of ink in 28 x 28."""
    return pad(interpolate(digits, size=20, mode="bicubic", align_corners=False).clamp(0, 1), (4, 4, 4, 4))


def like_mnist(digits: Tensor) -> Tensor:
    """Scikit-learn's digits [n, 8, 8] or [n, 1, 8, 8] as `test_images` has MNIST's: [n, 1, 32, 32]."""
    return prepared(_enlarged(digits.reshape(-1, 1, 8, 8)), "mnist")


def prepared(x: Tensor, data: str) -> Tensor:
    """Images in [0, 1] padded with zeros to 32 x 32, then normalised."""
    height, width = ((SIZE - side) // 2 for side in x.shape[2:])
    return _normalised(pad(x, (width, width, height, height)), data)


def test_images(data: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The first test images [n, channels, 32, 32], padded and normalised, and their classes [n]."""
    x, y = _read(data, "test")
    return prepared(x[:count], data), y[:count]


def augmented(x: Tensor, data: str, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] padded by 4 pixels, cropped to 32 x 32 at random, for CIFAR-10 mirrored or not, normalised.

    The chances are drawn on the CPU: the same on every device.
    """
    x = pad(x, (MARGIN,) * 4)
    room = x.shape[2] - SIZE + 1
    down, right = torch.randint(room, (2, len(x), 1), generator=generator).to(x.device) + torch.arange(
        SIZE, device=x.device
    )
    if data == "cifar10":
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        right = torch.where(mirrored[:, None].to(x.device), right.flip(1), right)
    own = torch.arange(len(x), device=x.device)[:, None, None]
    return _normalised(x[own, :, down[:, :, None], right[:, None, :]].movedim(-1, 1), data)


def _normalised(x: Tensor, data: str) -> Tensor:
    mean, deviation = (x.new_tensor(numbers)[:, None, None] for numbers in NORMS[data])
    return (x - mean) / deviation


# --- training ------------------------------------------------------------------------------------------------------


def training(
    config: dict, seed: int, device: str, checkpoint: Checkpoint, epochs: int, measure: Callable[[nn.Module], dict]
) -> Iterator[tuple[nn.Module, list[dict]]]:
    """Train a network by Adam on cross entropy and a penalty; goes on from the checkpoint.

    config  : "data", "model", "channels" (all L + 1), "batch_size", "images" (the first so many; None: all), "rate" (of
              learning), "compiled" where a ShapNet's windows are to be one program;
              for a penalty on explanations "penalty" ("l1", "linf" or "none"), "layers" ("last" or "all"), "strength"
    measure : numbers of the network after an epoch, kept with the epoch

    Yields the network after every epoch, and a dict per epoch: what was measured, the mean "loss", and its seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    net = network(config["model"], config["channels"], generator).to(device)
    if config.get("compiled") and config["model"] == "shapnet":
        net.compile()
    optimiser = torch.optim.Adam(net.parameters(), lr=config["rate"])
    x, y = (t[: config["images"]].to(device) for t in _read(config["data"], "train"))
    steps = -(-len(x) // config["batch_size"])

    def step(rows: Tensor, epoch: int, order: Tensor) -> Tensor:
        images = augmented(x[rows], config["data"], generator)
        optimiser.zero_grad()
        cost = loss(net, images, y[rows], config)
        cost.backward()
        optimiser.step()
        return cost.detach()

    for history in epochs_alone(
        net,
        optimiser,
        generator,
        draw=lambda g: (torch.randperm(len(x), generator=g),),
        step=step,
        measure=lambda total: {"loss": total / steps} | measure(net),
        batch_size=config["batch_size"],
        epochs=epochs,
        checkpoint=checkpoint,
    ):
        yield net, history


def loss(net: nn.Module, x: Tensor, y: Tensor, config: dict) -> Tensor:
    """Cross entropy, and `strength` times the penalty on the last representation or on all of them, added up."""
    kind = config.get("penalty", "none")
    if kind == "none":
        return cross_entropy(net(x), y)
    layers = net.layers(x)
    chosen = layers if config["layers"] == "all" else layers[-1]
    return cross_entropy(layers[-1].sum((1, 2)), y) + config["strength"] * PENALTIES[kind](chosen)


def keep(net: nn.Module, path: Path, config: dict, seed: int, epochs: int) -> None:
    """Write the weights of a network with how it was trained."""
    with extra("reproduce"):
        from safetensors.torch import save_file
    weights = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    told = {"config": json.dumps(config, sort_keys=True), "seed": str(seed), "epochs": str(epochs)}
    with atomic(path) as new:
        save_file(weights, new, metadata=told)


def load(path: str | Path) -> ImageShapNet:
    """The image ShapNet of a file of weights, in float32 and on the CPU, without gradients."""
    config, tensors = _opened(Path(path))
    channels, model = config["channels"], config["model"]
    if model != "shapnet":
        raise ValueError(f"{path} has a network of the kind {model!r}, and no image ShapNet")
    shapes = {
        f"stages.{i}.{name}": shape
        for i, (fan_in, fan_out) in enumerate(pairwise(channels))
        for name, shape in (("weight", (fan_out, fan_in, 2, 2)), ("bias", (fan_out,)))
    } | {"baseline": (channels[0], 1, 1)}
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if found != shapes:  # looked at before a network of these channels is made, which may be large
        raise ValueError(f"{path} does not have the weights of an image ShapNet of the channels {channels}")
    for key, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {key} is {tensor.dtype} or has NaN or infinity; expected finite torch.float32")
    net = network("shapnet", channels, torch.Generator())
    net.load_state_dict(tensors)
    return net.requires_grad_(False)


def configuration(path: str | Path) -> dict:
    """How the network of a file was trained, as `training` was told."""
    return _opened(Path(path))[0]


def _opened(path: Path) -> tuple[dict, dict[str, Tensor]]:
    with extra("reproduce"):
        from safetensors import safe_open
    try:
        with safe_open(str(path), "pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        _ = [int(width) for width in config["channels"]], str(config["model"])
    except FileNotFoundError:
        raise
    except Exception as error:  # of safetensors, of JSON, or a missing entry
        raise ValueError(f"{path} is no network of these experiments, or is damaged: {error!r}") from error
    return config, tensors


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images that are put into their class."""
    right = [(net(rows).argmax(1) == classes).sum() for rows, classes in _in_parts(x, y)]
    return float(sum(right)) / len(x)


def _in_parts(*tensors: Tensor):
    return zip(*(tensor.split(MEASURED_AT_ONCE) for tensor in tensors), strict=True)
