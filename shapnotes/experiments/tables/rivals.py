"""Two models of today that explain themselves, on the tables of `models`: no claim of a paper, but a comparison.

**Explainable boosting machine** (Lou et al., 2013; package interpret): boosted steps of single features and of pairs.

    F(x) = c + sum_i f_i(x_i) + sum_{i,j} f_ij(x_i, x_j)

Its settings are the package's, but for the number of bags whose models are averaged, 4 instead of 14, which takes a
third of the time. Of two classes it has one score s; we take the scores -s/2 and s/2. What it says of an input are its
terms; as an explanation from the reference r we take each term's f(x) - f(r), that of a pair half each ("halves"). The
Shapley value gives half each of a pair only what the two have no share in alone. Each pair's own Shapley values add up
to the exact ones ("exact"): a sum of functions of pairs is a Shallow ShapNet, and Theorem 2 holds whatever they are.

**A ViaSHAP-style perceptron** (after Alkhatib et al., 2025): a network u whose outputs are trained to be the Shapley
values of their own sum.

    phi(x) = u(x) - u(r),    F(x) = c + sum_i phi_i(x),
    loss = prediction loss + beta E_S [ F(x_S, r) - F(r) - sum_{i in S} phi_i(x) ]^2

S is drawn with the weights of Kernel SHAP, size s with probability proportional to 1 / (s (n - s)), and the mean over S
is least where phi is the Shapley value. The idea is the paper's; these choices are ours, so that what is measured is
not its ViaSHAP: u is a perceptron of two hidden layers of 100, not one of the paper's Kolmogorov-Arnold networks; u(r)
is subtracted, so that what is explained adds up exactly; a learned constant c; the squares are of scores before the
softmax, and their mean is over classes too; gradients go through all of it; S comes with its complement; beta = 10. It
is trained by Adam with PyTorch's defaults and batches of 32, and of the networks after every 50 steps, 8,000 in all,
the one is taken whose loss is least on the fold left out. The networks of `accuracy` have no such early stopping: they
are taken as they are after nine epochs. With beta = 0 nothing makes phi a Shapley value. The record has runs of 2,000
steps as well.

**Measured**, on the first fold of each round: the test accuracy or squared error, as in `accuracy`; on the first rows
of the test part, Equation 8's distance of the explanation from the exact Shapley values of the model's own scores, from
r = 0 (of the two real tables the mean input), all 2^n coalitions for 8 or 16 features and random orders for 30; and
times, in turn with an untrained Deep ShapNet of the table, one input and 64, all in double precision. The size of the
exact values, measured in the same way, makes errors comparable between models whose scores differ in size. Errors
against sampled values hold the noise of these, about 0.8 standard errors. Intervals are over rounds, as in `accuracy`.
"""

import copy
import json
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor, nn

from shapnotes._runtime.timing import in_turn
from shapnotes.exact import shapley_values
from shapnotes.experiments._harness.statistics import Interval, interval, paired_interval
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.experiments.tables import models, splits
from shapnotes.experiments.tables.accuracy import ROUNDS, ROWS
from shapnotes.experiments.tables.models import DEEP, squared_error
from shapnotes.experiments.tables.splits import FOLDS, Fold
from shapnotes.metrics import shapley_error
from shapnotes.sampling import sample_shapley_values

MODELS = {"ebm": "EBM", "viashap": "ViaSHAP-style perceptron"}
BETAS = (10.0, 0.0)
ENUMERATED = 16  # features up to which the exact values are enumerated
WIDTH, BATCH, LOOK = 100, 32, 50  # ViaSHAP: units of a hidden layer, rows of a batch, steps between looks
STEPS = 8000  # of ViaSHAP


def batches(scale: str) -> list[Batch]:
    """The first fold of each round; "cpu" has the first two rounds."""
    if scale == "smoke":
        small = {"explained": 2, "permutations": 4, "repeats": 1} | {"samples": 80}
        return [
            Batch(configuration("synthetic", "ebm", outer_bags=1, max_rounds=20, **small), (0,)),
            Batch(configuration("synthetic", "viashap", steps=100, **small), (0,)),
        ]
    seeds = tuple(range(0, FOLDS * {"paper": ROUNDS, "cpu": 2}[scale], FOLDS))
    plan = [Batch(configuration(data, "viashap", beta=beta), seeds) for data in DEEP for beta in BETAS]
    return plan + [Batch(configuration(data, "ebm"), (seed,)) for data in DEEP for seed in seeds]


def configuration(data: str, model: str, **choice) -> dict:
    """One configuration; `choice` is what departs from the first choice."""
    config = {"data": data, "model": model, "explained": 20, "permutations": 1000, "repeats": 21}
    if data == "synthetic":
        config |= {"samples": ROWS, "reading": "product", "inputs": "raw"}
    if model == "viashap":
        return config | {"steps": STEPS, "beta": BETAS[0], "coalitions": 16} | choice
    return config | {"outer_bags": 4, "max_rounds": 50_000} | choice


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train one model a seed and measure its predictions and explanations; on the processor, whatever the device."""
    return [_run(config, seed) for seed in seeds]


def _run(config: dict, seed: int) -> dict:
    options = {key: config[key] for key in ("samples", "reading", "inputs") if key in config}
    fold, generator = splits.fold(config["data"], seed, **options), torch.Generator().manual_seed(seed)
    fitted = (boosted if config["model"] == "ebm" else via)(config, fold, generator)
    deep = models.network("deep", config["data"], generator).double()
    explained = {"error": fitted.explain} | ({"error, exact": fitted.exact} if config["model"] == "ebm" else {})
    result = {name: performance(fitted, getattr(fold, name)) for name in ("test", "held_out", "train")}
    x = fold.test[0].double()
    result |= closeness(fitted, explained, x[: config["explained"]], config["permutations"], generator)
    contenders = {"predict": fitted, "explain": fitted.explain, "deep": deep.explain}
    contenders |= {"exact": fitted.exact} if config["model"] == "ebm" else {}
    for count in (1, 64):
        with torch.no_grad():
            times = in_turn([partial(f, x[:count]) for f in contenders.values()], config["repeats"], x.device)
        result |= {f"{name}, {count}": median(taken) / count for name, taken in zip(contenders, times, strict=True)}
    return result | ({"interpret": version("interpret-core")} if config["model"] == "ebm" else {})


def closeness(model, explained: dict, x: Tensor, permutations: int, generator: torch.Generator) -> dict:
    """Equation 8 for each explanation of x, for one that is zero ("size"), and the standard error of the exact values.

    "gap" is the largest distance of a sum of attributions from F(x) - F(r).
    """
    with torch.no_grad():
        if x.shape[1] <= ENUMERATED:
            values = shapley_values(model, x, progress=False)
            errors = torch.zeros_like(values)
        else:
            values, errors = sample_shapley_values(
                model, x, permutations=permutations, generator=generator, progress=False
            )
        scores, explanations = model(x), {name: explain(x) for name, explain in explained.items()}
        gap = (explanations["error"].sum(1) - scores + model(torch.zeros_like(x[:1]))).abs().max()
    logits = scores if scores.shape[1] > 1 else None
    explanations |= {"size": torch.zeros_like(values), "standard error": values + errors}
    means = {name: float(shapley_error(one, values, logits).mean()) for name, one in explanations.items()}
    return means | {"gap": float(gap)}


@torch.no_grad()
def performance(model, part: tuple[Tensor, Tensor]) -> float:
    """The accuracy, or for real targets the mean squared error."""
    x, y = part
    scores = model(x.double())
    return float(squared_error(scores, y) if y.is_floating_point() else (scores.argmax(1) == y).double().mean())


class Via(nn.Module):
    """c + sum_i phi_i(x), for phi(x) = u(x) - u(0); `explain` has phi, [batch, features, outputs]."""

    def __init__(self, features: int, outputs: int, generator: torch.Generator):
        super().__init__()
        widths = (features, WIDTH, WIDTH, features * outputs)
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.u = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.constant = nn.Parameter(torch.zeros(outputs))
        with torch.no_grad():
            for layer in layers:
                for p in (layer.weight, layer.bias):
                    p.uniform_(-(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)

    def explain(self, x: Tensor) -> Tensor:
        u = self.u(torch.cat([x, torch.zeros_like(x[:1])])).unflatten(1, (x.shape[1], -1))
        return u[:-1] - u[-1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.constant + self.explain(x).sum(1)


def via(config: dict, fold: Fold, generator: torch.Generator) -> Via:
    """A trained `Via`, in float64: of all that were looked at while it was trained, the best on the rows left out."""
    features, outputs = fold.train[0].shape[1], DEEP[config["data"]][2]
    net = Via(features, outputs, generator)
    of_prediction = nn.functional.cross_entropy if outputs > 1 else squared_error
    pairs = config["coalitions"] // 2

    def loss(x: Tensor, y: Tensor, masks: Tensor) -> Tensor:
        return of_prediction(net(x), y) + config["beta"] * shapley_loss(net, x, masks)

    looked_at = coalitions(features, (len(fold.held_out[0]), pairs), generator)
    adam = torch.optim.Adam(net.parameters(), fused=True)
    best, least = copy.deepcopy(net), float("inf")
    x, y = fold.train
    rows = torch.empty(0, dtype=torch.int64)
    for step in range(1, config["steps"] + 1):
        if len(rows) < BATCH:
            rows = torch.randperm(len(x), generator=generator)
        batch, rows = rows[:BATCH], rows[BATCH:]
        adam.zero_grad()
        loss(x[batch], y[batch], coalitions(features, (len(batch), pairs), generator)).backward()
        adam.step()
        if step % LOOK == 0:
            with torch.no_grad():
                reached = float(loss(*fold.held_out, looked_at))
            if reached < least:
                best, least = copy.deepcopy(net), reached
    return best.double().requires_grad_(False)


def coalitions(n: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Coalitions with the weights of Kernel SHAP, and then their complements: bool [rows, 2 * pairs, n].

    A size s from 1 to n - 1 has probability proportional to (n - 1) / (s (n - s)), and of one size all are equal.
    """
    sizes = torch.arange(1, n, dtype=torch.float64)
    rows, pairs = shape
    drawn = 1 + torch.multinomial(1 / (sizes * (n - sizes)), rows * pairs, replacement=True, generator=generator)
    rank = torch.rand(rows, pairs, n, generator=generator).argsort(-1).argsort(-1)
    members = rank < drawn.view(rows, pairs, 1)
    return torch.cat([members, ~members], 1)


def shapley_loss(net: Via, x: Tensor, masks: Tensor) -> Tensor:
    """The mean over inputs, coalitions [batch, count, n] and outputs of (F(x_S) - F(0) - sum_{i in S} phi_i(x))^2."""
    worths = net.explain((masks * x[:, None]).flatten(0, 1)).sum(1).unflatten(0, masks.shape[:2])
    return (worths - masks.to(x.dtype) @ net.explain(x)).square().mean()


class Boosted:
    """A fitted EBM as a function of tensors, [rows, features] -> scores [rows, outputs], and what its terms say."""

    def __init__(self, machine):
        self.machine, self.terms = machine, machine.term_features_
        self.classes = len(getattr(machine, "classes_", ()))

    def __call__(self, x: Tensor) -> Tensor:
        score = self.machine.decision_function if self.classes else self.machine.predict
        return self._scores(torch.as_tensor(score(x.double().numpy())))

    def explain(self, x: Tensor) -> Tensor:
        """What the terms add since the reference, those of pairs half each: [batch, features, outputs]."""
        change = self._terms(x) - self._terms(torch.zeros_like(x[:1]))
        return self._added(x, lambda term, i, other: change[:, term] / (1 if other is None else 2))

    def exact(self, x: Tensor) -> Tensor:
        """The exact Shapley values, from the terms where everybody is present, nobody, and one feature alone."""
        everybody, nobody = self._terms(x), self._terms(torch.zeros_like(x[:1]))
        alone = self._terms(torch.diag_embed(x).flatten(0, 1)).unflatten(0, x.shape)

        def share(term: int, i: int, other: int | None) -> Tensor:
            full, empty = everybody[:, term], nobody[:, term]
            return full - empty if other is None else (alone[:, i, term] - empty + full - alone[:, other, term]) / 2

        return self._added(x, share)

    def _terms(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.machine.eval_terms(x.double().numpy()))

    def _added(self, x: Tensor, share: Callable[[int, int, int | None], Tensor]) -> Tensor:
        """The sum over terms of what each gives its features: `share` of (term, feature, the other one of a pair)."""
        total = [torch.zeros((), dtype=torch.float64)] * x.shape[1]
        for term, players in enumerate(self.terms):
            others = players[::-1] if len(players) == 2 else (None,)
            for i, other in zip(players, others, strict=True):
                total[i] = total[i] + share(term, i, other)
        return self._scores(torch.stack(total, 1))

    def _scores(self, s: Tensor) -> Tensor:
        """Scores with an axis of outputs: as many as classes, and for numbers one."""
        if self.classes == 2:
            return torch.stack([-s / 2, s / 2], -1)
        return s if self.classes else s[..., None]


def boosted(config: dict, fold: Fold, generator: torch.Generator) -> Boosted:
    """A fitted EBM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports; that it cannot plot pairs for several classes
        try:
            from interpret import glassbox
        except ImportError as error:
            raise ImportError('this model needs the interpret package: pip install "shapnotes[compare]"') from error
        classes = DEEP[config["data"]][2] > 1
        kind = glassbox.ExplainableBoostingClassifier if classes else glassbox.ExplainableBoostingRegressor
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        machine = kind(outer_bags=config["outer_bags"], max_rounds=config["max_rounds"], random_state=seed, n_jobs=1)
        return Boosted(machine.fit(*(t.numpy() for t in fold.train)))


# --- what the record says ------------------------------------------------------------------------------------------


def of(runs: list[dict], data: str, model: str, **choice) -> list[dict]:
    """The runs of one configuration, the first choice where none is named."""
    config = configuration(data, model, **choice)
    return [run for run in runs if run["config"] == config]


def mean(runs: list[dict], value: Callable[[dict], float]) -> Interval:
    """The mean over rounds of a number of a result, with its interval."""
    shared = splits.shared(runs[0]["config"]["data"], [run["seed"] for run in runs])
    return interval((value(run["result"]) for run in runs), shared=shared)


def paired(runs: list[dict], others: list[dict], value: Callable[[dict], float]) -> Interval:
    """The mean difference of a number of a result over the rounds that both have, with its interval."""
    both = [{run["seed"]: value(run["result"]) for run in group} for group in (runs, others)]
    shared = splits.shared(runs[0]["config"]["data"], sorted(both[0].keys() & both[1].keys()))
    return paired_interval(*both, shared=shared)


def named(config: dict) -> str:
    """A model in words."""
    return MODELS[config["model"]] + (f", β = {config['beta']:g}" if "beta" in config else "")


def relative(result: dict) -> float:
    """The error of the explanation in parts of the size of the exact values."""
    return result["error"] / result["size"]


def slowness(result: dict, what: str = "explain") -> float:
    """The time of one explanation by itself over that of the Deep ShapNet."""
    return result[f"{what}, 1"] / result["deep, 1"]


def summary(runs: list[dict]) -> list[str]:
    """Two lines per configuration: its name, and the means over rounds with their intervals."""
    lines = []
    for key in dict.fromkeys(json.dumps(run["config"], sort_keys=True) for run in runs):
        config = json.loads(key)
        group = [run for run in runs if run["config"] == config]
        what, form = ("squared error", ".5f") if config["data"] == "synthetic" else ("accuracy", ".3f")
        steps = f", {config['steps']:,} steps" if "steps" in config else ""
        lines.append(f"{config['data']}, {named(config)}{steps}, {len(group)} runs")
        noise = mean(group, lambda result: result["standard error"] / result["size"]).mean
        exact = f" ({mean(group, lambda r: slowness(r, 'exact')).mean:.2f} exact)" if config["model"] == "ebm" else ""
        lines.append(
            f"    {what} {mean(group, lambda r: r['test']).shown(form)}; error in parts of the values "
            f"{mean(group, relative).shown()} (noise {noise:.3f}); time over Deep ShapNet "
            f"{mean(group, slowness).shown('.2f')}{exact}"
        )
    return lines


STUDY = Study("rivals", "Two models of today that explain themselves", batches, run, summary=summary)
