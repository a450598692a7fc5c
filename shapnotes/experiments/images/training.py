"""Networks for images: made, trained from where they were stopped, and kept as files.

A network is one of

    shapnet : `ImageShapNet` of the configuration's channels, dilations 1, 3, ..., 13
    cnn     : the comparable one: convolutions of the same weights, windows and activations, and a sum over the image
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shapnotes._runtime.extras import extra
from shapnotes.experiments._harness.checkpoints import Checkpoint, atomic
from shapnotes.experiments._harness.training import epochs_alone
from shapnotes.experiments._models.comparable_cnn import ComparableNetwork
from shapnotes.experiments.images.data import _read, augmented
from shapnotes.shapnet import ImageShapNet
from shapnotes.shapnet.image_network import DILATIONS
from shapnotes.shapnet.penalties import l1_penalty, linf_penalty

PENALTIES = {"l1": l1_penalty, "linf": linf_penalty}
ROWS_MEASURED_AT_ONCE = 250


def network(model: str, channels: Sequence[int], generator: torch.Generator) -> nn.Module:
    """A network with weights drawn from a generator: the two kinds have the same weights."""
    net = ImageShapNet(channels, dilations=DILATIONS)
    net.reset_parameters(generator)
    return net if model == "shapnet" else ComparableNetwork(net)


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
    metadata = {"config": json.dumps(config, sort_keys=True), "seed": str(seed), "epochs": str(epochs)}
    with atomic(path) as new:
        save_file(weights, new, metadata=metadata)


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
    stored = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if stored != shapes:  # looked at before a network of these channels is made, which may be large
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
    return zip(*(tensor.split(ROWS_MEASURED_AT_ONCE) for tensor in tensors), strict=True)
