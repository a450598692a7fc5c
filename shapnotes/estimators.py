"""ShapNets as scikit-learn estimators: fit, predict, and what each feature added, which sums to the prediction.

Examples
--------
>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.model_selection import train_test_split
>>> from shapnotes.estimators import ShapNetClassifier
>>> x, y = load_breast_cancer(return_X_y=True)
>>> x_train, x_test, y_train, y_test = train_test_split(
...     x, y, random_state=0
... )
>>> net = ShapNetClassifier(random_state=0).fit(x_train, y_train)
>>> bool(net.score(x_test, y_test) > 0.9)
True
>>> explanation = net.explain(x_test[:5])
>>> explanation.attributions.shape  # inputs, features
torch.Size([5, 30])
>>> bool(explanation.gap().abs().max() < 1e-9)
True
"""

import copy
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor
from torch.nn import functional

from shapnotes._runtime.progress import progress_bar
from shapnotes.explanation import Explanation
from shapnotes.shapnet import (
    DeepShapNet,
    ShallowShapNet,
    ShapNet,
    WideShapNet,
    all_pairs,
    l1_penalty,
    linf_penalty,
    singletons,
)
from shapnotes.shapnet.door import flag, is_several, is_whole

__all__ = ["ShapNetClassifier", "ShapNetRegressor"]

ROWS_AT_ONCE = 256  # in a prediction: all pairs of 30 features take a megabyte per row
# The intercept's learning rate over that of the weights. In an ordinary network many weights move the prediction at the
# mean together; here nothing else can.
INTERCEPT_RATE_FACTOR = 30

PENALTIES = {"l1": l1_penalty, "linf": linf_penalty}

_CHOICES = {"kind": ("deep", "shallow", "gam", "wide"), "penalty": (None, *PENALTIES), "penalised": ("last", "every")}
# Each numeric setting: its type and its least value.
_NUMBERS: dict[str, tuple[type[Integral] | type[Real], int]] = {
    "epochs": (Integral, 1),
    "batch_size": (Integral, 1),
    "learning_rate": (Real, 0),
    "penalty_strength": (Real, 0),
}


class _Loss(Protocol):
    """scores [rows, outputs], y [rows] -> a number, or [rows] for reduction="none"."""

    def __call__(self, scores: Tensor, y: Tensor, /, *, reduction: str = "mean") -> Tensor: ...


class _Epoch(NamedTuple):
    """What training has reached at the end of an epoch."""

    net: ShapNet  # float64, on the CPU
    intercept: np.ndarray  # [outputs]
    mean_loss: float


class _ShapNetEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """What the two estimators share: the network, its training, and the explanation that all predictions are read off.

    prediction = c + s H(z) with z = (x - mean) / deviation, H(z) = sum_i h_i(z) and H(0) = 0, where mean and deviation
    are those of the training data. The mean is the reference: what stands for an absent feature.
    """

    net_: ShapNet
    scaler_: StandardScaler
    intercept_: np.ndarray
    output_scale_: float
    loss_curve_: list[float]

    def __init__(
        self,
        kind: str = "deep",
        *,
        active_sets: Sequence[Sequence[int]] | Sequence[Sequence[Sequence[int]]] | None = None,
        hidden: Sequence[int] | Sequence[Sequence[int]] = (50,),
        channels: int | Sequence[int] = 25,
        keep_variance: bool = True,
        penalty: str | None = None,
        penalty_strength: float = 0.01,
        penalised: str = "last",
        fit_intercept: bool = True,
        epochs: int = 9,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        device: str | torch.device = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.kind = kind
        self.active_sets = active_sets
        self.hidden = hidden
        self.channels = channels
        self.keep_variance = keep_variance
        self.penalty = penalty
        self.penalty_strength = penalty_strength
        self.penalised = penalised
        self.fit_intercept = fit_intercept
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")  # set at the end of the first epoch, unlike `scaler_`

    @torch.no_grad()
    def explain(self, X: ArrayLike) -> Explanation:
        r"""The predictions, and what each feature adds to them.

        .. math::
            \text{prediction} - \text{baseline prediction} = \sum_i \phi_i,

            \phi_i = s\, h_i(z),

            \text{baseline prediction} = c

        The sum is exact up to float64 rounding, and a feature at its training mean has an attribution of exactly 0.
        With kind "shallow" or "gam" the attributions are the exact Shapley values of the prediction, with the mean as
        baseline (Theorem 2); with "wide" and one stage they are close to them.

        Parameters
        ----------
        X : array
            [rows, n_features].

        Returns
        -------
        Explanation
            float64 tensors on the CPU. Attributions are [rows, n_features], and [rows, n_features, classes] for three
            classes or more. The prediction is what `decision_function` (classifier) or `predict` (regressor) returns,
            and its unit that of the attributions. The inputs are X itself, not standardised.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For X with other columns than in `fit`, or with something else than finite numbers.

        Cost
        ----
        That of a prediction; predictions are computed this way.

        Source
        ------
        Shapley Explanation Networks, Definitions 5 and 8, Theorem 2.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        device = torch.device(self.device)
        net = self.net_ if device.type == "cpu" else copy.deepcopy(self.net_).to(device)
        z = torch.from_numpy(self.scaler_.transform(X))
        h = torch.cat([net.layers(rows.to(device))[-1].cpu() for rows in torch.split(z, ROWS_AT_ONCE)])
        attributions, baseline = self.output_scale_ * h, torch.tensor(self.intercept_, device="cpu").expand(len(h), -1)
        if len(self.intercept_) == 1:
            attributions, baseline = attributions[..., 0], baseline[..., 0]
        return Explanation(attributions, baseline + attributions.sum(1), baseline, inputs=torch.tensor(X, device="cpu"))

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        loss: _Loss,
        start: np.ndarray,
        shift: float = 0,
        scale: float = 1,
    ) -> Self:
        """Fit H and b by loss(b + H(z), y), with b = start at first; shift + scale (b + H(z)) is the prediction.

        Each row's share of the loss, and of a penalty, is multiplied by its weight.
        """
        device = self._checked_device()
        self.__dict__.pop("net_", None)  # an earlier fit's, which does not match the attributes that are set below
        self.scaler_, self.output_scale_, self.loss_curve_ = StandardScaler().fit(X, sample_weight=weight), scale, []
        generator = torch.Generator()
        if self.random_state is None:
            generator.seed()
        else:
            generator.manual_seed(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.device("cpu"):  # whatever PyTorch's default device is; below, so is its default precision
            net = self._network(X.shape[1], len(start)).float()
        net.reset_parameters(generator)
        net.to(device)
        z = torch.as_tensor(self.scaler_.transform(X).astype(np.float32), device=device)
        b = torch.as_tensor(start.astype(np.float32), device=device).requires_grad_(bool(self.fit_intercept))
        targets = torch.as_tensor(y, device=device)
        weights = None if weight is None else torch.as_tensor(weight.astype(np.float32), device=device)
        for epoch in self._epochs(net, b, z, targets, weights, loss, generator):
            # All at once, so that an interruption leaves the estimator as it is after one epoch or after the next.
            self.__dict__.update(
                net_=epoch.net,
                intercept_=shift + scale * epoch.intercept,
                loss_curve_=[*self.loss_curve_, epoch.mean_loss],
            )
        return self

    def _epochs(
        self,
        net: ShapNet,
        b: Tensor,
        z: Tensor,
        y: Tensor,
        weight: Tensor | None,
        loss: _Loss,
        generator: torch.Generator,
    ) -> Iterator[_Epoch]:
        """Train net and intercept b [outputs] on standardised inputs z [rows, features]; the state after each epoch."""
        weights: dict[str, Any] = {"params": net.parameters()}
        intercept: dict[str, Any] = {"params": [b], "lr": INTERCEPT_RATE_FACTOR * self.learning_rate}
        optimiser = torch.optim.Adam([weights, intercept], lr=self.learning_rate)
        with progress_bar(self.epochs * len(z), "rows", self.verbose) as bar:
            for epoch in range(1, self.epochs + 1):
                total = 0.0
                order = torch.randperm(len(z), generator=generator, device="cpu").to(device=z.device)
                for rows in torch.split(order, int(self.batch_size)):
                    layers = [] if self.penalty is None else net.layers(z[rows])
                    scores = b + (layers[-1].sum(1) if layers else net(z[rows]))
                    cost = _mean(loss, scores, y[rows], None if weight is None else weight[rows])
                    if self.penalty is not None:
                        penalised = layers if self.penalised == "every" else layers[-1:]
                        if weight is not None:  # a norm is homogeneous: weights inside are weights outside
                            penalised = [weight[rows, None, None] * layer for layer in penalised]
                        cost = cost + self.penalty_strength * PENALTIES[self.penalty](penalised)
                    optimiser.zero_grad()
                    torch.autograd.backward(cost)
                    optimiser.step()
                    total += len(rows) * cost.item()
                    bar.update(len(rows))
                if not np.isfinite(total):
                    raise ValueError(
                        f"the loss became {total} in epoch {epoch}; choose a learning_rate below {self.learning_rate}"
                    )
                # In float64, so that a prediction does not depend on which rows are predicted together.
                yield _Epoch(copy.deepcopy(net).cpu().double(), b.detach().cpu().double().numpy(), total / len(z))

    def _network(self, n: int, outputs: int) -> ShapNet:
        """The network of n features that the settings describe."""
        generator = torch.Generator()  # not PyTorch's global one
        if self.kind == "deep":
            return DeepShapNet(
                n,
                self.channels,
                outputs,
                self.hidden,
                active_sets=cast(Sequence[Sequence[Sequence[int]]] | None, self.active_sets),
                keep_variance=self.keep_variance,
                generator=generator,
            )
        if self.kind == "wide":
            return WideShapNet(n, self.channels, outputs, generator=generator)
        sets = singletons(n) if self.kind == "gam" else self.active_sets
        return ShallowShapNet(
            cast(Sequence[Sequence[int]], all_pairs(n) or singletons(n) if sets is None else sets),
            outputs,
            cast(Sequence[int], self.hidden),
            n_features=n,
            keep_variance=self.keep_variance,
            generator=generator,
        )

    def _check_settings(self) -> None:
        """Raise ValueError for settings that no network or training can be made of."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str | None) or value not in choices:
                raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")
        if self.kind == "gam" and self.active_sets is not None:
            raise ValueError('kind="gam" has one feature a set; for active_sets of your own choose kind="shallow"')
        if self.kind == "wide" and self.active_sets is not None:
            raise ValueError('kind="wide" has neurons that see all features; for active_sets choose kind="shallow"')
        each_stage = ", or for each stage such a tuple" if self.kind == "deep" else ""
        widths = list(self.hidden) if is_several(self.hidden) else []
        if not widths or not all(is_whole(width) or (each_stage and is_several(width)) for width in widths):
            raise ValueError(f"hidden={self.hidden!r}; it has to be a tuple of widths, as (50,){each_stage}")
        for name, (number, least) in _NUMBERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, number) or not least <= float(value) < float("inf"):
                what = "a whole number" if number is Integral else "a number"
                raise ValueError(f"{name}={value!r}; it has to be {what}, at least {least}")
        for name in ("keep_variance", "fit_intercept"):
            flag(getattr(self, name), name)
        if not isinstance(self.verbose, bool | np.bool_ | Integral | None):
            raise ValueError(f"verbose={self.verbose!r}; it has to be True, False or None")

    def _checked_device(self) -> torch.device:
        """The device to compute on; ValueError where none can."""
        try:
            device = torch.device(self.device)
            float(torch.zeros((), device=device))
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            raise ValueError(
                f"device={self.device!r} cannot be computed on here; choose another, as 'cpu'. PyTorch says: {error}"
            ) from error
        return device

    def _weighted_rows(
        self, X: np.ndarray, y: np.ndarray, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The rows of positive weight, and their weights, of mean 1; None where they are all equal."""
        self._check_settings()
        if sample_weight is None:
            return X, y, None
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        positive = weight > 0
        if not positive.any():  # older releases of scikit-learn let that pass
            raise ValueError("Sample weights must contain at least one non-zero number; got zeros only")
        weight = weight[positive]
        return X[positive], y[positive], None if (weight == weight[0]).all() else weight / weight.mean()


# What the docstrings of both estimators say alike; scikit-learn's readers look for it in each class.
_BOTH = r"""Parameters
----------
kind : str
    "deep", disjoint pairs in a butterfly (Definition 8); "wide", stages of neurons that see all features
    (`WideShapNet`); "shallow", one stage of overlapping sets (Definition 5); "gam", one stage of single features, a
    generalised additive model.
active_sets : sequence, optional
    For "shallow" the sets of features, counted from 0, in place of all pairs; for "deep" such a list per stage in
    place of the butterfly.
hidden : sequence of int
    Widths of the hidden layers of the inner perceptrons; for "deep" optionally such a sequence per stage; "wide" has
    none.
channels : int or sequence of int
    Between the stages of "deep", one number or several, repeated or cut to fit. Of "wide" the neurons of each stage;
    with one number there is one stage, and the network is a perceptron.
keep_variance : bool
    Whether to start with weights under which representations keep the variance of the inputs, which few epochs on
    few rows need; otherwise as PyTorch's linear layers start. "wide" always does.
penalty : str, optional
    None, "l1" (small explanations in which little cancels) or "linf" (small and even ones), added to the loss.
penalty_strength : float
    What the penalty is multiplied by; it is taken of h, before the scale s.
penalised : str
    "last", the explanation, or "every", the representations of all stages.
fit_intercept : bool
    Whether b is learned, at thirty times the learning rate. The paper's networks have none, and predict 0 at the
    mean whatever their weights are.
epochs, batch_size : int
    How long to train, and how many rows per step.
learning_rate : float
    Of Adam, otherwise with PyTorch's defaults.
device : str or torch.device
    Where to compute, for instance "cuda"; the fitted estimator is kept on the CPU.
random_state : int or RandomState, optional
    Seed of weights and order; with None every fit differs. No global random state is touched, nor does the fit
    depend on PyTorch's default precision, or on whether it records gradients.
verbose : bool, optional
    Whether to show a bar; None shows it after ten seconds.

Attributes
----------
net_ : ShapNet
    The network of standardised inputs, in float64.
scaler_ : StandardScaler
    With mean and deviation.
intercept_ : array
    [outputs], c.
output_scale_ : float
    s.
loss_curve_ : list of float
    The mean loss of each finished epoch.
n_features_in_ : int
    How many features there are.
feature_names_in_ : array
    Their names, where X has named columns.
classes_ : array
    Of a classifier, the labels in the order of the outputs.

Cost
----
About 3 evaluations of n/2 perceptrons per stage, ceil(log2 n) stages, for "deep"; of n (n - 1) / 2 for "shallow"
with all pairs; one of n for "gam". `explain` costs what `predict` does.

Source
------
Shapley Explanation Networks, section 3 and appendix I.2: 9 epochs in batches of 32, Adam's defaults, inputs
standardised; penalties, section 2.4, which gives no strength. The scale s, the intercept and the default widths are
ours."""


_Estimator = TypeVar("_Estimator", bound=type)


def _documented(cls: _Estimator) -> _Estimator:
    """The class, with what both estimators have in common in the place of <both>."""
    cls.__doc__ = cleandoc(cls.__doc__ or "").replace("<both>", _BOTH)
    return cls


@_documented
class ShapNetRegressor(RegressorMixin, _ShapNetEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    r"""Regression by a network that predicts by adding up its explanation.

    .. math::
        \text{predict}(x) = c + s\, H(z), \qquad c = \bar y + s\, b,

        z = (x - \text{mean}) / \text{deviation}, \qquad H(0) = 0

    Mean and deviation are those of x in the training data, s is the standard deviation of y there (1 where y is
    constant), H a ShapNet and b a learned number, 0 at first. H and b minimise the mean square of
    :math:`b + H(z) - (y - \bar y) / s`. So attributions :math:`s\, h_i(z)` and c are in the unit of y. Without
    `fit_intercept` c = 0, and what is learned is y / s.

    With `sample_weight` a row counts as if it were repeated that many times: in means and deviations, in the loss and
    in a penalty, though not for how many rows are in a batch. Rows of weight 0 are left out, and equal weights are the
    same as none.

    An interruption (Ctrl-C) is passed on, so that a grid search ends as well; the estimator is then as it was after the
    last finished epoch, and can be used.

    <both>
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array
            [rows, n_features], finite numbers.
        y : array
            [rows], finite numbers.
        sample_weight : array, optional
            [rows], at least 0; None for equal weights.

        Returns
        -------
        ShapNetRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            For unusable settings or data, and where the loss overflows.
        """
        rows, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        rows, targets, weight = self._weighted_rows(rows, targets.astype(np.float64), sample_weight)
        shift = float(np.average(targets, weights=weight)) if self.fit_intercept else 0.0
        scale = float(StandardScaler().fit(targets[:, None], sample_weight=weight).scale_[0])  # 1 where y is constant
        standardised = ((targets - shift) / scale).astype(np.float32)
        return self._fit(rows, standardised, weight, _squared_error, np.zeros(1), shift, scale)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The predictions.

        Parameters
        ----------
        X : array
            [rows, n_features].

        Returns
        -------
        array
            [rows], in the unit of y.
        """
        return self.explain(X).prediction.numpy()


@_documented
class ShapNetClassifier(ClassifierMixin, _ShapNetEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    r"""Classification by a network that predicts by adding up its explanation.

    .. math::
        \text{decision}(x) = c + H(z), \qquad H(0) = 0,

        z = (x - \text{mean}) / \text{deviation}

    Mean and deviation are those of the training data, H a ShapNet and c the learned log-odds, or logits, at the mean;
    at first they are those of the class frequencies.

    With two classes there is one output, the log-odds of classes_[1]: `predict_proba` is its sigmoid. With more there
    is a logit for each class: `predict_proba` is their softmax. H and c minimise the cross entropy. Attributions
    :math:`h_i(z)` and c are log-odds or logits as well, and not probabilities, to which features do not add up. Here
    s = 1 and b = c; without `fit_intercept` c = 0, all classes alike at the mean.

    With `sample_weight` a row counts as if it were repeated that many times: in means and deviations, in the class
    frequencies, in the loss and in a penalty, though not for how many rows are in a batch. Rows of weight 0 are left
    out, and equal weights are the same as none.

    An interruption (Ctrl-C) is passed on, so that a grid search ends as well; the estimator is then as it was after the
    last finished epoch, and can be used.

    <both>
    """

    classes_: np.ndarray

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array
            [rows, n_features], finite numbers.
        y : array
            [rows], labels of two classes or more.
        sample_weight : array, optional
            [rows], at least 0; None for equal weights. Classes whose rows all have weight 0 are not known.

        Returns
        -------
        ShapNetClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            For unusable settings or data, and where the loss overflows.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        rows, labels, weight = self._weighted_rows(rows, labels, sample_weight)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class only, {self.classes_[0]!r}; a classifier needs two classes or more")
        start = np.log(np.bincount(numbers, weights=weight) / len(numbers))
        two = len(self.classes_) == 2
        if two:
            start = start[1:] - start[:1]
        targets = numbers.astype(np.float32 if two else np.int64)
        loss: _Loss = _binary_cross_entropy if two else functional.cross_entropy
        return self._fit(rows, targets, weight, loss, start if self.fit_intercept else np.zeros_like(start))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """The scores: log-odds of classes_[1] for two classes, logits for more.

        Parameters
        ----------
        X : array
            [rows, n_features].

        Returns
        -------
        array
            [rows] for two classes, [rows, classes] for more.
        """
        return self.explain(X).prediction.numpy()

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probabilities of the classes.

        Parameters
        ----------
        X : array
            [rows, n_features].

        Returns
        -------
        array
            [rows, classes].
        """
        scores = self.explain(X).prediction
        if scores.dim() == 1:
            return torch.stack([-scores, scores], 1).sigmoid().numpy()
        return scores.softmax(1).numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable labels.

        Parameters
        ----------
        X : array
            [rows, n_features].

        Returns
        -------
        array
            [rows], of the kind of y.
        """
        scores = self.decision_function(X)
        labels: np.ndarray = self.classes_[scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(int)]
        return labels


def _mean(loss: _Loss, scores: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """The mean loss of the rows, weighted where there are weights [rows]."""
    return loss(scores, y) if weight is None else (weight * loss(scores, y, reduction="none")).mean()


def _squared_error(scores: Tensor, y: Tensor, /, *, reduction: str = "mean") -> Tensor:
    """A `_Loss` for one output, scores [rows, 1]."""
    return functional.mse_loss(scores[:, 0], y, reduction=reduction)


def _binary_cross_entropy(scores: Tensor, y: Tensor, /, *, reduction: str = "mean") -> Tensor:
    """A `_Loss` for two classes, scores [rows, 1] as log-odds, y 0 or 1."""
    return functional.binary_cross_entropy_with_logits(scores[:, 0], y, reduction=reduction)
