"""The built book in a browser: where its pages are, and a page that is open."""

import re
from pathlib import Path

import notebooks
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
PAGES = [re.sub(r"\.ipynb$", "", file) for file in notebooks.toc_files(TOC)]

DESKTOP, PHONE = ({"width": width, "height": 900} for width in (1280, 390))

of_the_book = [
    pytest.mark.pages,
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="the book is not built: run `make book`"),
]


class Visit:
    """One page opened in a fresh context, with all that it asked for and complained about."""

    def __init__(self, browser, address: str, viewport: dict = DESKTOP, scheme: str = "light"):
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.bytes = 0
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self.hear)
        self.page.on("response", self.answered)
        self.page.goto(address, wait_until="load")
        self.page.wait_for_function("!window.MathJax?.startup || MathJax.startup.promise")
        self.page.evaluate("window.MathJax?.startup?.promise")

    def hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def answered(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")
        self.bytes += int(response.headers.get("content-length", 0))

    def wear(self, scheme: str) -> None:
        """The reader's system changes between light and dark; the page follows."""
        self.page.emulate_media(media="screen", color_scheme=scheme)
        self.page.wait_for_function("s => document.documentElement.dataset.theme === s", arg=scheme)

    def open_folds(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
