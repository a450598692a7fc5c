"""The device to compute on, and devices by name."""

import torch


def device() -> torch.device:
    """The fastest device of this machine on which everything in the package runs: a GPU if there is one, else the CPU.

    A GPU is one that PyTorch calls "cuda" (NVIDIA's and AMD's). Apple's "mps" is passed over: it has no float64, in
    which sums over coalitions are accumulated.

    Returns
    -------
    torch.device
        "cuda", which is the current one of several, or "cpu".

    Examples
    --------
    >>> import shapnotes as sn
    >>> x = torch.tensor([[2.0, 3.0]], device=sn.device())
    >>> sn.shapley_values(lambda z: z.prod(1), x).tolist()
    [[3.0, 3.0]]
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_device(device: str) -> None:
    """Refuse a device that is not there with a ValueError, before any work."""
    try:
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used ({reason}); there are {', '.join(there)}") from error
