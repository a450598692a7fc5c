"""Windows without their blank pixels: the same numbers, and counts of what they take."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from shapnet_contracts import GEOMETRIES, window_arguments
from torch.testing import assert_close

from shapnotes.shapnet import ImageShapNet, ImageTransform
from shapnotes.shapnet.windows import blank_pixels, reference


def made(*arguments, **settings) -> ImageTransform:
    layer = ImageTransform(*arguments, **settings).double()
    layer.reset_parameters(torch.Generator().manual_seed(0))
    return layer.requires_grad_(False)


def blanked(*shape: int, share: float) -> torch.Tensor:
    """Pixels [batch, height, width, channels], of which about a share is active."""
    x = normal(*shape)
    x[torch.rand(shape[:3], generator=torch.Generator().manual_seed(1)) >= share] = 0
    return x


def without_blanks(layer: ImageTransform, x: torch.Tensor) -> torch.Tensor:
    return blank_pixels.window_values(x, *window_arguments(layer))


@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 1, 2, 1)], ids=str)
@pytest.mark.parametrize("share", [0, 0.1, 0.4, 1])
def test_values_are_those_of_whole_windows(geometry, share):
    """Against the definition for all pixels."""
    kernel, dilation, stride, padding = geometry
    layer = made(3, 2, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2)
    x = blanked(3, 7, 8, 3, share=share)
    expected = reference.window_values(x, *window_arguments(layer))
    assert bool(expected.any()) == (share > 0)
    assert_close(without_blanks(layer, x), expected, rtol=0, atol=1e-12)
    assert not bool(without_blanks(layer, x)[(x == 0).all(3)].any())


def test_a_pixel_with_one_channel_is_not_blank():
    layer, x = made(3, 2), torch.zeros(1, 4, 4, 3, dtype=torch.float64)
    x[0, 1, 2, 2] = -1e-300
    x[0, 3, 3, 1] = float("inf")
    assert blank_pixels.active_pixels(x).nonzero().tolist() == [[0, 1, 2], [0, 3, 3]]
    x[0, 3, 3, 1] = 2
    assert_close(without_blanks(layer, x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 1, 2, 1)], ids=str)
def test_counts_are_those_of_a_loop(geometry):
    kernel, dilation, stride, padding = geometry
    layer = made(1, 1, kernel, dilation=dilation, stride=stride, padding=padding)
    (kh, kw), (dh, dw), (sh, sw), ((top, bottom), (left, right)) = layer.geometry
    active = torch.rand(2, 6, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = [0] * (kh * kw + 1)
    for image in active:
        for row in range(-top, 6 + bottom - dh * (kh - 1), sh):
            for column in range(-left, 9 + right - dw * (kw - 1), sw):
                at = [(row + dh * u, column + dw * v) for u in range(kh) for v in range(kw)]
                inside = [(y, q) for y, q in at if 0 <= y < 6 and 0 <= q < 9]
                if inside:
                    expected[sum(bool(image[y, q]) for y, q in inside)] += 1
    assert blank_pixels.window_counts(active, layer.geometry).tolist() == expected


def test_it_is_chosen_where_it_pays(monkeypatch):
    """Without a gradient, for images that are mostly blank; the numbers are those of the other way."""
    chosen, compute = [], blank_pixels.window_values
    monkeypatch.setattr(blank_pixels, "window_values", lambda *given: chosen.append(1) or compute(*given))
    layer = made(2, 16)
    x = blanked(4, 20, 20, 2, share=0.2)
    ours = layer(x)
    assert chosen == [1]
    layer.requires_grad_(True)
    assert_close(layer(x).detach(), ours, rtol=0, atol=1e-12)
    with torch.no_grad():
        layer(x)
        layer(blanked(4, 20, 20, 2, share=0.6))
        layer(x[:, :3, :3])
        torch.func.vmap(layer)(x[None])
        assert chosen == [1, 1]
    assert chosen == [1, 1]
    layer(x).sum().backward()
    assert chosen == [1, 1] and bool(layer.weight.grad.any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_networks_in_other_precisions(dtype):
    net = ImageShapNet((2, 4, 4, 3)).requires_grad_(False)
    x = blanked(4, 8, 9, 2, share=0.3).permute(0, 3, 1, 2)
    expected = net.double().explain(x).attributions
    values = net.to(dtype).explain(x.to(dtype)).attributions
    assert values.dtype == dtype
    assert_close(values.double(), expected, **tolerance(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net.float()(x.float())
    assert rough.dtype == torch.bfloat16
    assert_close(rough.double(), expected.sum((1, 2)), **tolerance(torch.bfloat16))
