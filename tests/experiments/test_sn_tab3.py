"""SN-Tab3 and SN-Tab6: distances are what a direct computation gives, and the verdicts follow the numbers."""

import json

import pytest
import torch

from shapnotes import shapley_values
from shapnotes.experiments import sn_tab3, sn_tab6, tabular
from shapnotes.experiments.sn_tab3 import METHODS, PAPER, PAPER_SPREAD, TRIALS, batches, configuration, truth_study
from shapnotes.metrics import shapley_error


def made(change=None, *, part=1.0, spread=0.2) -> list[dict]:
    """Runs whose errors lie around the paper's table, those of the untrained Deep ShapNet aside; change multiplies."""
    runs = []
    for (setting, model), row in PAPER.items():
        if (setting, model) == ("untrained", "deep"):
            row = (1e-6, 3e-5, 4e-6, 1e-7, 5e-8)
        seeds = [s for b in batches("paper") if b.config == configuration(setting, model) for s in b.seeds]
        for number, seed in enumerate(seeds[: int(part * len(seeds))]):
            jitter = 1 + spread * ((number * 7) % 10 - 4.5) / 5
            errors = {
                method: [value * jitter * (change(setting, model, method) if change else 1)] * 4
                for method, value in zip(METHODS, row, strict=True)
            }
            if model == "shallow" and not (change and change(setting, model, "ours") != 1):
                errors["ours"] = [2e-7] * 4
            found = {"error": errors, "size": [0.5] * 4, "truth_error": [0.0] * 4, "players": [16] * 4}
            runs.append({"config": configuration(setting, model), "seed": seed, "result": found})
    return runs


def test_all_trials_of_the_paper_are_there():
    for setting, model in PAPER:
        seeds = [s for b in batches("paper") if b.config == configuration(setting, model) for s in b.seeds]
        assert len(set(seeds)) == len(seeds) == TRIALS[setting]
        if setting in ("untrained", "synthetic"):  # data of its own for each trial
            assert len({seed // tabular.FOLDS for seed in seeds}) == TRIALS[setting]
    names = [(json.dumps(b.config, sort_keys=True), s) for b in batches("paper") for s in b.seeds]
    assert len(set(names)) == len(names)
    assert [truth_study(s) in [b.config for b in batches("paper")] for s in ("synthetic", "breast_cancer")] == [
        True
    ] * 2
    assert configuration("yeast", "deep")["kernels"] == {
        "kernel_77": 77,
        "kernel_default": None,
        "kernel_extended": 2**14,
    }


def few_players(model: str, **choice) -> dict:
    return configuration("breast_cancer", model, epochs=0, players=6, kernels={"all": 62, "few": 20}, **choice)


@pytest.mark.parametrize("model", ["deep", "shallow"])
def test_what_is_measured(model):
    """With no epoch and six features off the baseline, errors are those of the untrained network, computed directly."""
    (found,) = sn_tab3.run(few_players(model, inputs=2, permutations=4, init="variance"), (7,), "cpu")
    net = tabular.network(model, "breast_cancer", torch.Generator().manual_seed(7), "variance")
    rows = tabular.fold("breast_cancer", 7).test[0][2 * 2 : 2 * 2 + 2]  # fold 2 explains rows of its own
    for i, x in enumerate(rows.split(1)):
        away = torch.randperm(30, generator=torch.Generator().manual_seed(7))[6:]
        x = x.index_fill(1, away, 0.0)
        with torch.no_grad():
            own, logits = net.explain(x).attributions, net(x)
            exact = shapley_values(net.double(), x.double())
            net.float()
        wanted = shapley_error(own.double(), exact, logits).item()
        size = shapley_error(torch.zeros_like(exact), exact, logits).item()
        assert found["size"][i] == pytest.approx(size, rel=1e-4) and found["players"][i] == 6
        assert found["error"]["ours"][i] == pytest.approx(wanted, rel=1e-3, abs=1e-6 * size)
        assert found["error"]["all"][i] < 1e-5 * size < found["error"]["few"][i]
        assert found["error"]["deep_shap"][i] > 1e-3 * size
        if model == "shallow":  # two opposite orders leave no error where players interact in pairs
            assert found["error"]["ours"][i] < 1e-5 * size and found["error"]["sampled"][i] < 1e-10 * size
        else:
            assert found["error"]["ours"][i] > 1e-3 * size
    assert json.loads(json.dumps(found)) == found


def test_a_sampled_truth_says_how_good_it_is(monkeypatch):
    monkeypatch.setattr(sn_tab3, "EXACT", 5)
    (found,) = sn_tab3.run(few_players("deep", inputs=1, permutations=8), (7,), "cpu")
    assert 0 < found["truth_error"][0] < found["size"][0] and "sampled" not in found["error"]
    assert 0 < found["error"]["all"][0] < 10 * found["truth_error"][0]


def test_a_network_that_is_not_the_same_is_refused(monkeypatch):
    wrong = lambda net, x: lambda coalitions: net(torch.where(coalitions, x, 0.0)) * 1.01  # noqa: E731
    monkeypatch.setattr(sn_tab3, "coalition_values", wrong)
    with pytest.raises(AssertionError, match="coalition_values misses"):
        sn_tab3.run(few_players("shallow", permutations=4), (0,), "cpu")


def test_the_verdict_follows_the_numbers():
    exact, rescale, few, more, table = sn_tab3.statements(made())
    assert sn_tab3.verdict(made())[0] == "reproduced" and all(sn_tab3.statements(made()).values())

    def failing(setting, model, method, factor) -> list[str]:
        change = lambda s, m, k: factor if (s, m, k) == (setting, model, method) else 1  # noqa: E731
        held = sn_tab3.statements(made(change))
        return [key for key in held if not held[key]]

    assert failing("yeast", "shallow", "ours", 1e3) == [exact]
    assert failing("untrained", "deep", "deep_shap", 1e-2) == [rescale]
    assert failing("yeast", "deep", "kernel_77", 10) == [few]
    assert failing("untrained", "deep", "kernel_77", 0.1) == [few]
    assert failing("breast_cancer", "deep", "kernel_extended", 100) == [more]
    assert failing("breast_cancer", "deep", "ours", 1.5) == [table]
    assert failing("synthetic", "deep", "kernel_77", 10) == []  # a tie in the paper
    none = lambda s, m, k: 1e6 if k == "ours" else 1  # noqa: E731
    assert sn_tab3.verdict(made(none))[0] == "partly"  # further away than Kernel SHAP with more samples, at least


def test_an_unfinished_record_is_no_reproduction():
    for module in (sn_tab3, sn_tab6):
        word, ours, paper = module.verdict(made(part=0.5))
        assert word == "not run at full scale" and "Deep SHAP 3.71" in sn_tab3.verdict(made())[2] and paper and ours
    assert "untrained 50 and 50" in sn_tab3.verdict(made(part=0.5))[1]


def test_errors_are_over_rounds():
    """Folds of a round share their test rows and count as one; synthetic trials count each."""
    runs = sn_tab3.of(made(), "yeast", "deep")
    rounds = sn_tab3.by_round(runs, "ours")
    assert len(rounds) == 10 and len(sn_tab3.by_round(sn_tab3.of(made(), "synthetic", "deep"), "ours")) == 20
    values = torch.tensor(list(rounds.values()), dtype=torch.float64)
    assert sn_tab3.mean(runs, "ours") == pytest.approx((values.mean().item(), values.std().item() / 10**0.5))
    both = sn_tab3.lead(runs, "ours", "ours")
    assert both == (0, 0)


def test_summaries():
    lines = sn_tab3.summary(made())
    assert len(lines) == 1 + 8 * 6 and "5.04e-02 ±" in next(line for line in lines if line.startswith("yeast"))
    study = {"config": truth_study("breast_cancer"), "seed": 0, "result": made()[0]["result"] | {"players": [20]}}
    lines = sn_tab3.summary([*made(), study])
    assert len(lines) == 1 + 9 * 6 and "truth; values of size 5.00e-01" in lines[-1] and " nan" in lines[-2]
    lines = sn_tab6.summary(made())
    assert len(lines) == 1 + 8 * 5 and sum("too large" in line for line in lines) > 5


def test_standard_deviations():
    runs = sn_tab3.of(made(), "yeast", "deep")
    values = torch.tensor([v for run in runs for v in run["result"]["error"]["ours"]], dtype=torch.float64)
    whole, error = sn_tab6.spread(runs, "ours")
    assert whole == pytest.approx(values.std().item())
    rounds = torch.tensor([run["seed"] // 5 for run in runs]).repeat_interleave(4)
    without = torch.stack([values[rounds != r].std() for r in range(10)])
    assert error == pytest.approx((9 / 10 * (without - without.mean()).square().sum()).sqrt().item())
    # Ten numbers, all but one of them zero: mean 1, standard deviation sqrt(10).
    assert torch.tensor([10.0] + [0] * 9).std().item() == pytest.approx(10**0.5)
    assert not sn_tab6.possible("untrained", "deep", "ours") and sn_tab6.possible("yeast", "deep", "ours")


def test_the_verdict_on_standard_deviations():
    scale = lambda s, m, k: PAPER_SPREAD[s, m][list(METHODS).index(k)] / PAPER[s, m][0] if m == "deep" else 1  # noqa: E731
    ratio = lambda s, m, k: (  # noqa: E731  (made has a relative standard deviation of about 0.115)
        scale(s, m, k) * PAPER[s, m][0] / max(PAPER[s, m][list(METHODS).index(k)], 1e-12) / 0.115
        if m == "deep" and s != "untrained"
        else 1
    )
    held = sn_tab6.statements(made(ratio))
    less, twice, steady = held
    assert all(held.values()) and sn_tab6.verdict(made(ratio))[0] == "reproduced"
    wide = lambda s, m, k: ratio(s, m, k) * (5 if (s, m, k) == ("yeast", "deep", "ours") else 1)  # noqa: E731
    held = sn_tab6.statements(made(wide))
    assert [key for key in held if not held[key]] == [less, twice]
    loose = lambda s, m, k: ratio(s, m, k) * (1e5 if (s, m, k) == ("yeast", "shallow", "ours") else 1)  # noqa: E731
    held = sn_tab6.statements(made(loose))
    assert [key for key in held if not held[key]] == [steady]


def test_table_6_is_of_the_same_runs():
    assert sn_tab6.batches is sn_tab3.batches and sn_tab6.run is sn_tab3.run
