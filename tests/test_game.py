"""Bad input is answered at the door: what came, what was expected, what to do."""

import numpy as np
import pandas as pd
import pytest
import torch
from contracts import normal
from torch import Tensor, nn
from torch.nn import functional as F

import shapnotes as sn
from shapnotes import game

X = torch.ones(2, 3)


def total(z):
    return z.sum(1)


@pytest.mark.parametrize(
    "method",
    [
        sn.shapley_values,
        lambda *a, **k: sn.sample_shapley_values(*a, permutations=4, **k),
        lambda *a, **k: sn.regression_shapley_values(*a, **k),
    ],
    ids=["exact", "sampled", "regression"],
)
@pytest.mark.parametrize(
    ("error", "says", "arguments", "options"),
    [
        (TypeError, "f must be a function.*got int", (3, X), {}),
        (TypeError, "x must be a tensor.*got list.*torch.tensor\\(x\\) makes", (total, [[1.0]]), {}),
        (TypeError, "got ndarray.*torch.tensor\\(x, dtype=torch.float32\\)", (total, np.ones((1, 3))), {}),
        (TypeError, "got DataFrame.*x.to_numpy\\(dtype='float32'\\)", (total, pd.DataFrame([[1.0]])), {}),
        (TypeError, "got tuple.*side by side with torch.cat", (total, (X, X)), {}),
        (TypeError, "got dict.*side by side with torch.cat", (total, {"a": X}), {}),
        (TypeError, "dense tensor.*sparse_coo.*to_dense", (total, X.to_sparse()), {}),
        (TypeError, "float8.*x.float", (total, X.to(torch.float8_e4m3fn)), {}),
        (ValueError, "x is on the meta device", (total, X.to("meta")), {}),
        (ValueError, "baseline is on meta and x on cpu", (total, X, X.to("meta")), {}),
        (ValueError, "x\\[None\\]", (total, torch.ones(3)), {}),
        (ValueError, "at least one entry", (total, torch.ones(0, 3)), {}),
        (
            TypeError,
            "floating point.*int64.*x.float",
            (total, torch.ones(2, 3, dtype=torch.int64)),
            {},
        ),
        (
            ValueError,
            "infinite in 1 of its",
            (total, torch.tensor([[1.0, torch.inf]])),
            {},
        ),
        (
            ValueError,
            "\\(4,\\) does not broadcast to x of shape \\(2, 3\\)",
            (total, X, torch.ones(4)),
            {},
        ),
        (ValueError, "does not broadcast", (total, X, torch.ones(3, 3)), {}),
        (ValueError, "baseline holds NaN", (total, X, torch.nan), {}),
        (ValueError, "baseline holds .*infinity in torch.float32", (total, X, 1e300), {}),
        (ValueError, "baseline holds .*infinity in torch.float32", (total, X, torch.tensor(1e300).double()), {}),
        (TypeError, "baseline must be real", (total, X, torch.tensor(1j)), {}),
        (TypeError, "baseline must be real", (total, X, 1j), {}),
        (TypeError, "baseline must be real", (total, X, np.array([1j, 0, 0])), {}),
        (TypeError, "baseline must be None, a number or a tensor", (total, X, "mean"), {}),
        (TypeError, "whole-number labels.*float32", (total, X), {"groups": torch.zeros(3)}),
        (
            ValueError,
            "do not broadcast to the features",
            (total, X),
            {"groups": torch.zeros(2, dtype=torch.int64)},
        ),
        (ValueError, "0..n-1 with none left out", (total, X), {"groups": torch.tensor([0, 2, 2])}),
        (ValueError, "group 1 is empty", (total, X), {"groups": [[0, 1, 2], []]}),
        (ValueError, "group 0 names feature 7, but the features are 0..", (total, X), {"groups": [[7]]}),
        (
            ValueError,
            "feature 1 is in group 0 and again in group 1",
            (total, X),
            {"groups": [[0, 1], [1, 2]]},
        ),
        (ValueError, "leave out feature\\(s\\) \\[2\\]", (total, X), {"groups": [[0], [1]]}),
        (TypeError, "f must return a tensor.*got float", (lambda z: 1.0, X), {}),
        (ValueError, "returned shape \\(\\).*one result a row", (lambda z: z.sum(), X), {}),
        (ValueError, "given 1 rows and returned shape \\(2, 3\\)", (lambda z: X, X), {}),
        (TypeError, "f returned torch.int64", (lambda z: z.argmax(1), X), {}),
        (ValueError, "returned shape \\(1, 0\\), which has no output", (lambda z: z[:, :0], X), {}),
        (ValueError, "does not take x as it is, torch.float64.*one dtype", (nn.Linear(3, 1), X.double()), {}),
        (ValueError, "does not take x.*one dtype", (nn.Conv1d(1, 1, 1), X[:, None].double()), {}),
        (ValueError, "float16 cannot hold", (lambda z: z.float().sum(1) * 1e5, X.half()), {}),
        (ValueError, "for some coalition", (lambda z: z.log(), X), {}),
        (
            ValueError,
            "1 \\(Dropout\\) is in training mode.*eval",
            (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), X),
            {},
        ),
        (ValueError, "BatchNorm1d\\) is in training mode", (nn.BatchNorm1d(3), X), {}),
        (ValueError, "InstanceNorm1d\\) is", (nn.InstanceNorm1d(3, track_running_stats=True), X[..., None]), {}),
        (ValueError, "RReLU\\) is in training mode", (nn.RReLU(), X), {}),
        (ValueError, "LSTM\\) is in training mode", (nn.LSTM(3, 3, 2, dropout=0.5), X), {}),
        (ValueError, "MultiheadAttention\\) is in training mode", (nn.MultiheadAttention(3, 1, dropout=0.5), X), {}),
        (ValueError, "calls torch.nn.functional.dropout as in training", (lambda z: F.dropout(z, 0.5), X), {}),
    ],
)
def test_refusals(method, error, says, arguments, options):
    with pytest.raises(error, match=says):
        method(*arguments, **options)


def test_other_errors_of_f_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        sn.shapley_values(nn.Linear(4, 1), X)


# --- everything that asks f answers for what it answers -------------------------------------------------------------


class Wrapped(nn.Module):
    """Any function as a module, which some methods want."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, z: Tensor) -> Tensor:
        return self.f(z)


SCORES = normal(12, 3)
ASK = {
    "exact": sn.shapley_values,
    "explain": sn.explain,
    "sampled": lambda f, x, r: sn.sample_shapley_values(f, x, r, permutations=4),
    "regression": lambda f, x, r: sn.regression_shapley_values(f, x, r, evaluations=40),
    "log-odds": lambda f, x, r: sn.metrics.log_odds_change(
        f, x, torch.stack([SCORES, -SCORES], -1)[: len(x)], 0, 1, baseline=r
    ),
    "removal": lambda f, x, r: sn.metrics.removal_curve(f, x, SCORES[: len(x)], [0.5, 1.0], baseline=r),
} | {method: lambda f, x, r, m=method: sn.explainers.explain_with(m, f, x, r) for method in sn.explainers.METHODS}


def two(y: Tensor) -> Tensor:
    return torch.stack([y, 2 - y], 1)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize("batch", [1, 12])
@pytest.mark.parametrize(
    "f",
    [
        lambda z: two(z.sum(1) + torch.rand(len(z), dtype=z.dtype)),
        lambda z: two(((z - z.mean(0)) ** 3).sum(1)),
        lambda z: two(z.sum(1) - z[0, 0]),
        lambda z: two(F.dropout(z, 0.5).sum(1)),
        lambda z: two((z * torch.bernoulli(torch.full_like(z, 0.5))).sum(1)),
    ],
    ids=["noise", "centred rows", "the first row", "dropout", "masks"],
)
def test_random_models_and_mixed_rows_are_refused_by_all(f, batch, ask):
    with torch.random.fork_rng(), pytest.raises(ValueError, match=r"deterministic|as in training"):
        torch.manual_seed(0)
        ask(Wrapped(f), normal(batch, 3), 0.5)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_undefined_answers_are_refused_by_all(ask):
    """Also at an input of which nobody has looked at twice, and where the gradient is defined."""
    x = normal(12, 3).abs() + 0.5
    if ask not in (ASK["deeplift"], ASK["deep_shap"]):  # which do not close for a logarithm
        assert ask(Wrapped(lambda z: two(z.sum(1).log())), x, 1.0) is not None
    x[10] -= 10
    with pytest.raises(ValueError, match="NaN or infinity"):
        ask(Wrapped(lambda z: two(z.sum(1).log())), x, 1.0)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_model_in_training_mode_inside_a_function_is_found_before_its_statistics_change(ask):
    batch = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double().train()
    instance = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.InstanceNorm1d(1, track_running_stats=True)).double().train()
    for model in (batch, instance):
        f = lambda z: model(z).flatten(1)  # noqa: B023, E731
        with pytest.raises(ValueError, match="training"):
            ask(model if ask in (ASK["deeplift"], ASK["deep_shap"]) else f, normal(5, 3), 0.0)
        assert not model[1].running_mean.any() and bool((model[1].running_var == 1).all())


def test_rounding_in_half_of_the_digits_is_no_randomness():
    """Numbers inside f may be coarser than those it is given and gives."""
    layers = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 2))
    for inside in (torch.float32, torch.bfloat16):
        model = layers.to(inside).requires_grad_(False)
        f = lambda z: model(z.to(model[0].weight.dtype)).double()  # noqa: B023, E731
        assert sn.shapley_values(f, normal(9, 6)).shape == (9, 6, 2)
        assert sn.sample_shapley_values(f, normal(9, 6), permutations=4)[0].shape == (9, 6, 2)
        assert sn.regression_shapley_values(f, normal(9, 6), evaluations=40)[0].shape == (9, 6, 2)


# --- what is taken ------------------------------------------------------------------------------------------------


def test_functions_may_answer_with_numpy():
    """As scikit-learn's predict_proba does, which takes a tensor as it is."""
    from sklearn.linear_model import LogisticRegression

    x = normal(40, 3)
    model = LogisticRegression().fit(x.numpy(), (x.sum(1) > 0).numpy())
    values = sn.shapley_values(model.predict_proba, x[:2])
    weight, bias = torch.tensor(model.coef_), torch.tensor(model.intercept_)
    expected = sn.shapley_values(lambda z: torch.sigmoid(z @ weight.T + bias), x[:2])
    torch.testing.assert_close(values[..., 1:], expected)
    view = sn.shapley_values(lambda z: z.numpy()[:, 0], x[:2], chunk_size=2)  # of rows that are written over
    torch.testing.assert_close(view, torch.stack([x[:2, 0], 0 * x[:2, 0], 0 * x[:2, 0]], 1))


def test_a_model_in_training_mode_without_chance_is_welcome():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Dropout(0.0), nn.Unflatten(1, (1, 2)), nn.InstanceNorm1d(1))
    assert sn.shapley_values(model.train(), X).shape == (2, 3, 1, 2)


def test_the_largest_tensor_and_the_coarsest_precision_are_seen():
    with game._Recorder() as watch:
        wide = torch.ones(3).repeat(5)  # 15 float32
        (wide.double()[:2] + 1).sum()
        wide.argmax()
    assert (watch.largest_bytes, watch.eps) == (15 * 8, torch.finfo(torch.float32).eps)
    with watch:
        torch.ones(1).bfloat16().add(1)
    assert (watch.largest_bytes, watch.eps) == (15 * 8, torch.finfo(torch.bfloat16).eps)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_refused_batch_norm_is_as_it_was(momentum):
    layer = torch.nn.BatchNorm1d(3, momentum=momentum).double()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match="batch_norm as in training"):
        sn.shapley_values(lambda rows: layer(rows), normal(4, 3))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
