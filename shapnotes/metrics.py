"""How good explanations are: their distance from exact values, what removing the players they name does, their shape.

Attributions are [batch, *players, outputs] with one output axis, a class each for a classifier; scores, one number a
player, are [batch, *players]. There may be any number of player axes. Where players are removed from inputs of a
model, they are the features of x, or its pixels [height, width] where x is [batch, channels, height, width]; a pixel
goes with all its channels. Results are float64, on the device of what they are computed from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from numbers import Real

import torch
from torch import Tensor

from shapnotes.game import Game, Model, checked_input

# --- the distance from exact values --------------------------------------------------------------------------------


def shapley_error(attributions: Tensor, exact: Tensor, logits: Tensor | None = None) -> Tensor:
    """The mean absolute error of a player's attribution; for classifiers, its mean under the predicted probabilities.

        l_j = || phi_j - gamma_j ||_1 / n,        l = sum over classes j of  softmax(C(x))_j  l_j

    phi_j are the exact values of n players for output j and gamma_j the attributions. Both explain the raw output
    C(x)_j; the softmax is a weight only. It weighs the errors, not the attributions: those of classes that the model
    rules out do not count, and those of different classes do not cancel.

    attributions : [batch, *players, outputs], gamma
    exact        : the same shape, phi
    logits       : [batch, outputs], the classifier's output C(x) before its softmax; None for l_j itself

    Returns [batch] with logits and [batch, outputs] without, in the unit of the output. Raises ValueError where shapes
    do not fit. Cost: that of reading the arguments.

    Source: Shapley Explanation Networks, equation 8 and appendix G.1, where phi is written with d = n.

    >>> exact = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])
    >>> shapley_error(torch.zeros(1, 2, 2), exact)
    tensor([[1.5000, 0.0000]], dtype=torch.float64)
    >>> shapley_error(torch.zeros(1, 2, 2), exact, logits=torch.zeros(1, 2))
    tensor([0.7500], dtype=torch.float64)
    """
    error = _players_flat("attributions", attributions) - _players_flat("exact", exact, like=attributions)
    error = error.abs().mean(1)
    if logits is None:
        return error
    _check_shape("logits", logits, (len(attributions), attributions.shape[-1]), "one number an input and output")
    return (torch.softmax(logits.double(), -1) * error).sum(-1)


# --- the shape of attributions -------------------------------------------------------------------------------------


def sparsity(attributions: Tensor, threshold: float = 0.0) -> Tensor:
    """The share of players whose attribution is at most `threshold` in size: [batch, outputs], between 0 and 1.

    attributions : [batch, *players, outputs]
    threshold    : not negative, in the unit of the output

    Source: Shapley Explanation Networks, table 4, which does not say what counts as zero.

    >>> sparsity(torch.tensor([[[0.0], [3.0], [0.0], [-1.0]]]))
    tensor([[0.5000]], dtype=torch.float64)
    """
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not threshold >= 0:
        raise ValueError(f"threshold must be a number, 0 or larger; got {threshold!r}")
    return (_players_flat("attributions", attributions).abs() <= threshold).double().mean(1)


def coefficient_of_variation(attributions: Tensor, correction: int = 0) -> Tensor:
    """Standard deviation over mean, of the attributions' sizes |phi_i| over the players: [batch, outputs].

    0 where all players have the same size, sqrt(n - 1) where one of n players has everything, nan where all are zero.

    attributions : [batch, *players, outputs]
    correction   : the variance is the sum of squares over n - correction: 0, or 1 as in `torch.std`

    Source: Shapley Explanation Networks, section 3 and table 4, which does not say which variance it takes.

    >>> coefficient_of_variation(torch.tensor([[[1.0], [-3.0]]]))
    tensor([[0.5000]], dtype=torch.float64)
    """
    size = _players_flat("attributions", attributions).abs()
    if correction not in (0, 1) or size.shape[1] <= correction:
        raise ValueError(f"correction must be 0, or 1 for two players or more; got {correction!r}")
    return size.std(1, correction=correction) / size.mean(1)


# --- removing players ----------------------------------------------------------------------------------------------


def log_odds_change(
    f: Model,
    x: Tensor,
    attributions: Tensor,
    source: int | Tensor,
    target: int | Tensor,
    *,
    fraction: float = 0.2,
    baseline: Tensor | float | None = None,
) -> Tensor:
    """Digit flipping: what the players that speak for class s rather than t are worth in log-odds between the two.

        D_i = phi_i^s - phi_i^t,        change = [C_s(x) - C_t(x)] - [C_s(x') - C_t(x')]

    x' is x with the round(fraction n) players of largest D_i set to the baseline, of those with D_i > 0. C are logits,
    so C_s - C_t is the log of the odds of s against t. Larger is better: the explanation found the players that matter.

    f              : [rows, *features] -> [rows, classes], logits
    x              : [batch, *features]
    attributions   : [batch, *players, classes]
    source, target : the class to leave and the class to reach, one for all or [batch]
    fraction       : how many players may go, between 0 and 1
    baseline       : what removed players become: None (0), a number, or a tensor that broadcasts to x

    Returns [batch]. Of equal D_i the earlier player goes first. Raises ValueError for what does not fit, and for a
    model that is random, mixes rows, or answers NaN or infinity, as `shapnotes.shapley_values`. Cost: two evaluations
    an input, and 17 for that look.

    Source: Shrikumar et al. (2017), section 4.1: MNIST without scaling, all test images of class s, 157 of 784 pixels;
    Shapley Explanation Networks, figures 4 and 11, which does not say how many of its 32 x 32 pixels.

    >>> f = lambda z: torch.stack([z.sum(1), 0 * z[:, 0]], 1)
    >>> x = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    >>> log_odds_change(f, x, torch.stack([x, 0 * x], -1), source=0, target=1, fraction=0.4)
    tensor([5.], dtype=torch.float64)
    """
    checked_input(x)
    _check_fraction("fraction", fraction)
    _players_flat("attributions", attributions)
    if len(attributions) != len(x):
        raise ValueError(f"attributions of {len(attributions)} inputs do not fit x, which has {len(x)}")
    classes = attributions.shape[-1]
    s, t = (_checked_class(name, c, x, classes) for name, c in (("source", source), ("target", target)))
    difference = _pick(attributions, s) - _pick(attributions, t)
    game = _game_of_players(f, x, difference, baseline)
    scores = difference.flatten(1)
    gone = (_rank(-scores) < round(fraction * game.n)) & (scores > 0)
    odds = []
    for answer in _answers(game, [torch.zeros_like(gone), gone]):
        _check_shape("f's answer", answer, (len(x), classes), "one logit an input and class")
        odds.append(_pick(answer, s) - _pick(answer, t))
    return odds[0] - odds[1]


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """What a model answers while players are taken away.

    fractions  : [steps], the shares of players that are gone
    outputs    : [steps, batch, classes], the model's answers
    prediction : [batch, classes], its answer when nobody is gone

    Source: Shapley Explanation Networks, figures 4 and 7; `change` after Srinivas and Fleuret (2019).
    """

    fractions: Tensor
    outputs: Tensor
    prediction: Tensor

    def agreement(self) -> Tensor:
        """Whether the predicted class is still that of the whole input, 1 or 0: [steps, batch]."""
        return self.accuracy(self.prediction.argmax(-1))

    def accuracy(self, labels: Tensor) -> Tensor:
        """Whether the predicted class is the label [batch], 1 or 0: [steps, batch]."""
        _check_shape("labels", labels, tuple(self.prediction.shape[:1]), "one class an input")
        return (self.outputs.argmax(-1) == labels).double()

    def remaining(self) -> Tensor:
        """The output of the class that was predicted for the whole input: [steps, batch]."""
        predicted = self.prediction.argmax(-1)
        return torch.stack([_pick(answer, predicted) for answer in self.outputs])

    def change(self) -> Tensor:
        """How far that output has moved, in parts of what it was: [steps, batch]; infinite where it has left 0."""
        whole = _pick(self.prediction, self.prediction.argmax(-1))
        moved = (self.remaining() - whole).abs()
        return torch.where(moved == 0, 0.0, moved / whole.abs())

    def area(self, values: Tensor) -> Tensor:
        """The mean height of a curve [steps, ...] over the fractions, by the trapezoidal rule: [...]."""
        if len(values) != len(self.fractions) or len(values) < 2:
            raise ValueError(
                f"an area needs two steps or more, and a value at each of the {len(self.fractions)}; got {len(values)}"
            )
        return torch.trapezoid(values.double(), self.fractions, dim=0) / (self.fractions[-1] - self.fractions[0])


def removal_curve(
    f: Model,
    x: Tensor,
    scores: Tensor,
    fractions: Sequence[float] | Tensor,
    *,
    order: str = "top",
    baseline: Tensor | float | None = None,
) -> RemovalCurve:
    """The model's answers while players are set to the baseline, those of the highest or of the lowest score first.

    f         : [rows, *features] -> [rows, classes]
    x         : [batch, *features]
    scores    : [batch, *players]: the attribution to the predicted class, its size, or random numbers
    fractions : increasing, between 0 and 1; at q the first round(q n) of n players are gone
    order     : "top" or "least"
    baseline  : what removed players become: None (0), a number, or a tensor that broadcasts to x

    Of equal scores the earlier player goes first, in both orders. Raises ValueError for what does not fit, and for a
    model that is random, mixes rows, or answers NaN or infinity, as `shapnotes.shapley_values`. Cost: one evaluation an
    input and fraction, one an input, and 17 for that look.

    >>> f = lambda z: torch.stack([z.sum(1), 0 * z[:, 0]], 1)
    >>> x = torch.tensor([[4.0, -1.0, -2.0]])
    >>> curve = removal_curve(f, x, x, [0, 1 / 3, 2 / 3, 1])
    >>> curve.remaining().T
    tensor([[ 1., -3., -2.,  0.]], dtype=torch.float64)
    >>> curve.agreement().T, curve.area(curve.agreement())
    (tensor([[1., 0., 0., 1.]], dtype=torch.float64), tensor([0.3333], dtype=torch.float64))
    """
    if order not in ("top", "least"):
        raise ValueError(f'order must be "top" or "least"; got {order!r}')
    checked_input(x)
    fractions = torch.as_tensor(fractions, dtype=torch.float64, device=x.device)
    if fractions.dim() != 1 or len(fractions) == 0 or bool((fractions.diff() <= 0).any()):
        raise ValueError(f"fractions must be a list of increasing numbers; got {fractions.tolist()}")
    for fraction in fractions.tolist():
        _check_fraction("each of fractions", fraction)
    if not isinstance(scores, Tensor) or scores.dim() < 2 or not bool(torch.isfinite(scores).all()):
        raise ValueError("scores must be a tensor [batch, *players] of finite numbers, one a player")
    game = _game_of_players(f, x, scores, baseline)
    rank = _rank(scores.flatten(1) * (-1 if order == "top" else 1))
    counts = [0] + [round(fraction * game.n) for fraction in fractions.tolist()]
    prediction, *outputs = _answers(game, [rank < count for count in counts])
    if prediction.dim() != 2:
        raise ValueError(f"f must return [rows, classes]; got shape {tuple(prediction.shape)}")
    return RemovalCurve(fractions, torch.stack(outputs), prediction)


def _game_of_players(f: Model, x: Tensor, scores: Tensor, baseline: Tensor | float | None) -> Game:
    """The game whose players are those that `scores` [batch, *players] counts: x's features, or its pixels."""
    players, features = tuple(scores.shape[1:]), tuple(x.shape[1:])
    if len(scores) != len(x) or players not in (features, features[1:] if len(features) == 3 else None):
        raise ValueError(
            f"players {players} of {len(scores)} inputs do not fit x of shape {tuple(x.shape)}; there must be one a "
            "feature, or one a pixel [height, width] of x [batch, channels, height, width]"
        )
    return Game(f, x, baseline, torch.arange(prod(players)).reshape(players).to(x.device))


def _rank(values: Tensor) -> Tensor:
    """How many players come before each one when they are put in increasing order: [batch, n]."""
    return values.argsort(dim=1, stable=True).argsort(1)


def _answers(game: Game, removals: list[Tensor]) -> Iterator[Tensor]:
    """The model's answers to all inputs without the players of each mask [batch, n], in float64."""
    with torch.no_grad():
        chunk_size = game.inspect()[1]
        for gone in removals:
            rows = game.masked(~gone[:, None])[:, 0]
            yield torch.cat([game.worths(part) for part in rows.split(chunk_size)]).double()


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    """The entry of each input's own class on the last axis: [batch, ..., classes], [batch] -> [batch, ...]."""
    return values[torch.arange(len(values), device=values.device), ..., classes]


# --- comparing methods ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedComparison:
    """Student's paired t test of the differences a - b.

    mean        : the mean difference
    low, high   : its confidence interval
    t           : the mean over its standard error
    degrees     : of freedom, one less than the pairs
    p           : two-sided
    effect_size : the mean over the standard deviation of the differences (Cohen's d_z): t / sqrt(pairs), so that it
                  does not grow with the number of pairs
    """

    mean: float
    low: float
    high: float
    t: float
    degrees: int
    p: float
    effect_size: float


def paired_comparison(a: Tensor, b: Tensor, level: float = 0.95) -> PairedComparison:
    """Whether one method does better than another on the same inputs, by how much, and how sure that is.

        t = mean(a - b) / ( sd(a - b) / sqrt(m) ),        m - 1 degrees of freedom

    a, b  : [m] each, what two methods reach on the same m >= 2 inputs
    level : of the confidence interval, between 0 and 1

    Raises ValueError where shapes do not fit or all differences are equal (t has no scale then).

    Source: Shapley Explanation Networks, table 7 (t and degrees of freedom); scipy.stats.ttest_rel.

    >>> result = paired_comparison(torch.tensor([3.0, 5.0, 4.0]), torch.tensor([2.0, 3.0, 1.0]))
    >>> result.mean, result.degrees, round(result.t, 3), round(result.effect_size, 3)
    (2.0, 2, 3.464, 2.0)
    """
    from scipy import stats  # a second to import, and for this alone

    a, b = (torch.as_tensor(values).detach().double().cpu() for values in (a, b))
    if a.dim() != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"two lists of equal length, at least 2, can be paired; got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level!r}")
    difference = a - b
    if not bool(torch.isfinite(difference).all()):
        raise ValueError("a or b holds NaN or infinity; leave those pairs out, and say so")
    spread = float(difference.std())
    if spread == 0:
        raise ValueError(f"all differences are {float(difference[0])}; without a spread there is no t")
    test = stats.ttest_rel(a.numpy(), b.numpy())
    interval = test.confidence_interval(level)
    mean = float(difference.mean())
    return PairedComparison(
        mean, *map(float, interval), float(test.statistic), len(a) - 1, float(test.pvalue), mean / spread
    )


# --- what is refused -----------------------------------------------------------------------------------------------


def _players_flat(name: str, values: Tensor, like: Tensor | None = None) -> Tensor:
    """Checked values [batch, *players, outputs] as float64 [batch, n, outputs]."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a floating-point tensor [batch, *players, outputs]; got {kind}")
    if values.dim() < 3:
        raise ValueError(
            f"{name} must be [batch, *players, outputs]; got shape {tuple(values.shape)} (a lone output is [..., None])"
        )
    if like is not None and values.shape != like.shape:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, the attributions {tuple(like.shape)}; they must agree"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} holds NaN or infinity; there is no measure of that")
    return values.detach().double().flatten(1, -2)


def _check_shape(name: str, values: Tensor, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(values, Tensor) or tuple(values.shape) != shape:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be {list(shape)}, {what}; got {got}")


def _check_fraction(name: str, fraction: float) -> None:
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(f"{name} must lie between 0 and 1; got {fraction!r}")


def _checked_class(name: str, c: int | Tensor, x: Tensor, classes: int) -> Tensor:
    """One class an input, as int64 [batch]."""
    c = torch.as_tensor(c, device=x.device)
    if c.is_floating_point() or c.dtype == torch.bool or tuple(c.shape) not in ((), (len(x),)):
        raise ValueError(f"{name} must be a class, or [{len(x)}] classes; got {c.dtype} of shape {tuple(c.shape)}")
    if bool(((c < 0) | (c >= classes)).any()):
        raise ValueError(f"{name} names a class that is none: there are {classes}, counted from 0")
    return c.long().expand(len(x))
