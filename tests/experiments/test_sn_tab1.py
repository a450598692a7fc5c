"""SN-Tab1: what is trained is what the configuration says, and the verdict follows the numbers."""

import json

import pytest
import torch
from torch import nn

from shapnotes.experiments import sn_tab1, tabular
from shapnotes.experiments.sn_tab1 import PAPER, batches, configuration
from shapnotes.experiments.tabular import MODELS

SMALL = {"samples": 60, "epochs": 1}


def jitter(seed: int) -> float:
    """A number around zero that differs from round to round and from fold to fold; its mean over rounds is zero."""
    return (seed // 5 * 7 % 10 - 4.5) / 10 + (seed % 5 - 2) / 7


def made(change=None, *, seeds=range(50), spread=0.01, data=tuple(PAPER)) -> list[dict]:
    """Runs around the paper's table; change(data, model) is added to what a model has there."""
    runs = []
    for name in data:
        for model, paper in zip(MODELS, PAPER[name], strict=True):
            mean = paper + (change(name, model) if change else 0)
            scale = spread * (0.1 if name == "synthetic" else 1)
            for seed in seeds:
                value = mean + scale * jitter(seed)
                runs.append(
                    {"config": configuration(name, model), "seed": seed, "result": {"test": value, "held_out": value}}
                )
    return runs


def test_all_runs_of_the_paper_are_there():
    wanted = [batch for batch in batches("paper") if batch.config == configuration(**_key(batch.config))]
    assert len(wanted) == 3 * 5 * 10
    for data in PAPER:
        for model in MODELS:
            seeds = [s for b in wanted if _key(b.config) == {"data": data, "model": model} for s in b.seeds]
            assert sorted(seeds) == list(range(50))
    names = [(json.dumps(b.config, sort_keys=True), s) for b in batches("paper") for s in b.seeds]
    assert len(set(names)) == len(names)
    first = [batch.config["data"] for batch in wanted]
    assert first == sorted(first, key=["yeast", "synthetic", "breast_cancer"].index)
    assert {b.config["epochs"] for b in batches("paper")} == {9}


def _key(config: dict) -> dict:
    return {key: config[key] for key in ("data", "model")}


@pytest.mark.parametrize("model", ["deep", "gam", "dnn_parameters"])
def test_repeats_do_not_depend_on_company(model):
    config = configuration("synthetic", model, **SMALL)
    both = sn_tab1.run(config, (3, 8), "cpu")
    alone = sn_tab1.run(config, (3,), "cpu") + sn_tab1.run(config, (8,), "cpu")
    for one, other in zip(both, alone, strict=True):  # float32, and products of other shapes
        assert one == pytest.approx(other, rel=1e-4)
    assert both[0]["test"] != pytest.approx(both[1]["test"], rel=1e-3)
    assert json.loads(json.dumps(both)) == both


def test_what_is_measured(monkeypatch):
    """With no epoch, the numbers are those of the untrained network on the fold's parts."""
    config = configuration("breast_cancer", "gam", epochs=0)
    (found,) = sn_tab1.run(config, (7,), "cpu")
    net, fold = (
        tabular.network("gam", "breast_cancer", torch.Generator().manual_seed(7)),
        tabular.fold("breast_cancer", 7),
    )
    for name in ("train", "held_out", "test"):
        x, y = getattr(fold, name)
        assert found[name] == pytest.approx(float((net(x).argmax(1) == y).double().mean()), abs=1e-12)
    assert found["parameters"] == 30 * 100 * (1 + 1 + 2)


def test_constants():
    """Centring moves the targets for training and the predictions for testing; without, a ShapNet is 0 at its mean."""
    options = {"samples": 60, "epochs": 0}
    fold = tabular.fold("synthetic", 2, samples=60)
    (none,), (centred,) = (
        sn_tab1.run(configuration("synthetic", "gam", constant=c, **options), (2,), "cpu") for c in ("none", "centred")
    )
    net = tabular.network("gam", "synthetic", torch.Generator().manual_seed(2))
    x, y = fold.test
    mean = fold.train[1].mean()
    assert none["test"] == pytest.approx((net(x)[:, 0] - y).square().mean().item(), rel=1e-5)
    assert centred["test"] == pytest.approx((net(x)[:, 0] + mean - y).square().mean().item(), rel=1e-5)
    assert net(torch.zeros(1, 16)) == 0
    learned = sn_tab1._network(configuration("yeast", "gam", constant="learned"), torch.Generator().manual_seed(0))
    assert isinstance(learned, tabular.Shifted) and learned.constant.shape == (10,)


def test_training_is_by_the_papers_settings(monkeypatch):
    seen = {}

    def noting(networks, train, **options):
        seen.update(options, rows=train[0].shape, targets=train[1])
        return networks

    monkeypatch.setattr(tabular, "fit_together", noting)
    sn_tab1.run(configuration("breast_cancer", "gam"), (0, 1), "cpu")
    assert (seen["epochs"], seen["batch_size"], seen["rows"]) == (9, 32, (2, 342, 30))
    assert seen["loss"] is nn.functional.cross_entropy
    built = seen["optimiser"]([torch.zeros(1, requires_grad=True)])
    assert type(built) is torch.optim.Adam
    assert {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}.items() <= built.defaults.items()
    sn_tab1.run(configuration("synthetic", "gam", samples=60, constant="centred"), (0,), "cpu")
    assert seen["loss"] is tabular.squared_error and abs(float(seen["targets"].mean())) < 1e-6


def test_the_verdict_follows_the_numbers():
    assert sn_tab1.verdict(made())[0] == "reproduced"
    table, cancer, comparable, floor = sn_tab1.statements(made())
    far = lambda name: lambda data, model: 0.05 * (data == name and model == "gam")  # noqa: E731
    held = sn_tab1.statements(made(far("yeast")))
    assert [key for key in held if not held[key]] == [table]
    held = sn_tab1.statements(made(far("breast_cancer")))
    assert [key for key in held if not held[key]] == [cancer]
    behind = lambda data, model: -0.03 * (data != "synthetic" and model == "shallow")  # noqa: E731
    assert not sn_tab1.statements(made(behind))[comparable]
    worse = lambda data, model: 0.002 * (data == "synthetic" and model == "deep")  # noqa: E731
    held = sn_tab1.statements(made(worse))
    assert [key for key in held if not held[key]] == [floor]
    assert sn_tab1.verdict(made(worse))[0] == "partly"
    none = lambda d, m: -0.2 * (m == "deep") if d != "synthetic" else 0.02 * (m == "deep")  # noqa: E731
    assert sn_tab1.verdict(made(none))[0] == "not reproduced"


def test_an_unfinished_record_is_no_reproduction():
    word, ours, paper = sn_tab1.verdict(made()[:-1])
    assert word == "not run at full scale" and "49 to 50 runs" in ours and "Deep ShapNet 3.37e-3" in paper
    assert "0 to 50 runs" in sn_tab1.verdict(made(data=("yeast",)))[1]
    assert sn_tab1.verdict(made(seeds=range(10)))[0] == "not run at full scale"


def test_errors_are_over_rounds():
    """Folds of a round count as one: repeating each round's number five times adds no certainty."""
    runs = made(spread=0.0)
    for run in runs:
        run["result"]["test"] += run["seed"] // 5 % 2  # 0 or 1 a round
    deep = sn_tab1.of(runs, "yeast", "deep")
    mean, error = sn_tab1.mean_and_error(sn_tab1.by_round(deep).values())
    assert mean == pytest.approx(0.585 + 0.5) and error == pytest.approx((10 * 0.25 / 9 / 10) ** 0.5)
    assert sn_tab1.lead(deep, sn_tab1.of(runs, "yeast", "gam")) == pytest.approx((0.585 - 0.597, 0), abs=1e-12)
    assert sn_tab1.lead(deep, [r for r in sn_tab1.of(runs, "yeast", "gam") if r["seed"] % 5 == 0])[0] < 0


def test_the_summary_sets_choices_beside_the_first():
    runs = made()
    for seed in range(0, 50, 5):
        config = configuration("yeast", "gam", constant="learned")
        runs.append({"config": config, "seed": seed, "result": {"test": 0.597 + 0.1 + 0.01 * jitter(seed)}})
    lines = sn_tab1.summary(runs)
    assert len(lines) == 3 + 15 + 1 and max(map(len, lines)) <= 72
    (learned,) = (line for line in lines if "learned" in line)
    assert "GAM" in learned and "+0.100 ± 0.000" in learned
    assert [line.partition(",")[0] for line in lines if not line.startswith(" ")] == list(PAPER)
    yeast = lines[next(i for i, line in enumerate(lines) if line.startswith("yeast")) :]
    comp = next(line for line in yeast if "eq. comp" in line)
    assert "0.576" in comp and "-0.009 ± 0.000" in comp
    others = [run for run in runs if run["config"].get("constant") == "learned"]
    assert sn_tab1.summary(runs, others) == [yeast[0], learned]
