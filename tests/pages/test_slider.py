"""Sliders in a browser, without a kernel, in a page that is not the book's."""

import pytest
from slider_moves import slider_moves

from shapnotes.plots.slider import Picture, Slider

# A picture of one white pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080000000"
    "03a7e9b550000000a49444154789c63f80f00010101001bb6ee560000000049454e44ae426082"
)

pytestmark = pytest.mark.pages


@pytest.fixture(scope="module", params=[True, False], ids=["scripts", "no scripts"])
def page(request, browser):
    """Two sliders, the second of them twice, as a page that shows a variable again."""
    one, other = (
        Slider([Picture(PNG, f"picture {i}", f"{name} = {i}") for i in range(count)], name)
        for name, count in (("one", 2), ("other", 5))
    )
    context = browser.new_context(java_script_enabled=request.param, offline=True)
    page = context.new_page()
    page.set_content("<!DOCTYPE html><body>" + "".join(s._repr_html_() for s in (one, other, other)))
    page.has_scripts = request.param
    yield page
    context.close()


def test_each_slider_of_a_page_moves_its_own_pictures(page):
    if not page.has_scripts:
        pytest.skip("nothing moves")
    sliders = page.locator(".shapnotes-slider").all()
    assert len(sliders) == 3
    for slider in sliders:
        slider_moves(slider)
    sliders[1].locator("button").last.click()
    assert [slider.locator("output").inner_text() for slider in sliders] == ["one = 0", "other = 1", "other = 0"]


def test_controls_say_what_they_are(page):
    if not page.has_scripts:
        pytest.skip("there are none")
    first = page.locator(".shapnotes-slider").first
    assert first.get_by_role("slider", name="one").count() == 1
    assert [first.get_by_role("button", name=f"{which} picture").count() for which in ("previous", "next")] == [1, 1]


def test_on_a_phone_the_controls_stand_in_one_line(page):
    if not page.has_scripts:
        pytest.skip("there are none")
    page.set_viewport_size({"width": 390, "height": 900})
    for slider in page.locator(".shapnotes-slider").all():
        back, on = (button.bounding_box() for button in slider.locator("button").all())
        assert back["y"] == on["y"] and on["x"] + on["width"] < 390


def test_without_scripts_the_first_picture_is_shown(page):
    if page.has_scripts:
        pytest.skip("there are")
    for slider in page.locator(".shapnotes-slider").all():
        assert [picture.is_visible() for picture in slider.locator("img").all()][:2] == [True, False]
        assert not slider.locator("input").is_visible()
        assert "Without scripts only this one of" in slider.inner_text()
