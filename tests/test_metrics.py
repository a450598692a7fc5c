"""Metrics: by loops, by the papers' words, by hand."""

import math
import statistics

import pytest
import torch
from contracts import normal
from oracles import tolerance
from scipy.stats import t
from torch import Tensor, nn
from torch.testing import assert_close

import shapnotes as sn
from shapnotes import metrics as M

F64 = tolerance(torch.float64)
PLAYERS = [(6,), (2, 3), (2, 1, 3)]


@pytest.fixture(autouse=True)
def same_weights():
    """Networks are drawn from torch's global generator; every test starts it anew, and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# --- the same by loops --------------------------------------------------------------------------------------------


def error_by_loops(gamma: Tensor, phi: Tensor, logits: Tensor) -> list[float]:
    """Equation 8 and the sum over classes of appendix G.1, number by number."""
    results = []
    for one_gamma, one_phi, c in zip(
        gamma.flatten(1, -2).tolist(), phi.flatten(1, -2).tolist(), logits.tolist(), strict=True
    ):
        total = sum(math.exp(z) for z in c)
        result = 0.0
        for j in range(len(c)):
            distance = sum(abs(p[j] - g[j]) for p, g in zip(one_phi, one_gamma, strict=True)) / len(one_phi)
            result += math.exp(c[j]) / total * distance
        results.append(result)
    return results


def without(x: Tensor, players: list[int], baseline: float) -> Tensor:
    """One input with these flat players at the baseline; of a channel axis more than the players have, all channels."""
    row = x.clone()
    for player in players:
        row.flatten(-2)[..., player] = baseline
    return row


def flip_by_loops(f, x: Tensor, attributions: Tensor, s: int, t: int, erase: int, baseline: float) -> list[float]:
    """Shrikumar et al., section 4.1: sort the differences, erase the first `erase` that are positive."""
    results = []
    for one, a in zip(x, attributions.flatten(1, -2), strict=True):
        difference = (a[:, s] - a[:, t]).tolist()
        order = sorted(range(len(difference)), key=lambda i: -difference[i])
        chosen = [i for i in order[:erase] if difference[i] > 0]
        before, after = (f(row[None])[0].log_softmax(0) for row in (one, without(one, chosen, baseline)))
        results.append(float((before[s] - before[t]) - (after[s] - after[t])))
    return results


# --- the distance from exact values -------------------------------------------------------------------------------


@pytest.mark.parametrize("players", PLAYERS)
def test_shapley_error_is_equation_8(players):
    gamma, phi, logits = normal(4, *players, 3), normal(4, *players, 3, seed=2), 3 * normal(4, 3, seed=3)
    assert_close(
        M.shapley_error(gamma, phi, logits),
        torch.tensor(error_by_loops(gamma, phi, logits), dtype=torch.float64),
        **F64,
    )
    each = M.shapley_error(gamma, phi)
    assert each.shape == (4, 3)
    for j in range(3):
        sure = torch.full((4, 3), -800.0).double()
        sure[:, j] = 0
        assert_close(M.shapley_error(gamma, phi, sure), each[:, j], **F64)
    assert_close(M.shapley_error(gamma, phi, logits + 50), M.shapley_error(gamma, phi, logits), **F64)


def test_errors_of_two_classes_do_not_cancel():
    """Weighing the attributions first, as the paper's first sentence reads, would give zero here."""
    phi = torch.zeros(1, 2, 2).double()
    gamma = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]]).double()
    assert M.shapley_error(gamma, phi, torch.zeros(1, 2)).item() == 1


def test_exact_values_are_at_distance_zero_and_float32_is_read_as_it_is():
    phi = normal(2, 3, 2, dtype=torch.float32)
    assert torch.equal(M.shapley_error(phi, phi, normal(2, 2)), torch.zeros(2).double())


# --- shape --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", PLAYERS)
def test_shape_by_loops(players):
    a = normal(3, *players, 2)
    a[a.abs() < 0.4] = 0
    for i in range(3):
        for j in range(2):
            sizes = a[i, ..., j].abs().flatten().tolist()
            assert_close(M.sparsity(a)[i, j].item(), sum(s == 0 for s in sizes) / 6, **F64)
            assert_close(M.sparsity(a, 1.0)[i, j].item(), sum(s <= 1 for s in sizes) / 6, **F64)
            for correction, deviation in ((0, statistics.pstdev), (1, statistics.stdev)):
                got = M.coefficient_of_variation(a, correction)[i, j].item()
                assert_close(got, deviation(sizes) / statistics.mean(sizes), **F64)


def test_the_ends_of_the_coefficient_of_variation():
    a = torch.zeros(1, 5, 3).double()
    a[0, :, 0], a[0, 2, 1] = torch.tensor([1.0, -1, 1, 1, -1]), -4
    equal, lone, none = M.coefficient_of_variation(a)[0].tolist()
    assert equal == 0 and math.isclose(lone, 2) and math.isnan(none)


# --- removal ------------------------------------------------------------------------------------------------------


def classifier(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 9), nn.Tanh(), nn.Linear(9, 4)).double()


@pytest.mark.parametrize(("features", "players"), [((1, 7), (1, 7)), ((3, 4), (3, 4)), ((2, 3, 4), (3, 4))])
@pytest.mark.parametrize("fraction", [0, 0.2, 0.5, 1])
def test_flipping_follows_the_protocol(features, players, fraction):
    f, x = classifier(math.prod(features)), normal(5, *features)
    attributions = normal(5, *players, 4, seed=2)
    erase = round(fraction * math.prod(players))
    got = M.log_odds_change(f, x, attributions, 3, 1, fraction=fraction, baseline=0.3)
    with torch.no_grad():
        slow = flip_by_loops(f, x, attributions, 3, 1, erase, 0.3)
    assert_close(got, torch.tensor(slow, dtype=torch.float64), **F64)


def test_each_input_may_have_its_own_classes():
    f, x, a = classifier(6), normal(3, 6), normal(3, 6, 4, seed=2)
    source, target = torch.tensor([0, 1, 2]), torch.tensor([3, 3, 1])
    got = M.log_odds_change(f, x, a, source, target)
    alone = [M.log_odds_change(f, x[i : i + 1], a[i : i + 1], int(source[i]), int(target[i])) for i in range(3)]
    assert_close(got, torch.cat(alone), **F64)


def test_only_what_speaks_for_the_source_is_erased():
    f, x = classifier(6), normal(2, 6)
    assert torch.equal(M.log_odds_change(f, x, torch.zeros(2, 6, 4), 0, 1, fraction=1), torch.zeros(2).double())


def test_of_all_sets_of_its_size_exact_values_find_the_best_in_a_linear_model():
    """There the change is the sum of D_i over what was erased, so the largest D_i are the best choice."""
    f, x = nn.Linear(6, 3).double(), normal(4, 6)
    best = M.log_odds_change(f, x, sn.explainers.exact(f, x), 0, 2, fraction=1 / 3)
    for seed in range(20):
        other = M.log_odds_change(f, x, normal(4, 6, 3, seed=seed), 0, 2, fraction=1 / 3)
        assert bool((other <= best + 1e-12).all())


@pytest.mark.parametrize(("features", "players"), [((1, 7), (1, 7)), ((3, 4), (3, 4)), ((2, 3, 4), (3, 4))])
@pytest.mark.parametrize("order", ["top", "least"])
def test_removal_by_loops(features, players, order):
    f, x, scores = classifier(math.prod(features)), normal(5, *features), normal(5, *players, seed=2)
    labels, fractions = torch.tensor([0, 1, 2, 3, 0]), [0.0, 0.1, 0.35, 0.8, 1.0]
    curve = M.removal_curve(f, x, scores, fractions, order=order, baseline=-0.2)
    with torch.no_grad():
        whole = f(x)
        for k, fraction in enumerate(fractions):
            for i in range(5):
                ranked = sorted(range(math.prod(players)), key=lambda p: scores[i].flatten()[p].item())
                ranked = ranked[::-1] if order == "top" else ranked
                row = without(x[i], ranked[: round(fraction * len(ranked))], -0.2)
                answer, c = f(row[None])[0], int(whole[i].argmax())
                assert_close(curve.outputs[k, i], answer, **F64)
                assert curve.agreement()[k, i] == float(int(answer.argmax()) == c)
                assert curve.accuracy(labels)[k, i] == float(int(answer.argmax()) == labels[i])
                assert_close(curve.remaining()[k, i], answer[c], **F64)
                assert_close(curve.change()[k, i], abs(answer[c] - whole[i, c]) / abs(whole[i, c]), **F64)
    assert_close(curve.prediction, whole, **F64)


def test_of_equal_scores_the_earlier_player_goes_first():
    f, x = nn.Identity(), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    for order in ("top", "least"):
        curve = M.removal_curve(f, x, torch.zeros(1, 4), [0.5], order=order)
        assert curve.outputs.tolist() == [[[0, 0, 3, 4]]]


def test_what_was_zero_and_stays_zero_has_not_changed():
    f = lambda z: torch.stack([z[:, 0] - 1, z[:, 0] * 0 - 2], 1)  # noqa: E731
    x = torch.ones(1, 2)
    curve = M.removal_curve(f, x, torch.tensor([[1.0, 2.0]]), [0.5, 1.0])  # the second feature first
    assert curve.change().tolist() == [[0.0], [math.inf]]


def test_areas():
    f, x = classifier(5), normal(4, 5)
    curve = M.removal_curve(f, x, normal(4, 5, seed=2), [0.2, 0.4, 1.0])
    values = normal(3, 4, seed=3)
    expected = ((values[0] + values[1]) / 2 * 0.2 + (values[1] + values[2]) / 2 * 0.6) / 0.8
    assert_close(curve.area(values), expected, **F64)
    assert_close(curve.area(values.mean(1)), expected.mean(), **F64)
    assert_close(curve.area(torch.ones(3)), torch.tensor(1.0).double(), **F64)


def test_cost():
    rows = []
    f = lambda z: rows.append(len(z)) or z  # noqa: E731
    x = normal(5, 4)
    M.removal_curve(f, x, x, [0.25, 0.5, 1.0])
    assert sum(rows) == 5 * (3 + 1) + 17  # and a look
    rows.clear()
    M.log_odds_change(f, x, normal(5, 4, 4), 0, 1)
    assert sum(rows) == 5 * 2 + 17


# --- comparing methods --------------------------------------------------------------------------------------------


def test_paired_comparison_by_its_formulas():
    a, b = normal(9), normal(9, seed=2) - 0.5
    difference = (a - b).tolist()
    mean, spread = statistics.mean(difference), statistics.stdev(difference)
    error = spread / 3
    got = M.paired_comparison(a, b, level=0.9)
    half = float(t.ppf(0.95, 8)) * error
    expected = (mean, mean - half, mean + half, mean / error, 8, 2 * float(t.sf(abs(mean / error), 8)), mean / spread)
    found = (got.mean, got.low, got.high, got.t, got.degrees, got.p, got.effect_size)
    assert_close(torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), **F64)
    turned = M.paired_comparison(b, a, level=0.9)
    assert math.isclose(turned.t, -got.t) and math.isclose(turned.low, -got.high)


def test_intervals_cover():
    """The 95 % interval holds the true difference in about 95 of 100 samples."""
    draws = normal(400, 12)
    inside = [M.paired_comparison(one + 2, torch.zeros(12)) for one in draws]
    share = sum(c.low <= 2 <= c.high for c in inside) / 400
    assert 0.91 < share < 0.985


# --- what is refused ----------------------------------------------------------------------------------------------

A = normal(2, 3, 4)
X = normal(2, 3)
F = nn.Linear(3, 4).double()
CURVE = M.RemovalCurve(torch.tensor([0.0, 1.0]), normal(2, 2, 4), normal(2, 4))


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (TypeError, "attributions must be a floating-point tensor.*got list", lambda: M.sparsity([1.0])),
        (TypeError, "x must be a tensor.*got list", lambda: M.log_odds_change(F, [1.0], A, 0, 1)),
        (TypeError, "x must be a tensor.*got NoneType", lambda: M.removal_curve(F, None, X, [0.5])),
        (ValueError, "attributions of 3 inputs do not fit", lambda: M.log_odds_change(F, X, normal(3, 3, 4), 0, 1)),
        (TypeError, "exact must be a floating-point.*int64", lambda: M.shapley_error(A, A.long())),
        (ValueError, r"must be \[batch, \*players, outputs\]; got shape \(2, 3\)", lambda: M.sparsity(X)),
        (ValueError, "they must agree", lambda: M.shapley_error(A, A[:1])),
        (ValueError, r"logits must be \[2, 4\].*got \(2, 3\)", lambda: M.shapley_error(A, A, X)),
        (ValueError, "NaN or infinity", lambda: M.shapley_error(A, A / 0)),
        (ValueError, "threshold must be", lambda: M.sparsity(A, -1)),
        (ValueError, "correction must be", lambda: M.coefficient_of_variation(A, 2)),
        (ValueError, "two players or more", lambda: M.coefficient_of_variation(A[:, :1], 1)),
        (
            ValueError,
            "fraction must lie between 0 and 1; got 20",
            lambda: M.log_odds_change(F, X, A, 0, 1, fraction=20),
        ),
        (ValueError, "source names a class that is none: there are 4", lambda: M.log_odds_change(F, X, A, 4, 1)),
        (ValueError, r"target must be a class, or \[2\]", lambda: M.log_odds_change(F, X, A, 0, torch.zeros(3).long())),
        (ValueError, "do not fit x", lambda: M.log_odds_change(F, X, normal(2, 4, 4), 0, 1)),
        (ValueError, "do not fit x", lambda: M.log_odds_change(F, X[:1], A, 0, 1)),
        (ValueError, r"f's answer must be \[2, 3\]", lambda: M.log_odds_change(F, X, A[..., :3], 0, 1)),
        (ValueError, "does not broadcast", lambda: M.log_odds_change(F, X, A, 0, 1, baseline=normal(5))),
        (ValueError, 'order must be "top" or "least"', lambda: M.removal_curve(F, X, X, [0.5], order="most")),
        (ValueError, "increasing", lambda: M.removal_curve(F, X, X, [0.5, 0.5])),
        (ValueError, "increasing", lambda: M.removal_curve(F, X, X, [])),
        (ValueError, "between 0 and 1; got 1.5", lambda: M.removal_curve(F, X, X, [0.5, 1.5])),
        (ValueError, "finite numbers", lambda: M.removal_curve(F, X, X / 0, [0.5])),
        (ValueError, r"must return \[rows, classes\]", lambda: M.removal_curve(lambda z: z.sum(1), X, X, [0.5])),
        (ValueError, r"labels must be \[2\]", lambda: CURVE.accuracy(torch.zeros(3))),
        (ValueError, "a value at each of the 2; got 3", lambda: CURVE.area(torch.ones(3))),
        (ValueError, "values hold NaN", lambda: CURVE.area(torch.tensor([1.0, float("nan")]))),
        (ValueError, "can be paired", lambda: M.paired_comparison(torch.ones(3), torch.ones(4))),
        (ValueError, "can be paired", lambda: M.paired_comparison(torch.ones(1), torch.ones(1))),
        (ValueError, "without a spread", lambda: M.paired_comparison(torch.ones(3), torch.zeros(3))),
        (ValueError, "level must lie", lambda: M.paired_comparison(normal(3), normal(3, seed=2), level=95)),
        (ValueError, "leave those pairs out", lambda: M.paired_comparison(normal(3) / 0, normal(3))),
    ],
)
def test_refusals(error, says, call):
    with pytest.raises(error, match=says):
        call()
