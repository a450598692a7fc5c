"""Contracts of `shapnotes.shapnet`: every network is what its definition says, one module and one input at a time."""

import copy
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace

import torch
from oracles import by_permutations, model_values, tolerance
from torch.testing import assert_close
from wrong import rejects

import shapnotes.shapnet.windows.numba_cpu  # noqa: F401  loaded by the package when it is first needed
from shapnotes.coalitions import shapley_matrix
from shapnotes.shapnet import ShapNet
from shapnotes.shapnet.inner.dispatch import MODULE_VALUES
from shapnotes.shapnet.windows.batched import Batched, neuron_values
from shapnotes.shapnet.windows.op import window_values

F64 = tolerance(torch.float64)
SETS = [(2,), (0, 3), (3, 1), (4, 0, 2), (1, 2, 3, 4), (3, 0, 4, 1, 2)]  # overlapping, of all sizes, in any order

GEOMETRIES = [  # of windows: kernel, dilation, stride, padding
    (2, 1, 1, "same"),
    (2, 3, 1, "same"),
    (2, (1, 2), (2, 1), 0),
    (2, 2, 3, 2),
    ((1, 3), 2, 1, (1, 2)),
    ((3, 1), 1, 2, 1),
    ((2, 3), (2, 1), 1, "same"),
    (1, 1, 1, 0),
]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=_seeded(seed), dtype=torch.float64)


def perceptron(block, module: int):
    """The inner function of one module of a block, as the formula has it: [k * channels] -> [outputs]."""

    def f(row: torch.Tensor) -> torch.Tensor:
        h = row
        weights = [block.first, *block.weights]
        for weight, bias in zip(weights, [block.bias, *block.biases], strict=True):
            s = weight[module] @ h + bias[module, :, 0]
            h = torch.where(s > 0, s, block.negative_slope * s)
        return block.last[module] @ h

    return f


def slow_transform(
    stage,
    x: torch.Tensor,
    reference: torch.Tensor,
    functions=None,
    *,
    function=perceptron,
    values=by_permutations,
    owners=tuple,
) -> torch.Tensor:
    """Definitions 3 and 7: for each input and module all orders of its players; [batch, n, channels] -> [.., outputs].

    functions: those of the active sets in turn; by default the perceptrons of the stage's blocks. The other arguments
    are for transforms that are wrong on purpose: a module's function, the values of its table, whose they are.
    """
    if functions is None:
        modules = [(players, function(b, m)) for b in stage.blocks for m, players in enumerate(b.sets)]
    else:
        modules = list(zip(stage.active_sets, functions, strict=True))
    results = []
    for one in x:
        z = 0
        for players, f in modules:
            table = []
            for coalition in range(2 ** len(players)):
                seen = [(one if coalition >> bit & 1 else reference)[player] for bit, player in enumerate(players)]
                table.append(f(torch.cat(seen)))
            phi = values(torch.stack(table))
            share = torch.zeros(len(one), phi.shape[1], dtype=phi.dtype)
            share[list(owners(players))] = phi
            z = z + share
        results.append(z)
    return torch.stack(results)


def asked_backend():
    return getattr(MODULE_VALUES._asked_for(), "name", None)


def transformed(forward, backend=None):
    """A transform with another forward(right class, transform, x, reference), always or when a backend is asked for."""

    def make(right):
        class Transform(right):
            def forward(self, x, reference=None):
                if backend in (None, asked_backend()):
                    return forward(right, self, x, reference)
                return super().forward(x, reference)

        return Transform

    return make


def by_definition(**rules):
    """The transform by its definition, but for some rules."""

    def forward(right, stage, x, reference):
        reference = torch.zeros_like(x[0]) if reference is None else reference
        return slow_transform(stage, x, reference, **rules)

    return transformed(forward)


def without_later_biases(block, module):
    twin = copy.deepcopy(block)
    for bias in twin.biases:
        bias.data.zero_()
    return perceptron(twin, module)


def with_weights(change, backend=None):
    """A transform that computes with other weights than it has."""

    def forward(right, stage, x, reference):
        twin = copy.deepcopy(stage)
        for block in twin.blocks:
            change(block)
        return right.forward(twin, x, reference)

    return transformed(forward, backend)


def players_exchanged(block):
    block.first.data = block.first.unflatten(2, (block.k, -1)).flip(2).flatten(2)


def modules_exchanged(block):
    block.last.data = block.last.roll(1, 0)


@rejects(
    (
        "absent players are zero",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: right.forward(stage, x, None)),
    ),
    (
        "products of x instead of x - r",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: right.forward(stage, x if r is None else x + r, r)),
    ),
    (
        "nobody is absent",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: 0 * right.forward(stage, x, r)),
    ),
    (
        "the value of everybody left out",
        "shapnet.ShapleyTransform",
        by_definition(values=lambda table: by_permutations(torch.cat([table[:-1], 0 * table[-1:]]))),
    ),
    (
        "values that are not measured from the empty coalition's",
        "shapnet.ShapleyTransform",
        by_definition(values=lambda table: by_permutations(torch.cat([0 * table[:1], table[1:]]))),
    ),
    (
        "coalitions filed under others",
        "shapnet.ShapleyTransform",
        by_definition(values=lambda table: by_permutations(torch.cat([table[:1], table[1:].roll(1, 0)]))),
    ),
    (
        "values given out in another order than the set's",
        "shapnet.ShapleyTransform",
        by_definition(owners=sorted),
    ),
    ("no bias in later hidden layers", "shapnet.ShapleyTransform", by_definition(function=without_later_biases)),
    ("each player with another's weights", "shapnet.ShapleyTransform", with_weights(players_exchanged)),
)
def transforms_are_their_definition(sn):
    """Every size of set, by each backend, with a graph and without, on zero and other references."""
    backends = "reference", "shared-sums", "two-products"
    for channels, hidden, slope in ((1, (7,), 0.0), (2, (5, 4, 3), 0.1), (2, (2,), 0.3)):
        stage = sn.shapnet.ShapleyTransform(SETS, 6, channels, 2, hidden, negative_slope=slope).double()
        for number, block in enumerate(stage.blocks):
            block.reset_parameters(_seeded(number))
        x = _normal(2, 6, channels)
        for reference in (None, _normal(6, channels, seed=1)):
            zero = torch.zeros(6, channels, dtype=torch.float64)
            expected = slow_transform(stage, x, zero if reference is None else reference).detach()
            assert_close(stage(x, reference).detach(), expected, **F64)
            for backend in backends[: 2 if len(hidden) > 1 else 3]:
                with sn.shapnet.use_backend(backend):
                    assert_close(stage(x, reference).detach(), expected, **F64)
                    with torch.no_grad():
                        assert_close(stage(x, reference), expected, **F64)


@rejects(
    (
        "a compiled module with another's last layer",
        "shapnet.ShapleyTransform",
        with_weights(modules_exchanged, "unrolled"),
    ),
    (
        "compiled coalitions in another order",
        "shapnet.ShapleyTransform",
        with_weights(players_exchanged, "unrolled"),
    ),
    (
        "values given to the players whose place they have",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: right.forward(stage, x, r).roll(1, 1), "unrolled"),
    ),
)
def written_out_coalitions_are_what_they_replace(sn):
    """What a compiler is given: for few channels and many, one input and several.

    Some sets overlap, and some part the players, whose values then need no adding up.
    """
    parted = [(2, 4), (5, 0), (1, 3)]
    for sets, channels, outputs in ((SETS[:-1], 1, 1), (parted, 1, 7), (SETS[:-1], 6, 1), (parted, 6, 7)):
        stage = sn.shapnet.ShapleyTransform(sets, 6, channels, outputs, (3,), negative_slope=0.2).double()
        for batch in (1, 4):
            x, reference = _normal(batch, 6, channels), _normal(6, channels, seed=1)
            with sn.shapnet.use_backend("reference"):
                expected = stage(x, reference).detach()
            with sn.shapnet.use_backend("unrolled"):
                assert_close(stage(x, reference).detach(), expected, **F64)


def in_order(right):
    """As if the players of a set came by their numbers."""

    class Transform(right):
        def __init__(self, active_sets, *sizes, **settings):
            super().__init__(map(sorted, active_sets), *sizes, **settings)
            self.active_sets = active_sets

    return Transform


@rejects(
    ("players' vectors in another order than the set's", "shapnet.ShapleyTransform", in_order),
    (
        "the empty coalition's value counted as zero",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: right.forward(stage, x, r) + right.forward(stage, r[None], 0 * r)),
    ),
)
def any_function_can_be_an_inner_one(sn):
    """Of its own for each set, or shared by sets of several sizes; players' vectors come in the order of the set."""
    x, reference = _normal(3, 5, 2), _normal(5, 2, seed=1)
    own = [
        lambda rows, j=j: torch.stack([rows.prod(1) + 5, (rows * torch.arange(rows.shape[1])).sum(1) ** 2 - j], 1)
        for j in range(len(SETS))
    ]
    shared = lambda rows: torch.stack([rows[:, 0] * rows[:, -1], rows.exp().sum(1)], 1)  # noqa: E731
    for inner, functions in ((own, own), (shared, [shared] * len(SETS))):
        stage = sn.shapnet.ShapleyTransform(SETS, 5, 2, inner=inner)
        by_row = [lambda row, f=f: f(row[None])[0] for f in functions]
        expected = slow_transform(stage, x, reference, by_row)
        assert_close(stage(x, reference), expected, **F64)
    module = sn.shapnet.ShapleyModule(own[1], SETS[1], 5, in_channels=2, baseline=reference)
    values = module.values(x)
    assert_close(values, sn.shapnet.ShapleyTransform([SETS[1]], 5, 2, inner=own[1])(x, reference), **F64)
    assert_close(values[:, [1, 2, 4]], torch.zeros(3, 3, 2, dtype=torch.float64))
    assert_close(module(x), values.sum(1), **F64)


def predicting(change):
    """A network whose prediction is another: change(prediction, x)."""

    def make(right):
        class Net(right):
            def forward(self, x):
                return change(super().forward(x), x)

        return Net

    return make


def explained_by(change):
    """A network whose attributions are others: change(attributions, x)."""

    def make(right):
        class Net(right):
            def explain(self, x):
                found = super().explain(x)
                return SimpleNamespace(attributions=change(found.attributions, x), prediction=found.prediction)

        return Net

    return make


def with_layers(change):
    def make(right):
        class Net(right):
            def layers(self, x):
                return [change(z) for z in super().layers(x)]

        return Net

    return make


@rejects(
    ("a mean over players", "shapnet.ShallowShapNet", predicting(lambda y, x: y / x.shape[1])),
    ("rounding left at the reference", "shapnet.ShallowShapNet", predicting(lambda y, x: y + 1e-17)),
    (
        "equal shares",
        "shapnet.ShallowShapNet",
        explained_by(lambda values, x: values.mean(1, keepdim=True).expand(values.shape)),
    ),
)
def shallow_networks_show_their_shapley_values(sn):
    """Theorem 2, against all orders of all features and against exact values of the network as a black box."""
    net = sn.shapnet.ShallowShapNet(SETS, 3, hidden=(6,), baseline=_normal(5, seed=1)).double()
    net.reset_parameters(_seeded(2))
    x = _normal(2, 5)
    explanation = net.explain(x)
    assert_close(explanation.attributions.detach(), model_values(net, x, net.baseline).detach(), **F64)
    assert_close(explanation.attributions.detach(), sn.shapley_values(net, x, net.baseline).detach(), **F64)
    assert_close(explanation.prediction, net(x), **F64)
    assert float(net(net.baseline[None]).detach().abs().max()) == 0


def with_later_references(reference):
    """A network whose later stages take something else than zero for absent."""

    def make(right):
        class Net(right):
            def _reference_of(self, number, z):
                return reference(self, z) if number else super()._reference_of(number, z)

        return Net

    return make


def with_residual_of_x(right):
    class Net(right):
        def _after_stage(self, number, stage, z):
            after = super()._after_stage(number, stage, z)
            if self.residual and number == 0:
                after[..., :1] += self.baseline[:, None]
            return after

    return Net


@rejects(
    (
        "later stages seen from a reference that is not zero",
        "shapnet.DeepShapNet",
        with_later_references(lambda net, z: z.mean(0)),
    ),
    (
        "the baseline as the reference of later stages",
        "shapnet.DeepShapNet",
        with_later_references(lambda net, z: net.baseline[:, None].expand(z.shape[1:])),
    ),
    ("a residual that is not zero at the baseline", "shapnet.DeepShapNet", with_residual_of_x),
    ("a mean over players", "shapnet.DeepShapNet", predicting(lambda y, x: y / x.shape[1])),
)
def deep_networks_are_transforms_on_transforms(sn):
    """Definition 8: the references are the baseline, then zero; residuals add the representation before."""
    for residual in (False, True):
        baseline = _normal(5, seed=1)
        net = sn.shapnet.DeepShapNet(5, (3, 2), 4, hidden=(6,), baseline=baseline, residual=residual).double()
        net.reset_parameters(_seeded(3))
        x = _normal(2, 5)
        z, reference = x[:, :, None], baseline[:, None]
        for stage, layer in zip(net.stages, net.layers(x), strict=True):
            moved = z - reference
            z = slow_transform(stage, z, reference)
            if residual:
                common = min(moved.shape[2], z.shape[2])
                z[..., :common] += moved[..., :common]
            reference = torch.zeros(5, z.shape[2], dtype=torch.float64)
            assert_close(layer, z, **F64)
        assert_close(net(x), z.sum(1), **F64)
        assert [layer.shape[2] for layer in net.layers(x)] == [3, 2, 4]


def with_biases(change):
    """A wide network whose stages have other biases when they are used."""

    def make(right):
        class Net(right):
            def layers(self, x):
                copied = copy.deepcopy(self)
                for stage in copied.stages:
                    stage.bias.copy_(change(stage.bias))
                return right.layers(copied, x)

        return Net

    return make


def with_weights(factor):
    """A wide network whose first weights are larger, or smaller."""

    def make(right):
        class Net(right):
            def reset_parameters(self, generator=None):
                super().reset_parameters(generator)
                with torch.no_grad():
                    for stage in self.stages:
                        stage.weight.mul_(factor)

        return Net

    return make


class _AllPlayers:
    """A stage of one function of all four players, for `slow_transform`."""

    active_sets = ((0, 1, 2, 3),)


@rejects(
    ("values without the bias", "shapnet.WideShapNet", with_biases(torch.zeros_like)),
    ("a bias of the other sign", "shapnet.WideShapNet", with_biases(torch.neg)),
    ("rounding left at the reference", "shapnet.WideShapNet", with_layers(lambda z: z + 1e-30)),
    ("sums that do not close", "shapnet.WideShapNet", with_layers(lambda z: 1.001 * z)),
    (
        "equal shares",
        "shapnet.WideShapNet",
        with_layers(lambda z: z.mean(1, keepdim=True).expand(z.shape) * (z != 0)),
    ),
)
def wide_networks_hand_on_values_of_neurons(sn):
    """Each stage is the Shapley values of its neurons, by all orders; predictions are sums of the last stage."""
    x, baseline = _normal(2, 4, 2), _normal(4, 2, seed=1)
    near = {"enumeration": 0.0, "edgeworth": 0.3, "normal": 0.4}  # in parts of the values
    for method, distance in near.items():
        net = sn.shapnet.WideShapNet(4, (3, 5), 2, in_channels=2, baseline=baseline, method=method).double()
        net.reset_parameters(_seeded(3))
        net.requires_grad_(False)
        z, reference = x, baseline
        for number, stage in enumerate(net.stages):
            stage.bias.copy_(_normal(len(stage.bias), seed=number) / 2)
            V = torch.eye(len(stage.bias)).double() if stage.readout is None else stage.readout
            f = lambda row, stage=stage, V=V: V @ torch.relu(stage.weight.flatten(1) @ row + stage.bias)  # noqa: E731
            layer = net.layers(x)[number]
            expected = slow_transform(_AllPlayers, z, reference, [f])
            if distance:
                assert float((layer - expected).abs().mean()) < distance * float(expected.abs().mean())
            else:
                assert_close(layer, expected, **F64)
            z, reference = layer, torch.zeros(4, layer.shape[2], dtype=torch.float64)
        assert_close(net(x), z.sum(1), **F64)
        assert float(net(baseline[None]).abs().max()) == 0
        x[1, 2] = baseline[2]
        assert all(not bool(layer[1, 2].any()) for layer in net.layers(x))


@rejects(
    ("weights that make vectors too large", "shapnet.WideShapNet", with_weights(1.5)),
    ("weights that let them vanish", "shapnet.WideShapNet", with_weights(0.7)),
)
def wide_weights_keep_the_size(sn):
    for n, channels in ((8, 1), (40, 20)):
        net = sn.shapnet.WideShapNet(n, (80, 80), 80, in_channels=channels, method="edgeworth")
        net.reset_parameters(_seeded(5))
        x = _normal(100, n, channels).float()
        with torch.no_grad():
            size = float((net.layers(x)[0] ** 2).mean())
            assert 0.8 < size < 1.35
            assert 0.6 < float((net(x) ** 2).mean()) / size < 1.6


@rejects(
    ("rounding left at the reference", "shapnet.DeepShapNet", with_layers(lambda z: z + 1e-30)),
    (
        "no gradient at the reference",
        "shapnet.ShallowShapNet",
        explained_by(lambda values, x: torch.where(x[..., None] == 0, 0.0, values)),
    ),
)
def features_at_the_baseline_stay_at_zero(sn):
    """Theorem 3 and Corollary 4: exactly, at every stage, in every precision; their gradients are not zero."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for n in (2, 7, 12):
            baseline = _normal(n, seed=1).to(dtype)
            net = sn.shapnet.DeepShapNet(n, 5, 2, hidden=(40, 9), baseline=baseline, negative_slope=0.1).to(dtype)
            net.reset_parameters(_seeded(n))
            x = _normal(65, n, seed=2).to(dtype)
            x[:, 0] = baseline[0]
            x[::2, n - 1] = baseline[n - 1]
            for graph in (True, False):
                with torch.set_grad_enabled(graph):
                    for layer in net.layers(x):
                        assert float(layer[:, 0].detach().abs().max()) == 0
                        assert float(layer[::2, n - 1].detach().abs().max()) == 0
                        assert bool((layer[1::2, n - 1] != 0).any())
    net = sn.shapnet.ShallowShapNet([(0, 1, 2)], 1, hidden=(6,)).double()
    net.reset_parameters(_seeded(4))
    x = _normal(1, 3).index_fill(1, torch.tensor([1]), 0.0).requires_grad_()
    gradient = torch.autograd.grad(net.explain(x).attributions[0, 1, 0], x)[0]
    beside = x.detach().clone()
    beside[0, 1] = 1e-7
    assert_close(gradient[0, 1], net.explain(beside).attributions[0, 1, 0].detach() / 1e-7, rtol=1e-4, atol=1e-6)
    assert float(gradient[0, 1].abs()) > 1e-3


@rejects(
    ("the same pairs at every stage", "shapnet.butterfly", lambda right: lambda n: right(n)[:1] * len(right(n))),
    (
        "a pair instead of padding",
        "shapnet.butterfly",
        lambda right: lambda n: [[(*p, 0) if len(p) == 1 and p != (0,) else p for p in sets] for sets in right(n)],
    ),
)
def butterflies_let_all_features_meet(sn):
    for n in range(1, 35):
        stages = sn.shapnet.butterfly(n)
        assert len(stages) == max(1, (n - 1).bit_length())
        seen = [{i} for i in range(n)]  # whom each feature's value depends on
        for sets in stages:
            assert sorted(i for players in sets for i in players) == list(range(n))
            assert max(map(len, sets)) <= 2
            together = {i: players for players in sets for i in players}
            seen = [set().union(*(seen[j] for j in together[i])) for i in range(n)]
        assert len(seen[0]) == n
        if n & (n - 1) == 0:
            assert all(len(others) == n for others in seen)


def quadratic_form(row, k, depth, slope, bias):
    """The variance of row @ v, for the values v of coalitions of k players in a random perceptron."""
    here = torch.tensor([[code >> i & 1 for i in range(k)] for code in range(2**k)]).double()
    gain = 2 / (1 + slope**2)
    K = gain * here @ here.T / k + bias
    for layer in range(depth):
        size = K.diagonal().sqrt()
        cos = (K / torch.outer(size, size).clamp(min=1e-300)).clamp(-1, 1)
        t = cos.acos()
        A = torch.outer(size, size) / 2
        A = A * ((1 + slope**2) * cos + (1 - slope) ** 2 * (t.sin() - t * cos) / torch.pi)
        K = A if layer == depth - 1 else gain * A + bias
    return row @ K @ row


def with_row(change):
    return lambda right: lambda k, *settings: float(quadratic_form(change(shapley_matrix(k)[0]), k, *settings))


def with_variance_of_players(right):
    """Without a share for each of the modules that a player is in."""

    class Transform(right):
        def __init__(self, sets, *sizes, variance, **settings):
            sets = list(sets)
            super().__init__(sets, *sizes, variance=variance * sum(map(len, sets)) / len(sets), **settings)

    return Transform


@rejects(
    ("covariances added, not subtracted", "shapnet.inner.initialisation.value_variance", with_row(torch.abs)),
    (
        "only what a player joins",
        "shapnet.inner.initialisation.value_variance",
        with_row(lambda row: row.clamp(min=0)),
    ),
    ("weights of players that are in many modules", "shapnet.ShapleyTransform", with_variance_of_players),
    (
        "weights as for no ReLU",
        "shapnet.ShapleyTransform",
        transformed(lambda right, stage, x, r: right.forward(stage, x, r) / 2**0.5),
    ),
)
def random_weights_keep_the_size(sn):
    """`value_variance` is the quadratic form of the definition, and values are as large as inputs at initialisation."""
    variance = sn.shapnet.inner.initialisation.value_variance
    for k, depth, slope, bias in ((1, 1, 0.0, 0.0), (2, 1, 0.0, 0.0), (3, 2, 0.1, 0.5), (5, 3, 0.0, 0.2)):
        expected = quadratic_form(sn.coalitions.shapley_matrix(k)[0], k, depth, slope, bias)
        assert_close(torch.tensor(variance(k, depth, slope, bias), dtype=torch.float64), expected, **F64)
    for sets, channels, hidden in (
        ([(i, i + 1) for i in range(0, 40, 2)], 30, (60,)),
        ([(i, i + 1, i + 2, i + 3) for i in range(0, 40, 4)], 30, (60, 50)),
        ([(i, j) for i in range(10) for j in range(i)], 20, (60,)),
    ):
        n = 1 + max(map(max, sets))
        stage = sn.shapnet.ShapleyTransform(sets, n, channels, 50, hidden, variance=1.0)
        for block in stage.blocks:
            block.reset_parameters(_seeded(5))
        x = _normal(100, n, channels).float()
        with torch.no_grad():
            assert 0.85 < float((stage(x) ** 2).mean()) < 1.15


def of_each(change):
    """A penalty on something else than the representations: change([batch, players, channels])."""

    def make(right):
        def penalty(z):
            several = [z] if isinstance(z, torch.Tensor) else z
            return right([change(t.flatten(1, -2)) for t in several])

        return penalty

    return make


@rejects(
    ("sums cancel", "shapnet.l1_penalty", of_each(lambda z: z.sum(1, keepdim=True))),
    ("the largest channel, not the largest player", "shapnet.linf_penalty", of_each(lambda z: z.mT)),
)
def penalties_are_norms_over_players(sn):
    z = torch.tensor([[[1.0, -4.0], [-2.0, 0.5]], [[0.0, 3.0], [1.0, -5.0]]])
    assert_close(sn.shapnet.l1_penalty(z), torch.tensor((3 + 4.5 + 1 + 8) / 4))
    assert_close(sn.shapnet.linf_penalty(z), torch.tensor((2 + 4 + 1 + 5) / 4))
    image = z.view(2, 1, 2, 2)
    for penalty in (sn.shapnet.l1_penalty, sn.shapnet.linf_penalty):
        assert_close(penalty([z, image]), 2 * penalty(z))


def seen_from_their_mean(right):
    def sizes(net, x, by):
        z = net.layers(x)[0]
        later = ShapNet([copy.deepcopy(net.stages[1])], z.shape[2], baseline=z.mean(0))
        return [right(net, x, by)[0], right(later, z, by)[0]]

    return sizes


@rejects(
    ("sums of values for dividends", "shapnet.module_sizes", lambda right: lambda net, x, by: right(net, x, "values")),
    ("later references", "shapnet.module_sizes", seen_from_their_mean),
    (
        "others' weights",
        "shapnet.strip",
        lambda right: lambda net, stage, keep: right(net, stage, [(j + 1) % 3 for j in keep]),
    ),
)
def modules_can_be_measured_and_taken_away(sn):
    """The sizes of a second stage's modules, from networks that have one of them each."""
    sets = [(0, 1), (2, 3), (1, 2)]
    net = sn.shapnet.DeepShapNet(4, 2, 2, hidden=(5,), baseline=0.4, active_sets=[sets] * 2, keep_variance=True)
    net.reset_parameters(_seeded(3))
    net = net.double().requires_grad_(False)
    x = _normal(8, 4, seed=4)
    values, dividends = (sn.shapnet.module_sizes(net, x, by)[1] for by in ("values", "dividend"))
    z = net.layers(x)[0]
    for j, players in enumerate(sets):
        left = copy.deepcopy(net)
        sn.shapnet.strip(left, 1, [j])
        assert_close(left.layers(x)[0], z, **F64)
        stage = left.stages[1]
        assert_close(values[j], stage(z).abs().sum(1).mean(), **F64)
        worths = []
        for present in ((players[0],), (players[1],), players):
            masked = torch.zeros_like(z)
            masked[:, list(present)] = z[:, list(present)]
            worths.append(stage(masked).sum(1))
        assert_close(dividends[j], (worths[2] - worths[0] - worths[1]).abs().mean(), **F64)


def writing(change):
    """Kernels whose values are others: change(right write_values, its arguments)."""

    def make(right):
        class Kernels(right):
            def write_values(self, *arguments):
                change(super().write_values, *arguments)

        return Kernels

    return make


def deriving(change):
    """Kernels whose gradients are others: change(right write_gradients, its arguments)."""

    def make(right):
        class Kernels(right):
            def write_gradients(self, *arguments):
                return change(super().write_gradients, *arguments)

        return Kernels

    return make


def last_window_only(right):
    """Of all windows of a pixel the last one counts."""

    class Kernels(right):
        def write_values(self, terms, bias, slope, geometry, z):
            z.zero_()
            for players, parts in self._parts(geometry, z):
                here = [terms[j][at] for j, at in zip(players, parts, strict=True)]
                for at, value in zip(parts, neuron_values(here, bias, slope), strict=True):
                    z[at].copy_(value)

    return Kernels


def other_players(write, terms, bias, slope, geometry, z):
    backwards = terms.new_empty(terms.shape).copy_(terms.flip(0))
    write(backwards.movedim(0, 3).contiguous().movedim(3, 0), bias, slope, geometry, z)


def images_on_one_another(write, terms, bias, slope, geometry, z):
    write(terms, bias, slope, geometry, z)
    z.copy_(z.sum(0, keepdim=True).expand_as(z).clone())


def single_players(write, terms, bias, slope, geometry, z):
    write(terms, bias, 1.0, geometry, z)  # the linear part


def without_bias(write, terms, bias, slope, geometry, z):
    write(terms, 0 * bias, slope, geometry, z)


def no_last_window(write, terms, bias, slope, geometry, z):
    (top, bottom), columns = geometry.padding
    write(terms, bias, slope, geometry._replace(padding=((top, bottom - 1), columns)), z)


def no_first_window(write, terms, bias, slope, geometry, z):
    (top, bottom), columns = geometry.padding
    down = geometry.stride[0]
    write(terms, bias, slope, geometry._replace(padding=((top - down, bottom), columns)), z)


def forgetting_the_stride(write, terms, bias, slope, geometry, z):
    write(terms, bias, slope, geometry._replace(stride=(1, 1)), z)


def values_at_other_pixels(write, terms, bias, slope, geometry, z):
    write(terms, bias, slope, geometry, z)
    z.copy_(z.roll(1, 2))


def without_the_sign(write, terms, bias, slope, geometry, grad_z, grad_terms):
    return write(terms, bias, 1.0, geometry, grad_z, grad_terms)


def without_the_linear_part(write, terms, bias, slope, geometry, grad_z, grad_terms):
    grad_bias = write(terms, bias, -1.0, geometry, grad_z, grad_terms)  # that of |s|
    grad_terms *= (1 - slope) / 2
    return grad_bias * (1 - slope) / 2


def slopes_of_other_sums(write, terms, bias, slope, geometry, grad_z, grad_terms):
    return write(terms, 0 * bias, slope, geometry, grad_z, grad_terms)


def a_bias_of_the_last_windows(write, terms, bias, slope, geometry, grad_z, grad_terms):
    return write(terms, bias, slope, geometry, grad_z, grad_terms) / 2


def windows_of_the_first_image(write, terms, bias, slope, geometry, grad_z, grad_terms):
    grad_bias = write(terms, bias, slope, geometry, grad_z, grad_terms)
    grad_terms[:, 1:] = 0
    return grad_bias


WINDOW_BACKENDS = "batched.Batched", "numba_cpu.NumbaCPU", "inductor.Inductor"


def each_backend(make, *changes):
    """The same faults in the kernels of each backend."""
    return [
        (f"{backend}: {change.__name__.replace('_', ' ')}", f"shapnet.windows.{backend}", make(change))
        for backend in WINDOW_BACKENDS
        for change in changes
    ]


@rejects(
    ("the last window of a pixel for all of them", "shapnet.windows.batched.Batched", last_window_only),
    (
        "the last window of a pixel in the definition",
        "shapnet.windows.reference.window_values",
        lambda right: lambda *arguments: window_values(*arguments, last_window_only(Batched)()),
    ),
    (
        "windows turned round",
        "shapnet.windows.reference.window_values",
        lambda right: lambda x, weight, *rest: right(x, weight.flip(1), *rest),
    ),
    (
        "rounding left at black pixels",
        "shapnet.windows.op.window_values",
        lambda right: lambda *arguments: right(*arguments) + 1e-17,
    ),
    *each_backend(writing, other_players, single_players, images_on_one_another),
)
def windows_hand_out_shapley_values(sn):
    """A transform of windows against the general one, whose active sets are the windows' pixels inside the image."""
    for kernel, dilation, stride, padding in (((2, 2), 3, 1, 2), ((2, 2), 1, 2, 1), ((1, 3), 2, 1, 1)):
        geometry = {"dilation": dilation, "stride": stride, "padding": padding}
        layer = sn.shapnet.ImageTransform(2, 3, kernel, **geometry, negative_slope=0.1).double()
        layer.reset_parameters(_seeded(6))
        sets, inner = [], []
        for top in range(-padding, 5 + padding - dilation * (kernel[0] - 1), stride):
            for left in range(-padding, 4 + padding - dilation * (kernel[1] - 1), stride):
                spots = [(u, v) for u in range(kernel[0]) for v in range(kernel[1])]
                pixels = [(top + dilation * u, left + dilation * v) for u, v in spots]
                here = [(spot, y, x) for spot, (y, x) in zip(spots, pixels, strict=True) if 0 <= y < 5 and 0 <= x < 4]
                if here:
                    sets.append([4 * y + x for _, y, x in here])
                    W = torch.cat([layer.weight[:, :, u, v] for (u, v), _, _ in here], 1)
                    inner.append(lambda rows, W=W, b=layer.bias: torch.nn.functional.leaky_relu(rows @ W.T + b, 0.1))
        x = _normal(3, 5, 4, 2)
        x[0, 1, 1] = x[1, 2, 3, 0] = 0
        slow = sn.shapnet.ShapleyTransform(sets, 20, 2, inner=inner)(x.flatten(1, 2)).view(3, 5, 4, 3)
        weights = list(layer.parameters())
        expected = torch.autograd.grad(slow.square().sum(), weights)
        arguments = window_arguments(layer)
        assert_close(layer(x), slow, **F64)
        assert_close(sn.shapnet.windows.reference.window_values(x, *arguments), slow, **F64)
        for kernels, max_terms in ways_to_compute_windows(sn):
            z = sn.shapnet.windows.op.window_values(x, *arguments, kernels, max_terms)
            assert_close(z, slow, **F64)
            assert not bool(z[0, 1, 1].any())
            with torch.no_grad():
                z_alone = sn.shapnet.windows.op.window_values(x, *arguments, kernels, max_terms)
            assert_close(z_alone, slow, **F64)
            for ours, theirs in zip(torch.autograd.grad(z.square().sum(), weights), expected, strict=True):
                assert_close(ours, theirs, **F64)


def window_arguments(layer) -> tuple:
    """What a transform of windows gives its backend besides x: weight [in, k, out], bias, geometry, slope."""
    return layer.weight.flatten(2).permute(1, 2, 0), layer.bias, layer.geometry, layer.negative_slope


def ways_to_compute_windows(package) -> list[tuple]:
    """The kernels of all backends, with terms at once; as much as they like together, then as little as may be.

    What would be a program of a compiler runs as it is.
    """
    windows = package.shapnet.windows
    NumbaCPU = windows.numba_cpu.NumbaCPU
    all_at_once = NumbaCPU(min_sums_to_start_threads=0, threads=3), windows.batched.Batched()
    one_by_one = NumbaCPU(max_sums=1, threads=1), windows.batched.Batched(max_sums=1)
    programs = windows.inductor.Inductor(lambda function: function)
    return [
        *((kernels, terms) for kernels, terms in zip([*all_at_once, *one_by_one], [None, None, 1, 1], strict=True)),
        (programs, None),
        (programs, 1),
    ]


@rejects(
    *each_backend(writing, values_at_other_pixels, without_bias, no_last_window, no_first_window),
    *each_backend(
        deriving,
        without_the_sign,
        without_the_linear_part,
        slopes_of_other_sums,
        a_bias_of_the_last_windows,
        windows_of_the_first_image,
    ),
    *each_backend(writing, forgetting_the_stride),
)
def kernels_of_windows_agree(sn):
    """All geometries, with gradients, of all backends beside the definition in tensor operations."""
    for kernel, dilation, stride, padding in GEOMETRIES:
        layer = sn.shapnet.ImageTransform(
            2, 3, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2
        ).double()
        layer.reset_parameters(_seeded(6))
        x = _normal(3, 6, 7, 2)
        x[0, 1, 1] = x[1, 2, 3, 0] = 0
        inputs = [x.requires_grad_(), *layer.parameters()]
        z = sn.shapnet.windows.reference.window_values(x, *window_arguments(layer))
        expected = torch.autograd.grad(z.square().sum(), inputs)
        for kernels, max_terms in ways_to_compute_windows(sn):
            ours = sn.shapnet.windows.op.window_values(x, *window_arguments(layer), kernels, max_terms)
            assert_close(ours, z, **F64)
            assert not bool(ours[0, 1, 1].any())
            for one, other in zip(torch.autograd.grad(ours.square().sum(), inputs), expected, strict=True):
                assert_close(one, other, **F64)


def pruned_by(mask):
    """Pruning of the players that mask(z, share, threshold) names, and not of those that it should."""

    def make(right):
        @contextmanager
        def pruned(net, *, stages, share=None, threshold=None):
            after_stage = net._after_stage

            def after(number, stage, z):
                z = after_stage(number, stage, z)
                return z.masked_fill(mask(z, share, threshold)[..., None], 0) if number == stages else z

            net._after_stage = after
            try:
                yield net
            finally:
                del net._after_stage

        return pruned

    return make


def smallest(z, share, threshold, *, sizes=lambda z: z.abs().sum(-1), fewer=0, together=False):
    sizes = sizes(z)
    if share is None:
        return sizes < threshold
    flat = sizes.view(1 if together else len(z), -1)
    last = flat.sort().values[:, int(flat.shape[1] * share) - 1 - fewer]
    return sizes <= last.view(-1, *[1] * (sizes.dim() - 1))


@rejects(
    ("nothing pruned", "shapnet.pruned", lambda right: lambda net, **settings: nullcontext(net)),
    (
        "rules of other networks",
        "shapnet.pruned",
        lambda right: lambda net, **settings: right(copy.deepcopy(net), **settings),
    ),
    (
        "channels that cancel",
        "shapnet.pruned",
        pruned_by(partial(smallest, sizes=lambda z: z.sum(-1).abs())),
    ),
    ("the large ones pruned", "shapnet.pruned", pruned_by(lambda *settings: ~smallest(*settings))),
    ("one too few pruned", "shapnet.pruned", pruned_by(partial(smallest, fewer=1))),
    ("a share of all inputs", "shapnet.pruned", pruned_by(partial(smallest, together=True))),
)
def pruned_players_are_given_nothing(sn):
    """After a stage the smallest of each input, or those below the threshold; zero from there on, by Corollary 4."""
    net = sn.shapnet.DeepShapNet(6, (3, 2), 2, hidden=(5,), baseline=0.3).double().requires_grad_(False)
    images = sn.shapnet.ImageShapNet((2, 3, 4, 2), dilations=(1, 2)).double().requires_grad_(False)
    for each, x in ((net, _normal(5, 6)), (images, _normal(4, 2, 3, 4))):
        each.reset_parameters(_seeded(5))
        whole = each.layers(x)
        for stage in range(3):
            sizes = whole[stage].abs().sum(-1).flatten(1)
            by_size = sizes.sort().values
            count = sizes.shape[1] // 3
            middle = float(sizes.median())
            for settings, expected in (
                ({"share": 1 / 3}, sizes <= by_size[:, count - 1 : count]),
                ({"threshold": middle}, sizes < middle),
            ):
                with sn.shapnet.pruned(each, stages=stage, **settings):
                    left = each.layers(x)
                for number, (z, before) in enumerate(zip(left, whole, strict=True)):
                    z, before = z.flatten(1, -2), before.flatten(1, -2)
                    if number < stage:
                        assert torch.equal(z, before)
                    elif number == stage:
                        assert torch.equal(z, before.masked_fill(expected[..., None], 0))
                    assert number < stage or not bool(z[expected].any())
                assert bool(expected.any()) and not bool(expected.all())


def first_row_for_blank_pixels(right):
    def values(x, *arguments):
        z, active = right(x, *arguments), (x != 0).any(3)
        return torch.where(active[..., None] | ~active.any(), z, z[active][:1].sum(0))

    return values


@rejects(
    ("the first row for blank pixels", "shapnet.windows.blank_pixels.window_values", first_row_for_blank_pixels),
    (
        "the first channel taken for the pixel",
        "shapnet.windows.blank_pixels.window_values",
        lambda right: lambda x, *arguments: right(x * (x[..., :1] != 0), *arguments),
    ),
    (
        "values at the first pixels",
        "shapnet.windows.blank_pixels.window_values",
        lambda right: lambda x, *arguments: right(x, *arguments).roll(1, 1),
    ),
)
def blank_pixels_are_left_out_of_windows(sn):
    """Products and coalitions of the active pixels alone give the values of whole windows, whoever is active."""
    for kernel, dilation, stride, padding in ((2, 2, 1, "same"), ((2, 3), 1, 2, 1), (2, (1, 3), 1, 0)):
        layer = sn.shapnet.ImageTransform(
            2, 3, kernel, dilation=dilation, stride=stride, padding=padding, negative_slope=0.2
        ).double()
        layer.reset_parameters(_seeded(6))
        layer.requires_grad_(False)
        for share in (0.0, 0.4, 1.0):
            x = _normal(3, 5, 6, 2)
            x[torch.rand(3, 5, 6, generator=_seeded(7)) >= share] = 0
            x[0, 0, 0, 0] = x[1, 4, 5, 1] = x[2] = 0
            x[2, 0, 0] = share  # alone, in a corner
            expected = sn.shapnet.windows.reference.window_values(x, *window_arguments(layer))
            z = sn.shapnet.windows.blank_pixels.window_values(x, *window_arguments(layer))
            assert_close(z, expected, **F64)
            assert not bool(z[(x == 0).all(3)].any())
