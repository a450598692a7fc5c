"""Times of functions that are called in turn, and where a record of them comes from."""

import platform
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import torch


def in_turn(
    functions: Sequence[Callable[[], object]], repeats: int, device: torch.device, calls: int = 1
) -> list[list[float]]:
    """Seconds of each function, called one after the other `repeats` times after one round that is not counted.

    Each is called so many `calls` in a row, of which the mean is taken: what lasts less than a millisecond takes longer
    the first time after something else.
    """
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            for _ in range(calls):
                function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:
                taken.append((time.perf_counter() - start) / calls)
    return times


def ratio_of_medians(times: Sequence[float], reference: Sequence[float]) -> float:
    """How many times longer than the reference."""
    return median(times) / median(reference)


def ratios_by_turn(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """How many times longer than the reference, in each turn."""
    return [mine / other for mine, other in zip(times, reference, strict=True)]


def provenance(command: str, device: str) -> dict[str, Any]:
    """Where a record comes from: command, date, device, threads and versions."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()} CPU"
    return {
        "command": command,
        "date": date.today().isoformat(),
        "device": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "shapnotes": version("shapnotes"),
            "torch": torch.__version__,
            "numpy": version("numpy"),
        }
        | _shap_version(),
    }


def _shap_version() -> dict[str, str]:
    try:
        return {"shap": version("shap")}
    except PackageNotFoundError:
        return {}
