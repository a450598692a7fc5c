"""Both networks are trained alike, and the verdict follows the pairs."""

from shapnotes.experiments import sn_tab2
from shapnotes.experiments.sn_tab2 import MODELS, PAPER, batches


def made(change=None, scale="paper") -> list[dict]:
    """Runs around the paper's table; change(data, model) is added to what is there."""
    runs = []
    for batch in batches(scale):
        data, kind, (seed,) = batch.config["data"], batch.config["model"], batch.seeds
        accuracy = PAPER[data][list(MODELS).index(kind)] + 1e-4 * seed + (change(data, kind, seed) if change else 0)
        runs.append({"config": batch.config, "seed": seed, "scale": scale, "result": {"accuracy": accuracy}})
    return runs


def test_settings_are_the_papers():
    found = {(b.config["data"], b.config["epochs"], b.config["width"], b.config["rate"]) for b in batches("paper")}
    assert found == {("mnist", 10, 128, 0.001), ("fashion_mnist", 10, 128, 0.001), ("cifar10", 60, 128, 0.001)}
    assert all(b.config["batch_size"] == 64 and b.config["images"] is None for b in batches("paper"))


def test_the_verdict_follows_the_numbers():
    assert sn_tab2.verdict(made())[0] == "reproduced"
    behind = made(lambda data, kind, seed: 0.1 * (data == "mnist" and kind == "cnn"))
    assert sn_tab2.verdict(behind)[0] == "partly"
    # as far ahead in the mean, but not in every pair
    unsure = made(lambda data, kind, seed: 0.1 * (seed - 1) * (kind == "cnn"))
    assert sn_tab2.verdict(unsure)[0] == "not reproduced"
    assert sn_tab2.verdict(made()[:2])[0] == "not run at full scale"
    small = sn_tab2.verdict(made(scale="cpu"))
    assert small[0] == "not run at full scale" and small[1].startswith("16 channels in place of 128, 2 epochs")
    assert len(sn_tab2.summary(made())) == 1 + 3 * 3
