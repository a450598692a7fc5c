"""Sliders that compute: they draw what they are set to, and are not there where nobody can move them."""

import ipywidgets
import pytest

import shapnotes as sn


@pytest.fixture
def reader(monkeypatch):
    monkeypatch.delenv("SHAPNOTES_NO_READER", raising=False)


def test_every_move_draws_the_figure_again(reader):
    drawn = []

    def draw(bias, gate):
        drawn.append((bias, gate))
        return f"bias {bias}, {gate}"

    sliders = sn.plots.explore(draw, bias=(-2.0, 2.0, 0.5), gate=["exact", "normal"])
    assert isinstance(sliders, ipywidgets.interactive)
    bias, gate = sliders.children[:2]
    assert (bias.min, bias.max, bias.step) == (-2.0, 2.0, 0.5) and gate.options == ("exact", "normal")
    sliders.update()
    bias.value = 1.5
    gate.value = "normal"
    assert [*dict.fromkeys(drawn)] == [(0.0, "exact"), (1.5, "exact"), (1.5, "normal")]


def test_no_figure_stays_open(reader):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    sn.plots.explore(lambda bias: f"{bias}", bias=(0.0, 1.0)).update()
    assert plt.get_fignums() == before


def test_where_nobody_moves_it_there_is_none(monkeypatch, capsys):
    monkeypatch.setenv("SHAPNOTES_NO_READER", "1")
    assert sn.plots.explore(lambda bias: "", bias=(0.0, 1.0)) is None
    assert capsys.readouterr().out == "In a running notebook sliders stand here, for bias\n"


def test_it_needs_a_choice():
    with pytest.raises(ValueError, match="at least one choice, as bias="):
        sn.plots.explore(lambda: "")


def test_without_ipywidgets_it_says_what_to_install(reader, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install 'shapnotes\[notebooks\]'"):
        sn.plots.explore(lambda bias: "", bias=(0.0, 1.0))
