"""Shapley values of a deep network from the moments of its units, with a player present and absent."""

from numbers import Integral

import torch
from torch import Tensor, nn

from shapnotes._chain import Step, chain_of, effects, up_to_first_linear
from shapnotes._runtime.chunking import recomputed, rows_at_once
from shapnotes._runtime.memory import keep_freed_memory
from shapnotes.game import Game, in_dtype
from shapnotes.moments.layers import Moments, after
from shapnotes.neuron.owen import smooth_nodes

ALONE = 1e-12  # of a unit's variance: what is left without a player is rounding


def propagated_shapley_values(
    model: nn.Module,
    x: Tensor,
    baseline: Tensor | float | None = None,
    *,
    nodes: int = 8,
    return_missing: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Approximate Shapley values of a deep ReLU network, from the mean and variance of its units.

    .. math::
        \phi_k = \int_0^1 \mathbb{E}\, [&f(z^{(q)}, z_k = x_k) \\
        &- f(z^{(q)}, z_k = r_k)]\; dq

    where every other feature of :math:`z^{(q)}` takes the input's value with chance q, independently, and else the
    baseline's (Owen, 1972). Both expectations are approximated layer by layer: every unit is taken to be normal and
    independent of the others of its layer, and a layer makes means and variances of means and variances. The integral
    is a Gauss-Legendre sum. It is exact where the model is linear; means and variances behind the first linear layer
    are exact. What goes wrong is that few terms are not normal, and that units of later layers are correlated.

    The sum over players is closed: what it misses of :math:`f(x) - f(r)` is shared in proportion to the sizes of the
    values, so that a value of zero stays one. Gradients flow to x, the baseline and the model's parameters.

    Parameters
    ----------
    model : nn.Module
        `nn.Sequential` of `nn.Linear`, `nn.Conv2d`, `nn.ReLU`, `nn.LeakyReLU`, `nn.AvgPool2d`, `nn.AdaptiveAvgPool2d`,
        `nn.MaxPool2d` and `nn.Flatten`, in any order; [rows, *features] -> [rows, *outputs].
    x : Tensor
        [batch, *features], floating point.
    baseline : Tensor or float, optional
        The value that stands for absent: None (0), a number, or a tensor that broadcasts to x.
    nodes : int
        Of the quadrature.
    return_missing : bool
        Whether to return what the sum missed, too.

    Returns
    -------
    Tensor or tuple of Tensor
        Values [batch, *features, *outputs], on x's device and in x's dtype; all is computed in float64. A player at
        its baseline is exactly 0. With return_missing a pair, the second [batch, *outputs]: what the sum over players
        lacked before it was closed. It says something of the error, but bounds nothing.

    Raises
    ------
    ValueError, TypeError
        For a model with other layers, unusable inputs, or nodes that are no number of nodes.

    Cost
    ----
    2 n nodes passes of moments per input, n counted over the players that differ from the baseline; one costs about two
    evaluations of the model. Memory is that of a chunk of passes, and of what all players add to the first layer.

    Source
    ------
    Ancona, Öztireli and Gross (2019), who sum over the sizes of coalitions where we integrate over q; Clark (1961) for
    the larger of two normal variables.

    Examples
    --------
    With one other player nothing is normal; the exact values are 1 and 2.

    >>> model = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> with torch.no_grad():
    ...     _ = model[0].weight.fill_(1.0), model[0].bias.fill_(-2.0)
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> with torch.no_grad():
    ...     propagated_shapley_values(model, x)[0, :, 0]
    tensor([1.1618, 1.8382])
    """
    if isinstance(nodes, bool) or not isinstance(nodes, Integral) or nodes < 1:
        raise ValueError(f"nodes must be a whole number, at least 1; got {nodes!r}")
    game = Game(model, x, baseline)
    probe = game.probe()
    chain = chain_of(game, probe, name="propagated_shapley_values", maxima=True)
    keep_freed_memory()
    graph = probe.output.requires_grad
    moved, taking_part = game.non_missing(), game.taking_part(graph)
    at_once = rows_at_once(x, 2 * probe.largest_bytes * (8 // min(8, x.element_size())))
    with torch.set_grad_enabled(graph):
        found = []
        for i in range(len(x)):
            players = torch.nonzero(taking_part[i]).flatten()
            found.append(_values(chain, game.x[i].double(), game.baseline[i].double(), players, int(nodes), at_once))
        values, missing = _closed(torch.stack(found), moved, _change(chain, game))
    shape = probe.output.shape[1:]
    values, missing = (
        in_dtype(values.reshape(*x.shape, *shape), x.dtype),
        in_dtype(missing.reshape(-1, *shape), x.dtype),
    )
    return (values, missing) if return_missing else values


def _change(chain: list[Step], game: Game) -> Tensor:
    """f(x) - f(baseline) in float64: [batch, outputs]."""
    ends = []
    for z in (game.x, game.baseline):
        z = z.double()
        for step in chain:
            z = step(z)
        ends.append(z.flatten(1))
    return ends[0] - ends[1]


def _closed(values: Tensor, moved: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Values [batch, features, outputs] that sum to the change [batch, outputs], and what was missing before."""
    missing = change - values.sum(1)
    # Where all are 0, those share equally who differ from the baseline.
    share = torch.where((values == 0).all(1, keepdim=True), moved[..., None].double(), values.abs())
    return values + missing[:, None] * share / share.sum(1, keepdim=True).clamp(
        min=torch.finfo(share.dtype).tiny
    ), missing


def _values(chain: list[Step], x: Tensor, baseline: Tensor, players: Tensor, nodes: int, at_once: int) -> Tensor:
    """The values of one input, x and baseline [*features], of which only `players` count: [features, outputs]."""
    leading, rest = up_to_first_linear(chain)
    q, w = smooth_nodes(nodes, x.dtype, x.device)
    change = x - baseline
    at = (slice(None), *[None] * x.dim())
    everybody = Moments(baseline + q[at] * change, (q * (1 - q))[at] * change.square())
    for step in leading:
        everybody = after(step, everybody)
    players_at_once = max(1, min(len(players), at_once // 2))
    nodes_at_once = max(1, at_once // (2 * players_at_once))
    parts = []
    for some in players.split(players_at_once):
        own = effects(leading, change, some)
        chunks = [t.split(nodes_at_once) for t in (q, w, everybody.mean, everybody.variance)]
        terms = [_integral(rest, own, *chunk) for chunk in zip(*chunks, strict=True)]
        parts.append(sum(terms[1:], start=terms[0]))
    values = torch.cat(parts)
    return values.new_zeros(x.numel(), values.shape[1]).index_put((players,), values)


def _integral(rest: list[Step], own: Tensor, q: Tensor, w: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """What some times of arrival add to the values of some players: [players, outputs].

    own            : [players, *units], what each adds to the units behind the first linear layer
    q, w           : [nodes], times and their weights
    mean, variance : [nodes, *units], of the units with all players, each there with chance q
    """

    def integral(own: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        chance = q.view(-1, *[1] * own.dim())  # [nodes, 1, ...], for the axes of players and units
        mean, whole = mean[:, None] - chance * own, variance[:, None]
        others = whole - chance * (1 - chance) * own.square()
        others = torch.where(others <= ALONE * whole, 0.0, others)
        moments = Moments(torch.cat([mean, mean + own]).flatten(0, 1), torch.cat([others, others]).flatten(0, 1))
        for step in rest:
            moments = after(step, moments)
        absent, present = moments.mean.flatten(1).unflatten(0, (2, len(q), len(own)))
        total: Tensor = (w[:, None, None] * (present - absent)).sum(0)
        return total

    if torch.is_grad_enabled():
        return recomputed(integral, own, mean, variance)
    return integral(own, mean, variance)
