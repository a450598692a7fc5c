"""Bars for work that takes long."""

from types import TracebackType
from typing import Protocol, Self

from tqdm import auto, std

SECONDS_UNTIL_SHOWN = 10.0  # of a bar that nobody asked for


class Bar(Protocol):
    """What is told of each part of the work that is done."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def update(self, n: int = 1) -> object: ...


class _NoBar:
    """Work whose parts are not shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...
    def update(self, n: int = 1) -> None: ...


class _UnaskedBar(std.tqdm):  # type: ignore[type-arg]  # generic in its stub alone
    """A line of text, also in a notebook: a widget would stay in the notebook's file. It starts no thread."""

    monitor_interval = 0


def progress_bar(total: int, unit: str, shown: bool | None = None, *, delay: float = SECONDS_UNTIL_SHOWN) -> Bar:
    """A bar over `total` units; None shows it when the work takes more than `delay` seconds.

    tqdm's own environment variable TQDM_DISABLE=1 keeps away one that nobody asked for, for runs whose output is
    compared. Cost: some 50 microseconds, and a tenth of one per update; nothing with shown=False.
    """
    if shown is None:
        return _UnaskedBar(total=total, unit=unit, unit_scale=True, leave=False, delay=delay)
    if not shown:
        return _NoBar()
    bar: Bar = auto.tqdm(total=total, unit=unit, unit_scale=True, leave=False, disable=False)
    return bar
