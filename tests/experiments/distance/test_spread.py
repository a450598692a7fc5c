"""SN-Tab6: how much the distances of SN-Tab3 vary, beside a table that contradicts another."""

import pytest
import torch

from shapnotes.experiments._harness.finding import Finding
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments.distance import finding as distance_finding
from shapnotes.experiments.distance import spread
from shapnotes.experiments.distance import study as distance_study
from shapnotes.experiments.distance.finding import PAPER_SPREAD
from shapnotes.experiments.distance.study import METHODS, PAPER, TRIALS, configuration


def made(change=None) -> list[dict]:
    """Runs whose errors vary as in the paper's table around any mean; those of a Shallow ShapNet itself hardly do."""
    runs = []
    for (setting, model), row in PAPER_SPREAD.items():
        count, folds = TRIALS[setting], 5 if setting in ("yeast", "breast_cancer") else 1
        seeds = [r * 5 + k for r in range(count // folds) for k in range(folds)]
        noise = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        noise = (noise - noise.mean()) / noise.std()
        for seed, z in zip(seeds, noise.tolist(), strict=True):
            errors = {}
            for method, size in zip(METHODS, row, strict=True):
                size = 2e-7 if (model, method) == ("shallow", "ours") else size
                errors[method] = [10 + z * size * (change(setting, model, method) if change else 1)]
            result = {"error": errors, "size": [0.5], "truth_error": [0.0], "players": [16]}
            runs.append({"config": configuration(setting, model), "seed": seed, "result": result})
    return runs


def held(found: Finding) -> list:
    return [one.held for one in found.statements]


def test_the_two_tables_contradict_each_other():
    """Ten numbers, all but one of them zero: mean 1, standard deviation sqrt(10), the largest that there is."""
    assert torch.tensor([10.0] + [0] * 9).std().item() == pytest.approx(10**0.5)
    cells = [(*key, method) for key in PAPER for method in METHODS]
    assert sum(not spread.possible(*cell) for cell in cells) == 7 and len(cells) == 40
    assert not spread.possible("untrained", "deep", "ours") and spread.possible("yeast", "deep", "ours")


def test_no_record_can_agree():
    found = spread.finding(made())
    assert held(found) == [True, True, True] and found.verdict == "not comparable"
    assert "7 of the 40 standard deviations" in found.decides and "E30" in found.decides
    assert spread.finding([]).verdict == "not comparable" and held(spread.finding([])) == [None] * 3


def test_statements_follow_the_numbers():
    wide = lambda s, m, k: 5 if (s, m, k) == ("yeast", "deep", "ours") else 1  # noqa: E731
    assert held(spread.finding(made(wide))) == [False, True, False]
    assert "Yeast +1." in spread.finding(made(wide)).statements[0].found
    near = lambda s, m, k: 3.4 if (s, m, k) == ("yeast", "deep", "ours") else 1  # noqa: E731  0.357 beside 0.358
    runs = made(near)
    yeast = distance_finding.of(runs, "yeast", "deep")
    turned = [run["result"]["error"]["deep_shap"] for run in reversed(yeast)]
    for run, errors in zip(yeast, turned, strict=True):  # other inputs are hard for it
        run["result"]["error"]["deep_shap"] = errors
    assert held(spread.finding(runs))[0] is None
    loose = lambda s, m, k: 1e3 if (s, m, k) == ("yeast", "shallow", "ours") else 1  # noqa: E731
    assert held(spread.finding(made(loose))) == [True, False, True]
    for factor, answer in ((2.1, None), (4, False)):  # of the first the interval is on both sides of a factor of two
        more = lambda s, m, k, by=factor: by if (s, m, k) == ("synthetic", "deep", "ours") else 1  # noqa: E731
        assert held(spread.finding(made(more))) == [True, True, answer]


def test_standard_deviations():
    """By torch, and the interval from the pseudo-values of the jackknife, round by round."""
    runs = distance_finding.of(made(), "yeast", "deep")
    values = torch.tensor([run["result"]["error"]["ours"][0] for run in runs], dtype=torch.float64)
    found = spread.spread(runs, "ours")
    assert found.mean == pytest.approx(values.std().item())
    rounds = torch.tensor([run["seed"] // 5 for run in runs])
    pseudo = [10 * values.std() - 9 * values[rounds != r].std() for r in range(10)]
    assert found.half == pytest.approx(interval(map(float, pseudo), shared=1 / 3).half)
    assert spread.spread(runs[:5], "ours").half != spread.spread(runs[:5], "ours").half  # one round: no interval


def test_a_difference_of_standard_deviations():
    """By the jackknife over rounds too: of the difference, since both methods explain the same inputs."""
    runs = distance_finding.of(made(), "yeast", "deep")
    own, other = (
        torch.tensor([run["result"]["error"][method][0] for run in runs], dtype=torch.float64)
        for method in ("ours", "deep_shap")
    )
    found = spread.difference(runs, "ours", "deep_shap")
    assert found.mean == pytest.approx((own.std() - other.std()).item())
    rounds = torch.tensor([run["seed"] // 5 for run in runs])
    gaps = [float(own[rounds != r].std() - other[rounds != r].std()) for r in range(10)]
    pseudo = [10 * found.mean - 9 * gap for gap in gaps]
    assert found.half == pytest.approx(interval(pseudo, shared=1 / 3).half)
    assert spread.difference(runs, "ours", "ours") == (0, 0)


def test_it_reads_the_record_of_table_3():
    assert spread.CLAIM.study == distance_study.STUDY.id
    lines = spread.summary(made())
    assert len(lines) == 1 + 8 * 5 and sum("too large" in line for line in lines) == 7
