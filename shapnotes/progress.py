"""Bars for work that takes long."""

from tqdm.auto import tqdm


def progress_bar(total: int, unit: str, shown: bool | None = None) -> tqdm:
    """A bar over `total` units; None shows it when the work takes more than ten seconds.

    With None, tqdm's own environment variable TQDM_DISABLE=1 keeps it away, for runs whose output is compared.
    """
    when = {"delay": 10} if shown is None else {"disable": not shown}
    return tqdm(total=total, unit=unit, unit_scale=True, leave=False, **when)
