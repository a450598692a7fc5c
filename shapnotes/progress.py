"""Bars for work that takes long."""

from tqdm import auto, std


def progress_bar(total: int, unit: str, shown: bool | None = None) -> std.tqdm:
    """A bar over `total` units; None shows it when the work takes more than ten seconds.

    With None it is a line of text, also in a notebook: a widget would be made, and kept in the notebook, even for work
    that is done before it is shown. tqdm's own environment variable TQDM_DISABLE=1 then keeps it away altogether, for
    runs whose output is compared.
    """
    if shown is None:
        return std.tqdm(total=total, unit=unit, unit_scale=True, leave=False, delay=10)
    return auto.tqdm(total=total, unit=unit, unit_scale=True, leave=False, disable=not shown)
