"""What stands around the text of every page: description, foot, and what is taken out of the theme's HTML."""

import base64
import json
from pathlib import Path

import pytest
from docutils import nodes
from page_frame import REPOSITORY, card, description, foot, frame, mended, public_address, shortened, source_of

PNG = bytes.fromhex("89504e470d0a1a0a0000000d494844520000000a00000014")  # 10 by 20


def test_the_address_is_derived_from_the_repository():
    assert public_address("https://github.com/someone/elsewhere") == "https://someone.github.io/elsewhere/"


def page(*paragraphs) -> nodes.document:
    from docutils.utils import new_document

    document = new_document("page")
    for parts in paragraphs:
        document += nodes.paragraph("", "", *parts)
    return document


def test_a_description_is_the_first_real_paragraph_without_its_label():
    long = "Share out a payoff among three cooks, and prove the rule."
    document = page([nodes.Text("Short.")], [nodes.strong("", "What you will do."), nodes.Text(f"  {long}")])
    assert description(document) == long
    assert description(page([nodes.Text("Short.")])) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One. Two.", "One. Two."),
        ("A first sentence. Then one that is too long.", "A first sentence."),
        ("Noendofasentence at all in here now", "Noendofasentence at all in ..."),
    ],
)
def test_descriptions_are_cut_at_sentences_or_words(text, shown):
    assert shortened(text, 28) == shown


def test_the_foot_names_the_text_and_not_the_notebook():
    assert f'href="{REPOSITORY}/edit/main/book/01_games.md"' in foot("book/01_games")
    assert source_of("genindex") is None and "edit" not in foot("genindex") and "Version" in foot("genindex")


def test_pages_lose_what_nobody_needs_and_pictures_get_their_size(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    script = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    label = ' aria-label="Toggle hidden content"'
    html = f'{script}<summary{label}>x</summary><img alt="A" src="a.png"/><img src="gone.png"/>'
    wanted = '<summary>x</summary><img width="10" height="20" alt="A" src="a.png"/><img src="gone.png"/>'
    assert mended(html, tmp_path / "page.html") == wanted == mended(wanted, tmp_path / "page.html")


def test_a_style_sheet_carries_one_checksum(tmp_path):
    """Sphinx adds its own in a second build, when it finds the sheet of the first: the pages would differ."""
    once = f'<link href="../_static/mystnb.{"0a" * 32}.css" /><link href="../_static/book.css?v=1" />'
    assert mended(once.replace("a.css", "a.css?v=8cd3d715"), tmp_path / "page.html") == once


@pytest.mark.parametrize(("name", "picture"), [("fig-idea", b"png"), ("fig-other", None)])
def test_the_card_is_the_first_figure_of_the_book(tmp_path, name, picture):
    output = {"data": {"image/png": base64.b64encode(b"png").decode()}}
    cells = [{"metadata": {}}, {"metadata": {"mystnb": {"figure": {"name": name}}}, "outputs": [output]}]
    notebook = Path(tmp_path, "intro.ipynb")
    notebook.write_text(json.dumps({"cells": cells}))
    assert card(notebook) == picture


def test_the_contents_beside_a_long_list_open_one_section_only():
    for page, level in (("book/errata", 1), ("book/05_relevance", None)):
        context = {}
        frame(None, page, "page.html", context, None)
        assert context.get("theme_show_toc_level") == level
