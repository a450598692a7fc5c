"""What any implementation of the package must satisfy, as functions of the package.

Beside each contract stand the wrong implementations that it must reject: (what is wrong, which part of the package it
takes the place of, how it is made from the right one). `test_contracts.py` holds both the package and them to it.
"""

import copy
import dataclasses
import warnings
from functools import partial
from itertools import pairwise
from math import comb
from types import SimpleNamespace

import numpy as np
import torch
from oracles import by_dividends, by_permutations, model_values, table_of, tolerance
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from wrong import rejects

from shapnotes import GapError
from shapnotes.nn.functional import shapley_activation

F64 = tolerance(torch.float64)


def network(inputs: int, outputs: int, seed: int = 0, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """A small random network in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, 9), activation(), nn.Linear(9, outputs)).double()


class Constant(nn.Module):
    """A layer that answers with what it keeps: nobody may write there."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(100, 1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.rows[: len(z)]


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def marginal(table, weight, counts=lambda coalition, n: True):
    """Marginal contributions to the coalitions of others that count, by a weight of their size: [n, ...]."""
    n = len(table).bit_length() - 1
    return torch.stack(
        [
            sum(
                weight(n, coalition.bit_count()) * (table[coalition | 1 << i] - table[coalition])
                for coalition in range(2**n)
                if not coalition >> i & 1 and counts(coalition, n)
            )
            + 0 * table[0]
            for i in range(n)
        ]
    )


def shapley_weight(n, size):
    return 1 / (n * comb(n - 1, size))


@rejects(
    (
        "marginal weights of n players",
        "shapley_from_table",
        lambda right: lambda table: marginal(table, lambda n, size: 1 / (n * comb(n, size))),
    ),
    (
        "Banzhaf's weights",
        "shapley_from_table",
        lambda right: lambda table: marginal(table, lambda n, size: 1 / 2 ** (n - 1)),
    ),
    ("two halves of the players exchanged", "shapley_from_table", lambda right: lambda table: right(table).roll(1, 0)),
    (
        "sums over some coalitions only",
        "shapley_from_table",
        lambda right: lambda table: marginal(table, shapley_weight, lambda coalition, n: coalition < 2 ** (n - 1)),
    ),
)
def table_agrees_with_both_oracles(sn):
    for n in range(1, 6):
        table = normal(2**n, 2, seed=n)
        assert_close(sn.shapley_from_table(table), by_permutations(table), **F64)
        assert_close(sn.shapley_from_table(table), by_dividends(table), **F64)


@rejects(
    ("subsets in another order", "coalitions.shapley_matrix", lambda right: lambda n: right(n).roll(1, 1)),
    ("no term for absent players", "coalitions.shapley_matrix", lambda right: lambda n: right(n).clamp(min=0)),
)
def matrix_is_the_table_rule(sn):
    for n in range(1, 7):
        matrix, table = sn.coalitions.shapley_matrix(n), normal(2**n, seed=n)
        assert_close(matrix @ table, sn.shapley_from_table(table), **F64)
        efficiency = torch.zeros(2**n, dtype=torch.float64)
        efficiency[0], efficiency[-1] = -1, 1
        assert_close(matrix.sum(0), efficiency, **F64)


def over_subsets(table, sign):
    """For each coalition S the sum over its subsets T of sign(S, T) v(T), both given as numbers."""
    return torch.stack(
        [sum(sign(s, t) * table[t] for t in range(len(table)) if t & ~s == 0) for s in range(len(table))]
    )


@rejects(
    ("no signs", "coalitions.dividends", lambda right: lambda table: over_subsets(table, lambda s, t: 1)),
    (
        "the sign of the subset alone",
        "coalitions.dividends",
        lambda right: lambda table: over_subsets(table, lambda s, t: (-1) ** t.bit_count()),
    ),
    ("supersets for subsets", "coalitions.dividends", lambda right: lambda table: right(table.flip(0)).flip(0)),
    ("one sign for all players", "coalitions.dividends", lambda right: lambda table: -right(table)),
)
def dividends_are_signed_sums_over_subsets(sn):
    """As defined; they add up to the worths, and equal shares of them are the Shapley values."""
    for n in range(1, 6):
        table = normal(2**n, 2, seed=n)
        found = sn.coalitions.dividends(table)
        assert_close(found, over_subsets(table, lambda s, t: (-1) ** (s.bit_count() - t.bit_count())), **F64)
        assert_close(over_subsets(found, lambda s, t: 1), table, **F64)
        equal = found / sn.coalitions.sizes(n).clamp(min=1)[:, None]
        assert_close(sn.coalitions.masks(n).double().T @ equal, by_permutations(table), **F64)


@rejects(
    ("empty sizes", "coalitions.sizes", lambda right: lambda n: 0 * right(n)),
    ("the absent taken for present", "coalitions.masks", lambda right: lambda n: ~right(n)),
    ("bits from the other end", "coalitions.masks", lambda right: lambda n: right(n).flip(1)),
)
def coalitions_are_bits(sn):
    for n in range(1, 6):
        expected = torch.tensor([[bool(row >> i & 1) for i in range(n)] for row in range(2**n)])
        assert torch.equal(sn.coalitions.masks(n), expected)
        assert torch.equal(sn.coalitions.sizes(n), expected.sum(1))


class Streamed:
    """Exact values a table at a time: the low players vary in a table, the high ones from table to table."""

    def __call__(self, game, chunk_size, progress, values_per_table):
        n = game.n
        low = min(n, values_per_table.bit_length() - 1)
        values = []
        for x, baseline in zip(game.x, game.baseline, strict=True):
            phi = 0
            for high in range(2 ** (n - low)):
                rows = torch.tensor([[self.is_present(i, c, high, low) for i in range(n)] for c in range(2**low)])
                worths = game.f(torch.where(rows, x, baseline))
                phi = self.added(phi, torch.einsum("ic,co->io", self.weights(n, low, high), worths))
            values.append(phi)
        return torch.stack(values), None, None

    def is_present(self, player, code, high, low):
        return bool((code if player < low else high) >> (player if player < low else player - low) & 1)

    def weights(self, n, low, high):
        """What each player takes of each value of a table: [n, 2**low]."""
        return torch.tensor(
            [[self.weight(n, self.size(code, high), self.bit(i, code, high, n, low)) for code in range(2**low)]
             for i in range(n)],
            dtype=torch.float64,
        )  # fmt: skip

    def weight(self, n, size, present):
        return shapley_weight(n, size - 1) if present else -shapley_weight(n, size) if size < n else 0.0

    def size(self, code, high):
        return code.bit_count() + high.bit_count()

    def bit(self, player, code, high, n, low):
        return code >> player & 1 if player < low else high >> (player - low) & 1

    def added(self, phi, part):
        return phi + part


class HighPlayersUncounted(Streamed):
    def size(self, code, high):
        return code.bit_count()

    def weight(self, n, size, present):
        return super().weight(n, max(size, present), present)


class OtherPlayersTables(Streamed):
    def bit(self, player, code, high, n, low):
        return super().bit(player if player < low else low + n - 1 - player, code, high, n, low)


class LastTableOnly(Streamed):
    def added(self, phi, part):
        return part


class HighPlayersAbsent(Streamed):
    def is_present(self, player, code, high, low):
        return player < low and super().is_present(player, code, high, low)


@rejects(
    ("high players not counted in the size", "exact.exact_values", lambda right: HighPlayersUncounted()),
    ("tables filed under the wrong player", "exact.exact_values", lambda right: OtherPlayersTables()),
    ("the last table only", "exact.exact_values", lambda right: LastTableOnly()),
    ("high players absent from every row", "exact.exact_values", lambda right: HighPlayersAbsent()),
)
def streaming_agrees_with_the_definition(sn):
    """Every split of players into low, middle and high ones, opaque and with a shared first layer."""
    x, baseline = normal(3, 5), normal(5, seed=2)
    model = network(5, 2)
    expected = model_values(model, x, baseline).detach()
    other = network(5, 2, activation=nn.ReLU)
    expected_of_other = model_values(other, x, baseline).detach()
    for values_per_table in (2**17, 16, 2):
        for chunk_size in (None, 1, 2, 7, 32, 100):
            for f, truth in ((model, expected), (lambda z: model(z), expected), (other, expected_of_other)):
                for graph in (False, True):
                    with torch.set_grad_enabled(graph):
                        game = sn.game.Game(f, x, baseline)
                        values, *_ = sn.exact.exact_values(game, chunk_size, None, values_per_table)
                    assert values.requires_grad == graph
                    assert_close(values.detach(), truth, **F64)


@rejects(
    (
        "far players always present",
        "shapley_values",
        lambda right: (
            lambda f, x, baseline, chunk_size: right(
                lambda z: f(torch.cat([z[:, :9], x[:, 9:].expand(len(z), -1)], 1)), x, baseline
            )
        ),
    ),
)
def chunks_may_be_much_smaller_than_the_game(sn):
    x, baseline = normal(1, 11), normal(11, seed=2)
    for f in (network(11, 1), lambda z: network(11, 1)(z)):
        with torch.no_grad():
            table = table_of(f, x[0], baseline, list(range(11)))[:, 0]
            got = sn.shapley_values(f, x, baseline, chunk_size=2)
            assert_close(got[0, :, 0], sn.coalitions.shapley_matrix(11) @ table, **F64)


@rejects(
    (
        "no gradient at the baseline",
        "shapley_values",
        lambda right: lambda f, x, r, **k: torch.where((x == r)[:, :, None], 0.0, right(f, x, r, **k)),
    ),
    (
        "present and absent exchanged",
        "shapley_values",
        lambda right: lambda f, x, r, **k: right(f, r.expand_as(x), x, **k),
    ),
    ("moved by the baseline", "shapley_values", lambda right: lambda f, x, r, **k: right(f, x + r, r, **k)),
)
def gradients_are_those_of_the_definition(sn):
    model = network(4, 2)
    for chunk_size in (None, 2, 8):
        for f in (model, lambda z: model(z)):
            x, baseline = normal(2, 4), normal(4, seed=2).requires_grad_()
            x[0, 1] = baseline[1].detach()  # a value of zero there, but not a gradient of zero
            x.requires_grad_()
            leaves = [x, baseline, *model.parameters()]
            weight = normal(2, 4, 2, seed=3)
            values = sn.shapley_values(f, x, baseline, chunk_size=chunk_size)
            ours = torch.autograd.grad((values * weight).sum(), leaves)
            tables = torch.stack([table_of(model, one, baseline, [0, 1, 2, 3]) for one in x])
            slow = torch.stack([sn.coalitions.shapley_matrix(4) @ table for table in tables])
            for got, expected in zip(ours, torch.autograd.grad((slow * weight).sum(), leaves), strict=True):
                assert_close(got, expected, **F64)


def zero_where_nothing_moved(method):
    """A value of zero, which is right, and a gradient of zero, which is not."""

    def values(f, x, baseline, **settings):
        result = method(f, x, baseline, **settings)
        values, *rest = result if isinstance(result, tuple) else (result,)
        shape = *x.shape, *[1] * (values.dim() - 2)
        values = torch.where((x == baseline).view(shape), 0.0, values)
        return (values, *rest) if isinstance(result, tuple) else values

    return values


@rejects(
    ("no gradient there", "shapley_values", zero_where_nothing_moved),
    ("rounding left there", "shapley_values", lambda right: lambda *a, **k: right(*a, **k) + 1e-17),
    ("sampled without those there", "sample_shapley_values", zero_where_nothing_moved),
    ("regression without those there", "regression_shapley_values", zero_where_nothing_moved),
    (
        "no gradient to x alone",
        "shapley_values",
        lambda right: (
            lambda f, x, r, **k: (
                right(f, x, r, **k) if r.requires_grad else zero_where_nothing_moved(right)(f, x, r, **k)
            )
        ),
    ),
    (
        "sampled with no gradient to x alone",
        "sample_shapley_values",
        lambda right: (
            lambda f, x, r, **k: (
                right(f, x, r, **k) if r.requires_grad else zero_where_nothing_moved(right)(f, x, r, **k)
            )
        ),
    ),
)
def players_at_the_baseline_have_gradients(sn):
    """To x alone, where a value is zero since x_i = r_i; and the value is zero without any rounding."""
    model, baseline = network(3, 1), normal(3, seed=2)
    for f in (model, lambda z: model(z)):
        x = normal(2, 3)
        x[0, 1] = baseline[1]
        x.requires_grad_()
        values = sn.shapley_values(f, x, baseline, chunk_size=4)
        assert values[0, 1].item() == 0
        slow = torch.stack([sn.coalitions.shapley_matrix(3) @ table_of(model, one, baseline, [0, 1, 2]) for one in x])
        got, expected = (torch.autograd.grad(v.sin().sum(), x)[0] for v in (values, slow))
        assert_close(got, expected, **F64)
    pairwise = lambda z: (z @ normal(3, 3, seed=3) * z).sum(1, keepdim=True)  # noqa: E731  whose orders all agree
    slow = torch.stack([sn.coalitions.shapley_matrix(3) @ table_of(pairwise, one, baseline, [0, 1, 2]) for one in x])
    expected = torch.autograd.grad(slow.sin().sum(), x)[0]
    for values, _ in (
        sn.sample_shapley_values(pairwise, x, baseline, permutations=4, generator=torch.Generator()),
        sn.regression_shapley_values(pairwise, x, baseline, evaluations=6),
    ):
        assert_close(torch.autograd.grad(values.sin().sum(), x)[0], expected, **F64)


def with_kept_matrices(right):
    """The definition, with matrices that are kept as they come, of inference mode as well."""
    kept = {}

    def values(f, x):
        n = x.shape[1]
        rows = masks_of(n)
        if n not in kept:
            here, sizes = rows.T.double(), rows.sum(1)
            kept[n] = here * sizes.reciprocal().nan_to_num(posinf=0.0)  # of a game that needs all players, the share
        table = f(torch.where(rows, x, 0.0))
        return (kept[n] @ (table * (rows.all(1))))[None]

    return values


def masks_of(n):
    return torch.tensor([[bool(code >> i & 1) for i in range(n)] for code in range(2**n)])


def kept_once(right):
    kept = []

    def sums(table):
        kept.append(right(table))
        return kept[0]

    return sums


@rejects(
    ("cached tensors without a gradient", "shapley_values", with_kept_matrices),
    ("fake tensors cached", "coalitions.member_sums", kept_once),
)
def kept_tensors_serve_everywhere(sn):
    """Tables of weights made in inference mode, or of tensors without numbers, are good for gradients afterwards."""
    x = normal(1, 9)  # a size that no other contract has, so that the tables are made here
    with torch.inference_mode():
        sn.shapley_values(lambda z: z.prod(1), x)
    leaf = x.clone().requires_grad_()
    try:
        values = sn.shapley_values(lambda z: z.prod(1), leaf)
        got = torch.autograd.grad(values.square().sum(), leaf)[0]
    except RuntimeError as error:
        raise AssertionError("no gradient after inference mode") from error
    share = x.prod() / 9  # each player's, in a game that needs all of them
    assert_close(got, 2 * 9 * share**2 / x, **F64)
    table = normal(2**7, dtype=torch.bfloat16)
    with FakeTensorMode() as mode:
        sn.coalitions.member_sums(mode.from_tensor(table))
    assert type(sn.coalitions.member_sums(table)) is torch.Tensor


def names_in_alphabetical_order(right):
    def values(f, x, groups):
        if isinstance(groups, list) and isinstance(groups[0], str):
            groups = [sorted(set(groups)).index(name) for name in groups]
        return right(f, x, groups=groups)

    return values


def dictionaries_from_their_end(right):
    def values(f, x, groups):
        return right(f, x, groups=dict(reversed(groups.items())) if isinstance(groups, dict) else groups)

    return values


@rejects(
    ("names in the order of the alphabet", "shapley_values", names_in_alphabetical_order),
    ("a dictionary read from its end", "shapley_values", dictionaries_from_their_end),
)
def groups_are_written_in_many_ways(sn):
    x, f = normal(1, 4), lambda z: z[:, 0] * z[:, 1] * z[:, 2] + z[:, 3] * z[:, 0]
    expected = sn.shapley_values(f, x, groups=torch.tensor([0, 1, 0, 2]))
    assert not torch.equal(expected, expected.flip(1))
    masks = torch.tensor([[True, False, True, False], [False, True, False, False], [False, False, False, True]])
    for groups in (
        [0, 1, 0, 2],
        np.array([0, 1, 0, 2]),
        ["pair", "lone", "pair", "a"],
        {"pair": [0, 2], "lone": 1, "a": slice(3, None)},
        [slice(0, 3, 2), range(1, 2), {3}],
        masks,
        masks.tolist(),
        list(masks.numpy()),
    ):
        assert_close(sn.shapley_values(f, x, groups=groups), expected, **F64)


def other_activations_as_relu(right):
    def values(f, x, baseline, **settings):
        layers = f if isinstance(f, nn.Sequential) else []
        f = nn.Sequential(*[nn.ReLU() if isinstance(m, nn.Tanh) else m for m in layers]) if layers else f
        return right(f, x, baseline, **settings)

    return values


@rejects(
    ("other activations taken for a ReLU", "shapley_values", other_activations_as_relu),
    (
        "every feature a player",
        "shapley_values",
        lambda right: lambda f, x, r, groups, chunk_size: right(f, x, r)[:, :3],
    ),
    ("products of x instead of x - r", "shapley_values", lambda right: lambda f, x, r, **k: right(f, x + r, r, **k)),
)
def groups_are_single_players(sn):
    x, baseline, labels = normal(2, 5), normal(5, seed=2), [0, 1, 0, 2, 1]
    model = network(5, 2)
    expected = model_values(model, x, baseline, labels).detach()
    with torch.no_grad():
        for f in (model, lambda z: model(z)):
            for groups in (torch.tensor(labels), [[0, 2], [1, 4], [3]]):
                for chunk_size in (None, 2):
                    got = sn.shapley_values(f, x, baseline, groups=groups, chunk_size=chunk_size)
                    assert_close(got, expected, **F64)


@rejects(
    (
        "features of no player set to zero",
        "shapley_values",
        lambda right: (
            lambda f, x, r: torch.cat(
                [right(lambda z, one=one: f(torch.where(one == r, 0.0, z)), one[None], r) for one in x]
            )
        ),
    ),
    (
        "every input with the players of the first",
        "shapley_values",
        lambda right: lambda f, x, r: right(f, torch.where(x[:1] == r, r, x), r),
    ),
    ("rounding left there", "shapley_values", lambda right: lambda f, x, r: right(f, x, r) + 1e-17),
)
def players_at_the_baseline_are_exactly_zero(sn):
    x, baseline = normal(20, 5), normal(5, seed=2)
    x[:, 2], x[1::2, 4] = baseline[2], baseline[4]
    x[::4, 1], x[2::4, 0] = baseline[1], baseline[0]  # as many players, and not the same ones
    model = network(5, 1)
    values = sn.shapley_values(model, x, baseline)
    with torch.no_grad():
        assert_close(sn.shapley_values(lambda z: model(z), x, baseline), values, **F64)
    estimate, _ = sn.sample_shapley_values(
        model, x, baseline, permutations=4, generator=torch.Generator().manual_seed(0)
    )
    for got in (values, estimate):
        assert bool((got[:, 2] == 0).all())
        assert bool((got[1::2, 4] == 0).all()) and bool((got[::2, 4] != 0).all())
    assert_close(values, model_values(model, x, baseline).detach(), **F64)


def relu_in_place(right):
    """Memory that is not ours is written to."""

    def values(f, x, baseline, **settings):
        if isinstance(f, nn.Sequential):
            f = nn.Sequential(*[nn.ReLU(inplace=True) if type(m) is nn.ReLU else m for m in f])
        return right(f, x, baseline, **settings)

    return values


def rows_of_the_caller(right):
    """f is given x itself for the coalition of all."""

    def values(f, x, baseline, **settings):
        found = right(f, x, baseline, **settings)
        f(x)
        return found

    return values


@rejects(
    ("a ReLU in memory that is not ours", "shapley_values", relu_in_place),
    ("f writes into x", "shapley_values", rows_of_the_caller),
    ("f writes into x when sampled", "sample_shapley_values", rows_of_the_caller),
    ("f writes into x of a regression", "regression_shapley_values", rows_of_the_caller),
)
def functions_may_do_as_they_like_with_their_input(sn):
    """f may write into its rows, or return a view of them; neither the values nor the caller's tensors change."""
    x, baseline, model = normal(2, 5), normal(5, seed=2), network(5, 1)
    kept = x.clone(), baseline.clone()
    expected = model_values(lambda z: model(2 * z), x, baseline).detach()
    with torch.no_grad():
        assert_close(
            sn.shapley_values(lambda z: model(z.mul_(2)), x, baseline, chunk_size=4),
            expected,
            **F64,
        )
        sn.sample_shapley_values(lambda z: model(z.mul_(2)), x, baseline, permutations=4)
        sn.regression_shapley_values(lambda z: model(z.mul_(2)), x, baseline, evaluations=30)
    with torch.inference_mode():
        assert_close(
            sn.shapley_values(lambda z: model(z.mul_(2)), x, baseline, chunk_size=4),
            expected,
            **F64,
        )
    assert torch.equal(x, kept[0]) and torch.equal(baseline, kept[1])
    constant = nn.Sequential(nn.Linear(5, 2), Constant(), nn.ReLU()).double().requires_grad_(False)
    assert float(sn.shapley_values(constant, x, baseline).abs().max()) == 0
    assert bool((constant[1].rows[:, 0] == -1).all())
    for view in (lambda z: z[:, :2], nn.Linear(5, 2).double().requires_grad_(False)):
        expected = model_values(view, x, baseline)
        assert_close(sn.shapley_values(view, x, baseline, chunk_size=4), expected, **F64)


@rejects(
    ("gaps silenced", "shapley_values", lambda right: lambda f, x: model_values(f, x, 0 * x[0])),
    ("rows mixed", "sample_shapley_values", lambda right: lambda f, x, **k: Sampler()(f, x, 0.0, **k)),
    ("rows mixed by a regression", "regression_shapley_values", lambda right: PairedRegression()),
    (
        "gaps reported where there are none",
        "explain",
        lambda right: lambda f, x: SimpleNamespace(gap=lambda: f(x) / 10),
    ),
)
def gaps_are_found(sn):
    """A function that mixes rows has no Shapley values, and no estimates of any; a right one has no gap."""
    x = normal(4, 3)
    assert float(sn.explain(network(3, 2), x).gap().detach().abs().max()) < 1e-12
    mixing = lambda z: (z - z.mean(0)).pow(2).sum(1)  # noqa: E731
    for method in (
        sn.shapley_values,
        lambda f, x: sn.sample_shapley_values(f, x, permutations=4),
        lambda f, x: sn.regression_shapley_values(f, x.repeat(1, 2), evaluations=36),
    ):
        try:
            method(mixing, x)
        except sn.GapError:
            continue
        raise AssertionError("a function that mixes rows was explained without complaint")


def keeping_views(f, x, chunk_size=None):
    """The definition, from answers that are kept as f gives them: by the time they are read they are all the last."""
    values = [by_permutations(table_of(f, one, 0 * one, list(range(len(one))))) for one in x]
    return SimpleNamespace(attributions=torch.stack(values), prediction=f(x).clone())


def with_an_answer_that_is_kept(right):
    def curve(f, x, scores, fractions):
        prediction = f(x)
        return dataclasses.replace(right(f, x, scores, fractions), prediction=prediction)

    return curve


@rejects(
    ("exact values of answers that f writes over", "explain", lambda right: keeping_views),
    ("sampled values of answers that f writes over", "sample_shapley_values", lambda right: Sampler(keeps_views=True)),
    ("a curve of answers that f writes over", "metrics.removal_curve", with_an_answer_that_is_kept),
)
def answers_may_lie_in_memory_of_the_function(sn):
    """As those of programs that were captured once, and write over their last answer."""
    answers = torch.empty(2**9, dtype=torch.float64)

    def f(z):
        return torch.prod(z, 1, out=answers[: len(z)])

    def two_classes(z):
        return torch.stack([z.prod(1), z.sum(1)], 1, out=classes[: len(z)])

    classes = torch.empty(2**9, 2, dtype=torch.float64)
    for x in (normal(1, 5), normal(3, 5)):
        expected = sn.explain(lambda z: z.prod(1), x)
        for chunk_size in (2, 4, None):
            ours = sn.explain(f, x, chunk_size=chunk_size)
            assert_close(ours.attributions, expected.attributions, **F64)
            assert_close(ours.prediction, expected.prediction, **F64)
            runs = [
                sn.sample_shapley_values(
                    g, x, permutations=6, chunk_size=chunk_size, generator=torch.Generator().manual_seed(0)
                )
                for g in (f, lambda z: z.prod(1))
            ]
            for got, wanted in zip(*runs, strict=True):
                assert_close(got, wanted, **F64)
        curves = [
            sn.metrics.removal_curve(g, x, x, [0.5, 1.0])
            for g in (two_classes, lambda z: torch.stack([z.prod(1), z.sum(1)], 1))
        ]
        assert_close(curves[0].outputs, curves[1].outputs, **F64)
        assert_close(curves[0].prediction, curves[1].prediction, **F64)


@rejects(
    ("a baseline in its own dtype", "shapley_values", lambda right: lambda f, x, r: model_values(f, x, r).to(x.dtype)),
)
def baselines_have_any_dtype(sn):
    x = normal(2, 3, dtype=torch.float32)
    linear = nn.Linear(3, 1).requires_grad_(False)
    for baseline in (torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64), torch.tensor([1, 0, 2])):
        for f in (linear, lambda z: z.prod(1)):
            try:
                got = sn.shapley_values(f, x, baseline)
            except RuntimeError as error:
                raise AssertionError("a baseline was not taken in x's dtype") from error
            assert_close(got, sn.shapley_values(f, x, baseline.float()))


class Sampler:
    """Random orders and their reverses, as plainly as can be; each way to be wrong is a method."""

    def __init__(self, keeps_views=False):
        self.keeps_views = keeps_views

    def __call__(self, f, x, baseline=0.0, *, permutations, generator=None, chunk_size=None):
        n, pairs, found = x.shape[1], permutations // 2, []
        for one in x:
            rows = torch.where(masks_of(n), one, baseline)
            answers = [f(row[None])[0] for row in rows] if self.keeps_views else f(rows)
            table = torch.stack(list(answers)).double().view(2**n, -1)
            draws = torch.rand(pairs, n, generator=generator, dtype=torch.float64)
            orders = self.orders(draws)
            gains = (self.gains(table, orders) + self.gains(table, self.second(orders))) / 2
            found.append((gains.mean(0), self.errors(gains, chunk_size)))
        values, errors = (torch.stack(part) for part in zip(*found, strict=True))
        return values.squeeze(-1) if f(x).dim() == 1 else values, errors

    def gains(self, table, orders):
        """Of each player in each order: [orders, n, outputs]."""
        after = (2**orders).cumsum(1)
        gains = table[after] - table[after - 2**orders]
        return torch.zeros_like(gains).index_put((torch.arange(len(orders))[:, None], orders), gains)

    def orders(self, draws):
        return draws.argsort(1)

    def second(self, orders):
        return orders.flip(1)

    def errors(self, gains, chunk_size):
        return gains.std(0) / len(gains) ** 0.5


class OneOrder(Sampler):
    def orders(self, draws):
        return torch.arange(draws.shape[1]).expand(draws.shape)


class NoReverse(Sampler):
    def second(self, orders):
        return orders


class UnrelatedPairs(Sampler):
    def second(self, orders):
        return orders.roll(1, 1)


class Deviation(Sampler):
    def errors(self, gains, chunk_size):
        return gains.std(0)


class VarianceOverPairs(Sampler):
    def errors(self, gains, chunk_size):
        return gains.std(0, correction=0) / len(gains) ** 0.5


class SpreadWithinChunks(Sampler):
    def errors(self, gains, chunk_size):
        parts = gains.split(max(1, (chunk_size or 100) // 7))
        squares = sum(((part - part.mean(0)) ** 2).sum(0) for part in parts)
        return (squares / (len(gains) - 1) / len(gains)).sqrt()


def repeats_agree(runs, exact, least: float, most: float) -> None:
    """Repeated estimates (values, errors): efficient, the mean right, and the stated errors those of their spread.

    The mean lies within 5 of its standard errors; spread over stated error is between `least` and `most`.
    """
    values, errors = (torch.stack(part) for part in zip(*runs, strict=True))
    total = exact.prediction - exact.baseline_prediction
    assert_close(values.sum(2), total.expand(len(runs), -1, -1), **F64)
    spread = values.std(0)
    assert bool(((values.mean(0) - exact.attributions).abs() < 5 * spread / len(runs) ** 0.5).all())
    ratio = spread / (errors**2).mean(0).sqrt()
    assert least < float(ratio.min()) and float(ratio.max()) < most


@rejects(
    ("one order for all", "sample_shapley_values", lambda right: OneOrder()),
    ("standard deviation for standard error", "sample_shapley_values", lambda right: Deviation()),
)
def sampling_agrees_with_exact_values(sn):
    """Unbiased within its own errors, which are those of the spread between repeats; efficient in every order."""
    x, baseline = normal(2, 6), normal(6, seed=2)
    model = network(6, 2)
    with torch.no_grad():
        exact = sn.explain(model, x, baseline)
        runs = [
            sn.sample_shapley_values(model, x, baseline, permutations=20, generator=torch.Generator().manual_seed(s))
            for s in range(100)
        ]
    repeats_agree(runs, exact, 0.75, 1.25)


@rejects(
    ("a variance over pairs, not over one less", "sample_shapley_values", lambda right: VarianceOverPairs()),
    ("standard deviation for standard error", "sample_shapley_values", lambda right: Deviation()),
    ("spread between chunks lost", "sample_shapley_values", lambda right: SpreadWithinChunks()),
)
def errors_are_those_of_few_pairs(sn):
    """With two pairs, by hand: half the distance of their means; with three, one chunk at a time or all together."""
    x, model = normal(1, 4), network(4, 1)
    with torch.no_grad():
        table = table_of(model, x[0], torch.zeros(4, dtype=torch.float64), [0, 1, 2, 3])[:, 0]
        for pairs in (2, 3):
            for chunk_size in (None, 2, 6):
                values, errors = sn.sample_shapley_values(
                    model,
                    x,
                    permutations=2 * pairs,
                    generator=torch.Generator().manual_seed(5),
                    chunk_size=chunk_size,
                )
                draws = torch.rand(pairs, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
                samples = []
                for order in draws.argsort(1).tolist():
                    gains = torch.zeros(4, dtype=torch.float64)
                    for way in (order, order[::-1]):
                        coalition = 0
                        for player in way:
                            gains[player] += (table[coalition | 1 << player] - table[coalition]) / 2
                            coalition |= 1 << player
                    samples.append(gains)
                samples = torch.stack(samples)
                assert_close(values[0, :, 0], samples.mean(0), **F64)
                assert_close(errors[0, :, 0], samples.std(0) / pairs**0.5, **F64)


@rejects(
    ("no reverse orders", "sample_shapley_values", lambda right: NoReverse()),
    ("pairs of unrelated orders", "sample_shapley_values", lambda right: UnrelatedPairs()),
)
def pairs_cancel_pairwise_interactions(sn):
    """An order and its reverse together are exact when no interaction has more than two players."""
    a = normal(5, 5)
    pairwise = lambda z: torch.einsum("bi,ij,bj->b", z, a, z) + z.sum(1)  # noqa: E731
    x = normal(2, 5, seed=4)
    values, errors = sn.sample_shapley_values(pairwise, x, permutations=4, generator=torch.Generator().manual_seed(0))
    assert_close(values, model_values(pairwise, x, torch.zeros(5, dtype=torch.float64)), **F64)
    assert float(errors.max()) < 1e-12


@rejects(("spread between chunks lost", "sample_shapley_values", lambda right: SpreadWithinChunks()))
def sampling_does_not_depend_on_the_chunk(sn):
    x, model = normal(2, 6), network(6, 1)
    runs = [
        sn.sample_shapley_values(model, x, permutations=12, generator=torch.Generator().manual_seed(0), chunk_size=c)
        for c in (None, 1, 7, 25)
    ]
    for values, errors in runs[1:]:
        assert_close(values, runs[0][0], **F64)
        assert_close(errors, runs[0][1], **F64)


class PairedRegression:
    """Kernel SHAP on pairs that are drawn independently, as plainly as can be; each way to be wrong is a method."""

    def __call__(self, f, x, baseline=0.0, *, evaluations, generator=None, chunk_size=None):
        n, found = x.shape[1], []
        for one in x:
            table = f(torch.where(masks_of(n), one, baseline)).detach().double().view(2**n, -1)
            found.append(self.one(table, n, evaluations // 2, generator))
        values, errors = (torch.stack(part) for part in zip(*found, strict=True))
        return values.squeeze(-1) if f(x).dim() == 1 else values, errors

    def one(self, table, n, pairs, generator):
        sizes = torch.arange(1, n, dtype=torch.float64)
        size = 1 + torch.multinomial(self.shares(sizes, n), pairs, replacement=True, generator=generator)
        present = torch.rand(pairs, n, generator=generator).argsort(1) < size[:, None]
        codes = present.long() @ (2 ** torch.arange(n))
        share, change = size[:, None].double() / n, table[-1] - table[0]
        c = present.double() - share
        d = table[codes] - table[0] - share * change
        d = (d - self.other(table, codes, share, change)) / 2
        inverse = torch.linalg.pinv(c.T @ c)
        slopes = inverse @ c.T @ d
        return slopes + self.everyone(change, n), self.errors(c @ inverse, c, d - c @ slopes)

    def shares(self, sizes, n):
        return 1 / (sizes * (n - sizes))

    def other(self, table, codes, share, change):
        return table[len(table) - 1 - codes] - table[0] - (1 - share) * change

    def everyone(self, change, n):
        return change / n

    def errors(self, influence, c, rest):
        left_out = rest / (1 - (influence * c).sum(1, keepdim=True))
        return (influence.square().T @ left_out.square()).sqrt()


class SizesAlike(PairedRegression):
    def shares(self, sizes, n):
        return torch.ones_like(sizes)


class NoComplement(PairedRegression):
    def other(self, table, codes, share, change):
        return -(table[codes] - table[0] - share * change)


class NoChange(PairedRegression):
    def everyone(self, change, n):
        return 0 * change


class ErrorsOfThePairsThemselves(PairedRegression):
    """Those of one pair instead of those of a mean."""

    def errors(self, influence, c, rest):
        return len(c) ** 0.5 * super().errors(influence, c, rest)


class ResidualsOfTheFit(PairedRegression):
    def errors(self, influence, c, rest):
        return (influence.square().T @ rest.square()).sqrt()


@rejects(
    ("all sizes alike", "regression_shapley_values", lambda right: SizesAlike()),
    ("errors of one pair", "regression_shapley_values", lambda right: ErrorsOfThePairsThemselves()),
    ("the change is not shared out", "regression_shapley_values", lambda right: NoChange()),
)
def regression_agrees_with_exact_values(sn):
    """Its mean is right within its own errors, which are those of the spread between repeats; and it is efficient."""
    x, baseline = normal(2, 7), normal(7, seed=2)
    model = lambda z: torch.stack([(z @ normal(7, 4, seed=5)).tanh().prod(1), z.prod(1) + z.sum(1).exp() / 9], 1)  # noqa: E731
    exact = sn.explain(model, x, baseline)
    runs = [
        sn.regression_shapley_values(model, x, baseline, evaluations=100, generator=torch.Generator().manual_seed(seed))
        for seed in range(100)
    ]
    repeats_agree(runs, exact, 0.7, 1.4)


@rejects(("residuals of what was fitted", "regression_shapley_values", lambda right: ResidualsOfTheFit()))
def errors_of_a_regression_on_few_pairs_are_not_too_small(sn):
    """Three pairs per player: what is left of the differences is less than what another pair would leave."""
    x = normal(1, 10).expand(200, 10)
    f = lambda z: (z @ normal(10, 9, seed=5)).tanh() @ normal(9, seed=6)  # noqa: E731
    values, errors = sn.regression_shapley_values(f, x, evaluations=60, generator=torch.Generator().manual_seed(0))
    exact = sn.shapley_values(f, x[:1])
    inside = ((values - exact).abs() <= 1.96 * errors.view_as(values)).double().mean(0)
    assert float(inside.mean()) > 0.88


@rejects(("no complements", "regression_shapley_values", lambda right: NoComplement()))
def pairs_of_coalitions_cancel_pairwise_interactions(sn):
    """A coalition and its complement together are exact when no interaction has more than two players."""
    a = normal(6, 6)
    pairwise = lambda z: torch.einsum("bi,ij,bj->b", z, a, z) + z.sum(1)  # noqa: E731
    x = normal(2, 6, seed=4)
    values, errors = sn.regression_shapley_values(
        pairwise, x, evaluations=36, generator=torch.Generator().manual_seed(0)
    )
    assert_close(values, model_values(pairwise, x, torch.zeros(6, dtype=torch.float64)), **F64)
    assert float(errors.max()) < 1e-12


class ErrorsOfTheLastChunk(PairedRegression):
    def __call__(self, f, x, baseline=0.0, *, chunk_size=None, **settings):
        self.rows = chunk_size
        return super().__call__(f, x, baseline, **settings)

    def errors(self, influence, c, rest):
        rows = slice(-(self.rows or len(c)), None)
        return super().errors(influence[rows], c[rows], rest[rows])


@rejects(("errors of the last chunk", "regression_shapley_values", lambda right: ErrorsOfTheLastChunk()))
def regression_does_not_depend_on_the_chunk(sn):
    x, model = normal(2, 6), network(6, 1)
    runs = [
        sn.regression_shapley_values(
            model, x, evaluations=40, generator=torch.Generator().manual_seed(0), chunk_size=chunk_size
        )
        for chunk_size in (None, 1, 7, 25)
    ]
    for values, errors in runs[1:]:
        assert_close(values, runs[0][0], **F64)
        assert_close(errors, runs[0][1], **F64)


def neuron(x, weight, bias=None, *, squares=1 / 6, square_of_sum=1 / 12, shared=True, unit=1.0):
    """Li and Cui's equation 1 for all neurons, in one precision and one unit: [..., out, in]."""
    terms = weight * x[..., None, :]
    bias = unit * (torch.zeros_like(weight[:, 0]) if bias is None else bias)
    total = terms.sum(-1)
    z = (total / 2 + bias) / (squares * (terms**2).sum(-1) + square_of_sum * total**2).sqrt()
    return torch.special.ndtr(z)[..., None] * (terms + shared * bias[:, None] / terms.shape[-1])


@rejects(
    *(
        (what, "nn.functional.relu_shapley_values", lambda right, wrong=wrong: partial(neuron, **wrong))
        for what, wrong in (
            ("sixth and twelfth exchanged", {"squares": 1 / 12, "square_of_sum": 1 / 6}),
            ("dropout's variance", {"squares": 1 / 4, "square_of_sum": 0}),
            ("the bias not shared", {"shared": False}),
            ("the bias in another unit than the terms", {"unit": 2.0}),
        )
    )
)
def neuron_has_its_closed_form(sn):
    """Li and Cui, equation 1, term by term; and Table 1, exactly."""
    x, weight, bias = normal(3, 4), normal(5, 4, seed=2), normal(5, seed=3)
    got = sn.nn.functional.relu_shapley_values(x, weight, bias)
    for i in range(3):
        for j in range(5):
            terms = [float(weight[j, k] * x[i, k]) for k in range(4)]
            mu = sum(terms) / 2
            sigma = (sum(t * t for t in terms) / 6 + sum(terms) ** 2 / 12) ** 0.5
            z = torch.tensor((mu + float(bias[j])) / sigma, dtype=torch.float64)
            for k in range(4):
                expected = 0.5 * (1 + torch.erf(z / 2**0.5)) * (terms[k] + float(bias[j]) / 4)
                assert_close(got[i, j, k], expected, **F64)
    table_1 = sn.nn.functional.exact_relu_shapley_values(
        torch.tensor([[-1.0, 2.0, -1.0]]).double(),
        torch.tensor([[1.0, 2.0, 3.0]]).double(),
        torch.tensor([-1.0]).double(),
    )
    assert_close(table_1, torch.tensor([[[-1 / 6, 4 / 3, -7 / 6]]], dtype=torch.float64), **F64)


@rejects(("a square root at zero", "nn.functional.relu_shapley_values", lambda right: neuron))
def neuron_has_its_limit(sn):
    """No term, no spread: Phi becomes a step, and value and gradient stay finite."""
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
        weight, bias = (
            torch.ones(3, 3, dtype=dtype, requires_grad=True),
            torch.tensor([2.0, -2.0, 0.0], dtype=dtype),
        )
        values = sn.nn.functional.relu_shapley_values(x, weight, bias)
        assert_close(values[0].detach(), torch.tensor([[2 / 3] * 3, [0.0] * 3, [0.0] * 3], dtype=dtype))
        gradients = torch.autograd.grad(values.sum(), [x, weight])
        assert all(bool(torch.isfinite(g).all()) for g in gradients)
        assert_close(
            gradients[0], torch.full((1, 3), 1.5, dtype=dtype)
        )  # 1 where it fires, 0 where not, 1/2 at the kink


def surrogate_by_loops(x, weight, bias, gradient, full):
    """Li and Cui's equation 4, one neuron, one input at a time, summed as the chain rule does: for x, weight and b."""
    on_x, on_weight, on_bias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
    n = x.shape[1]
    for i in range(len(x)):
        for j in range(len(weight)):
            terms = weight[j] * x[i]
            mu = terms.sum() / 2
            sigma = ((terms**2).sum() / 6 + terms.sum() ** 2 / 12).sqrt()
            z = (mu + bias[j]) / sigma
            cdf = 0.5 * (1 + torch.erf(z / 2**0.5))
            g = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5 * (terms + bias[j] / n)
            t = 1 / (2 * sigma) - (mu + bias[j]) * (terms + mu) / (6 * sigma**3)
            for k in range(n):
                last = g[k] * t[k] if full else 0.0
                on_x[i, k] += gradient[i, j] * weight[j, k] * (cdf + last)
                on_weight[j, k] += gradient[i, j] * x[i, k] * (cdf + last)
            on_bias[j] += gradient[i, j] * (cdf + g.sum() / sigma)
    return on_x, on_weight, on_bias


def activation(x, weight, bias=None, *, squares=1 / 6, of_squares=None, of_sigma=None, of_bias=None):
    """The sum of a neuron's values, with autograd's derivatives, in one precision: [..., out]."""
    terms = weight * x[..., None, :]
    bias = torch.zeros_like(weight[:, 0]) if bias is None else bias
    total, square = terms.sum(-1), (terms**2).sum(-1)
    variance = squares * (of_squares or same)(square) + total**2 / 12
    z = (total / 2 + (of_bias or same)(bias)) / (of_sigma or same)(variance.sqrt())
    return torch.special.ndtr(z) * (total + bias)


def same(t):
    return t


def half_the_slope(t):
    return (t + t.detach()) / 2


@rejects(
    (
        "squares at half their weight",
        "nn.functional.shapley_activation",
        lambda right: partial(activation, squares=1 / 12),
    ),
    (
        "SA is ReLU",
        "nn.functional.shapley_activation",
        lambda right: lambda *layer: torch.relu(nn.functional.linear(*layer)),
    ),
    (
        "SA without its bias",
        "nn.functional.shapley_activation",
        lambda right: lambda x, weight, bias: right(x, weight),
    ),
)
def shapley_activation_sums_the_closed_form(sn):
    F = sn.nn.functional
    x, weight, bias = normal(7, 6), normal(5, 6, seed=2), normal(5, seed=3)
    x[0], weight[1] = 0, 0
    for b in (bias, None, torch.zeros_like(bias), 100 * bias):
        assert_close(F.shapley_activation(x, weight, b), F.relu_shapley_values(x, weight, b).sum(-1), **F64)
    block = F.shapley_activation(x.reshape(7, 1, 6).expand(7, 2, 6), weight, bias)
    assert_close(block, F.shapley_activation(x, weight, bias)[:, None].expand(7, 2, 5), **F64)
    assert_close(F.shapley_activation(x[2], weight, bias), block[2, 0], **F64)


class Surrogate(torch.autograd.Function):
    """ReLU forward, equation 4 backward, written once for all neurons; each way to be wrong is a rule."""

    @staticmethod
    def forward(ctx, x, weight, bias, full, wrong):
        ctx.save_for_backward(x, weight, bias)
        ctx.settings = full, wrong
        y = nn.functional.linear(x, weight, bias)
        return y if wrong == "no ReLU forward" else torch.relu(y)

    @staticmethod
    def backward(ctx, grad):
        (x, weight, bias), (full, wrong) = ctx.saved_tensors, ctx.settings
        terms, n = weight * x[:, None], x.shape[1]
        total = terms.sum(-1)
        mu, sigma = total / 2, ((terms**2).sum(-1) / 6 + total**2 / 12).sqrt()
        z = (mu + bias) / sigma
        share = bias[:, None] / (1 if wrong == "the bias not shared" else n)
        g = (torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5)[..., None] * (terms + share)
        sixth = 3 if wrong == "a third for a sixth" else -6 if wrong == "the sign of sigma's part" else 6
        cubes = sigma ** (2 if wrong == "cubes of another unit" else 3)
        t = (1 / (2 * sigma))[..., None] - ((mu + bias) / (sixth * cubes))[..., None] * (terms + mu[..., None])
        slope = grad[..., None] * (torch.special.ndtr(z)[..., None] + full * g * t)
        on_bias = torch.special.ndtr(z)
        if wrong != "Phi constant in b":
            on_bias = on_bias + g.sum(-1) / sigma
        if wrong == "a term of the inputs in b's gradient":
            on_bias = on_bias + (g * t).sum(-1)
        on_x = (slope * (1 if wrong == "x's gradient without the weight" else weight)).sum(1)
        on_weight = (slope * (1 if wrong == "the weight's gradient without x" else x[:, None])).sum(0)
        return on_x, on_weight, (grad * on_bias).sum(0), None, None


WRONG_SURROGATES = (
    "no ReLU forward",
    "the bias not shared",
    "a third for a sixth",
    "the sign of sigma's part",
    "cubes of another unit",
    "Phi constant in b",
    "a term of the inputs in b's gradient",
    "x's gradient without the weight",
    "the weight's gradient without x",
)


@rejects(
    *(
        (
            what,
            "nn.functional.shaplu",
            lambda right, what=what: (
                lambda x, weight, bias, full_gradient: Surrogate.apply(x, weight, bias, full_gradient, what)
            ),
        )
        for what in WRONG_SURROGATES
    )
)
def shaplu_is_relu_with_the_shapley_gradient(sn):
    x, weight, bias, gradient = normal(3, 4), normal(5, 4, seed=2), normal(5, seed=3), normal(3, 5, seed=4)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    for full in (False, True):
        y = sn.nn.functional.shaplu(*leaves, full_gradient=full)
        assert torch.equal(y, torch.relu(nn.functional.linear(*leaves)))
        expected = surrogate_by_loops(*(leaf.detach() for leaf in leaves), gradient, full)
        for got, value in zip(torch.autograd.grad(y, leaves, gradient), expected, strict=True):
            assert_close(got, value, **F64)


@rejects(
    (
        "images moved",
        "nn.functional.shapley_activation_conv2d",
        lambda right: lambda x, *layer, **k: right(x.roll(1, -1), *layer, **k),
    ),
    (
        "each neuron with another's bias",
        "nn.functional.shapley_activation_conv2d",
        lambda right: lambda x, weight, bias, **k: right(x, weight, bias.flip(0), **k),
    ),
    (
        "full_gradient ignored",
        "nn.functional.shaplu_conv2d",
        lambda right: lambda *layer, full_gradient, **k: right(*layer, full_gradient=False, **k),
    ),
)
def convolutions_are_layers_on_patches(sn):
    """Padding is part of a patch; groups are layers side by side."""
    F = sn.nn.functional
    x, weight, bias = normal(2, 4, 5, 6), normal(6, 2, 3, 2, seed=2), normal(6, seed=3)
    x[0, :, :, :4] = 0  # patches without a term
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    geometry = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    patches = nn.functional.unfold(x, (3, 2), **geometry).mT.reshape(2, -1, 2, 12)  # [batch, places, groups, in]
    for name, settings in (
        ("shapley_activation", {}),
        ("shaplu", {"full_gradient": False}),
        ("shaplu", {"full_gradient": True}),
    ):
        image = getattr(F, f"{name}_conv2d")(*leaves, **geometry, groups=2, **settings)
        halves = [
            getattr(F, name)(
                patches[:, :, h], weight.flatten(1)[3 * h : 3 * h + 3], bias[3 * h : 3 * h + 3], **settings
            )
            for h in (0, 1)
        ]
        rows = torch.cat(halves, -1).mT.reshape(image.shape)
        assert_close(image, rows, **F64)
        gradient = normal(*image.shape, seed=5)
        ours, slow = (torch.autograd.grad(y, leaves, gradient, retain_graph=True) for y in (image, rows))
        for got, expected in zip(ours, slow, strict=True):
            assert_close(got, expected, **F64)


@rejects(
    ("a spread of zero", "nn.functional.shapley_activation", lambda right: activation),
    ("ReLU's own slope", "nn.functional.shaplu", lambda right: lambda x, w, b, **k: torch.relu(x @ w.T + b)),
)
def activations_have_their_limit(sn):
    """No term, no spread: max(b, 0), and gradients 1, 0 and, at the kink, one half."""
    F, step = sn.nn.functional, torch.tensor([1.0, 0.0, 0.5])
    for dtype in (torch.float32, torch.float64):
        for form in (F.shapley_activation, F.shaplu, lambda *layer: F.shaplu(*layer, full_gradient=True)):
            x = torch.zeros(1, 4, dtype=dtype, requires_grad=True)
            weight = torch.ones(3, 4, dtype=dtype, requires_grad=True)
            bias = torch.tensor([2.0, -2.0, 0.0], dtype=dtype, requires_grad=True)
            y = form(x, weight, bias)
            assert_close(y.detach(), torch.tensor([[2.0, 0.0, 0.0]], dtype=dtype))
            on_x, on_weight, on_bias = torch.autograd.grad(y.sum(), [x, weight, bias])
            assert_close(on_x, torch.full_like(x, 1.5))
            assert_close(on_bias, step.to(dtype))
            assert float(on_weight.abs().max()) == 0
            zero = torch.zeros_like(weight).requires_grad_()
            on_weight = torch.autograd.grad(form(torch.ones_like(x), zero, bias).sum(), zero)[0]
            assert_close(on_weight, step.to(dtype)[:, None].expand(3, 4))


@rejects(
    ("squares of unscaled terms", "nn.functional.shapley_activation", lambda right: activation),
    (
        "squares of unscaled terms backward",
        "nn.functional.shaplu",
        lambda right: lambda *layer, full_gradient=False: Surrogate.apply(*layer, full_gradient, ""),
    ),
)
def activations_bear_any_scale(sn):
    """In float32 as in float64, where the squares of the float32 numbers would overflow or vanish."""
    F = sn.nn.functional
    for on_x, on_weight, on_bias in (
        (1e30, 1.0, 1e30),
        (1e-30, 1.0, 1e-30),
        (1.0, 1e30, 1e30),
        (1e-20, 1e-10, 1e-30),
        (1e30, 1e-30, 1.0),
        (1e-30, 1.0, 1e30),
        (1e-30, 1.0, 1.0),
    ):
        scales = torch.tensor([[1.0], [1e-3], [0.0]])  # rows have a scale each
        x, weight, bias = (
            on_x * normal(3, 6, dtype=torch.float32) * scales,
            on_weight * normal(4, 6, seed=2, dtype=torch.float32),
            on_bias * normal(4, seed=3, dtype=torch.float32),
        )
        for form in (F.shapley_activation, F.shaplu, lambda *layer: F.shaplu(*layer, full_gradient=True)):
            results = []
            for dtype in (torch.float32, torch.float64):
                leaves = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (x, weight, bias)]
                y = form(*leaves)
                results.append([y.detach(), *torch.autograd.grad(y.sum(), leaves)])
            for got, expected in zip(*results, strict=True):
                unit = expected.abs().max().clamp(min=1e-300)
                assert_close(got.double() / unit, expected / unit, **tolerance(torch.float32))


@rejects(("sums that overflow", "nn.functional.shapley_activation", lambda right: activation))
def activations_bear_sums_that_overflow(sn):
    """SA of terms whose sum is too large for float32, while its own value and gradients are not."""
    F, results = sn.nn.functional, []
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[3e19, 1.0], [2.0, 1.0]], dtype=dtype, requires_grad=True)
        weight = torch.tensor([[-3e19, 2.0], [1.0, 1.0]], dtype=dtype, requires_grad=True)
        y = F.shapley_activation(x, weight)
        results.append([y.detach(), *torch.autograd.grad(y.sum(), (x, weight))])
    for got, expected in zip(*results, strict=True):
        assert_close(got.double() / expected, torch.ones_like(expected), **tolerance(torch.float32))


class HalfSecondDerivative(torch.autograd.Function):
    """SA with its gradient, of which half is taken for constant."""

    @staticmethod
    def forward(ctx, *layer):
        ctx.save_for_backward(*layer)
        return activation(*layer)

    @staticmethod
    def backward(ctx, grad):
        with torch.enable_grad():
            layer = [t if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors]
            return tuple(map(half_the_slope, torch.autograd.grad(activation(*layer), layer, grad, create_graph=True)))


@rejects(
    ("sigma constant", "nn.functional.shapley_activation", lambda right: partial(activation, of_sigma=torch.detach)),
    (
        "Phi constant in b",
        "nn.functional.shapley_activation",
        lambda right: partial(activation, of_bias=torch.detach),
    ),
    (
        "squares of half their slope",
        "nn.functional.shapley_activation",
        lambda right: partial(activation, of_squares=half_the_slope),
    ),
    (
        "half of the second derivative",
        "nn.functional.shapley_activation",
        lambda right: HalfSecondDerivative.apply,
    ),
)
def shapley_activation_has_its_derivatives(sn):
    leaves = [tensor.requires_grad_() for tensor in (normal(2, 3), normal(2, 3, seed=2), normal(2, seed=3))]
    assert torch.autograd.gradcheck(sn.nn.functional.shapley_activation, leaves, raise_exception=False)
    assert torch.autograd.gradgradcheck(sn.nn.functional.shapley_activation, leaves, raise_exception=False)


def without_full_gradient(right):
    class Layer(right):
        def __init__(self, *sizes, full_gradient=False, **settings):
            super().__init__(*sizes, **settings)

    return Layer


def without_bias(right):
    class Layer(right):
        def forward(self, x):
            return shapley_activation(x, self.weight, 0 * self.bias)

    return Layer


@rejects(
    ("full_gradient ignored", "nn.ShapLULinear", without_full_gradient),
    ("full_gradient ignored in images", "nn.ShapLUConv2d", without_full_gradient),
    ("a layer without its bias", "nn.SALinear", without_bias),
)
def layers_are_their_functions(sn):
    F = sn.nn.functional
    image, rows = normal(2, 4, 6, 5), normal(3, 4)
    conv = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2, "dtype": torch.float64}
    for layer, form, x, settings in (
        (sn.nn.SALinear(4, 3, dtype=torch.float64), F.shapley_activation, rows, {}),
        (sn.nn.ShapLULinear(4, 3, dtype=torch.float64), F.shaplu, rows, {"full_gradient": False}),
        (
            sn.nn.ShapLULinear(4, 3, bias=False, dtype=torch.float64, full_gradient=True),
            F.shaplu,
            rows,
            {"full_gradient": True},
        ),
        (sn.nn.SAConv2d(4, 6, 3, **conv), F.shapley_activation_conv2d, image, conv),
        (sn.nn.ShapLUConv2d(4, 6, 3, **conv), F.shaplu_conv2d, image, {"full_gradient": False, **conv}),
        (
            sn.nn.ShapLUConv2d(4, 6, 3, full_gradient=True, **conv),
            F.shaplu_conv2d,
            image,
            {"full_gradient": True, **conv},
        ),
    ):
        settings = {key: value for key, value in settings.items() if key != "dtype"}
        results = []
        for y in (layer(x), form(x, layer.weight, layer.bias, **settings)):
            leaves = list(layer.parameters())
            results.append([y.detach(), *torch.autograd.grad(y, leaves, normal(*y.shape, seed=7))])
        assert all(torch.equal(got, expected) for got, expected in zip(*results, strict=True))


class Residual(nn.Module):
    """Every way to write a ReLU, one of them after an addition, and a linear layer whose output is used twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding="same")
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.fc1, self.fc2, self.fc3, self.fc4 = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.norm1(self.act(self.conv1(x)))
        x = self.act(x + self.norm2(nn.functional.relu(self.conv2(x), inplace=True))).mean((2, 3))
        x = torch.relu(self.fc2(self.drop(self.fc1(x).relu())))
        logits = self.fc3(x)
        return self.fc4(torch.relu(logits) + logits)


def changed(change, at=("sa", "shaplu", "relu")):
    """Swapping that ends with something done to what it returns, or to what it was given."""

    def make(right):
        def swap(model, to):
            swapped = right(model, to=to)
            if to in at:
                change(swapped, model)
            return swapped

        return swap

    return make


def share_weights(swapped, model):
    for ours, theirs in zip(swapped.parameters(), model.parameters(), strict=True):
        ours.data = theirs.data


def turn_training(swapped, model):
    for module in swapped.modules():
        module.training = not module.training


def swap_the_linear_layer_too(swapped, model):
    swapped.fc3.__class__ = type(swapped.fc1)


def make_convolutions_linear(swapped, model):
    swapped.conv1 = type(swapped.fc1)(4, 4)


def put_back_the_absolute_value(swapped, model):
    swapped.fc1.register_forward_hook(lambda layer, _, y: y.abs())


@rejects(
    (
        "a layer swapped whose output is used twice",
        "nn.swap_activations",
        changed(swap_the_linear_layer_too, at=("sa", "shaplu")),
    ),
    ("the model itself changed", "nn.swap_activations", changed(share_weights)),
    ("training flags turned over", "nn.swap_activations", changed(turn_training)),
    (
        "something else than ReLU put back",
        "nn.swap_activations",
        changed(put_back_the_absolute_value, at=("relu",)),
    ),
    (
        "convolutions become linear layers",
        "nn.swap_activations",
        changed(make_convolutions_linear, at=("sa", "shaplu")),
    ),
)
def swapping_keeps_weights_and_comes_back(sn):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Residual().double().eval()
    model.drop.train()
    kept, x = {key: value.clone() for key, value in model.state_dict().items()}, normal(3, 2, 5, 5)

    def run(network):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return network(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the two ReLUs that have to stay
        forms = {to: sn.nn.swap_activations(model, to=to) for to in ("sa", "shaplu")}
        forms["shaplu, then sa"] = sn.nn.swap_activations(forms["shaplu"], to="sa")
    for to, swapped in forms.items():
        linear, conv = (sn.nn.ShapLULinear, sn.nn.ShapLUConv2d) if to == "shaplu" else (sn.nn.SALinear, sn.nn.SAConv2d)
        layers = [swapped.conv1, swapped.conv2, swapped.fc1, swapped.fc2, swapped.fc3, swapped.fc4]
        assert [type(layer) for layer in layers] == [conv, conv, linear, linear, nn.Linear, nn.Linear]
        assert not swapped.norm1.training and swapped.drop.training
        assert all(torch.equal(value, kept[key]) for key, value in swapped.state_dict().items())
        assert torch.equal(run(swapped), run(model)) == (to == "shaplu")
        back = sn.nn.swap_activations(swapped, to="relu")
        assert torch.equal(run(back), run(model)) and set(back.state_dict()) == set(kept)
        with torch.no_grad():
            for parameter in swapped.parameters():
                parameter.zero_()
    assert [type(layer) for layer in (model.conv1, model.fc1, model.act)] == [nn.Conv2d, nn.Linear, nn.ReLU]
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())


class Halved(nn.Module):
    """An argument that has a default, which is not the branch that tracing would take."""

    def __init__(self):
        super().__init__()
        self.fc = network(3, 2)[0]

    def forward(self, x, by=None):
        x = torch.relu(self.fc(x))
        return x / 2 if by is None else x / by


def forwards_of_the_class(right):
    """As if a layer's forward were always that of its class."""

    def values(f, x, **settings):
        f = copy.deepcopy(f)
        for module in f.modules():
            vars(module).pop("forward", None)
        return right(f, x, **settings)

    return values


def forwards_without_hooks(right):
    def values(f, x, **settings):
        def run(z):
            for layer in f:
                z = layer.forward(z)
            return z

        return right(run, x, **settings)

    return values


@rejects(
    ("forwards of instances not seen", "shapley_values", forwards_of_the_class),
    ("hooks of all modules not seen", "shapley_values", forwards_without_hooks),
    (
        "defaults not taken",
        "nn.swap_activations",
        lambda right: lambda model, to: lambda x: 2 * right(model, to)(x),
    ),
)
def models_are_taken_as_they_are(sn):
    """With defaults, hooks of all modules, and forwards that were replaced on an instance."""
    x, model = normal(2, 3), Halved()
    weight, bias = model.fc.weight, model.fc.bias
    expected = sn.nn.functional.shapley_activation(x, weight, bias) / 2
    assert_close(sn.nn.swap_activations(model, "sa")(x), expected, **F64)
    for inside in (0, 2):
        model = network(3, 2, activation=nn.ReLU).requires_grad_(False)
        forward = model[inside].forward
        model[inside].forward = lambda z, forward=forward: forward(z) ** 2
        values = model_values(model, x, torch.zeros(3, dtype=torch.float64))
        assert_close(sn.shapley_values(model, x, chunk_size=4), values, **F64)
    model = network(3, 2, activation=nn.ReLU).requires_grad_(False)
    handle = nn.modules.module.register_module_forward_hook(lambda module, _, z: z**2 if module is model[0] else z)
    try:
        values = model_values(model, x, torch.zeros(3, dtype=torch.float64))
        assert_close(sn.shapley_values(model, x, chunk_size=4), values, **F64)
    finally:
        handle.remove()


def gradient_terms(f, x, baseline):
    """What the rescale rule gives where it sees no activation: gradients times distances."""
    x = x.detach().requires_grad_()
    y = f(x)
    outputs = y.view(len(x), -1)
    parts = [torch.autograd.grad(out.sum(), x, retain_graph=True)[0] * (x - baseline) for out in outputs.unbind(1)]
    return torch.stack(parts, -1).detach() if y.dim() > 1 else parts[0].detach()


def where(kind, wrong):
    """Another method for models with a layer of some kind."""
    return lambda right: lambda f, *a: (wrong if any(kind(m) for m in f.modules()) else right)(f, *a)


@rejects(
    (
        "methods not seen",
        "explainers.deeplift",
        where(lambda m: not type(m).__module__.startswith("torch."), gradient_terms),
    ),
    ("inputs shared", "explainers.deeplift", where(lambda m: isinstance(m, nn.MaxPool1d), gradient_terms)),
    ("no rule for a ReLU in deep_shap", "explainers.deep_shap", lambda right: gradient_terms),
)
def deeplift_follows_what_is_called(sn):
    """A ReLU for two calls, and one called as a function, as if each were a module; and one right after a pooling."""
    relu, x, r = nn.ReLU(), normal(3, 4), normal(4, seed=2)
    first, second, last = network(4, 5)[0], nn.Linear(9, 9).double(), nn.Linear(9, 2).double()
    plain = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    expected = sn.explainers.deeplift(plain, x, r)
    assert_close(sn.explainers.deep_shap(plain, x, r), expected, **F64)
    assert_close(sn.explainers.deeplift(nn.Sequential(first, relu, second, relu, last), x, r), expected, **F64)

    class Function(nn.Module):
        def forward(self, z):
            return z.relu_()

    called = nn.Sequential(first, Function(), second, Function(), last)
    assert_close(sn.explainers.deeplift(called, x, r), expected, **F64)
    window, r = torch.tensor([[[3.0, 1.0]]]).double(), torch.tensor([[-2.0, -1.0]]).double()
    found = sn.explainers.deeplift(nn.Sequential(nn.MaxPool1d(2), nn.ReLU(), nn.Flatten(0)), window, r)
    assert_close(found, torch.tensor([[[3.0, 0.0]]]).double(), **F64)


@rejects(
    (
        "a sum for the mean over players",
        "metrics.shapley_error",
        lambda right: lambda a, exact, logits: right(a, exact, logits) * a[0, ..., 0].numel(),
    ),
    (
        "classes weighted equally",
        "metrics.shapley_error",
        lambda right: lambda a, exact, logits: right(a, exact, 0 * logits),
    ),
    (
        "the other variance",
        "metrics.coefficient_of_variation",
        lambda right: lambda a: right(a, correction=1),
    ),
    ("negative counted as zero", "metrics.sparsity", lambda right: lambda a: right(a.clamp(min=0))),
)
def errors_are_means_under_the_predicted_probabilities(sn):
    """Shapley Explanation Networks, equation 8 and appendix G.1, term by term; Table 4's two columns by their words."""
    gamma, phi, logits = normal(2, 2, 3, 4), normal(2, 2, 3, 4, seed=2), normal(2, 4, seed=3)
    gamma[0, 0] = 0
    for i in range(2):
        expected, weights = 0.0, [float(torch.exp(z)) for z in logits[i]]
        for j in range(4):
            differences = [abs(float(d)) for d in (phi - gamma)[i, ..., j].flatten()]
            expected += weights[j] / sum(weights) * sum(differences) / 6
        assert_close(sn.metrics.shapley_error(gamma, phi, logits)[i].item(), expected, **F64)
        sizes = [abs(float(a)) for a in gamma[i, ..., 1].flatten()]
        mean = sum(sizes) / 6
        deviation = (sum((s - mean) ** 2 for s in sizes) / 6) ** 0.5
        assert_close(sn.metrics.coefficient_of_variation(gamma)[i, 1].item(), deviation / mean, **F64)
        assert_close(sn.metrics.sparsity(gamma)[i, 1].item(), sizes.count(0.0) / 6, **F64)


def flipped_by(change):
    """Digit flipping from class 1 to 0 by attributions whose difference is another."""

    def make(right):
        def log_odds(f, x, attributions, source, target, fraction):
            difference = change(attributions[..., source], attributions[..., target])
            changed = torch.stack([0 * difference, difference], -1)
            return right(f, x, changed, source, target, fraction=fraction)

        return log_odds

    return make


def scored_by(change):
    return lambda right: lambda f, x, scores, *a, **k: right(f, x, change(scores), *a, **k)


def without_its_width(right):
    """The curve with an area that is not divided by its width."""

    def curve(*arguments, **settings):
        found = right(*arguments, **settings)
        width = float(found.fractions[-1] - found.fractions[0])

        class Curve(type(found)):
            def area(self, values):
                return super().area(values) * width

        return Curve(found.fractions, found.outputs, found.prediction)

    return curve


def in_parts_of_the_variance(right):
    return lambda a, b: dataclasses.replace(
        found := right(a, b), effect_size=found.effect_size / float((a - b).double().std())
    )


@rejects(
    ("what speaks against the class erased too", "metrics.log_odds_change", flipped_by(lambda s, t: s - t + 10)),
    ("no difference", "metrics.log_odds_change", flipped_by(lambda s, t: s)),
    (
        "the least erased first",
        "metrics.log_odds_change",
        flipped_by(lambda s, t: torch.where(s > t, 1 / (s - t), s - t)),
    ),
    ("after minus before", "metrics.log_odds_change", lambda right: lambda *a, **k: -right(*a, **k)),
    ("top and least exchanged", "metrics.removal_curve", scored_by(torch.neg)),
    (
        "an order for ranks",
        "metrics.removal_curve",
        scored_by(lambda scores: -torch.argsort(-scores.flatten(1)).view(scores.shape).double()),
    ),
    (
        "the others removed",
        "metrics.removal_curve",
        lambda right: lambda f, x, scores, fractions, **k: right(f, x, -scores, [1 - q for q in fractions][::-1], **k),
    ),
    ("the effect in parts of the variance", "metrics.paired_comparison", in_parts_of_the_variance),
    ("an area without its width", "metrics.removal_curve", without_its_width),
)
def the_players_named_are_removed(sn):
    """In a model that adds up its inputs, what is gone can be read off the answer; a pixel goes with its channels."""
    x = torch.tensor([[[[1.0, 2.0, 4.0]], [[8.0, 16.0, 32.0]]]]).double()  # [batch 1, channels 2, height 1, width 3]
    f = lambda z: torch.stack([z.sum((1, 2, 3)), 64 + 0 * z[:, 0, 0, 0]], 1)  # noqa: E731
    scores = torch.tensor([[[0.5, -1.0, 3.0]]]).double()
    for order, left in (("top", [63, 27, 18, 0]), ("least", [63, 45, 36, 0])):
        curve = sn.metrics.removal_curve(f, x, scores, [0, 1 / 3, 2 / 3, 1], order=order)
        assert curve.outputs[:, 0, 0].tolist() == left
        assert curve.agreement().tolist() == [[1.0]] * 4 and curve.accuracy(torch.tensor([0])).tolist() == [[0.0]] * 4
    others = torch.tensor([[[2.0, -2.0, 1.0]]]).double()  # so that the first pixel speaks for the other class
    attributions = torch.stack([others, scores], -1)
    for fraction, change in ((0.2, 36), (0.4, 36), (2 / 3, 54), (1, 54)):
        got = sn.metrics.log_odds_change(f, x, attributions, 1, 0, fraction=fraction)
        assert got.tolist() == [-change]
    half = sn.metrics.removal_curve(f, x, scores, [0.25, 0.5])
    assert_close(half.area(torch.tensor([2.0, 4.0])).item(), 3.0, **F64)
    found = sn.metrics.paired_comparison(torch.tensor([3.0, 5.0, 8.0]), torch.tensor([2.0, 3.0, 1.0]))  # 1, 2, 7
    deviation = (31 / 3) ** 0.5
    assert_close(found.effect_size, 10 / 3 / deviation, **F64)
    assert_close(found.t, 10 / 3 / deviation * 3**0.5, **F64)


def explained(methods, change):
    """explain_with, where some methods end with another answer: change(found, model)."""

    def make(right):
        def explain(method, f, x, baseline):
            found = right(method, f, x, baseline)
            return change(found, f) if method in methods else found

        return explain

    return make


def attributing(change):
    return lambda found, f: SimpleNamespace(attributions=change(found.attributions))


def forget_gradients(found, f):
    for parameter in f.parameters():
        parameter.grad = None
    return found


def silenced(method):
    def make(right):
        def explain(name, *arguments):
            try:
                return right(name, *arguments)
            except GapError:
                if name != method:
                    raise

        return explain

    return make


def largest_ten(attributions):
    """shap's own regularisation, which leaves ten players."""
    least = attributions.abs().topk(10, 1).values[:, -1:]
    return torch.where(attributions.abs() >= least, attributions, 0.0)


@rejects(
    (
        "no baseline",
        "explainers.explain_with",
        lambda right: lambda method, f, x, r: right(method, f, x, 0 * r if method == "input_x_gradient" else r),
    ),
    ("shap's regularisation", "explainers.explain_with", explained(["kernel_shap"], attributing(largest_ten))),
    (
        "the gradients of the model's owner lost",
        "explainers.explain_with",
        explained(["deep_shap"], forget_gradients),
    ),
    (
        "outputs before players",
        "explainers.explain_with",
        explained(["gradient_shap"], attributing(lambda a: a.transpose(1, 2))),
    ),
    ("gaps of captum's silenced", "explainers.explain_with", silenced("deeplift")),
    ("gaps of shap's silenced", "explainers.explain_with", silenced("deep_shap")),
)
def other_methods_meet_their_closed_forms(sn):
    """A linear model's terms; the rescale rule at one ReLU; and nothing left on the model."""
    linear, x, r = network(12, 3)[:1], normal(2, 12), normal(2, 12, seed=2)
    terms = (x - r)[..., None] * linear[0].weight.detach().T
    for method in (
        *("exact", "sampling", "regression", "kernel_shap"),
        *("deeplift", "deep_shap", "gradient_shap", "input_x_gradient"),
    ):
        assert_close(sn.explainers.explain_with(method, linear, x, r).attributions, terms, **F64)
    relu = nn.Sequential(nn.Linear(2, 1), nn.ReLU()).double()
    nn.init.ones_(relu[0].weight)
    nn.init.zeros_(relu[0].bias)
    relu[0].weight.grad = torch.ones_like(relu[0].weight)
    x, r = torch.tensor([[4.0, 2.0]]).double(), torch.tensor([-2.0, 0.0]).double()  # 6 goes in, -2 at r: a chord of 6/8
    before = set(relu[1].__dict__), len(relu[1]._forward_hooks)
    for method in ("deeplift", "deep_shap"):
        found = sn.explainers.explain_with(method, relu, x, r)
        assert_close(found.attributions[..., 0], torch.tensor([[4.5, 1.5]]).double(), **F64)
        assert (set(relu[1].__dict__), len(relu[1]._forward_hooks)) == before
        assert relu[0].weight.grad is not None and relu[0].weight.grad.tolist() == [[1, 1]]
        try:
            sn.explainers.explain_with(method, nn.Sequential(network(2, 3), nn.Hardswish()), x, r)
        except sn.GapError:
            continue
        raise AssertionError("a gap was not raised")


def rectified(*sizes: int, slope: float = 0.0) -> nn.Sequential:
    """A random network of several hidden layers of leaky ReLUs, in float64."""
    layers: list[nn.Module] = []
    for seed, (into, out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(into, out).double().requires_grad_(False)
        layer.weight.copy_(normal(out, into, seed=seed) / into**0.5)
        layer.bias.copy_(normal(out, seed=seed + 9) / 2)
        layers += [layer, nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def bounded(change):
    """Bounds of which something else is made."""
    return lambda right: lambda *args, **how: change(right(*args, **how))


@rejects(
    ("the upper bound twice", "shapley_bounds", bounded(lambda b: b._replace(lower=b.upper))),
    (
        "narrower than is known",
        "shapley_bounds",
        bounded(lambda b: b._replace(lower=b.lower + (b.upper - b.lower) / 2, upper=b.upper)),
    ),
    ("wider than it could be", "shapley_bounds", bounded(lambda b: b._replace(upper=b.upper + 1e-6))),
    ("the baseline left out", "shapley_bounds", lambda right: lambda f, x, r, **how: right(f, x, **how)),
    (
        "more than the budget",
        "shapley_bounds",
        lambda right: lambda f, x, r, budget=2**14: right(f, x, r, budget=2 * budget),
    ),
    ("never said to have met", "shapley_bounds", bounded(lambda b: b._replace(met=b.met & False))),
)
def bounds_hold_and_meet(sn):
    """At any budget the exact values are inside; at a large one there is nothing else."""
    for sizes, slope in (((3, 6, 2), 0.0), ((4, 5, 5, 1), 0.2)):
        model, x, baseline = rectified(*sizes, slope=slope), normal(2, sizes[0]), normal(sizes[0], seed=3)
        exact = model_values(model, x, baseline)
        for budget in (sizes[0], 12):
            bounds = sn.shapley_bounds(model, x, baseline, budget=budget)
            assert bool((bounds.lower <= exact + 1e-13).all()) and bool((exact <= bounds.upper + 1e-13).all())
            assert bool((bounds.evaluations <= budget).all())
        bounds = sn.shapley_bounds(model, x, baseline)
        assert bool(bounds.met.all())
        for bound in bounds[:2]:
            assert_close(bound, exact, rtol=1e-10, atol=1e-11)


def moved_by(share):
    """Bounds that are as far apart as they should be, and this share of their width too high."""
    return bounded(
        lambda b: b._replace(lower=b.lower + share * (b.upper - b.lower), upper=b.upper + share * (b.upper - b.lower))
    )


@rejects(
    ("moved up by a quarter of their width", "shapley_bounds", moved_by(0.25)),
    ("moved down by a quarter of their width", "shapley_bounds", moved_by(-0.25)),
    (
        "narrowed by half",
        "shapley_bounds",
        bounded(lambda b: b._replace(lower=(3 * b.lower + b.upper) / 4, upper=(b.lower + 3 * b.upper) / 4)),
    ),
    ("the baseline left out", "shapley_bounds", lambda right: lambda f, x, r, **how: right(f, x, **how)),
    (
        "players from last to first",
        "shapley_bounds",
        bounded(lambda b: b._replace(lower=b.lower.flip(1), upper=b.upper.flip(1))),
    ),
    (
        "values of other players",
        "hidden_layer_shapley_values",
        lambda right: lambda *a, **how: right(*a, **how).roll(1, 1),
    ),
    (
        "values twice as large",
        "nn.functional.relu_shapley_values",
        lambda right: lambda *a, **how: 2 * right(*a, **how),
    ),
)
def bounds_hold_where_nothing_can_be_enumerated(sn):
    """Of one hidden layer and of one neuron, whose values by the lattice are inside, but for its own small error."""
    accuracy = 1e-4
    for n, hidden, seed in ((30, 8, 0), (30, 8, 1), (45, 6, 2), (60, 5, 3)):
        model = nn.Sequential(nn.Linear(n, hidden), nn.ReLU(), nn.Linear(hidden, 2)).double().requires_grad_(False)
        for i, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=10 * seed + i) / p.shape[-1] ** 0.5)
        x, baseline = normal(2, n, seed=seed + 3), normal(n, seed=seed + 4)
        first, last = model[0], model[2].weight.abs()
        neurons = sn.nn.functional.relu_shapley_values(
            x, first.weight, first.bias, baseline=baseline, method="lattice", accuracy=accuracy
        )
        of_neurons = accuracy * neurons.abs().mean(2)  # how far each of their values may be off [batch, hidden]
        values = sn.hidden_layer_shapley_values(model, x, baseline, method="lattice", accuracy=accuracy)
        cases = [(model, values, of_neurons @ last.T)]
        for h in range(2):
            neuron = nn.Sequential(nn.Linear(n, 1), nn.ReLU()).double().requires_grad_(False)
            neuron[0].weight.copy_(first.weight[h : h + 1])
            neuron[0].bias.copy_(first.bias[h : h + 1])
            cases.append((neuron, neurons[:, h, :, None], of_neurons[:, h : h + 1]))
        for f, inside, error in cases:
            bounds = sn.shapley_bounds(f, x, baseline, budget=8 * n)
            assert not bool(bounds.met.any())
            assert float(error.max()) < 1e-3 * float((bounds.upper - bounds.lower).mean())
            assert bool((bounds.lower <= inside + error[:, None]).all())
            assert bool((inside - error[:, None] <= bounds.upper).all())


@rejects(
    (
        "the baseline left out",
        "propagated_shapley_values",
        lambda right: lambda f, x, r=None, **how: right(f, x, **how),
    ),
    (
        "closed to another sum",
        "propagated_shapley_values",
        lambda right: lambda *args, **how: (lambda found: (1.01 * found[0], found[1]))(right(*args, **how)),
    ),
    (
        "the sum for what it misses",
        "propagated_shapley_values",
        lambda right: lambda *args, **how: (lambda found: (found[0], found[0].sum(1)))(right(*args, **how)),
    ),
    (
        "the middle of the integral for its whole",
        "propagated_shapley_values",
        lambda right: lambda *args, **how: right(*args, **how | {"nodes": 1}),
    ),
)
def propagated_values_are_exact_where_nothing_is_assumed(sn):
    """Linear models; one player alone; and sums that hardly need to be closed where many small terms meet."""
    linear, x, baseline = rectified(4, 3, 2, slope=1.0), normal(2, 4), normal(4, seed=3)
    found, missing = sn.propagated_shapley_values(linear, x, baseline, return_missing=True)
    assert_close(found, model_values(linear, x, baseline), **F64)
    assert_close(missing, torch.zeros_like(missing), **F64)
    model, alone = rectified(3, 6, 6, 2, slope=0.1), baseline[:3].repeat(2, 1)
    alone[:, 1] += 2
    found, missing = sn.propagated_shapley_values(model, alone, baseline[:3], return_missing=True)
    assert_close(found, model_values(model, alone, baseline[:3]), **F64)
    assert_close(missing, torch.zeros_like(missing), **F64)  # else closing would have hidden what was wrong
    many = rectified(200, 3, 2)
    found, missing = sn.propagated_shapley_values(many, normal(2, 200), return_missing=True)
    assert_close(found.sum(1), many(normal(2, 200)) - many(torch.zeros(2, 200).double()), **F64)
    assert float(missing.abs().max()) < 2e-3 * float(found.abs().sum(1).max())
