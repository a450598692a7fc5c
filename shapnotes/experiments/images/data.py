"""Images of 32 x 32 pixels, prepared as in appendix I.3.2.

The reference is zero, which after normalisation is a grey: the background is -0.42 for MNIST. "mnist_ink" is MNIST
scaled and not shifted, so that its background is the reference. Training images are moved by a random crop, and for
CIFAR-10 mirrored; test images are only padded.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from shapnotes import datasets

SIZE = 32
MARGIN = 4  # pixels added on each side before a random crop

# Mean and standard deviation of each channel, as in the paper.
NORMS = {
    "mnist": ((0.1307,), (0.3081,)),
    "mnist_ink": ((0.0,), (0.3081,)),  # the same images, but their background is the reference
    "fashion_mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "digits": ((0.1307,), (0.3081,)),  # scikit-learn's, in the place of MNIST
}


@cache
def _read(data: str, split: str) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and their classes."""
    if data == "digits":
        digits = datasets.digits()
        test = torch.arange(len(digits)) % 4 == 3
        rows = test if split == "test" else ~test
        return _enlarged(digits.x[rows]), digits.y[rows]
    loaded = getattr(datasets, data.removesuffix("_ink"))(split)
    return loaded.x, loaded.y


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
