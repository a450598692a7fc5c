"""Splits keep test rows apart, sizes are the paper's, and DNNs equal what they are said to equal."""

from itertools import pairwise

import pytest
import torch
from oracles import tolerance
from torch import nn

from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments.tables import models, splits
from shapnotes.experiments.tables.models import DEEP, MODELS, deep_multiplications, deep_parameters, network
from shapnotes.experiments.tables.splits import fold


def rows_of(part):
    return {tuple(row) for row in part[0].tolist()}


def test_folds_of_a_round_share_their_test_rows_and_leave_each_other_row_out_once():
    folds = [fold("breast_cancer", seed) for seed in range(5, 10)]
    assert {(len(f.train[0]), len(f.held_out[0]), len(f.test[0])) for f in folds} == {(342, 85, 142)}
    for f in folds:
        assert torch.equal(f.test[0], folds[0].test[0])
        assert not rows_of(f.train) & rows_of(f.test) and not rows_of(f.train) & rows_of(f.held_out)
    assert len(set.union(*(rows_of(f.held_out) for f in folds))) == 5 * 85
    assert not torch.equal(fold("breast_cancer", 0).test[0], folds[0].test[0])  # another round parts anew
    assert all(torch.equal(a, b) for a, b in zip(fold("breast_cancer", 6).train, folds[1].train, strict=True))


def test_inputs_are_standardised_with_the_statistics_of_the_rounds_training_rows():
    one = fold("breast_cancer", 0)
    x = torch.cat([one.train[0], one.held_out[0]]).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(30, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(30, dtype=torch.float64), rtol=1e-4, atol=0)
    assert float(one.test[0].mean(0).abs().max()) > 0.01


def test_the_inputs_of_the_synthetic_task_are_as_drawn():
    """Uniform on the cube, in all parts; standardised only where that is asked for."""
    raw, scaled = (fold("synthetic", 0, samples=400, inputs=how) for how in ("raw", "standardised"))
    x = torch.cat([raw.train[0], raw.held_out[0], raw.test[0]])
    assert float(x.abs().max()) <= 0.5 and float(x.abs().max()) > 0.49
    assert all(torch.equal(a, b) for a, b in zip(fold("synthetic", 0, samples=400).train, raw.train, strict=True))
    x = torch.cat([scaled.train[0], scaled.held_out[0]]).double()
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(16, dtype=torch.float64), rtol=1e-4, atol=0)
    assert torch.equal(raw.train[1], scaled.train[1])


def test_the_synthetic_task_is_drawn_for_each_round():
    first, again, other = (fold("synthetic", seed, samples=40, reading="sum") for seed in (0, 0, 5))
    assert torch.equal(first.test[0], again.test[0]) and not torch.equal(first.test[1], other.test[1])
    assert (len(first.train[0]), len(first.held_out[0]), len(first.test[0])) == (24, 6, 10)
    assert not torch.equal(first.train[1], fold("synthetic", 0, samples=40).train[1])


@pytest.mark.parametrize("data", DEEP)
def test_sizes_are_counted_on_the_networks(data):
    generator = torch.Generator().manual_seed(0)
    deep = network("deep", data, generator)
    assert models.parameters(deep) == deep_parameters(data)
    equal = {m: network(m, data, generator) for m in ("dnn_parameters", "dnn_computation")}
    assert abs(models.parameters(equal["dnn_parameters"]) / deep_parameters(data) - 1) < 0.02
    weights = sum(layer.weight.numel() for layer in equal["dnn_computation"].modules() if isinstance(layer, nn.Linear))
    assert abs(weights / deep_multiplications(data) - 1) < 0.02
    assert [len(equal[m].hidden) + 1 for m in equal] == [11, 8]
    for model in MODELS:
        assert models.size(model, data) == models.parameters(network(model, data, generator))
    assert models.size("dnn_computation", data, 20) == models.parameters(
        network("dnn_computation", data, generator, width=20)
    )
    features, _, outputs, _ = DEEP[data]
    assert {network(m, data, generator)(torch.zeros(3, features)).shape for m in MODELS} == {(3, outputs)}


def test_the_papers_widths():
    """Appendix I.1: 123 units for equal parameters, near ours, and 1800 for equal computation, 39 times as many."""
    assert models.equivalent_width("dnn_parameters", "synthetic") == 121
    assert models.size("dnn_parameters", "synthetic", 123) == 154_735 and deep_parameters("synthetic") == 149_600
    weights = 16 * 1800 + 7 * 1800**2 + 1800
    assert weights == models.size("dnn_computation", "synthetic", models.COMPUTATION) - 8 * 1800 - 1
    assert 38 < weights / deep_multiplications("synthetic") < 39
    assert models.equivalent_width("dnn_computation", "synthetic") == 288


def test_more_outputs():
    net = network("deep", "breast_cancer", torch.Generator().manual_seed(0), outputs=10)
    assert net(torch.zeros(2, 30)).shape == (2, 10)


def test_large_networks_are_trained_by_themselves():
    seeds = (0, 1, 2)
    assert models.together("gam", "yeast", seeds) == [seeds]
    assert models.together("shallow", "synthetic", seeds, 10) == [seeds]
    assert models.together("shallow", "synthetic", seeds) == [(0,), (1,), (2,)]
    assert models.together("deep", "breast_cancer", seeds) == [(0,), (1,), (2,)]
    assert models.together("dnn_computation", "synthetic", seeds, 288) == [seeds]
    assert models.together("dnn_computation", "synthetic", seeds, 1800) == [(0,), (1,), (2,)]


def test_what_rounds_share():
    """Rounds of a table share its rows; those of the synthetic task are drawn anew."""
    assert splits.shared("yeast", range(50)) == 1 / 3
    assert splits.shared("breast_cancer", range(0, 50, 5)) == 5 / 12
    assert splits.shared("synthetic", range(50)) == splits.shared("untrained", range(0, 50, 5)) == 0
    parts = fold("breast_cancer", 0)
    rows = [len(part[0]) for part in (parts.train, parts.held_out, parts.test)]
    assert rows[2] / (rows[0] + rows[1]) == pytest.approx(1 / 3, rel=0.01)
    assert rows[2] / rows[0] == pytest.approx(5 / 12, rel=0.01)


def test_training_goes_on_from_a_checkpoint(tmp_path):
    """Stopped after an epoch, and gone on with: the numbers are those of a training that was never stopped."""
    config = {"epochs": 2, "batch_size": 16, "rate": 0.01}
    parts = [fold("synthetic", seed, samples=80) for seed in (0, 5)]

    def fitted(epochs: int, checkpoint=None):
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 5)]
        nets = [network("gam", "synthetic", g) for g in generators]
        how = config | {"epochs": epochs}
        return models.fit(nets, models.stacked(parts), generators, how, checkpoint=checkpoint)

    state = lambda: Checkpoint(tmp_path / "state.pt", config)  # noqa: E731
    whole = fitted(2)
    fitted(1, state())
    for one, other in zip(whole, fitted(2, state()), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_deep_network_of_yeast_by_hand():
    """Four modules a stage: 2-25-50, 100-100-100-50, 100-150-150-10, hidden layers with biases."""
    weights = [2 * 25 + 25 * 50, 2 * 100 * 100 + 100 * 50, 100 * 150 + 150 * 150 + 150 * 10]
    assert deep_parameters("yeast") == 4 * (sum(weights) + 25 + 200 + 300)
    assert deep_multiplications("yeast") == 4 * 4 * sum(weights)


def test_the_residual_network_is_what_it_says():
    net = network("dnn_parameters", "yeast", torch.Generator().manual_seed(0)).double()
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h = torch.relu(x @ net.first.weight.T + net.first.bias)
    for layer in net.hidden:
        h = h + torch.relu(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), h @ net.last.weight.T + net.last.bias, **tolerance(torch.float64))


def test_initialisation():
    """DNNs start as PyTorch's linear layers do, ShapNets as well or with `keep_variance`; all from the generator."""
    seeded = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    net = network("dnn_parameters", "yeast", seeded())
    for fan_in, layer in zip([8, 161], [net.first, net.hidden[0]], strict=True):
        assert 0.95 * fan_in**-0.5 < float(layer.weight.detach().abs().max()) <= fan_in**-0.5
    plain, kept = (
        network("deep", "yeast", seeded(), init).stages[1].blocks[0].first for init in ("linear", "variance")
    )
    assert float(plain.detach().abs().max()) <= 100**-0.5 < 0.5 * float(kept.detach().abs().max())
    for model in MODELS:
        one, two = (network(model, "yeast", seeded()) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_shift_moves_predictions_and_nothing_else():
    net = network("gam", "yeast", torch.Generator().manual_seed(0))
    shifted = models.Shifted(net, 10)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shifted(x), net(x))
    with torch.no_grad():
        shifted.constant += 1
    torch.testing.assert_close(shifted(x), net(x) + 1, **tolerance(torch.float32))


def test_widths_are_the_nearest():
    for data, model in ((d, m) for d in DEEP for m in models.HIDDEN_LAYERS):
        width, (features, _, outputs, _) = models.equivalent_width(model, data), DEEP[data]
        bias = int(model == "dnn_parameters")
        aim = deep_parameters(data) if bias else deep_multiplications(data)

        def miss(w, bias=bias, aim=aim, depth=models.HIDDEN_LAYERS[model], ends=(features, outputs)):
            return abs(sum((a + bias) * b for a, b in pairwise([ends[0], *[w] * depth, ends[1]])) - aim)

        assert miss(width) <= min(miss(width - 1), miss(width + 1))


def test_squared_error_does_not_broadcast():
    assert float(models.squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 4.0]))) == 2.5
