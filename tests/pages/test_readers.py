"""What shuts a reader out: axe on one page of each kind, and formulas that a phone cuts off."""

import pytest
from visits import DESKTOP, HTML, PAGES, PHONE, ROOT, Visit, of_the_book

pytestmark = of_the_book

AXE = ROOT / "book" / "_npm" / "vendor" / "axe.min.js"
KINDS = {
    "front page": "book/intro",
    "figures and proofs": "book/01_games",
    "scorecard": "book/scorecard",
    "API": "book/api/shapnotes",
    "errata": "book/errata",
    "glossary": "book/glossary",
    "cheat sheet": "book/cheatsheet",
    "decision chart": "book/choose",
    "search": "search",
}
# Colours are all that differs between light and dark.
BY_COLOUR = ["color-contrast", "link-in-text-block"]
# Rules that the theme breaks and we cannot mend, each with its reason. None is left.
OF_THE_THEME: dict[str, str] = {}


def findings(page, rules: list[str] | None = None) -> list[tuple[str, str]]:
    """Rule and place of each serious or critical finding."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    return page.evaluate(
        # Formulas are MathJax's, and many.
        "options => axe.run({include: [['html']], exclude: [['mjx-container']]}, options).then(r => r.violations"
        ".filter(v => ['serious', 'critical'].includes(v.impact))"
        ".flatMap(v => v.nodes.map(n => [v.id, n.target.join(' ')])))",
        options,
    )


def settled(page) -> None:
    """The page's script marks what scrolls a little after widths have changed."""
    page.wait_for_timeout(250)


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def checked(request, site, browser):
    """A page of each kind, with axe in it; opened once."""
    visit = Visit(browser, f"{site}/{request.param}.html{'?q=efficiency' if request.param == 'search' else ''}")
    if request.param == "search":
        visit.page.locator("ul.search li a").first.wait_for()
    visit.open_folds()
    visit.page.add_style_tag(content="* { transition: none !important }")  # else colours are read on their way
    visit.page.evaluate(AXE.read_text("utf8"))
    yield visit.page
    visit.context.close()


@pytest.mark.skipif(not AXE.is_file(), reason="axe is not here: run `python book/_tools/vendor.py`")
@pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(checked, width):
    checked.set_viewport_size(width)
    settled(checked)
    found = {}
    for scheme, rules in (("light", None), ("dark", BY_COLOUR)):
        checked.emulate_media(color_scheme=scheme)
        checked.wait_for_function("s => document.documentElement.dataset.theme === s", arg=scheme)
        found[scheme] = [pair for pair in findings(checked, rules) if pair[0] not in OF_THE_THEME]
    assert found == {"light": [], "dark": []}


@pytest.mark.skipif(not AXE.is_file(), reason="axe is not here: run `python book/_tools/vendor.py`")
def test_axe_finds_what_is_wrong(browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_content(
        "<html lang=en><title>t</title><main><h1>h</h1><button></button>"
        "<p style='color:#ccc;background:#fff'>pale</p></main></html>"
    )
    page.evaluate(AXE.read_text("utf8"))
    assert {rule for rule, _ in findings(page)} == {"button-name", "color-contrast"}
    assert {rule for rule, _ in findings(page, BY_COLOUR)} == {"color-contrast"}
    context.close()


def overflowing(page) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('article div.math')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.id || e.textContent.slice(0, 60))"
    )


WITH_FORMULAS = [
    name
    for name in PAGES
    if (HTML / f"{name}.html").is_file() and 'class="math' in (HTML / f"{name}.html").read_text("utf8")
]


@pytest.mark.parametrize("name", WITH_FORMULAS)
def test_formulas_fit_a_phone(site, browser, name):
    visit = Visit(browser, f"{site}/{name}.html", PHONE)
    visit.open_folds()
    settled(visit.page)
    long = overflowing(visit.page)
    visit.context.close()
    assert long == []


@pytest.mark.parametrize("name", ["book/05_relevance", "book/api/functional"])
def test_a_formula_that_is_longer_than_the_page_scrolls_and_a_shadow_says_so(site, browser, name):
    visit = Visit(browser, f"{site}/{name}.html", {"width": 240, "height": 700})
    visit.open_folds()
    settled(visit.page)
    long = overflowing(visit.page)
    shadowless = visit.page.evaluate(
        "[...document.querySelectorAll('article div.math')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".filter(e => !/gradient/.test(getComputedStyle(e).backgroundImage)"
        " || getComputedStyle(e).overflowX !== 'auto').length"
    )
    visit.context.close()
    assert long and shadowless == 0


@pytest.mark.parametrize("name", ["book/04_neuron", "book/errata"])
def test_no_line_begins_with_the_comma_behind_a_formula(site, browser, name):
    visit = Visit(browser, f"{site}/{name}.html", PHONE)
    visit.open_folds()
    settled(visit.page)
    levels = visit.page.evaluate(
        "[...document.querySelectorAll('article span.math')].filter(f => /^[.,;:]/.test(f.nextSibling?.data ?? ''))"
        ".filter(f => f.getBoundingClientRect().width < 250)"  # longer ones may have to be left alone
        ".map(f => { const mark = document.createRange();"
        " mark.setStart(f.nextSibling, 0); mark.setEnd(f.nextSibling, 1);"
        " return [f.getBoundingClientRect().bottom, mark.getBoundingClientRect().top] })"
    )
    visit.context.close()
    assert len(levels) > 20
    assert [level for level in levels if level[1] >= level[0]] == []


def test_sections_are_told_from_their_parts(site, browser):
    visit = Visit(browser, f"{site}/book/02_models.html")
    sizes = visit.page.evaluate(
        "['h1', 'h2', 'h3'].map(h => { const s = getComputedStyle(document.querySelector('article ' + h));"
        " return [parseFloat(s.fontSize), parseFloat(s.borderTopWidth)] })"
    )
    icons = visit.page.evaluate(
        "[...document.querySelectorAll('.bd-header-article button :is(i, svg)')]"
        ".filter(i => !i.closest('.dropdown-menu, .sidebar-toggle')).map(i => getComputedStyle(i).fontSize)"
    )
    visit.context.close()
    assert sizes[0][0] > 1.15 * sizes[1][0] > 1.15 * 1.25 * sizes[2][0]
    assert sizes[1][1] > 0 == sizes[2][1]
    assert len(icons) >= 5 and len(set(icons)) == 1
