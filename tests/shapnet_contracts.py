"""Contracts of `shapnotes.shapnet`: every network is what its definition says, one module and one input at a time."""

import copy

import torch
from oracles import by_permutations, model_values, tolerance
from torch.testing import assert_close

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


def slow_transform(stage, x: torch.Tensor, reference: torch.Tensor, functions=None) -> torch.Tensor:
    """Definitions 3 and 7: for each input and module all orders of its players; [batch, n, channels] -> [.., outputs].

    functions: those of the active sets in turn; by default the perceptrons of the stage's blocks.
    """
    if functions is None:
        modules = [(players, perceptron(b, m)) for b in stage.blocks for m, players in enumerate(b.sets)]
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
            values = by_permutations(torch.stack(table))
            share = torch.zeros(len(one), values.shape[1], dtype=values.dtype)
            share[list(players)] = values
            z = z + share
        results.append(z)
    return torch.stack(results)


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


class _AllPlayers:
    """A stage of one function of all four players, for `slow_transform`."""

    active_sets = ((0, 1, 2, 3),)


def wide_weights_keep_the_size(sn):
    for n, channels in ((8, 1), (40, 20)):
        net = sn.shapnet.WideShapNet(n, (80, 80), 80, in_channels=channels, method="edgeworth")
        net.reset_parameters(_seeded(5))
        x = _normal(100, n, channels).float()
        with torch.no_grad():
            size = float((net.layers(x)[0] ** 2).mean())
            assert 0.8 < size < 1.35
            assert 0.6 < float((net(x) ** 2).mean()) / size < 1.6


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


def random_weights_keep_the_size(sn):
    """`value_variance` is the quadratic form of the definition, and values are as large as inputs at initialisation."""
    variance = sn.shapnet.inner.initialisation.value_variance
    for k, depth, slope, bias in ((1, 1, 0.0, 0.0), (2, 1, 0.0, 0.0), (3, 2, 0.1, 0.5), (5, 3, 0.0, 0.2)):
        here = sn.coalitions.masks(k).double()
        gain = 2 / (1 + slope**2)
        K = gain * here @ here.T / k + bias
        for layer in range(depth):
            size = K.diagonal().sqrt()
            cos = (K / torch.outer(size, size).clamp(min=1e-300)).clamp(-1, 1)
            t = cos.acos()
            A = torch.outer(size, size) / 2
            A = A * ((1 + slope**2) * cos + (1 - slope) ** 2 * (t.sin() - t * cos) / torch.pi)
            K = A if layer == depth - 1 else gain * A + bias
        m = sn.coalitions.shapley_matrix(k)[0]
        assert_close(torch.tensor(variance(k, depth, slope, bias), dtype=torch.float64), m @ K @ m, **F64)
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


def penalties_are_norms_over_players(sn):
    z = torch.tensor([[[1.0, -4.0], [-2.0, 0.5]], [[0.0, 3.0], [1.0, -5.0]]])
    assert_close(sn.shapnet.l1_penalty(z), torch.tensor((3 + 4.5 + 1 + 8) / 4))
    assert_close(sn.shapnet.linf_penalty(z), torch.tensor((2 + 4 + 1 + 5) / 4))
    image = z.view(2, 1, 2, 2)
    for penalty in (sn.shapnet.l1_penalty, sn.shapnet.linf_penalty):
        assert_close(penalty([z, image]), 2 * penalty(z))


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


def ways_to_compute_windows(sn) -> list[tuple]:
    """The kernels of all backends, with terms at once; as much as they like together, then as little as may be.

    What would be a program of a compiler runs as it is.
    """
    from shapnotes.shapnet.windows.numba_cpu import NumbaCPU

    windows = sn.shapnet.windows
    all_at_once = NumbaCPU(min_sums_to_start_threads=0, threads=3), windows.batched.Batched()
    one_by_one = NumbaCPU(max_sums=1, threads=1), windows.batched.Batched(max_sums=1)
    programs = windows.inductor.Inductor(lambda function: function)
    return [
        *((kernels, terms) for kernels, terms in zip([*all_at_once, *one_by_one], [None, None, 1, 1], strict=True)),
        (programs, None),
        (programs, 1),
    ]


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


CONTRACTS = [
    wide_networks_hand_on_values_of_neurons,
    wide_weights_keep_the_size,
    pruned_players_are_given_nothing,
    blank_pixels_are_left_out_of_windows,
    windows_hand_out_shapley_values,
    kernels_of_windows_agree,
    modules_can_be_measured_and_taken_away,
    penalties_are_norms_over_players,
    butterflies_let_all_features_meet,
    any_function_can_be_an_inner_one,
    features_at_the_baseline_stay_at_zero,
    random_weights_keep_the_size,
    deep_networks_are_transforms_on_transforms,
    shallow_networks_show_their_shapley_values,
    transforms_are_their_definition,
    written_out_coalitions_are_what_they_replace,
]
