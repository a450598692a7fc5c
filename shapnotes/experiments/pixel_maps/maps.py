"""Maps of images: for each class what its pixels say for it and against it, averaged over many images."""

import torch
from torch import Tensor


def per_unit_of_grey(values: Tensor, x: Tensor) -> Tensor:
    """values / x where x > 0, and 0 where x is: values [images, pixels, classes], x [images, pixels] >= 0."""
    grey = x[:, :, None]
    return torch.where(grey > 0, values / torch.where(grey > 0, grey, 1.0), 0.0)


def parts(values: Tensor) -> Tensor:
    """Means over the images of the positive part and of the negative part, both >= 0.

    values [images, pixels, classes]; returns [2, classes, pixels].
    """
    return torch.stack([values.clamp(min=0).mean(0), (-values).clamp(min=0).mean(0)]).transpose(1, 2)


def signed(values: Tensor) -> Tensor:
    """Their difference, the plain means: [classes, pixels]. Noise in the values averages out here, not in the parts."""
    return values.mean(0).T


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of two maps over the pixels, [..., pixels] both, averaged over all pairs; a flat map has none, 0."""
    a, b = (v - v.mean(-1, keepdim=True) for v in (a, b))
    return ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-30)).mean()


def packed(maps: Tensor) -> dict:
    """Maps for a record: whole numbers of one unit, of at most four digits."""
    unit = float(maps.max()) / 9999
    return {"unit": unit, "values": (maps / unit).round().int().tolist()}


def unpacked(maps: dict) -> Tensor:
    """The maps that a record holds."""
    return torch.tensor(maps["values"], dtype=torch.float64) * maps["unit"]


def rounded(value: Tensor | float) -> float:
    """To four significant digits, for a record."""
    return float(f"{float(value):.4g}")
