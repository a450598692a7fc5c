"""Times are taken in turn, and records say where they come from."""

import torch

from shapnotes._runtime.timing import in_turn, provenance


def test_functions_are_timed_in_turn():
    calls = []
    times = in_turn([lambda: calls.append("a"), lambda: calls.append("b")], 2, torch.device("cpu"))
    assert calls == ["a", "b"] * 3 and [len(t) for t in times] == [2, 2]
    calls.clear()
    in_turn([lambda: calls.append("a"), lambda: calls.append("b")], 1, torch.device("cpu"), calls=2)
    assert calls == ["a", "a", "b", "b"] * 2


def test_a_record_says_where_it_comes_from():
    made = provenance("shapnotes bench exact", "cpu")
    assert {"command", "date", "device", "threads", "versions"} == set(made)
    assert {"python", "torch", "shapnotes"} <= set(made["versions"])
