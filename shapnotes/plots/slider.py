"""Pictures behind a slider, as plain HTML: it needs no kernel, no library and no network.

It moves in the built book, in Jupyter and in Colab, by mouse, finger or keyboard. Without scripts the first picture is
shown. The same pictures and words give the same bytes.
"""

from __future__ import annotations  # matplotlib is slow to import, and is imported where something is drawn

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE_COLOURS = 256  # of each picture, as many as a byte names: a third of the bytes of a picture in full colour

HTML = """\
<div class="shapnotes-slider">
<div class="controls" style="display:none; flex-wrap:wrap; gap:0.5em; align-items:center; margin:0 0 0.4em">
<button type="button" aria-label="previous picture">◀</button>
<label style="display:flex; flex:1 1 9em; max-width:22em; gap:0.5em; align-items:center; margin:0">{description}
<input type="range" min="0" max="{last}" value="0" autocomplete="off" style="flex:1 1 6em; min-width:6em"></label>
<button type="button" aria-label="next picture">▶</button>
<output>{label}</output>
</div>
<noscript><p>{description}: {label}. Without scripts only this one of {count} pictures is shown.</p></noscript>
{pictures}
{script}
</div>
"""
PICTURE = """\
<div class="picture" data-label="{label}"{hidden}>\
<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{png}"></div>"""
# Sliders are looked for and not named, since a page may show one twice; each is set up once.
SCRIPT = """\
<script>
document.querySelectorAll(".shapnotes-slider:not([data-ready])").forEach(slider => {
  const range = slider.querySelector("input"), [previous, next] = slider.querySelectorAll("button");
  const pictures = slider.querySelectorAll(".picture"), label = slider.querySelector("output");
  const show = step => {
    range.value = step;  // which the browser keeps between its ends
    pictures.forEach((picture, i) => { picture.style.display = i == range.value ? "" : "none" });
    label.textContent = pictures[range.value].dataset.label;
    range.setAttribute("aria-valuetext", label.textContent);
  };
  range.oninput = () => show(range.value);
  previous.onclick = () => show(+range.value - 1);
  next.onclick = () => show(+range.value + 1);
  slider.dataset.ready = "";
  slider.querySelector(".controls").style.display = "flex";
  show(0);
});
</script>"""


class Picture(NamedTuple):
    """A PNG file, its alternative text, and the label that stands beside the slider."""

    png: bytes
    alt: str
    label: str


class Slider:
    """What a notebook shows as a slider over pictures; printed, it says what it holds."""

    def __init__(self, pictures: Sequence[Picture], description: str):
        self.pictures, self.description = tuple(pictures), description

    def __repr__(self) -> str:
        return f"Slider({self.description!r}, {len(self.pictures)} pictures)"

    def _repr_html_(self) -> str:
        """Labels and texts are text: what looks like HTML is shown as it stands."""
        return HTML.format(
            description=escape(self.description),
            count=len(self.pictures),
            last=len(self.pictures) - 1,
            label=escape(self.pictures[0].label),
            pictures="\n".join(_html(picture, shown=not step) for step, picture in enumerate(self.pictures)),
            script=SCRIPT,
        )


def frames(draw: Callable[[int], str], labels: Sequence[str], description: str = "step", dpi: int = 100) -> Slider:
    """A slider over pictures drawn in advance: it moves in a page without a kernel, in Jupyter and in Colab.

    Parameters
    ----------
    draw : callable
        Called with 0, 1, ... while a new figure is current; draws it and returns its alternative text.
    labels : sequence of str
        One per picture, written beside the slider.
    description : str
        The slider's name.
    dpi : int
        Dots per inch of the pictures.

    Returns
    -------
    Slider
        Which a notebook shows as plain HTML. Labels and texts are text: what looks like HTML is shown as it stands.

    Raises
    ------
    TypeError
        Where draw returns anything but a text.
    ValueError
        Without labels.

    Cost
    ----
    A call of draw per label; in the page, mostly 5 to 50 kB per picture.
    """
    import matplotlib.pyplot as plt

    if not len(labels):
        raise ValueError("labels must be one per picture, one at least; got none")
    pictures = []
    for step, label in enumerate(labels):
        figure = plt.figure()
        try:
            alt = draw(step)
            if not isinstance(alt, str):
                raise TypeError(f"draw must return the picture's alternative text; got {type(alt).__name__}")
            pictures.append(Picture(_png(figure, dpi), alt, str(label)))
        finally:
            plt.close(figure)
    return Slider(pictures, description)


def _png(figure: Figure, dpi: int) -> bytes:
    """As a file with a palette, which tells neither the time nor a version."""
    from PIL import Image  # which comes with matplotlib

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=dpi)
    with Image.open(full) as picture:
        palette = picture.convert("RGB").quantize(PALETTE_COLOURS, kmeans=1, dither=Image.Dither.NONE)
    palette.save(small, format="png", optimize=True)
    return small.getvalue()


def _html(picture: Picture, *, shown: bool) -> str:
    """One picture, with its label for the slider and for paper."""
    return PICTURE.format(
        alt=escape(picture.alt),
        label=escape(picture.label),
        hidden="" if shown else ' style="display:none"',
        png=base64.b64encode(picture.png).decode(),
    )
