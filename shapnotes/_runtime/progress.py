"""Bars for work that takes long."""

import time

from tqdm import auto, std

WAIT = 10  # seconds before a bar that nobody asked for


class PatientBar:
    """A bar that is made when the work has taken ten seconds, and then counts from its beginning.

    It is a line of text, also in a notebook: a widget would stay in the notebook's file. Until then it costs nothing.
    """

    def __init__(self, total: int, unit: str):
        self.total, self.unit, self.n = total, unit, 0
        self.started, self.bar = time.time(), None

    def update(self, n: int = 1) -> None:
        self.n += n
        if self.bar is None and time.time() - self.started > WAIT:
            self.bar = _bar(std.tqdm, self.total, self.unit)
            self.bar.start_t = self.started  # which tqdm counts the same way
            self.bar.update(self.n)
        elif self.bar is not None:
            self.bar.update(n)

    def __enter__(self) -> "PatientBar":
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


Bar = PatientBar | std.tqdm


def progress_bar(total: int, unit: str, shown: bool | None = None) -> Bar:
    """A bar over `total` units; None shows it when the work takes more than ten seconds.

    tqdm's own environment variable TQDM_DISABLE=1 keeps away one that nobody asked for, for runs whose output is
    compared.
    """
    if shown is None:
        return PatientBar(total, unit)
    return _bar(auto.tqdm, total, unit, disable=not shown)


def _bar(kind: type[std.tqdm], total: int, unit: str, **settings) -> std.tqdm:
    return kind(total=total, unit=unit, unit_scale=True, leave=False, **settings)
