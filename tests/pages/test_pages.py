"""The built book as a reader meets it: every page in a browser, without a kernel and a network."""

import json
import re

import notebooks
import pytest
from slider_moves import slider_moves
from visits import DESKTOP, HTML, PAGES, PHONE, ROOT, Visit, of_the_book

NARROW = (390, 360, 320)  # pixels; the last is what WCAG 1.4.10 asks for
HEAVIEST_PAGE = 5e6  # bytes, as they are, of all that a page asks for

pytestmark = of_the_book


@pytest.fixture(scope="module", params=PAGES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def visit(site, browser, name):
    """One page, opened once: rendering its equations takes longer than all tests of it together."""
    visit = Visit(browser, f"{site}/{name}.html")
    yield visit
    visit.context.close()


def test_the_first_page_is_where_the_site_opens(site, browser):
    visit = Visit(browser, site)
    visit.page.wait_for_url(f"{site}/{PAGES[0]}.html")
    visit.context.close()


def test_a_page_may_be_opened_on_a_dark_phone(site, browser):
    """What the other tests set on a page that is open already."""
    visit = Visit(browser, f"{site}/{PAGES[2]}.html", PHONE, "dark")
    assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visit.complaints == []
    visit.context.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_link_to_a_text_in_a_closed_fold_opens_the_fold(site, browser, scripts):
    """Rows of one study on the scorecard have its text once; its address opens the fold too."""
    address = f"{site}/book/scorecard.html"
    context = browser.new_context(viewport=PHONE, java_script_enabled=scripts)
    page = context.new_page()
    page.goto(address)
    page.locator("#x-w2 summary").click()
    text = page.locator("#x-w1-choices")
    assert not text.is_visible()
    page.locator('#x-w2 a[href="#x-w1-choices"]').click()
    seen(text)
    page.goto("about:blank")
    page.goto(f"{address}#x-w1-choices")
    seen(text)
    context.close()


def seen(text) -> None:
    """It is shown, below the header bar and on the screen."""
    text.wait_for(state="visible")
    text.page.wait_for_timeout(1000)  # a page may scroll smoothly
    assert 40 < text.bounding_box()["y"] < 400


def test_every_page_of_the_table_of_contents_was_built_and_no_other():
    built = {p.relative_to(HTML).with_suffix("").as_posix() for p in HTML.glob("book/**/*.html")}
    assert built == set(PAGES)


def test_the_page_asks_nobody_else_and_reports_no_error(visit, site):
    own = (site, "data:", "blob:")
    assert [url for url in visit.requests if not url.startswith(own)] == []
    assert visit.complaints == []


def prose(page) -> str:
    """The text of a page without code, signatures and formulas, where stars and brackets mean something else."""
    return page.evaluate(
        "(() => { const a = document.querySelector('article').cloneNode(true);"
        "a.querySelectorAll('pre, code, dt, script, style, mjx-container').forEach(e => e.remove());"
        "return a.textContent })()"
    )


def test_equations_are_rendered(visit):
    page = visit.page
    assert (
        page.evaluate(
            "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))"
            ".map(e => e.textContent)"
        )
        == []
    )
    assert page.locator("[data-mml-node='merror'], mjx-merror").count() == 0
    assert re.findall(r"\\\(|\\\[|\$\$|\$[^$\n]{1,80}\$", prose(page)) == []


def test_no_markup_is_left_in_the_text(visit):
    shown = prose(visit.page)
    assert re.findall(r"\{(?:cite|prf|eq|numref|ref)\S*`|:::|\*\*\w|\[[^\]]+\]\([^)]+\)", shown) == []
    tables, tex = r"\|\s*[-–—]+\s*\|", r"\\[A-Za-z]+"  # dashes as they are, and as the build makes them longer
    assert re.findall(rf"{tables}|{tex}", shown) == []


def test_images_are_loaded_and_described(visit):
    images = visit.page.evaluate(
        "[...document.querySelectorAll('article img')].map(i => "
        "({alt: i.alt, src: i.src.slice(0, 60), width: i.naturalWidth}))"
    )
    assert [i for i in images if i["width"] == 0] == []
    path = re.compile(r"^\s*$|\.(png|svg|jpe?g|gif)\s*$|^[\w./-]*/[\w./-]*$")
    assert [i for i in images if path.search(i["alt"])] == []


def text_of(name: str) -> str:
    return (ROOT / f"{name}.md").read_text("utf8")


def test_every_box_of_the_text_is_a_styled_box(visit, name):
    written = len(re.findall(r"^> \*\*(?:[A-Z][a-z]+ ?)+.*\*\*", text_of(name), re.M))
    looks = visit.page.evaluate(
        "[...document.querySelectorAll('div.admonition.portable')].map(b => { "
        "const s = getComputedStyle(b); return [s.borderLeftWidth, s.backgroundColor] })"
    )
    assert len(looks) == written
    assert [look for look in looks if look[0] != "4px" or look[1] == "rgba(0, 0, 0, 0)"] == []


def test_folds_are_closed_at_first_and_open_on_a_click(visit, name):
    page = visit.page
    written = len(re.findall(r"^<details>", text_of(name), re.M))
    folds = page.locator("details.fold:not(table *)")  # those of the scorecard's rows are written as HTML
    assert folds.count() == written
    for number in range(written):
        fold = folds.nth(number)
        assert fold.get_attribute("open") is None
        fold.locator("summary").first.click()
        assert fold.get_attribute("open") is not None


def test_the_slider_moves_the_picture_without_a_kernel(visit, name):
    notebook = ROOT / f"{name}.ipynb"
    if not notebook.is_file() or "shapnotes-slider" not in notebook.read_text("utf8"):
        pytest.skip("no interactive figure on this page")
    visit.open_folds()
    sliders = visit.page.locator(".shapnotes-slider")
    assert sliders.count() > 0
    for slider in sliders.all():
        slider_moves(slider)


def test_on_a_phone_the_page_does_not_scroll_sideways(visit):
    visit.open_folds()
    widths = {}
    for width in reversed(NARROW):
        visit.page.set_viewport_size({"width": width, "height": 900})
        widths[width] = visit.page.evaluate("document.documentElement.scrollWidth")
    # Something wide must scroll in a box of its own, not be cut off by it.
    cut = visit.page.evaluate(
        "[...document.querySelectorAll('article div.math, article pre, article table')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".filter(e => { for (let p = e.parentElement; p; p = p.parentElement) "
        "if (/auto|scroll/.test(getComputedStyle(p).overflowX)) return false; return true })"
        ".map(e => e.textContent.slice(0, 60))"
    )
    visit.page.set_viewport_size(DESKTOP)
    assert {width: needed for width, needed in widths.items() if needed > width} == {}
    assert cut == []


def test_only_formulas_that_are_wider_than_the_page_have_a_scroll_bar(visit):
    """Inline ones; on this wide page none is."""
    visit.open_folds()
    barred = visit.page.evaluate(
        "[...document.querySelectorAll('article mjx-container:not([display])')]"
        ".filter(e => e.offsetHeight - e.clientHeight > 3).map(e => e.textContent)"
    )
    assert barred == []


def test_the_tab_key_stops_at_what_can_be_used(visit):
    """At links and controls, and at what is wider than its frame, which then has a name and scrolls by the arrows."""
    visit.open_folds()
    # The script looks again a little after something changed; the theme makes stops of its own of code.
    visit.page.wait_for_function(
        """() => {
          const over = e => e.offsetParent ? e.scrollWidth - e.clientWidth : 0;
          const named = e => (e.getAttribute('aria-label') || '').endsWith('scrolls sideways');
          const stops = [...document.querySelectorAll('article :is(pre, div, mjx-container)[tabindex="0"]')];
          const scrolls = e => over(e) > 1 && /auto|scroll/.test(getComputedStyle(e).overflowX);
          const boxes = [...document.querySelectorAll('article :is(div.math, pre)')].filter(scrolls);
          const odd = e => over(e) < 1 ? e.matches('mjx-container, div.math') : over(e) > 1 && !named(e);
          return !stops.some(odd) && boxes.every(e => e.tabIndex === 0);
        }""",
        timeout=5000,
    )
    assert visit.page.locator("article summary[aria-label]").count() == 0


def test_focus_is_seen_on_every_button_of_the_header(visit):
    visit.page.keyboard.press("Tab")  # from here on the browser takes the reader for one with a keyboard
    buttons = visit.page.locator(".bd-header-article button:visible")
    assert buttons.count() >= 4
    for button in buttons.all():
        button.focus()
        style, width = button.evaluate(
            "b => { const s = getComputedStyle(b); return [s.outlineStyle, s.outlineWidth] }"
        )
        assert (style, width) == ("solid", "3px")


def test_on_paper_the_theme_is_light_the_folds_are_open_and_nothing_is_cut(visit):
    visit.wear("dark")
    closed = visit.page.evaluate(
        "document.querySelectorAll('article details').forEach(d => { d.open = false });"
        "dispatchEvent(new Event('beforeprint')); document.querySelectorAll('article details:not([open])').length"
    )
    theme = visit.page.evaluate("document.documentElement.dataset.theme")
    visit.page.emulate_media(media="print", color_scheme="dark")
    visit.page.set_viewport_size({"width": 703, "height": 900})  # A4 within its margins
    cut = visit.page.evaluate(
        "[...document.querySelectorAll('article pre, article div.math')]"
        ".filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 48).map(e => e.textContent.slice(0, 60))"
    )
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    visit.page.set_viewport_size(DESKTOP)
    visit.wear("light")
    assert (closed, theme, cut) == (0, "light", [])
    assert visit.page.locator("article details[open]").count() == 0


def test_the_page_is_not_heavy_and_its_pictures_keep_their_place(visit):
    assert visit.bytes < HEAVIEST_PAGE
    assert [url for url in visit.requests if "fontawesome.js" in url or "require.js" in url] == []
    sizes = visit.page.evaluate(
        "[...document.querySelectorAll('article img')].filter(i => !i.src.startsWith('data:'))"
        ".map(i => [i.getAttribute('width'), i.getAttribute('height')])"
    )
    assert [size for size in sizes if None in size] == []


def test_the_page_says_what_it_is_how_old_and_where_it_is_edited(visit, name):
    metas = dict(
        visit.page.evaluate(
            "[...document.querySelectorAll('head meta[content]')]"
            ".map(m => [m.getAttribute('property') || m.name, m.content])"
        )
    )
    assert 40 <= len(metas["description"]) <= 204 and metas["description"] == metas["og:description"]
    assert "What you will" not in metas["description"]
    assert metas["og:title"] and metas["og:image"].endswith(".png")
    assert (HTML / "_static" / metas["og:image"].rsplit("/", 1)[1]).is_file()
    canonical = visit.page.locator("link[rel=canonical]").get_attribute("href")
    assert canonical == metas["og:url"] and canonical.endswith(f"/{name}.html")
    foot = visit.page.locator(".page-foot")
    assert notebooks.tag().removeprefix("v") in foot.inner_text() or notebooks.tag() == "main"
    assert foot.locator("a").get_attribute("href") == f"{notebooks.repository_url()}/edit/main/{name}.md"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Theorem 1.3", "book/01_games.html#theorem-1-3"),
        ("Lemma 4.2", "book/04_neuron.html#lemma-4-2"),
        ("efficiency", "book/01_games.html#definition-1-4"),
        ("null player", "book/01_games.html#definition-1-6"),
        ("ShapLU", "book/06_shaplu.html#definition-6-2"),
        ("shapley_values", "book/api/shapnotes.html#shapnotes.shapley_values"),
        ("ShapNetClassifier", "book/api/estimators.html#shapnotes.estimators.ShapNetClassifier"),
    ],
)
def test_a_search_begins_with_the_box_or_the_name_that_was_asked_for(site, browser, query, first):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site}/search.html?q={query}")
    link = page.locator("ul.search li a").first
    link.wait_for()
    assert re.sub(r"\?[^#]*", "", link.get_attribute("href")) == first
    context.close()


# WCAG's contrast ratio of every visible piece of text with what lies under it.
CONTRAST = """() => {
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const ground = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = rgb => rgb.map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const chosen = 'article :is(p, li, td, th, h1, h2, h3, summary, figcaption, pre, label, output, a:not(.headerlink))';
  return [...document.querySelectorAll(chosen)].filter(e => e.offsetParent && e.textContent.trim())
    .map(e => {
      const under = ground(e), ink = over(rgba(getComputedStyle(e).color), under);
      const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), e.tagName + ' ' + e.textContent.trim().slice(0, 50)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_is_readable_in_both_themes(visit, scheme):
    visit.open_folds()
    visit.wear(scheme)
    measured = visit.page.evaluate(CONTRAST)
    assert measured
    assert [pair for pair in measured if pair[0] < 4.5] == []


def test_pictures_stand_on_white_in_the_dark_theme(visit):
    visit.wear("dark")
    grounds = visit.page.evaluate(
        "[...document.querySelectorAll('article :is(figure, .cell_output) img')]"
        ".map(i => getComputedStyle(i).backgroundColor)"
    )
    assert set(grounds) <= {"rgb(255, 255, 255)"}


def test_the_colab_button_opens_this_notebook(visit, name):
    if not (ROOT / f"{name}.ipynb").is_file():
        pytest.skip("a page without a notebook")
    owner_and_name = notebooks.repository_url().removeprefix("https://github.com/")
    wanted = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{name}.ipynb"
    links = visit.page.evaluate("[...document.querySelectorAll('a')].map(a => a.href)")
    assert wanted in links
    shown = json.dumps([link for link in links if "colab-badge" in link])
    assert shown == "[]"
