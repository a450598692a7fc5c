"""The record of a benchmark."""

from typing import Any

from shapnotes._runtime.timing import provenance

Row = dict[str, Any]
Record = dict[str, Any]  # the rows, and where they come from


def record(name: str, device: str, short: bool, rows: list[Row]) -> Record:
    """The rows, with the command that makes them, date, device, threads and versions."""
    return provenance(f"shapnotes bench {name}{' --short' * short}", device) | {"rows": rows}
