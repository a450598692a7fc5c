"""Shapley networks for images: transforms on windows, one after the other, with pixels as players."""

from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Any

import torch
from torch import Tensor

from shapnotes.shapnet.base import Network, Stage
from shapnotes.shapnet.door import flag, is_several, whole_numbers
from shapnotes.shapnet.image_transform import ImageTransform, Size

DILATIONS = (1, 3, 5, 7, 9, 11, 13)  # the paper's


class ImageShapNet(Network):
    r"""A Deep ShapNet for images, whose players are pixels: Shapley transforms on windows, dilated more and more.

    .. math::
        H(x) = \sum_q h_q(x), \qquad h = T_L \circ \cdots \circ T_1

    The sum is over pixels q; the reference is zero. h keeps local accuracy and missingness (Theorem 3 and Corollary 4):
    a pixel that is zero in all channels is given exactly nothing, at every stage. It is in general not the Shapley
    value of H.

    Parameters
    ----------
    channels : sequence of int
        Of the images, between the stages, and outputs: L + 1 numbers. The paper's are 1 (or 3), six times 128, and 10.
    kernel_size : int or pair of int
        Rows and columns of the windows, up to 9 pixels together.
    dilations : sequence of int or pairs of int
        Of each stage; repeated or cut to L.
    negative_slope : float
        Of the leaky ReLUs.
    padding : "same", int or pair of int
        Of every stage, as in `ImageTransform`.
    coupling : bool
        Where a stage has as many channels before and after it, let it take half of them and add its values to the other
        half; from one such stage to the next the halves exchange their roles. It takes a quarter of the products and
        half of the rest.
    generator : torch.Generator, optional
        Draws the weights; None is PyTorch's global one.

    Attributes
    ----------
    baseline : Tensor
        [channels, 1, 1], the reference, zero.
    pruning : Pruning or None
        The rule of the `pruned` context that the caller is in.

    Raises
    ------
    ValueError, TypeError
        For inputs of another shape or dtype, with NaN, or on the wrong device.

    Notes
    -----
    Called with x [batch, channels, height, width], of any height and width, it returns H(x) [batch, outputs].
    `explain(x)` has h(x) [batch, height, width, outputs], `layers(x)` the representation of every stage [batch, height,
    width, channels].

    Cost
    ----
    As in `ImageTransform`; the convolutional network with the same weights takes the same products.

    Source
    ------
    Shapley Explanation Networks, section 2.3 and appendix I.3.1. The paper says of channels only that a subset of them
    may be the input, as in coupling layers; `coupling` is the additive one of Dinh et al. It says nothing of padding.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernel_size: Size = 2,
        dilations: Sequence[Size] = DILATIONS,
        negative_slope: float = 0.01,
        *,
        padding: Size | str = "same",
        coupling: bool = False,
        generator: torch.Generator | None = None,
    ):
        numbers = whole_numbers(channels, "channels")
        if len(numbers) < 2:
            raise ValueError(
                f"channels are those of the images, between stages, and outputs: at least two numbers; got {channels}"
            )
        steps = list(dilations) if is_several(dilations) else []
        if not steps:
            raise ValueError(
                f"dilations must be a sequence, one for each stage, and one is enough to be repeated; got {dilations!r}"
            )
        seen = _seen_channels(numbers, flag(coupling, "coupling"))
        stages = []
        for (before, after), part, dilation in zip(pairwise(numbers), seen, cycle(steps), strict=False):
            if part is not None:
                before = part.stop - part.start
                after -= before
            stages.append(
                ImageTransform(
                    before,
                    after,
                    kernel_size,
                    dilation=dilation,
                    padding=padding,
                    negative_slope=negative_slope,
                    generator=generator,
                )
            )
        super().__init__(stages, torch.zeros(numbers[0], 1, 1))
        self.channels, self.seen = numbers, seen

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have `torch.compile` make programs of the arithmetic of windows; in place.

        The same numbers, faster. Windows of up to four pixels have programs, one for values and one for gradients,
        which all stages share, and all networks that ask for the same arguments, whatever their sizes and those of the
        images. The products between them are a library's already. A C++ compiler must be there, or a GPU. Programs are
        made at the first call, in some seconds. A copy of the network is not compiled.

        Parameters
        ----------
        *args, **kwargs : optional
            For `torch.compile`.
        """
        for stage in self.stages:
            stage.compile(*args, **kwargs)

    def _expected_shape(self, x: Tensor) -> str | None:
        if x.dim() == 4 and x.shape[1] == self.channels[0] and x.numel():
            return None
        return f"[batch, {self.channels[0]}, height, width], at least one image of at least one pixel"

    def _as_representation(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)

    def _after_stage(self, number: int, stage: Stage, z: Tensor) -> Tensor:
        part = self.seen[number]
        if part is None:
            after: Tensor = stage(z)
            return after
        values = stage(z[..., part])
        if part.start == 0:
            return torch.cat([z[..., part], z[..., part.stop :] + values], 3)
        return torch.cat([z[..., : part.start] + values, z[..., part]], 3)


def _seen_channels(channels: Sequence[int], coupling: bool) -> list[slice | None]:
    """The channels that each stage takes; None for all of them. With coupling the halves take turns."""
    seen: list[slice | None] = []
    for before, after in pairwise(channels):
        half, coupled = before // 2, sum(part is not None for part in seen)
        if not (coupling and before == after > 1):
            seen.append(None)
        else:
            seen.append(slice(half, before) if coupled % 2 else slice(0, half))
    return seen
