"""Windows without their blank pixels: the same numbers, and counts of what they take."""

import pytest
import torch
from contracts import normal
from oracles import tolerance
from shapnet_contracts import GEOMETRIES
from torch.testing import assert_close

from shapnotes.shapnet import ImageShapNet, ImageTransform
from shapnotes.shapnet.windows import blank_pixels


def made(*arguments, **settings) -> ImageTransform:
    layer = ImageTransform(*arguments, **settings).double()
    layer.reset_parameters(torch.Generator().manual_seed(0))
    return layer.requires_grad_(False)


def blanked(*shape: int, share: float) -> torch.Tensor:
    """Pixels [batch, height, width, channels], of which about a share is kept."""
    x = normal(*shape)
    x[torch.rand(shape[:3], generator=torch.Generator().manual_seed(1)) >= share] = 0
    return x


def of(layer: ImageTransform, x: torch.Tensor) -> torch.Tensor:
    weight = layer.weight.flatten(2).permute(1, 2, 0)
    return blank_pixels.kept_values(x, weight, layer.bias, layer.geometry, layer.negative_slope)


@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 1, 2, 1)], ids=str)
@pytest.mark.parametrize("share", [0, 0.1, 0.4, 1])
def test_values_are_those_of_whole_windows(geometry, share):
    """Against strips of all pixels, which have other tests."""
    kernel, dilation, stride, padding = geometry
    layer = made(3, 2, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2)
    x = blanked(3, 7, 8, 3, share=share)
    expected = layer(x)
    assert bool(expected.any()) == (share > 0)
    assert_close(of(layer, x), expected, rtol=0, atol=1e-12)
    assert not bool(of(layer, x)[(x == 0).all(3)].any())


def test_a_pixel_with_one_channel_is_not_blank():
    layer, x = made(3, 2), torch.zeros(1, 4, 4, 3, dtype=torch.float64)
    x[0, 1, 2, 2] = -1e-300
    x[0, 3, 3, 1] = float("inf")
    assert blank_pixels.kept_pixels(x).nonzero().tolist() == [[0, 1, 2], [0, 3, 3]]
    x[0, 3, 3, 1] = 2
    assert_close(of(layer, x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 1, 2, 1)], ids=str)
def test_counts_are_those_of_a_loop(geometry):
    kernel, dilation, stride, padding = geometry
    layer = made(1, 1, kernel, dilation=dilation, stride=stride, padding=padding)
    (kh, kw), (dh, dw), (sh, sw), ((top, bottom), (left, right)) = layer.geometry
    kept = torch.rand(2, 6, 9, generator=torch.Generator().manual_seed(2)) < 0.5
    expected = [0] * (kh * kw + 1)
    for image in kept:
        for row in range(-top, 6 + bottom - dh * (kh - 1), sh):
            for column in range(-left, 9 + right - dw * (kw - 1), sw):
                at = [(row + dh * u, column + dw * v) for u in range(kh) for v in range(kw)]
                inside = [(y, q) for y, q in at if 0 <= y < 6 and 0 <= q < 9]
                if inside:
                    expected[sum(bool(image[y, q]) for y, q in inside)] += 1
    assert blank_pixels.window_counts(kept, layer.geometry).tolist() == expected


def test_it_is_chosen_where_it_pays(monkeypatch):
    """Without a gradient, for images that are mostly blank; the numbers are those of the other way."""
    chosen = []
    monkeypatch.setattr(
        "shapnotes.shapnet.image_network.kept_values",
        lambda *given: chosen.append(1) or blank_pixels.kept_values(*given),
    )
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
def test_networks_in_other_precisions(dtype, monkeypatch):
    monkeypatch.setattr(blank_pixels, "LEAST", 0)
    net = ImageShapNet((2, 4, 4, 3)).requires_grad_(False)
    x = blanked(3, 8, 9, 2, share=0.3).permute(0, 3, 1, 2)
    expected = net.double().explain(x).attributions
    found = net.to(dtype).explain(x.to(dtype)).attributions
    assert found.dtype == dtype
    assert_close(found.double(), expected, **tolerance(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net.float()(x.float())
    assert rough.dtype == torch.bfloat16
    assert_close(rough.double(), expected.sum((1, 2)), **tolerance(torch.bfloat16))
