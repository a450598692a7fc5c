"""SN-F4: a Deep ShapNet's explanations of MNIST beside those of other methods (Shapley Explanation Networks, figure 4).

The paper, on test images, with the reference 0 for all methods: (1) the change in log-odds when the pixels that speak
for digit s rather than t go (9 to 1; in figure 11 and table 7 also 4 to 1, 8 to 3 and 8 to 6); (2) the change of the
output while the least salient pixels go; (3) what remains of the predicted class's output while the most salient go.
Figure 11 and table 7 are read from the same record, by `sn_f11` and `sn_tab7`.

What the paper leaves open, or we do otherwise:

- **How many pixels** go in (1): at most a fifth, 205 of 1024, of those with a positive difference, the share of
  Shrikumar et al. Which of the images of a digit: all of them, also those that the network takes for another.
- **Which order.** (2) takes the attributions to the predicted class by size, the smallest first; (3) takes them with
  their sign, the largest first. A curve's area is its mean height over the shares of pixels that are gone.
- **What is removed** becomes 0. Of normalised MNIST that is the mean of all pixels, a grey of 13 hundredths of ink,
  where paper is -0.42 and ink 2.8: to remove paper draws a little, and to remove ink leaves a trace.
- **Deep SHAP** with one reference is the rescale rule: it coincides with DeepLIFT (chapter 14 has the proof). In the
  paper's table 7 it does not. The layers that its authors released hand coalitions to the activations as the first
  axis; there captum's and shap's code take the first half for inputs and the second for their references. Both are run
  in that way as well, as *mispaired*. Nothing tells that the paper's runs were so.
- **Saliency** has the size of the gradient of each class. Its signed form, the *gradient*, is beside it.
- **Not in the paper:** a random order, and Shapley values of patches of 4 x 4 pixels, sampled, shared out in equal
  parts; without them nobody knows what a test gives to no explanation, or to the values that others approximate.

Every method is asked to explain one number, C_s - C_t or C_c, of which all but saliency are linear. The networks are
those of `image-networks` without a penalty, three trainings, which are the seeds of the runs: images of one network say
nothing of others. Methods that follow activations see a network as a `TransparentImage`.
"""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from shapnotes import explainers
from shapnotes.experiments import images, sn_f5
from shapnotes.experiments.finding import Comparison, Finding, Statement
from shapnotes.experiments.opened_image import TransparentImage
from shapnotes.experiments.statistics import interval
from shapnotes.experiments.sweep import Batch
from shapnotes.metrics import PairedComparison, log_odds_change, paired_comparison, removal_curve
from shapnotes.sampling import sample_shapley_values
from shapnotes.shapnet import ImageShapNet

ID = "SN-F4"
TITLE = "Digit flipping and removal on MNIST"
CHECKPOINTS = True
NEEDS = "image-networks"

METHODS = {
    "ours": "ShapNet",
    "deeplift": "DeepLIFT",
    "deep_shap": "Deep SHAP",
    "integrated_gradients": "Integrated Gradients",
    "input_x_gradient": "Input x Gradient",
    "saliency": "Saliency",
    "gradient": "gradient, signed",
    "random": "random order",
    "deeplift_mispaired": "DeepLIFT, mispaired",
    "deep_shap_mispaired": "Deep SHAP, mispaired",
    "shapley": "Shapley, patches",
}
RIVALS = ("integrated_gradients", "input_x_gradient", "deeplift", "deep_shap", "saliency")  # the paper's
PAIRS = {"9->1": (9, 1), "4->1": (4, 1), "8->3": (8, 3), "8->6": (8, 6)}
TEST_IMAGES = {"9->1": 1009, "4->1": 982, "8->3": 974, "8->6": 974, "removal": 10_000}
FRACTION = 0.2
FRACTIONS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
WIDTH = 128  # of the paper's networks
NETWORK = "mnist-none"
FIRST = 200  # images of each test to begin with, at the paper's scale

# What is explained at once; a transparent network keeps some 20 MiB an image for a gradient.
AT_ONCE = 8


def batches(scale: str) -> list[Batch]:
    """A test and a method each; the network's own explanations first, sampled Shapley values last.

    At the scale "paper" in stages: 0, the first images of each test and the first training; 2, the two other trainings;
    4, all test images.
    """
    if scale == "smoke":
        sizes = {"data": "digits", "images": 2}
        settings = {"integrated_gradients": {"steps": 2}, "shapley": {"patch": 16, "permutations": 4}}
        return [
            Batch({"task": task, "method": method, **sizes} | settings.get(method, {}), (0,))
            for method in METHODS
            for task in ("8->3", "removal")
        ]
    paper = scale == "paper"
    settings = {
        "integrated_gradients": {"steps": 64 if paper else 16},
        "shapley": {"patch": 4, "permutations": 32 if paper else 8},
    }
    trained = {key: sn_f5.configuration(scale, NETWORK)[key] for key in ("network", "width", "epochs")}

    def tests(seed: int, stage: int, images: Callable[[str], int], sampled: int) -> list[Batch]:
        return [
            Batch(
                {"task": task, "method": method, "data": "mnist", **trained}
                | {"images": sampled if method == "shapley" else images(task)}
                | settings.get(method, {}),
                (seed,),
                stage=stage,
            )
            for method in METHODS
            for task in TEST_IMAGES
        ]

    if not paper:
        return [batch for seed in range(sn_f5.TRAININGS) for batch in tests(seed, 0, lambda task: 100, 16)]
    found = []
    for seed in range(sn_f5.TRAININGS):
        found += tests(seed, min(2 * seed, 2), lambda task: FIRST, 8)
    return found + tests(0, 4, TEST_IMAGES.__getitem__, 64)


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Explain test images by one method, and put the explanations to one test."""
    networks = [_network(config, seed, folder.parent) for seed in seeds]
    x, y = images.test_images(config["data"])
    if config["task"] != "removal":
        x = x[y == PAIRS[config["task"]][0]]
    x = x[: config["images"]].to(device)
    test = _removed if config["task"] == "removal" else _flipped
    found = []
    for seed, (net, told) in zip(seeds, networks, strict=True):
        found.append({"network": told, **test(config, net.to(device), x, seed)})
    return found


def _network(config: dict, seed: int, results: Path) -> tuple[ImageShapNet, dict]:
    """The network, and what identifies it; one that was not trained where none is named."""
    if "network" in config:
        return sn_f5.network(results, config, seed)
    net = images.network("shapnet", (1, 4, 10), torch.Generator().manual_seed(0)).requires_grad_(False)
    return net, {"channels": list(net.channels)}


def _flipped(config: dict, net: ImageShapNet, x: Tensor, seed: int) -> dict:
    source, target = PAIRS[config["task"]]
    weights = x.new_zeros(net.channels[-1])
    weights[source], weights[target] = 1, -1
    pair = Logits(net, torch.eye(len(weights), device=x.device)[[source, target]].T)
    generator, change, gaps = torch.Generator().manual_seed(seed), [], []
    for rows in x.split(AT_ONCE):
        scores = explained(config, net, rows, weights, generator)
        gaps.append(_gap(net, rows, weights, scores))
        both = torch.stack([scores, torch.zeros_like(scores)], -1)  # what the first class is due beyond the second
        change.append(log_odds_change(pair, rows, both, 0, 1, fraction=FRACTION))
    with torch.no_grad():
        answers = torch.cat([pair(rows) for rows in x.split(AT_ONCE)])
    return {
        "change": _rounded(torch.cat(change)),
        "before": _rounded(answers[:, 0] - answers[:, 1]),
        "gap": _number(torch.cat(gaps).mean()),
    }


def _removed(config: dict, net: ImageShapNet, x: Tensor, seed: int) -> dict:
    with torch.no_grad():
        predicted = torch.cat([net(rows).argmax(1) for rows in x.split(AT_ONCE)])
    generator = torch.Generator().manual_seed(seed)
    scores = x.new_zeros(len(x), *x.shape[2:])
    gaps = x.new_zeros(len(x))
    for c in predicted.unique().tolist():
        weights = x.new_zeros(net.channels[-1])
        weights[c] = 1
        for mine in (predicted == c).nonzero()[:, 0].split(AT_ONCE):
            scores[mine] = explained(config, net, x[mine], weights, generator)
            gaps[mine] = _gap(net, x[mine], weights, scores[mine])
    least = removal_curve(net, x, scores.abs(), FRACTIONS, order="least")
    top = removal_curve(net, x, scores, FRACTIONS)
    curves = {"change": (least, least.change()), "remaining": (top, top.remaining())}
    return {
        name: {
            "mean": _rounded(values.mean(1)),
            "median": _rounded(values.median(1).values),
            "error": _rounded(values.std(1) / len(x) ** 0.5),
            "area": _rounded(curve.area(values)),
        }
        for name, (curve, values) in curves.items()
    } | {"fractions": list(FRACTIONS), "gap": _number(gaps.mean())}


# --- explanations --------------------------------------------------------------------------------------------------


class Logits(nn.Module):
    """Linear combinations of a network's outputs: [rows, *features] -> f(x) @ weights, [rows, combinations]."""

    def __init__(self, f: nn.Module, weights: Tensor):
        super().__init__()
        self.f = f
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x) @ self.weights.to(x.dtype)


def explained(
    config: dict, net: ImageShapNet, x: Tensor, weights: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """What a method says of each pixel of one-channel images, for the output sum_c weights_c C_c.

    config    : "method", one of METHODS, and its settings: "steps" of integrated gradients; "patch", the side in
                pixels, and "permutations" of Shapley values
    generator : for the random order, and for Shapley values

    Returns scores [batch, height, width].
    """
    method = config["method"]
    answer, transparent = (Logits(f, weights[:, None]) for f in (net, TransparentImage(net)))

    def by(explain: Callable[..., Tensor], f: nn.Module, **settings: object) -> Tensor:
        return explain(f, x, **settings)[:, 0, ..., 0]

    if method == "ours":
        with torch.no_grad():
            return net.explain(x).attributions @ weights
    if method == "random":
        return torch.rand(len(x), *x.shape[2:], generator=generator).to(x)
    if method == "shapley":
        return _patches(answer, x, config["patch"], config["permutations"], generator)
    if method == "gradient":
        return by(explainers.saliency, answer, absolute=False)
    if method == "saliency":  # of each class by itself
        parts = {c: by(explainers.saliency, Logits(net, _one_hot(weights, c))) for c in weights.nonzero()[:, 0]}
        return sum(weights[c] * size for c, size in parts.items())
    if method == "integrated_gradients":
        return by(explainers.integrated_gradients, answer, steps=config["steps"])
    if method == "input_x_gradient":
        return by(explainers.input_x_gradient, answer)
    if method in ("deeplift", "deep_shap"):
        return by(getattr(explainers, method), transparent)
    if method == "deeplift_mispaired":
        return _mispaired(Logits(TransparentImage(net, coalitions_first=True), weights[:, None]), x)
    if method == "deep_shap_mispaired":  # a test holds it to shap's own answer
        return explainers.saliency(answer, torch.zeros_like(x), absolute=False)[:, 0, ..., 0] * x[:, 0]
    raise ValueError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")


def _one_hot(weights: Tensor, c: Tensor) -> Tensor:
    return torch.eye(len(weights), device=weights.device)[:, c : c + 1]


def _mispaired(f: nn.Module, x: Tensor) -> Tensor:
    """captum's DeepLIFT without the check of the sum, which refuses this."""
    from captum.attr import DeepLift

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks are set
        return DeepLift(copy.deepcopy(f)).attribute(x.clone(), torch.zeros_like(x), target=0).detach()[:, 0]


def _patches(f: nn.Module, x: Tensor, side: int, permutations: int, generator: torch.Generator | None) -> Tensor:
    """Sampled Shapley values of square patches, each shared out among its pixels."""
    height, width = x.shape[2:]
    row, column = torch.arange(height) // side, torch.arange(width) // side
    groups = row[:, None] * len(column.unique()) + column
    with torch.no_grad():
        values = sample_shapley_values(
            f, x, groups=groups, permutations=permutations, generator=generator, progress=False
        )[0]
    return values[:, groups.to(x.device), 0] / groups.unique(return_counts=True)[1][groups].to(x)


@torch.no_grad()
def _gap(net: ImageShapNet, x: Tensor, weights: Tensor, scores: Tensor) -> Tensor:
    """How far scores miss the output that they explain, in parts of their sizes: [batch]."""
    return (scores.sum((1, 2)) - net(x) @ weights).abs() / scores.abs().sum((1, 2))


def _rounded(values: Tensor) -> list[float]:
    return [_number(v) for v in values]


def _number(value: Tensor) -> float:
    return float(f"{float(value):.5g}")


# --- what the record says ------------------------------------------------------------------------------------------


def by_training(runs: list[dict]) -> dict[int, list[dict]]:
    """The runs of each training of the network, by its seed."""
    return {seed: [run for run in runs if run["seed"] == seed] for seed in sorted({run["seed"] for run in runs})}


def of(runs: list[dict], task: str, method: str) -> dict | None:
    """The result of a test and method in one training, on most images; None where the record has none."""
    found = [run for run in runs if run["config"]["task"] == task and run["config"]["method"] == method]
    return max(found, key=lambda run: run["config"]["images"])["result"] if found else None


def marks(runs: list[dict], task: str, method: str, quantity: str = "change") -> Tensor:
    """One number per image: the change of log-odds; or a removal curve's area, `quantity` "change" or "remaining"."""
    found = of(runs, task, method)
    return torch.tensor(found[quantity]["area"] if task == "removal" else found["change"], dtype=torch.float64)


def against(runs: list[dict], task: str, method: str, quantity: str = "change") -> PairedComparison:
    """Our explanations less a method's, on the images that both have; of removal curves lower is better."""
    ours, theirs = (marks(runs, task, m, quantity) for m in ("ours", method))
    return paired_comparison(ours[: len(theirs)], theirs[: len(ours)])


def better(runs: list[dict], task: str, method: str, quantity: str = "change") -> int:
    """1 where our explanations are better, -1 where the method is: the 95 % interval is beyond zero. 0 otherwise."""
    sign, found = (-1 if task == "removal" else 1), against(runs, task, method, quantity)
    low, high = sorted((sign * found.low, sign * found.high))
    return 1 if low > 0 else -1 if high < 0 else 0


def whole(runs: list[dict], tasks: tuple[str, ...]) -> dict[int, list[dict]]:
    """The trainings of which the record has the paper's methods on all of these tests."""
    return {
        seed: own
        for seed, own in by_training(runs).items()
        if all(of(own, task, method) for task in tasks for method in ("ours", *RIVALS))
    }


def usable(runs: list[dict]) -> bool:
    """Whether the paper's methods have been put to all tests, in one training."""
    return bool(whole(runs, tuple(TEST_IMAGES)))


def reduced(runs: list[dict], tasks: tuple[str, ...]) -> str:
    """What is smaller than in the paper, in words."""
    if not whole(runs, tasks):
        return "not all methods have been run on all tests"
    config = runs[0]["config"]
    parts = [f"{config['width']} channels in place of {WIDTH}"] if config["width"] != WIDTH else []
    counts = {task: min(len(marks(own, task, "ours")) for own in whole(runs, tasks).values()) for task in tasks}
    parts += [f"{n} of {TEST_IMAGES[task]} images ({task})" for task, n in counts.items() if n < TEST_IMAGES[task]]
    return "; ".join(parts)


def in_trainings(holds: list[bool], claim: str, criterion: str, size: bool = False) -> Statement:
    """A statement that has to hold in every training; refuted where it fails in every one."""
    answer = None if not holds else True if all(holds) else None if any(holds) else False
    return Statement(claim, f"{criterion}; holds in {sum(holds)} of {len(holds)} trainings", answer, size)


TASKS = {  # claim: the task, the quantity, how many methods are ahead
    "best in digit flipping": ("9->1", "change", 0),
    "second in least-k removal": ("removal", "change", 1),
    "best in top-k removal": ("removal", "remaining", 0),
}


def holds(runs: list[dict], task: str, quantity: str, ahead: int) -> bool:
    """Whether in one training so many of the paper's five methods are ahead of ours, and all others behind."""
    sides = [better(runs, task, method, quantity) for method in RIVALS]
    return sides.count(-1) == ahead and sides.count(0) == 0


def finding(runs: list[dict]) -> Finding:
    """What the record says of figure 4 and its caption; the figure's own heights cannot be read from the text."""
    own = whole(runs, ("9->1", "removal"))
    statements = tuple(
        in_trainings(
            [holds(one, *where) for one in own.values()],
            claim,
            f"{where[2]} of five methods better than ours, all others worse, each by a 95 % interval over images",
        )
        for claim, where in TASKS.items()
    )
    table = tuple(
        Comparison(claim, METHODS[m], over_trainings(runs, task, m, quantity), form=".3g")
        for claim, (task, quantity, _) in TASKS.items()
        for m in METHODS
        if all(of(one, task, m) for one in own.values()) and own
    )
    best = {m: over_trainings(runs, "9->1", m).mean for m in ("ours", *RIVALS)} if own else {}
    decides = "change of log-odds, 9 to 1: " + ", ".join(f"{METHODS[m]} {value:.3g}" for m, value in best.items())
    return Finding(statements, table, decides, reduced(runs, ("9->1", "removal")))


def over_trainings(runs: list[dict], task: str, method: str, quantity: str = "change"):
    """The mean over images, with its interval over trainings."""
    own = [one for one in by_training(runs).values() if of(one, task, method)]
    return interval(float(marks(one, task, method, quantity).mean()) for one in own)


def summary(runs: list[dict]) -> list[str]:
    """A line per training, test and method: the mean, and our explanations less it with t and Cohen's d_z."""
    lines = [
        "training, test            method               images  mean       ours minus it, 95 %            t      d_z"
    ]
    for seed, own in by_training(runs).items():
        for task in TEST_IMAGES:
            for quantity in ("change", "remaining") if task == "removal" else ("change",):
                for method in METHODS:
                    if of(own, task, method):
                        lines.append(_line(own, seed, task, method, quantity))
        gaps = {m: [of(own, t, m)["gap"] for t in TEST_IMAGES if of(own, t, m)] for m in METHODS}
        told = ", ".join(f"{METHODS[m]} {max(values):.1g}" for m, values in gaps.items() if values)
        lines.append(f"{seed}: largest mean gap of a sum, in parts of the sizes: {told}")
    return lines


def _line(runs: list[dict], seed: int, task: str, method: str, quantity: str) -> str:
    values = marks(runs, task, method, quantity)
    test = f"{seed}, {f'removal, {quantity}' if task == 'removal' else task}"
    line = f"{test:25} {METHODS[method]:20} {len(values):6d}  {float(values.mean()):<9.4g}  "
    if method != "ours" and of(runs, task, "ours"):
        found = against(runs, task, method, quantity)
        span = f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"
        line += f"{span:28} {found.t:7.2f} {found.effect_size:6.2f}"
    return line.rstrip()
