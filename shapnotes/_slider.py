"""Pictures behind a slider, as plain HTML: it needs no kernel, no library and no network.

It moves in the built book, in Jupyter and in Colab, by mouse, finger or arrow keys. Without scripts the first picture
is shown. The same pictures and words give the same bytes.
"""

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

HTML = """\
<div class="shapnotes-slider">
<div style="display:none; flex-wrap:wrap; gap:0.5em; align-items:center; margin:0 0 0.4em">
<button type="button" aria-label="previous picture">◀</button>
<label style="display:flex; flex:0 1 22em; gap:0.5em; margin:0">{description}
<input type="range" min="0" max="{last}" value="0" autocomplete="off" style="flex:1 1 6em; min-width:6em"></label>
<button type="button" aria-label="next picture">▶</button>
<output>{label}</output>
</div>
<noscript><p>{description}: {label}. Without scripts only this one of {count} pictures is shown.</p></noscript>
{pictures}
{script}
</div>
"""
PICTURE = '<img alt="{alt}" data-label="{label}" style="max-width:100%; {display}" src="data:image/png;base64,{png}">'
# Sliders are looked for and not named, since a page may show one twice; each is set up once.
SCRIPT = """\
<script>
document.querySelectorAll(".shapnotes-slider:not([data-ready])").forEach(slider => {
  const range = slider.querySelector("input"), [back, on] = slider.querySelectorAll("button");
  const pictures = slider.querySelectorAll("img"), label = slider.querySelector("output");
  const show = step => {
    range.value = step;  // which the browser keeps between its ends
    pictures.forEach((picture, i) => { picture.style.display = i == range.value ? "" : "none" });
    label.textContent = pictures[range.value].dataset.label;
    range.setAttribute("aria-valuetext", label.textContent);
  };
  range.oninput = () => show(range.value);
  back.onclick = () => show(+range.value - 1);
  on.onclick = () => show(+range.value + 1);
  slider.dataset.ready = "";
  slider.firstElementChild.style.display = "flex";
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
        first, *others = self.pictures
        return HTML.format(
            description=escape(self.description),
            count=len(self.pictures),
            last=len(others),
            label=escape(first.label),
            pictures="\n".join([_html(first, ""), *(_html(other, "display:none") for other in others)]),
            script=SCRIPT,
        )


def _html(picture: Picture, display: str) -> str:
    png = base64.b64encode(picture.png).decode()
    return PICTURE.format(alt=escape(picture.alt), label=escape(picture.label), display=display, png=png)
