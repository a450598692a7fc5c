"""What a table is held against before a network is: linear models and boosted trees, by scikit-learn.

linear  : logistic regression for classes (l2 penalty of strength 1, the package's default), else least squares
squares : least squares on x and x^2
trees   : histogram gradient boosting with the package's defaults: 100 iterations, learning rate 0.1, 31 leaves; from
          10,000 rows on, it leaves out a tenth of them and stops when their loss no longer falls
"""

from collections.abc import Callable

import torch
from torch import Tensor

BASELINES = {"linear": "linear model", "squares": "linear, with squares", "trees": "boosted trees"}


def fitted(kind: str, x: Tensor, y: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """A fitted model of a kind of BASELINES, from inputs [rows, features] to classes or numbers [rows].

    y : classes as int64 or targets as float; "squares" needs the latter

    Raises ValueError for another kind. Cost: seconds, for thousands of rows.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # slow to import
    from sklearn.linear_model import LinearRegression, LogisticRegression

    numbers = y.is_floating_point()
    if kind not in BASELINES or (kind == "squares" and not numbers):
        raise ValueError(f"kind must be one of {', '.join(BASELINES)}, squares for real targets only; got {kind!r}")
    if kind == "trees":
        model = (HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier)(random_state=seed)
    else:
        model = LinearRegression() if numbers else LogisticRegression(max_iter=1000)

    def inputs(x: Tensor):
        x = x.double()
        return (torch.cat([x, x.square()], 1) if kind == "squares" else x).cpu().numpy()

    model.fit(inputs(x), y.cpu().numpy())
    return lambda x: torch.as_tensor(model.predict(inputs(x)))
