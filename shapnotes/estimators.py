"""ShapNets as scikit-learn estimators: fit, predict, and exactly what each feature added to the prediction."""

import copy
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor
from torch.nn import functional

from shapnotes._runtime.progress import progress_bar
from shapnotes.explanation import Explanation
from shapnotes.shapnet import DeepShapNet, ShallowShapNet, ShapNet, all_pairs, l1_penalty, linf_penalty, singletons
from shapnotes.shapnet.door import flag, is_several, is_whole

ROWS_AT_ONCE = 256  # when predicting: all pairs of 30 features take a megabyte per row
# The intercept's learning rate over that of the weights. In an ordinary network many weights move the prediction at the
# mean together; here nothing else can.
INTERCEPT_PACE = 30

PENALTIES = {"l1": l1_penalty, "linf": linf_penalty}


class _ShapNetEstimator(BaseEstimator):
    """What the two estimators share: the network, its training, and the explanation that all predictions are read off.

        prediction = c + s H(z),      z = (x - mean) / deviation,      H(z) = sum_i h_i(z),      H(0) = 0

    mean and deviation are those of the training data. The mean is the reference: what stands for an absent feature.
    """

    def __init__(
        self,
        kind: str = "deep",
        *,
        active_sets: Sequence | None = None,
        hidden: Sequence = (50,),
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
    ):
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
        return hasattr(self, "net_")  # which exists once an epoch is over, unlike what is known before the first

    @torch.no_grad()
    def explain(self, X) -> Explanation:
        """The predictions and what each feature adds to them: float64 tensors on the CPU.

            prediction - baseline_prediction = sum_i attributions_i
            attributions = s h(z),      baseline_prediction = c

        The sum is exact up to float64 rounding, and a feature at its training mean has an attribution of exactly 0.
        `prediction` is what `decision_function` (classifier) or `predict` (regressor) returns, and the unit of the
        attributions is its unit. `inputs` is X as given, not standardised.

        X : [rows, n_features]

        Returns attributions [rows, n_features], and [rows, n_features, classes] for three classes or more. With kind
        "shallow" or "gam" they are the exact Shapley values of the prediction, with the mean as baseline (Theorem 2).

        Cost: that of a prediction; predictions are computed this way.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        device = torch.device(self.device)
        net = self.net_ if device.type == "cpu" else copy.deepcopy(self.net_).to(device)
        z = torch.from_numpy(self.scaler_.transform(X))
        h = torch.cat([net.layers(rows.to(device))[-1].cpu() for rows in z.split(ROWS_AT_ONCE)])
        attributions, baseline = self.output_scale_ * h, torch.tensor(self.intercept_, device="cpu").expand(len(h), -1)
        if len(self.intercept_) == 1:
            attributions, baseline = attributions[..., 0], baseline[..., 0]
        return Explanation(attributions, baseline + attributions.sum(1), baseline, inputs=torch.tensor(X, device="cpu"))

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _train(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        loss: Callable,
        start: np.ndarray,
        shift: float = 0,
        scale: float = 1,
    ):
        """Fit H and b by loss(b + H(z), y), with b = start at first; shift + scale (b + H(z)) is the prediction.

        Each row's share of the loss, and of a penalty, is multiplied by its weight.
        """
        device = self._checked_device()
        self.__dict__.pop("net_", None)  # an earlier fit's, which does not go with what this fit has noted already
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
        z, y = (torch.as_tensor(t, device=device) for t in (self.scaler_.transform(X).astype(np.float32), y))
        weight = None if weight is None else torch.as_tensor(weight.astype(np.float32), device=device)
        b = torch.as_tensor(start.astype(np.float32), device=device).requires_grad_(bool(self.fit_intercept))
        own_pace = {"params": [b], "lr": INTERCEPT_PACE * self.learning_rate}
        optimiser = torch.optim.Adam([{"params": net.parameters()}, own_pace], lr=self.learning_rate)
        with progress_bar(self.epochs * len(z), "rows", self.verbose) as bar:
            for epoch in range(1, self.epochs + 1):
                total = 0.0
                order = torch.randperm(len(z), generator=generator, device="cpu").to(device)
                for rows in order.split(int(self.batch_size)):
                    layers = net.layers(z[rows])
                    cost = _mean(loss, b + layers[-1].sum(1), y[rows], None if weight is None else weight[rows])
                    if self.penalty is not None:
                        penalised = layers if self.penalised == "every" else layers[-1:]
                        if weight is not None:  # norms of a multiple are multiples
                            penalised = [weight[rows, None, None] * layer for layer in penalised]
                        cost = cost + self.penalty_strength * PENALTIES[self.penalty](penalised)
                    optimiser.zero_grad()
                    cost.backward()
                    optimiser.step()
                    total += len(rows) * cost.item()
                    bar.update(len(rows))
                if not np.isfinite(total):
                    what = f"the loss became {total} in epoch {epoch}"
                    raise ValueError(f"{what}; choose a learning_rate below {self.learning_rate}")
                # In float64, so that a prediction does not depend on which rows are predicted together.
                finished = copy.deepcopy(net).cpu().double(), shift + scale * b.detach().cpu().double().numpy()
                self.net_, self.intercept_ = finished
                self.loss_curve_.append(total / len(z))
        return self

    def _network(self, n: int, outputs: int) -> ShapNet:
        settings = {"keep_variance": self.keep_variance, "generator": torch.Generator()}  # not PyTorch's global one
        if self.kind == "deep":
            return DeepShapNet(n, self.channels, outputs, self.hidden, active_sets=self.active_sets, **settings)
        sets = singletons(n) if self.kind == "gam" else self.active_sets
        if sets is None:
            sets = all_pairs(n) or singletons(n)
        return ShallowShapNet(sets, outputs, self.hidden, n_features=n, **settings)

    def _check_settings(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str | None) or value not in choices:
                raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")
        if self.kind == "gam" and self.active_sets is not None:
            raise ValueError('kind="gam" has one feature a set; for active_sets of your own choose kind="shallow"')
        each_stage = ", or for each stage such a tuple" if self.kind == "deep" else ""
        widths = list(self.hidden) if is_several(self.hidden) else []
        if not widths or not all(is_whole(width) or (each_stage and is_several(width)) for width in widths):
            raise ValueError(f"hidden={self.hidden!r}; it has to be a tuple of widths, as (50,){each_stage}")
        for name, (number, least) in _NUMBERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, number) or not least <= value < float("inf"):
                what = "a whole number" if number is Integral else "a number"
                raise ValueError(f"{name}={value!r}; it has to be {what}, at least {least}")
        for name in ("keep_variance", "fit_intercept"):
            flag(getattr(self, name), name)
        if not isinstance(self.verbose, bool | np.bool_ | Integral | None):
            raise ValueError(f"verbose={self.verbose!r}; it has to be True, False or None")

    def _checked_device(self) -> torch.device:
        """The device to compute on, if one can."""
        try:
            device = torch.device(self.device)
            float(torch.zeros((), device=device))
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            raise ValueError(
                f"device={self.device!r} cannot be computed on here; choose another, as 'cpu'. PyTorch says: {error}"
            ) from error
        return device

    def _rows(self, X: np.ndarray, y: np.ndarray, sample_weight) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The rows that have weight, and their weights, 1 in the mean; None where they are all alike."""
        self._check_settings()
        if sample_weight is None:
            return X, y, None
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept = weight > 0
        if not kept.any():  # older releases of scikit-learn let that pass
            raise ValueError("Sample weights must contain at least one non-zero number; got zeros only")
        weight = weight[kept]
        return X[kept], y[kept], None if (weight == weight[0]).all() else weight / weight.mean()


_CHOICES = {"kind": ("deep", "shallow", "gam"), "penalty": (None, *PENALTIES), "penalised": ("last", "every")}
_NUMBERS = {
    "epochs": (Integral, 1),
    "batch_size": (Integral, 1),
    "learning_rate": (Real, 0),
    "penalty_strength": (Real, 0),
}

_SETTINGS = """
    kind             : "deep", disjoint pairs in a butterfly (Definition 8); "shallow", one stage of overlapping sets
                       (Definition 5); "gam", one stage of single features, a generalised additive model
    active_sets      : for "shallow" the sets of features, counted from 0, in place of all pairs; for "deep" such a
                       list a stage in place of the butterfly
    hidden           : widths of the hidden layers of the inner perceptrons; for "deep" a stage each, if you like
    channels         : between the stages of "deep", one number or several, repeated or cut to fit
    keep_variance    : start with weights under which representations keep the size of the inputs, which few epochs on
                       few rows need; otherwise as PyTorch's linear layers start
    penalty          : None, "l1" (sparse explanations) or "linf" (no feature too important), added to the loss
    penalty_strength : what the penalty is multiplied by; it is taken of h, before the scale s
    penalised        : "last", the explanation, or "every", the representations of all stages
    fit_intercept    : whether b is learned, at thirty times the learning rate. The paper's networks have none, and
                       predict 0 at the mean whatever their weights are
    epochs, batch_size, learning_rate : of Adam, otherwise with PyTorch's defaults
    device           : where to compute, for instance "cuda"; the fitted estimator is kept on the CPU
    random_state     : seed of weights and order; with None every fit differs. No global random state is touched, nor
                       does the fit depend on PyTorch's default precision, or on whether it records gradients
    verbose          : whether to show a bar; None shows it after ten seconds

    Attributes: `net_`, the network of standardised inputs, in float64; `scaler_`, the `StandardScaler` with mean and
    deviation; `intercept_`, c; `output_scale_`, s; `loss_curve_`, the mean loss of each finished epoch;
    `n_features_in_`, and `feature_names_in_` where X has named columns.

    With `sample_weight` a row counts as if it were there so many times: in means and deviations, in the class
    frequencies, in the loss and in a penalty, though not for how many rows are in a batch. Rows of weight 0 are left
    out, and weights that are all alike are none.

    An interruption (Ctrl-C) is passed on, so that a grid search ends as well; the estimator is then as it was after
    the last epoch that was finished, and can be used.

    Cost: about 3 evaluations of n/2 perceptrons a stage, ceil(log2 n) stages, for "deep"; of n (n - 1) / 2 for
    "shallow" with all pairs; one of n for "gam". `explain` costs what `predict` does.

    Source: Shapley Explanation Networks, section 4 and appendix I.2: 9 epochs in batches of 32, Adam's defaults, inputs
    standardised; penalties, section 2.4, which gives no strength. The scale s, the intercept and the default widths are
    ours.
"""


class ShapNetRegressor(RegressorMixin, _ShapNetEstimator):
    __doc__ = f"""Regression by a network that predicts by adding up its explanation.

        predict(x) = c + s H(z),      c = mean(y) + s b,      z = (x - mean) / deviation,      H(0) = 0

    mean and deviation are those of x in the training data, s is the standard deviation of y there (1 where y is
    constant), H a ShapNet and b a learned number, 0 at first. H and b minimise the mean square of b + H(z) - (y -
    mean(y)) / s. So attributions s h_i(z) and c are in the unit of y. Without `fit_intercept` c = 0, and what is
    learned is y / s.
{_SETTINGS}"""

    def fit(self, X, y, sample_weight=None):
        """X [rows, n_features], y [rows], finite numbers; sample_weight [rows], at least 0, None for all alike.

        Returns the estimator.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        X, y, weight = self._rows(X, y.astype(np.float64), sample_weight)
        shift = float(np.average(y, weights=weight)) if self.fit_intercept else 0.0
        scale = float(StandardScaler().fit(y[:, None], sample_weight=weight).scale_[0])  # 1 where y is constant
        targets = ((y - shift) / scale).astype(np.float32)
        return self._train(X, targets, weight, _squared_error, np.zeros(1), shift, scale)

    def predict(self, X) -> np.ndarray:
        """The predictions [rows]."""
        return self.explain(X).prediction.numpy()


class ShapNetClassifier(ClassifierMixin, _ShapNetEstimator):
    __doc__ = f"""Classification by a network that predicts by adding up its explanation.

        decision_function(x) = c + H(z),      z = (x - mean) / deviation,      H(0) = 0

    mean and deviation are those of the training data, H a ShapNet and c the learned log-odds, or logits, at the mean;
    at first they are those of the class frequencies.

    With two classes there is one output, the log-odds of classes_[1]: predict_proba is its sigmoid. With more there is
    a logit for each class: predict_proba is their softmax. H and c minimise the cross entropy. Attributions h_i(z) and
    c are log-odds or logits as well, and not probabilities, to which features do not add up. Here s = 1 and b = c;
    without `fit_intercept` c = 0, all classes alike at the mean.
{_SETTINGS}
    `classes_` has the labels, in the order of the outputs.
"""

    def fit(self, X, y, sample_weight=None):
        """X [rows, n_features], finite numbers; y [rows], labels of two classes or more; sample_weight [rows], at
        least 0, None for all alike. Classes whose rows all have weight 0 are not known.

        Returns the estimator.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        X, y, weight = self._rows(X, y, sample_weight)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class only, {self.classes_[0]!r}; a classifier needs two classes or more")
        start = np.log(np.bincount(labels, weights=weight) / len(y))
        if two := len(self.classes_) == 2:
            start = start[1:] - start[:1]
        labels = labels.astype(np.float32 if two else np.int64)
        loss = _binary_cross_entropy if two else functional.cross_entropy
        return self._train(X, labels, weight, loss, start if self.fit_intercept else np.zeros_like(start))

    def decision_function(self, X) -> np.ndarray:
        """Log-odds of classes_[1], [rows], of two classes; logits [rows, classes] of more."""
        return self.explain(X).prediction.numpy()

    def predict_proba(self, X) -> np.ndarray:
        """The probabilities [rows, classes]."""
        scores = self.explain(X).prediction
        if scores.dim() == 1:
            return torch.stack([-scores, scores], 1).sigmoid().numpy()
        return scores.softmax(1).numpy()

    def predict(self, X) -> np.ndarray:
        """The most probable labels [rows]."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(int)]


def _mean(loss: Callable, scores: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    return loss(scores, y) if weight is None else (weight * loss(scores, y, reduction="none")).mean()


def _squared_error(scores: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    return functional.mse_loss(scores[:, 0], y, reduction=reduction)


def _binary_cross_entropy(scores: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores[:, 0], y, reduction=reduction)
