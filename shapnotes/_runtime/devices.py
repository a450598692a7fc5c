"""Devices by name."""

import torch


def check_device(device: str) -> None:
    """Refuse a device that is not there with a ValueError, before any work."""
    try:
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used ({reason}); there are {', '.join(there)}") from error
