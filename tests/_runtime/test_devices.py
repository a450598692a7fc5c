"""A device that is not there is refused by name."""

import pytest

from shapnotes._runtime.devices import check_device


@pytest.mark.parametrize("device", ["nope", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used .*; there are cpu"):
        check_device(device)
    check_device("cpu")
