"""Sphinx extension: what stands around the text of every page, and what the theme puts there that no reader needs.

- In the head: what is shown with a link to the page, its first words and the book's first figure.
- At the foot: version, day of the last change, a link that edits the text. The text, not the notebook made from it.
- Taken out: a second copy of the icons as a script of 1.5 MB, source maps, and labels that hide what a fold is called.
- Taken out as well: a second checksum of a style sheet, which only a second build in the same folder would add.
- Put in: the size of each picture, so that nothing moves when it arrives.
"""

import base64
import datetime
import json
import re
import struct
import subprocess
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"].rstrip("/")
CARD, CARD_FIGURE = "_static/card.png", "fig-idea"  # of the first page
CARD_ALT = (
    "Bars of one length, cut into what each of three inputs adds in each order of entering; the last is their mean."
)
LONG_LISTS = {"book/errata"}  # their contents, beside the text, open the section that is read, and no other
LONGEST_DESCRIPTION = 200  # characters; what is longer is cut by those who show it

ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*/scripts/fontawesome\.js[^"]*"></script>')
CHECKSUM = re.compile(r"(\.[0-9a-f]{64}\.css)\?v=\w+")  # of a style sheet that has one in its name
FOLD_LABEL = re.compile(r' aria-label="Toggle hidden content"')
IMAGE = re.compile(r'<img (?![^>]*\bwidth=)(?P<before>[^>]*)\bsrc="(?P<src>[^":]+\.png)"')


def public_address(repository: str = REPOSITORY) -> str:
    """Where the host of the repository publishes the book: ``https://owner.github.io/name/``."""
    owner, name = repository.removeprefix("https://github.com/").split("/")
    return f"https://{owner}.github.io/{name}/"


# --- head and foot ---------------------------------------------------------------------------------


def description(doctree: nodes.document) -> str:
    """The first sentences of the page, without formulas' markup, up to the length that is shown."""
    for paragraph in doctree.findall(nodes.paragraph):
        words = [child for child in paragraph.children if not isinstance(child, nodes.raw)]
        while words and (isinstance(words[0], nodes.strong) or not words[0].astext().strip()):
            words.pop(0)  # "What you will do."
        text = " ".join("".join(child.astext() for child in words).split())
        if len(text) > 40:
            return shortened(text)
    return ""


def shortened(text: str, longest: int = LONGEST_DESCRIPTION) -> str:
    """Whole sentences as far as they fit, else whole words."""
    if len(text) <= longest:
        return text
    start = text[:longest]
    end = max(start.rfind(mark) for mark in (". ", "? ", "! "))
    return start[: end + 1] if end > longest // 3 else start.rsplit(" ", 1)[0] + " ..."


def source_of(docname: str) -> str | None:
    """The file that is edited to change a page; none for what Sphinx makes by itself."""
    text = f"{docname}.md"
    return text if (ROOT / text).is_file() else None


def last_change(source: str) -> datetime.date | None:
    """The day on which a file last changed; none where the history is not at hand."""
    try:
        found = subprocess.run(
            ["git", "log", "-1", "--format=%cs", "--", source],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return datetime.date.fromisoformat(found.stdout.strip()) if found.stdout.strip() else None


def foot(docname: str) -> str:
    """Version, date and the link to edit, as HTML."""
    parts = [f"Version {PROJECT['version']}"]
    if source := source_of(docname):
        if day := last_change(source):
            shown = f"{day.day} {day:%B %Y}"
            parts.append(f'last changed on <time datetime="{day}">{shown}</time>')
        parts.append(f'<a class="edit-page" href="{REPOSITORY}/edit/main/{source}">Edit this page</a>')
    return f'<p class="page-foot">{", ".join(parts)}</p>'


def frame(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    context["theme_extra_footer"] = foot(pagename)
    if pagename in LONG_LISTS:
        context["theme_show_toc_level"] = 1
    if doctree is None:
        return
    title = re.sub(r"<[^>]+>", "", context.get("title", ""))
    told = {
        "og:title": title,
        "og:description": description(doctree),
        "og:type": "book" if pagename == app.config.root_doc else "article",
        "og:url": context.get("pageurl") or "",
        "og:site_name": app.config.project,
        "og:image": public_address() + CARD,
        "og:image:alt": CARD_ALT,
    }
    metas = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in told.items() if value]
    metas.append('<meta name="twitter:card" content="summary_large_image" />')
    if told["og:description"]:
        metas.append(f'<meta name="description" content="{escape(told["og:description"])}" />')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(metas)


# --- what the theme wrote --------------------------------------------------------------------------


def png_size(file: Path) -> tuple[int, int]:
    """Width and height, which a PNG file tells in its first bytes."""
    return struct.unpack(">II", file.read_bytes()[16:24])


def mended(html: str, page: Path) -> str:
    """A written page without what no reader needs, and with the sizes of its pictures."""

    def sized(found: re.Match[str]) -> str:
        file = (page.parent / found["src"]).resolve()
        if not file.is_file():
            return found[0]
        width, height = png_size(file)
        return f'<img width="{width}" height="{height}" {found["before"]}src="{found["src"]}"'

    for unwanted, kept in ((ICON_SCRIPT, ""), (FOLD_LABEL, ""), (CHECKSUM, r"\1")):
        html = unwanted.sub(kept, html)
    return IMAGE.sub(sized, html)


def card(notebook: Path = ROOT / "book" / "intro.ipynb") -> bytes | None:
    """The picture that is shown with a link: a figure as it is stored; none where the notebook does not have it yet."""
    for cell in json.loads(notebook.read_text("utf8"))["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == CARD_FIGURE:
            images = [
                output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output.get("data", {})
            ]
            return base64.b64decode(images[0])
    return None


def mend_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        html = page.read_text("utf8")
        if (better := mended(html, page)) != html:
            page.write_text(better, "utf8")
    if picture := card():
        (out / CARD).write_bytes(picture)
    scripts = out / "_static" / "scripts"
    for file in [*scripts.glob("fontawesome.js*"), *(out / "_static").rglob("*.map")]:
        file.unlink(missing_ok=True)


def set_address(app: Sphinx, config: Config) -> None:
    config.html_baseurl = public_address()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", set_address)
    app.connect("html-page-context", frame)
    app.connect("build-finished", mend_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
