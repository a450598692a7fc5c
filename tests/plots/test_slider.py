"""Sliders are HTML that holds all it needs; tests/pages moves them."""

import base64
import io
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from shapnotes import plots


def tags(slider):
    """Each tag of its HTML that has attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(slider._repr_html_())
    return found


def images(slider):
    return [attributes for tag, attributes in tags(slider) if tag == "img"]


def drawing(step):
    plt.plot([step, 1])
    return f"picture {step}"


def test_frames_are_drawn_once_in_order_and_closed():
    drawn = []
    slider = plots.frames(lambda step: drawn.append(step) or f"picture {step}", ["first", "second", "third"], "order")
    assert drawn == [0, 1, 2]
    assert repr(slider) == "Slider('order', 3 pictures)"
    assert [image["alt"] for image in images(slider)] == ["picture 0", "picture 1", "picture 2"]
    pictures = [attributes for tag, attributes in tags(slider) if attributes.get("class") == "picture"]
    assert [picture["data-label"] for picture in pictures] == ["first", "second", "third"]
    assert ["style" in picture for picture in pictures] == [False, True, True]
    (handle,) = (attributes for tag, attributes in tags(slider) if tag == "input")
    assert (handle["min"], handle["max"], handle["value"]) == ("0", "2", "0")
    assert not plt.get_fignums()


def test_frames_ask_nobody_and_are_the_same_each_time():
    """No address but the pictures' own bytes, no file, no random name."""
    slider = plots.frames(drawing, ["first", "second"])
    sources = [value for _, attributes in tags(slider) for name, value in attributes.items() if name in ("src", "href")]
    assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "://" not in slider._repr_html_()
    assert slider._repr_html_() == plots.frames(drawing, ["first", "second"])._repr_html_()


def test_pictures_look_like_the_figure_and_weigh_little():
    """The palette takes no colour far from what was drawn."""
    full = io.BytesIO()

    def draw(step):
        pixels = np.outer(np.linspace(-1, 1, 40), np.linspace(0, 1, 40))
        plots.image_row(plt.gcf().subplots(1, 2), [pixels, pixels.T])
        plt.savefig(full, format="png", dpi=100)
        return "maps"

    (image,) = images(plots.frames(draw, ["only"]))
    png = base64.b64decode(image["src"].partition(",")[2])
    drawn, shown = (np.asarray(Image.open(file).convert("RGB"), dtype=float) for file in (full, io.BytesIO(png)))
    assert shown.shape == drawn.shape == (480, 640, 3)
    assert np.abs(shown - drawn).mean() < 0.5 and np.abs(shown - drawn).max() < 40  # of 255
    assert len(png) < 0.7 * len(full.getvalue())


def test_frames_show_text_as_it_stands():
    """Labels are often names of classes, from data, and the page is published."""
    text = """<img src=x onerror="alert('in')">"""
    slider = plots.frames(lambda step: f'"{text}', [f"class {text}"], text)
    (image,) = images(slider)
    assert image["alt"] == f'"{text}' and set(image) == {"alt", "style", "src"}
    assert [attributes.get("data-label") for _, attributes in tags(slider)].count(f"class {text}") == 1


def test_frames_need_labels_and_texts():
    with pytest.raises(ValueError, match="one per picture, one at least; got none"):
        plots.frames(lambda step: "text", [])
    with pytest.raises(TypeError, match="draw must return the picture's alternative text; got NoneType"):
        plots.frames(lambda step: None, ["first"])
    with pytest.raises(ZeroDivisionError):
        plots.frames(lambda step: 1 / step, ["first"])
    assert not plt.get_fignums()
