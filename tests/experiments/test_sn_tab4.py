"""SN-Tab4: the penalty is in the loss that is trained, the shape is measured as said, the verdict follows."""

import json

import pytest
import torch
from oracles import tolerance
from real_data import needs_yeast
from torch import nn

from shapnotes.experiments import sn_tab4, tabular
from shapnotes.experiments.sn_tab4 import PAPER, PENALTIES, SPARSE, SPARSE_OF_LARGEST, batches, configuration

F64 = tolerance(torch.float64)


def made(change=None, *, seeds=range(50), spread=0.002) -> list[dict]:
    """Runs around the paper's table; change(data, penalty, quantity) is added to what is there."""
    runs = []
    for data, row in PAPER.items():
        for penalty, (cv, sparse, accuracy) in row.items():
            means = {"cv": 2.5 if cv is None else cv, SPARSE: sparse, "test": accuracy}
            for seed in seeds:
                noise = spread * ((seed // 5 * 7 % 10 - 4.5) / 10 + (seed % 5 - 2) / 7) * (1 + 0.1 * len(penalty))
                result = {q: m + noise + (change(data, penalty, q) if change else 0) for q, m in means.items()}
                result |= {"cv_predicted": result["cv"], SPARSE_OF_LARGEST: result[SPARSE], "undefined": 0.0}
                runs.append({"config": configuration(data, penalty), "seed": seed, "result": result})
    return runs


def test_all_runs_of_the_paper_are_there():
    found = batches("paper")
    for data in PAPER:
        for penalty in PENALTIES:
            seeds = [s for b in found if b.config == configuration(data, penalty) for s in b.seeds]
            assert sorted(seeds) == list(range(50))
    names = [(json.dumps(b.config, sort_keys=True), s) for b in found for s in b.seeds]
    assert len(set(names)) == len(names)
    others = {(b.config["strength"], b.config["layers"], len(b.seeds)) for b in found if "strength" in b.config}
    assert {(0.01, "last", 10), (1.0, "last", 10), (0.1, "all", 10), (0.01, "last", 5), (1.0, "last", 5)} < others
    assert {b.config["epochs"] for b in found} == {9} and {b.config["batch_size"] for b in found} == {32}


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_loss_is_what_it_says(penalty, layers):
    """Cross entropy and penalty written out, player by player."""
    generator = torch.Generator().manual_seed(0)
    z = [torch.randn(4, 3, c, generator=generator, dtype=torch.float64) for c in (5, 2)]
    y = torch.tensor([0, 1, 1, 0])
    config = configuration("yeast", penalty) | {"strength": 0.3, "layers": layers}
    logits = z[1][:, 0] + z[1][:, 1] + z[1][:, 2]
    expected = -(logits[range(4), y] - logits.exp().sum(1).log()).mean()
    for values in z if layers == "all" else z[1:]:
        sizes = torch.stack([values[:, i].abs() for i in range(3)])
        over_players = {"none": 0 * sizes[0], "l1": sizes.sum(0), "linf": sizes.max(0).values}[penalty]
        expected = expected + 0.3 * over_players.mean()
    torch.testing.assert_close(sn_tab4.loss(config, z, y), expected, **F64)


@needs_yeast
def test_training_is_with_the_penalty():
    """Three steps together with others are three steps of Adam on the loss, written out."""
    fold, seed = tabular.fold("yeast", 5), 5
    config = configuration("yeast", "l1", epochs=1, batch_size=400, strength=0.5)
    _, found = sn_tab4.run(config, (0, seed), "cpu")
    generator = torch.Generator().manual_seed(seed)
    net = tabular.network("deep", "yeast", generator)
    optimiser, (x, y) = torch.optim.Adam(net.parameters()), fold.train
    for rows in torch.randperm(len(x), generator=generator).split(400):
        optimiser.zero_grad()
        values = net.explain(x[rows]).attributions
        penalty = values.abs().sum(1).mean()
        (nn.functional.cross_entropy(values.sum(1), y[rows]) + 0.5 * penalty).backward()
        optimiser.step()
    with torch.no_grad():
        size = float(net.explain(fold.test[0]).attributions.double().abs().mean())
    assert found["size"] == pytest.approx(size, rel=1e-3)  # float32, and products of other shapes
    (without,) = sn_tab4.run(configuration("yeast", "none", epochs=1, batch_size=400), (seed,), "cpu")
    assert without["size"] > 1.02 * found["size"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


class Fixed:
    """Something that explains every input by the same values."""

    def __init__(self, values):
        self.values = torch.tensor(values)

    def explain(self, x):
        values = self.values.expand(len(x), *self.values.shape)
        return type("Explanation", (), {"attributions": values, "prediction": values.sum(1)})


def test_the_shape_by_hand():
    """Class 0 has values 1, 3 and 0.02, class 1 (predicted) 5, 0 and 0; class 2 nothing, and no variation."""
    net = Fixed([[1.0, 5.0, 0.0], [3.0, 0.0, 0.0], [-0.02, 0.0, 0.0]])
    found = sn_tab4.measured(net, torch.zeros(4, 3), torch.tensor([1, 1, 1, 0]))
    assert found["test"] == 0.75
    mean = 4.02 / 3
    first = (((1 - mean) ** 2 + (3 - mean) ** 2 + (0.02 - mean) ** 2) / 2) ** 0.5 / mean
    second = 3**0.5
    assert found["cv"] == pytest.approx((first + second) / 2) and found["cv_predicted"] == pytest.approx(second)
    assert found["undefined"] == pytest.approx(1 / 3)
    assert found["within 0"] == pytest.approx(5 / 9) and found["within 0.1"] == pytest.approx(6 / 9)
    assert found["within 0.01 of largest"] == pytest.approx(6 / 9)
    assert found["within 0.001 of largest"] == pytest.approx(5 / 9)
    nothing = sn_tab4.measured(Fixed([[0.0, 0.0]] * 3), torch.zeros(2, 3), torch.zeros(2))
    assert nothing["cv"] is None and nothing["undefined"] == 1


def test_the_verdict_follows_the_numbers():
    assert sn_tab4.verdict(made())[0] == "reproduced"
    names = list(sn_tab4.statements(made()))
    changes = {
        "yeast: l-infinity lowers the variation": lambda d, p, q: 0.3 * (d == "yeast" and p == "linf" and q == "cv"),
        "yeast: l1 raises the sparsity": lambda d, p, q: -0.002 * (d == "yeast" and p == "l1" and q == SPARSE),
        "breast_cancer: accuracy is unharmed": lambda d, p, q: -0.02 * (d[0] == "b" and p == "l1" and q == "test"),
    }
    for name, change in changes.items():
        held = sn_tab4.statements(made(change))
        assert [n for n in names if not held[n]] == [name]
        assert sn_tab4.verdict(made(change))[0] == "partly"
    none = lambda d, p, q: {"cv": 2, SPARSE: -1, "test": -0.1}[q] * (p != "none")  # noqa: E731
    assert sn_tab4.verdict(made(none))[0] == "not reproduced"


def test_an_unfinished_record_is_no_reproduction():
    word, ours, paper = sn_tab4.verdict(made()[:-1])
    assert word == "not run at full scale" and ours.startswith("49 to 50 of 50 runs") and "CV NaN" in paper
    assert sn_tab4.verdict(made(seeds=range(5)))[0] == "not run at full scale"


def test_runs_without_a_variation_are_left_out_of_its_mean():
    runs = made(spread=0)
    for run in runs:
        if run["config"]["penalty"] == "l1" and run["seed"] < 5:
            run["result"] |= {"cv": None, "undefined": 1.0}
    config = configuration("yeast", "l1")
    assert sn_tab4.against_none(runs, config, "cv") == pytest.approx((1.23 - 1.05, 0), abs=1e-12)
    line = next(line for line in sn_tab4.summary(runs) if line.startswith("yeast") and " l1 " in line)
    assert "1.2300 ± 0.0000 (+0.1800 ± 0.0000)" in line and line.endswith("0.1000")
