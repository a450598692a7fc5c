"""The values that the lattice of frequencies gives: at two resolutions, with its bound, and where it refuses."""

import pytest
import torch
from contracts import normal

from shapnotes.neuron import lattice
from shapnotes.neuron.lattice import row
from shapnotes.neuron.owen import nodes, nodes_for, quadrature_error


@pytest.mark.parametrize(("n", "coarse", "fine"), [(100, 1e-3, 1e-6), (784, 1e-2, 1e-4)])
def test_two_resolutions_agree_within_their_bounds(n, coarse, fine):
    terms = normal(n, seed=n)
    for b in (0.0, 0.3 * n**0.5):
        rough, sharp = row(terms, b, coarse), row(terms, b, fine)
        size = float(sharp.values.abs().mean())
        assert rough.bound <= coarse * size * 1.01 and sharp.bound <= fine * size * 1.01
        assert float((rough.values - sharp.values).abs().max()) <= rough.bound + sharp.bound
        change = max(b + float(terms.sum()), 0) - max(b, 0)
        assert abs(float(sharp.values.sum()) - change) <= n * sharp.bound


def test_noise_has_an_error_of_second_order_and_of_fourth_where_sums_are_smooth():
    terms, b = normal(14), 0.4
    exact = row(terms, b, 1e-8).values
    errors, bounds = [], []
    for noise in (0.4, 0.2, 0.1):
        found, of_noise = lattice.with_noise(terms, b, noise, 8, 1e-14)
        errors.append(float((found.values - exact).abs().max()))
        bounds.append(of_noise)
    assert all(e <= b for e, b in zip(errors, bounds, strict=True))
    assert 3 < bounds[0] / bounds[1] < 5 and 3 < bounds[1] / bounds[2] < 5
    assert errors[1] / errors[2] > 5


def test_a_neuron_that_is_hardly_ever_on():
    """Its values are a thousandth of its terms, and less: they are right to a millionth of these."""
    terms = torch.ones(16, dtype=torch.float64) + 0.01 * normal(16)
    found = row(terms, -15.5, 1e-5)
    exact = row(terms, -15.5, 1e-8)
    assert float((found.values - exact.values).abs().max()) <= found.bound <= 1e-5


def test_coalitions_that_end_at_the_kink():
    """Equal terms: the bound is of first order, and holds."""
    found = row(torch.ones(30, dtype=torch.float64), -7.0, 1e-3)
    assert float((found.values - 23 / 30).abs().max()) <= found.bound <= 1e-3


def test_what_is_too_much_is_refused_with_its_cost(monkeypatch):
    monkeypatch.setattr(lattice, "MAX_PRODUCTS", 5e6)
    with pytest.raises(ValueError, match=r"1e-06 takes up to .* products .*so far the error is at most .*'edgeworth'"):
        row(normal(50), 0.0, 1e-6)


def test_the_cost_is_looked_at_before_any_pass(monkeypatch):
    monkeypatch.setattr(lattice, "MAX_PRODUCTS", 1.0)
    monkeypatch.setattr(lattice, "with_noise", None)  # whoever calls it fails
    with pytest.raises(ValueError, match=r"0.01 takes up to .* products .*, more than 1e\+00. Ask"):
        row(normal(50), 0.0, 1e-2)


def test_what_rounding_does_not_allow_is_refused(monkeypatch):
    """At once where rounding alone is too much, and else when a pass changes nothing, in place of running for ever."""
    terms = torch.tensor([1.0, -1, 2, -1], dtype=torch.float64)
    assert row(terms, -0.5, 1e-13).bound < 1e-13
    with pytest.raises(ValueError, match=r"1e-14 is finer than float64 allows for a neuron of these 4 terms; so far"):
        row(terms, -0.5, 1e-14)
    monkeypatch.setattr(lattice, "with_noise", None)
    with pytest.raises(ValueError, match=r"1e-16 is finer than float64 allows for a neuron of these 4 terms\. Ask"):
        row(terms, -0.5, 1e-16)


def test_the_quadrature_keeps_its_bound():
    """phi of the game that pays 1 when all n are there, 1 / n, by nodes: q^(n - 1)."""
    for n in (5, 40, 200):
        for count in (2, 4, 8, 16, 32):
            q, w = nodes(count, torch.float64, torch.device("cpu"))
            error = abs(float((w * q ** (n - 1)).sum()) - 1 / n)
            assert error <= quadrature_error(n, count) + 1e-14
        assert quadrature_error(n, nodes_for(n, 1e-6)) <= 1e-6 and nodes_for(n, 1e-6) % 2 == 0
