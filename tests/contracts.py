"""What any implementation of the package must satisfy, as functions of the package.

`test_contracts.py` runs them on the package, `test_mutants.py` on packages that were broken on purpose: each check
earns its place by rejecting at least one of those.
"""

import torch
from oracles import by_dividends, by_permutations, model_values, table_of, tolerance
from torch import nn
from torch.testing import assert_close

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
        self.register_buffer("row", torch.tensor([-1.0, 1.0], dtype=torch.float64))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.row.expand(len(z), -1)


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def table_agrees_with_both_oracles(sn):
    for n in range(1, 6):
        table = normal(2**n, 2, seed=n)
        assert_close(sn.shapley_from_table(table), by_permutations(table), **F64)
        assert_close(sn.shapley_from_table(table), by_dividends(table), **F64)


def matrix_is_the_table_rule(sn):
    for n in range(1, 7):
        matrix, table = sn.coalitions.shapley_matrix(n), normal(2**n, seed=n)
        assert_close(matrix @ table, sn.shapley_from_table(table), **F64)
        efficiency = torch.zeros(2**n, dtype=torch.float64)
        efficiency[0], efficiency[-1] = -1, 1
        assert_close(matrix.sum(0), efficiency, **F64)


def coalitions_are_bits(sn):
    for n in range(1, 6):
        expected = torch.tensor([[bool(row >> i & 1) for i in range(n)] for row in range(2**n)])
        assert torch.equal(sn.coalitions.masks(n), expected)
        assert torch.equal(sn.coalitions.sizes(n), expected.sum(1))


def streaming_agrees_with_the_definition(sn):
    """Every split of players into low, middle and high ones, opaque and with a shared first layer."""
    x, baseline = normal(3, 5), normal(5, seed=2)
    model = network(5, 2)
    expected = model_values(model, x, baseline).detach()
    for table_size in (2**17, 16, 2):
        sn.exact.TABLE = table_size
        for chunk_size in (None, 1, 2, 7, 32, 100):
            for f in (model, lambda z: model(z), network(5, 2, activation=nn.ReLU)):
                truth = (
                    model_values(f, x, baseline).detach() if f is not model and isinstance(f, nn.Module) else expected
                )
                with torch.no_grad():
                    assert_close(sn.shapley_values(f, x, baseline, chunk_size=chunk_size), truth, **F64)
                values = sn.shapley_values(f, x, baseline, chunk_size=chunk_size)
                assert_close(values.detach(), truth, **F64)


def gradients_are_those_of_the_definition(sn):
    model = network(4, 2)
    for chunk_size in (None, 2, 8):
        for f in (model, lambda z: model(z)):
            x, baseline = normal(2, 4), normal(4, seed=2).requires_grad_()
            x[0, 1] = baseline[1].detach()  # a value of zero there, but not a gradient of zero
            x.requires_grad_()
            leaves = [x, baseline, *model.parameters()]
            weight = normal(2, 4, 2, seed=3)
            ours = torch.autograd.grad(
                (sn.shapley_values(f, x, baseline, chunk_size=chunk_size) * weight).sum(), leaves
            )
            tables = torch.stack([table_of(model, one, baseline, [0, 1, 2, 3]) for one in x])
            slow = torch.stack([sn.coalitions.shapley_matrix(4) @ table for table in tables])
            for got, expected in zip(ours, torch.autograd.grad((slow * weight).sum(), leaves), strict=True):
                assert_close(got, expected, **F64)


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


def players_at_the_baseline_are_exactly_zero(sn):
    x, baseline = normal(20, 5), normal(5, seed=2)
    x[:, 2], x[1::2, 4] = baseline[2], baseline[4]
    model = network(5, 1)
    values = sn.shapley_values(model, x, baseline)
    estimate, _ = sn.sample_shapley_values(
        model, x, baseline, permutations=4, generator=torch.Generator().manual_seed(0)
    )
    for got in (values, estimate):
        assert bool((got[:, 2] == 0).all())
        assert bool((got[1::2, 4] == 0).all()) and bool((got[::2, 4] != 0).all())
    assert_close(values, model_values(model, x, baseline).detach(), **F64)


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
    with torch.inference_mode():
        assert_close(
            sn.shapley_values(lambda z: model(z.mul_(2)), x, baseline, chunk_size=4),
            expected,
            **F64,
        )
    assert torch.equal(x, kept[0]) and torch.equal(baseline, kept[1])
    constant = nn.Sequential(nn.Linear(5, 2), Constant(), nn.ReLU()).double().requires_grad_(False)
    assert float(sn.shapley_values(constant, x, baseline).abs().max()) == 0
    assert constant[1].row.tolist() == [-1.0, 1.0]
    for view in (lambda z: z[:, :2], nn.Linear(5, 2).double().requires_grad_(False)):
        expected = model_values(view, x, baseline)
        assert_close(sn.shapley_values(view, x, baseline, chunk_size=4), expected, **F64)


def gaps_are_found(sn):
    """A function that mixes rows has no Shapley values; a right one has no gap."""
    x = normal(4, 3)
    assert float(sn.explain(network(3, 2), x).gap().detach().abs().max()) < 1e-12
    mixing = lambda z: (z - z.mean(0)).pow(2).sum(1)  # noqa: E731
    try:
        sn.shapley_values(mixing, x)
    except sn.GapError:
        return
    raise AssertionError("a function that mixes rows was explained without complaint")


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
    values, errors = (torch.stack(part) for part in zip(*runs, strict=True))
    total = exact.prediction - exact.baseline_prediction
    assert_close(values.sum(2), total.expand(100, -1, -1), **F64)
    spread = values.std(0)
    # 100 repeats: the mean lies within 5 of its standard errors, and spread and stated error agree within a quarter.
    assert bool(((values.mean(0) - exact.attributions).abs() < 5 * spread / 100**0.5).all())
    ratio = spread / (errors**2).mean(0).sqrt()
    assert 0.75 < float(ratio.min()) and float(ratio.max()) < 1.25


def pairs_cancel_pairwise_interactions(sn):
    """An order and its reverse together are exact when no interaction has more than two players."""
    a = normal(5, 5)
    pairwise = lambda z: torch.einsum("bi,ij,bj->b", z, a, z) + z.sum(1)  # noqa: E731
    x = normal(2, 5, seed=4)
    values, errors = sn.sample_shapley_values(pairwise, x, permutations=4, generator=torch.Generator().manual_seed(0))
    assert_close(values, model_values(pairwise, x, torch.zeros(5, dtype=torch.float64)), **F64)
    assert float(errors.max()) < 1e-12


def sampling_does_not_depend_on_the_chunk(sn):
    x, model = normal(2, 6), network(6, 1)
    runs = [
        sn.sample_shapley_values(model, x, permutations=12, generator=torch.Generator().manual_seed(0), chunk_size=c)
        for c in (None, 1, 7, 25)
    ]
    for values, errors in runs[1:]:
        assert_close(values, runs[0][0], **F64)
        assert_close(errors, runs[0][1], **F64)


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


# The quick ones first: a mutant is done with at the first that rejects it.
CONTRACTS = [
    coalitions_are_bits,
    neuron_has_its_closed_form,
    neuron_has_its_limit,
    table_agrees_with_both_oracles,
    matrix_is_the_table_rule,
    gaps_are_found,
    players_at_the_baseline_are_exactly_zero,
    functions_may_do_as_they_like_with_their_input,
    pairs_cancel_pairwise_interactions,
    sampling_does_not_depend_on_the_chunk,
    groups_are_single_players,
    gradients_are_those_of_the_definition,
    streaming_agrees_with_the_definition,
    sampling_agrees_with_exact_values,
]
