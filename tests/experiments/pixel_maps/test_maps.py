"""Maps: parts, means and what a record keeps of them."""

import torch
from contracts import normal
from oracles import tolerance
from torch.testing import assert_close

from shapnotes.experiments.pixel_maps.maps import agreement, packed, parts, per_unit_of_grey, rounded, signed, unpacked

F64 = tolerance(torch.float64)


def test_parts_are_means_of_what_is_above_and_below_zero():
    values = normal(5, 4, 3)
    found = parts(values)
    assert found.shape == (2, 3, 4)
    for c in range(3):
        for k in range(4):
            each = values[:, k, c].tolist()
            above, below = sum(max(v, 0.0) for v in each) / 5, sum(-min(v, 0.0) for v in each) / 5
            assert_close(found[:, c, k], torch.tensor([above, below], dtype=torch.float64), **F64)
    assert_close(found[0] - found[1], signed(values), **F64)
    # The part of the mean is another thing, and smaller.
    assert float((found[0] - signed(values).clamp(min=0)).max()) > 0.1


def test_a_blank_pixel_has_nothing_per_unit_of_grey():
    x = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
    values = torch.tensor([[[3.0], [3.0], [-3.0]]], dtype=torch.float64).requires_grad_()
    found = per_unit_of_grey(values, x)
    assert found.detach()[0, :, 0].tolist() == [0.0, 6.0, -3.0]
    found.sum().backward()
    assert bool(torch.isfinite(values.grad).all())


def test_agreement_is_the_mean_correlation():
    a, b = normal(2, 3, 7), normal(2, 3, 7, seed=1)
    pairs = zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)
    expected = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).mean()
    assert_close(agreement(a, b), expected, **F64)
    assert_close(agreement(a, 2 * a + 1), torch.tensor(1.0, dtype=torch.float64), **F64)
    assert float(agreement(a, torch.ones_like(a))) == 0


def test_a_record_keeps_maps_to_half_a_unit():
    maps = normal(2, 3, 7).abs()
    kept = packed(maps)
    assert {type(v) for part in kept["values"] for row in part for v in row} == {int}
    assert max(v for part in kept["values"] for row in part for v in row) == 9999
    assert_close(unpacked(kept), maps, rtol=0, atol=0.5001 * kept["unit"])


def test_rounded_keeps_four_digits():
    assert rounded(torch.tensor(0.000123456)) == 0.0001235 and rounded(12345.6) == 12350
