"""Training steps are timed in turn with ReLU's."""

from shapnotes.benchmarks import training_steps
from shapnotes.benchmarks.training_steps import ACTIVATIONS, NETWORKS


def test_training_steps_are_timed_and_shown():
    record = training_steps.measure(short=True)
    assert [(row["network"], row["batch"]) for row in record["rows"][::5]] == [(name, 2) for name in NETWORKS]
    assert {row["activation"] for row in record["rows"]} == set(ACTIVATIONS)
    assert all(row["over_relu"] == 1 for row in record["rows"] if row["activation"] == "relu")
    for row in record["rows"]:
        if row["network"].startswith("ResNet"):  # a third as often: one turn has no interval
            assert row["over_relu_interval"] is None
        else:
            mean, half = row["over_relu_interval"]
            assert row["range"][0] <= mean <= row["range"][1] and (half > 0) == (row["activation"] != "relu")
    shown = "\n".join(training_steps.table(record))
    assert shown.count("784-100-50-10") == shown.count("ResNet-20 v2") == len(ACTIVATIONS)
