"""What a slider does in a browser, in a built page as in any other."""


def slider_moves(slider) -> None:
    """From end to end by keys and by buttons, with one picture and its label shown at each step."""
    labels = slider.locator(".picture").evaluate_all("pictures => pictures.map(picture => picture.dataset.label)")
    last = len(labels) - 1
    handle, shown = slider.locator("input"), slider.locator("output")
    back, on = slider.locator("button").all()

    def shows(step):
        visible = [picture.is_visible() for picture in slider.locator("img").all()]
        assert visible == [i == step for i in range(last + 1)]
        assert shown.inner_text() == handle.get_attribute("aria-valuetext") == labels[step]

    assert last > 0
    shows(0)
    for press, step in [
        (lambda: back.click(), 0),
        (lambda: handle.press("ArrowRight"), 1),
        (lambda: on.click(), min(2, last)),
        (lambda: handle.press("End"), last),
        (lambda: on.click(), last),
        (lambda: back.press("Enter"), last - 1),
        (lambda: handle.press("Home"), 0),
    ]:
        press()
        shows(step)
