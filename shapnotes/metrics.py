"""How good explanations are: their distance from exact values, their shape, and what removing players does.

Attributions are [batch, *players, outputs] with one output axis, one class each for a classifier; scores, one number
per player, are [batch, *players]. There may be any number of player axes. Where players are removed from inputs of a
model, they are the features of x, or its pixels [height, width] where x is [batch, channels, height, width]; a pixel is
removed with all its channels. Results are float64, on the device of what they are computed from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from numbers import Real

import torch
from torch import Tensor

from shapnotes._runtime.tensors import check_dense
from shapnotes.game import Game, Model, checked_input

__all__ = [
    "PairedComparison",
    "RemovalCurve",
    "coefficient_of_variation",
    "log_odds_change",
    "paired_comparison",
    "removal_curve",
    "shapley_error",
    "sparsity",
]

# --- the distance from exact values --------------------------------------------------------------------------------


def shapley_error(attributions: Tensor, exact: Tensor, logits: Tensor | None = None) -> Tensor:
    r"""The mean absolute error of the attributions; for classifiers, its mean under the predicted probabilities.

    .. math::
        \ell_j = \frac{1}{n} \sum_{i=1}^n |\phi_{ij} - \gamma_{ij}|,

        \ell = \sum_j \mathrm{softmax}(C(x))_j\, \ell_j

    where :math:`\phi_{ij}` are the exact values of the :math:`n` players for output :math:`j`, and
    :math:`\gamma_{ij}` the attributions. Both explain the raw output :math:`C(x)_j`; the softmax is a weight only. It
    weighs the errors, not the attributions: those of classes that the model rules out do not count, and those of
    different classes do not cancel.

    Parameters
    ----------
    attributions : Tensor
        [batch, *players, outputs].
    exact : Tensor
        The exact values, of the same shape.
    logits : Tensor, optional
        [batch, outputs], the classifier's output before its softmax; None for the error of each output.

    Returns
    -------
    Tensor
        [batch] with logits and [batch, outputs] without, in the unit of the output.

    Raises
    ------
    ValueError, TypeError
        Where shapes do not fit, or for something else than finite floating-point numbers.

    Cost
    ----
    That of reading the arguments.

    Source
    ------
    Shapley Explanation Networks, equation 8 and appendix G.1, where :math:`n` is written :math:`d`.

    Examples
    --------
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
    r"""The share of players whose attribution is at most `threshold` in absolute value.

    .. math::
        \frac{1}{n}\, \#\{ i : |\phi_i| \le \text{threshold} \}

    Parameters
    ----------
    attributions : Tensor
        [batch, *players, outputs].
    threshold : float
        Not negative, in the unit of the output.

    Returns
    -------
    Tensor
        [batch, outputs], between 0 and 1.

    Raises
    ------
    ValueError, TypeError
        For a negative threshold, or attributions of another shape or kind.

    Source
    ------
    Shapley Explanation Networks, table 4, which does not say what counts as zero.

    Examples
    --------
    >>> sparsity(torch.tensor([[[0.0], [3.0], [0.0], [-1.0]]]))
    tensor([[0.5000]], dtype=torch.float64)
    """
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not threshold >= 0:
        raise ValueError(f"threshold must be a number, 0 or larger; got {threshold!r}")
    return (_players_flat("attributions", attributions).abs() <= threshold).double().mean(1)


def coefficient_of_variation(attributions: Tensor, correction: int = 0) -> Tensor:
    r"""Standard deviation over mean of the absolute attributions of the players.

    .. math::
        \frac{1}{m} \sqrt{\frac{1}{n - c} \sum_i (|\phi_i| - m)^2},

        m = \frac{1}{n} \sum_i |\phi_i|

    It is 0 where all players have the same absolute attribution, :math:`\sqrt{n - 1}` where one of n players has all
    (both for :math:`c = 0`), and nan where all are zero.

    Parameters
    ----------
    attributions : Tensor
        [batch, *players, outputs].
    correction : int
        :math:`c`: 0, or 1 as in `torch.std`.

    Returns
    -------
    Tensor
        [batch, outputs].

    Raises
    ------
    ValueError, TypeError
        For another correction, or attributions of another shape or kind.

    Source
    ------
    Shapley Explanation Networks, section 3 and table 4, which does not say which variance it takes.

    Examples
    --------
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
    r"""Digit flipping: the log-odds between two classes that are lost without the players that speak for the first.

    .. math::
        [C_s(x) - C_t(x)] - [C_s(x') - C_t(x')],

        D_i = \phi_i^s - \phi_i^t

    where :math:`x'` is :math:`x` with the round(fraction n) players of largest :math:`D_i` set to the baseline, of
    those with :math:`D_i > 0`. :math:`C` are logits, so :math:`C_s - C_t` is the logarithm of the odds of s against t.
    Larger is better: the explanation identified the players that matter. Of equal :math:`D_i` the earlier player is
    removed first.

    Parameters
    ----------
    f : callable
        [rows, *features] -> [rows, classes], logits.
    x : Tensor
        [batch, *features].
    attributions : Tensor
        [batch, *players, classes].
    source, target : int or Tensor
        The class s to leave and the class t to reach, one for all inputs or [batch].
    fraction : float
        How many players may be removed, between 0 and 1.
    baseline : Tensor or float, optional
        What removed players become: None (0), a number, or a tensor that broadcasts to x.

    Returns
    -------
    Tensor
        [batch].

    Raises
    ------
    ValueError, TypeError
        Where arguments do not fit together, and as `shapley_values` for a model that is random, mixes rows, or returns
        NaN or infinity.

    Cost
    ----
    Two evaluations per input, and up to 17 in all to probe the model.

    Source
    ------
    Shrikumar et al. (2017), section 4.1: MNIST without scaling, all test images of class s, 157 of 784 pixels; Shapley
    Explanation Networks, figures 4 and 11, which does not say how many of its 32 x 32 pixels.

    Examples
    --------
    >>> f = lambda z: torch.stack([z.sum(1), 0 * z[:, 0]], 1)
    >>> x = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    >>> attributions = torch.stack([x, 0 * x], -1)
    >>> log_odds_change(f, x, attributions, source=0, target=1, fraction=0.4)
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
    removed = (_rank(-scores) < round(fraction * game.n)) & (scores > 0)
    log_odds = []
    for logits in _outputs_without(game, [torch.zeros_like(removed), removed]):
        _check_shape("f's answer", logits, (len(x), classes), "one logit an input and class")
        log_odds.append(_pick(logits, s) - _pick(logits, t))
    return log_odds[0] - log_odds[1]


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """A model's outputs while players are removed.

    Parameters
    ----------
    fractions : Tensor
        [steps], the shares of players that are removed.
    outputs : Tensor
        [steps, batch, classes], the model's outputs.
    prediction : Tensor
        [batch, classes], its output when no player is removed.

    Source
    ------
    Shapley Explanation Networks, figures 4 and 7; `change` after Srinivas and Fleuret (2019).
    """

    fractions: Tensor
    outputs: Tensor
    prediction: Tensor

    def agreement(self) -> Tensor:
        """Whether the predicted class is still that of the whole input.

        Returns
        -------
        Tensor
            [steps, batch], 1 or 0.
        """
        return self.accuracy(self.prediction.argmax(-1))

    def accuracy(self, labels: Tensor) -> Tensor:
        """Whether the predicted class is the label.

        Parameters
        ----------
        labels : Tensor
            [batch], one class per input.

        Returns
        -------
        Tensor
            [steps, batch], 1 or 0.

        Raises
        ------
        ValueError
            For labels of another shape.
        """
        _check_shape("labels", labels, tuple(self.prediction.shape[:1]), "one class an input")
        return (self.outputs.argmax(-1) == labels).double()

    def remaining(self) -> Tensor:
        """The output of the class that is predicted for the whole input.

        Returns
        -------
        Tensor
            [steps, batch], in the unit of the output.
        """
        predicted = self.prediction.argmax(-1)
        return torch.stack([_pick(output, predicted) for output in self.outputs])

    def change(self) -> Tensor:
        r"""How far the output of the predicted class has moved, relative to what it was.

        .. math::
            \frac{|f_c(x_q) - f_c(x)|}{|f_c(x)|}, \qquad c = \mathrm{argmax}\, f(x)

        with :math:`x_q` the input without a fraction :math:`q` of its players.

        Returns
        -------
        Tensor
            [steps, batch]; 0 where nothing has changed, infinite where the output has left 0.
        """
        whole = _pick(self.prediction, self.prediction.argmax(-1))
        moved = (self.remaining() - whole).abs()
        return torch.where(moved == 0, 0.0, moved / whole.abs())

    def area(self, values: Tensor) -> Tensor:
        """The mean height of a curve over the fractions, by the trapezoidal rule.

        Parameters
        ----------
        values : Tensor
            [steps, ...], for instance what `agreement` returns.

        Returns
        -------
        Tensor
            [...], the integral over the fractions, divided by the length of their interval.

        Raises
        ------
        ValueError
            For fewer than two steps, values at other steps, or NaN among them.
        """
        if len(values) != len(self.fractions) or len(values) < 2:
            raise ValueError(
                f"an area needs two steps or more, and a value at each of the {len(self.fractions)}; got {len(values)}"
            )
        if bool(values.isnan().any()):
            raise ValueError("values hold NaN; a curve that is not defined at a fraction has no area")
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
    """The model's outputs while players are set to the baseline, those of the highest or of the lowest score first.

    Of equal scores the earlier player is removed first, in both orders.

    Parameters
    ----------
    f : callable
        [rows, *features] -> [rows, classes].
    x : Tensor
        [batch, *features].
    scores : Tensor
        [batch, *players]: the attribution to the predicted class, its absolute value, or random numbers.
    fractions : sequence of float or Tensor
        Increasing, between 0 and 1; at q the first round(q n) of n players are removed.
    order : str
        "top" or "least".
    baseline : Tensor or float, optional
        What removed players become: None (0), a number, or a tensor that broadcasts to x.

    Returns
    -------
    RemovalCurve
        The outputs at all fractions, and those of the whole inputs.

    Raises
    ------
    ValueError, TypeError
        Where arguments do not fit together, and as `shapley_values` for a model that is random, mixes rows, or returns
        NaN or infinity.

    Cost
    ----
    One evaluation per input and fraction, one per input, and up to 17 in all to probe the model.

    Source
    ------
    Shapley Explanation Networks, figures 4 and 7.

    Examples
    --------
    >>> f = lambda z: torch.stack([z.sum(1), 0 * z[:, 0]], 1)
    >>> x = torch.tensor([[4.0, -1.0, -2.0]])
    >>> curve = removal_curve(f, x, x, [0, 1 / 3, 2 / 3, 1])
    >>> curve.remaining().T
    tensor([[ 1., -3., -2.,  0.]], dtype=torch.float64)
    >>> curve.agreement().T
    tensor([[1., 0., 0., 1.]], dtype=torch.float64)
    >>> curve.area(curve.agreement())
    tensor([0.3333], dtype=torch.float64)
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
    prediction, *outputs = _outputs_without(game, [rank < count for count in counts])
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
    return Game(f, x, baseline, torch.arange(prod(players), device=x.device).reshape(players))


def _rank(values: Tensor) -> Tensor:
    """How many players come before each one in increasing order of their values: [batch, n]."""
    return values.argsort(dim=1, stable=True).argsort(1)


def _outputs_without(game: Game, removals: list[Tensor]) -> Iterator[Tensor]:
    """The model's outputs for all inputs without the players of each mask [batch, n], in float64."""
    with torch.no_grad():
        chunk_size = game.inspect()[1]
        for removed in removals:
            rows = game.masked(~removed[:, None])[:, 0]
            yield torch.cat([game.worths(part) for part in torch.split(rows, chunk_size)]).double()


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    """The entry of each input's own class on the last axis: [batch, ..., classes], [batch] -> [batch, ...]."""
    return values[torch.arange(len(values), device=values.device), ..., classes]


# --- comparing methods ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedComparison:
    """Student's paired t test of the differences a - b.

    Parameters
    ----------
    mean : float
        The mean difference.
    low, high : float
        Its confidence interval.
    t : float
        The mean over its standard error.
    degrees : int
        Of freedom, one less than the number of pairs.
    p : float
        The two-sided p-value.
    effect_size : float
        The mean over the standard deviation of the differences (Cohen's d_z): t / sqrt(pairs), so that it does not grow
        with the number of pairs.
    """

    mean: float
    low: float
    high: float
    t: float
    degrees: int
    p: float
    effect_size: float


def paired_comparison(a: Tensor, b: Tensor, level: float = 0.95) -> PairedComparison:
    r"""Whether one method does better than another on the same inputs, by how much, and how certain that is.

    .. math::
        t = \frac{\bar\delta}{s / \sqrt{m}}, \qquad \delta_i = a_i - b_i

    with the mean :math:`\bar\delta` and the standard deviation :math:`s` of the :math:`m` differences, and
    :math:`m - 1` degrees of freedom.

    Parameters
    ----------
    a, b : Tensor
        [m] each, what two methods reach on the same m >= 2 inputs.
    level : float
        Of the confidence interval, between 0 and 1.

    Returns
    -------
    PairedComparison
        The mean difference, its interval, and the test.

    Raises
    ------
    ValueError
        Where shapes do not fit or all differences are equal (t has no scale then).

    Source
    ------
    Shapley Explanation Networks, table 7 (t and degrees of freedom); `scipy.stats.ttest_rel`.

    Examples
    --------
    >>> a, b = torch.tensor([3.0, 5.0, 4.0]), torch.tensor([2.0, 3.0, 1.0])
    >>> result = paired_comparison(a, b)
    >>> result.mean, round(result.t, 3), round(result.effect_size, 3)
    (2.0, 3.464, 2.0)
    """
    from scipy import stats  # takes a second to import, and is used here only

    for name, values in (("a", a), ("b", b)):
        if isinstance(values, Tensor):
            check_dense(values, name)
    a, b = (torch.as_tensor(values).detach().cpu().double() for values in (a, b))
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
    low, high = test.confidence_interval(level)
    mean = float(difference.mean())
    return PairedComparison(
        mean=mean,
        low=float(low),
        high=float(high),
        t=float(test.statistic),
        degrees=len(a) - 1,
        p=float(test.pvalue),
        effect_size=mean / spread,
    )


# --- refusals ---------------------------------------------------------------------------------------------------------


def _players_flat(name: str, values: Tensor, like: Tensor | None = None) -> Tensor:
    """Values [batch, *players, outputs], checked, as float64 [batch, n, outputs]."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a floating-point tensor [batch, *players, outputs]; got {kind}")
    check_dense(values, name)
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
    """Raise ValueError unless values are a tensor of this shape, which the message explains by `what`."""
    if not isinstance(values, Tensor) or tuple(values.shape) != shape:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be {list(shape)}, {what}; got {got}")


def _check_fraction(name: str, fraction: float) -> None:
    """Raise ValueError unless the fraction is a number from 0 to 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(f"{name} must lie between 0 and 1; got {fraction!r}")


def _checked_class(name: str, c: int | Tensor, x: Tensor, classes: int) -> Tensor:
    """One class per input, as int64 [batch]."""
    c = torch.as_tensor(c, device=x.device)
    if c.is_floating_point() or c.dtype == torch.bool or tuple(c.shape) not in ((), (len(x),)):
        raise ValueError(f"{name} must be a class, or [{len(x)}] classes; got {c.dtype} of shape {tuple(c.shape)}")
    if bool(((c < 0) | (c >= classes)).any()):
        raise ValueError(f"{name} names a class that is none: there are {classes}, counted from 0")
    return c.long().expand(len(x))
