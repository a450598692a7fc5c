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

Every method is asked to explain one number, C_s - C_t or C_c, of which all but saliency are linear. The network is
the first of SN-F5, without a penalty; `sn_f5` trains it, at the scale of the record. Methods that follow activations
see it as a `TransparentImage`.
"""

import copy
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from shapnotes import explainers
from shapnotes.experiments import images
from shapnotes.experiments.opened_image import TransparentImage
from shapnotes.experiments.record import mean_and_error
from shapnotes.experiments.sweep import Batch
from shapnotes.metrics import PairedComparison, log_odds_change, paired_comparison, removal_curve
from shapnotes.sampling import sample_shapley_values
from shapnotes.shapnet import ImageShapNet

ID = "SN-F4"
TITLE = "Digit flipping and removal on MNIST"
CHECKPOINTS = True

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
CHECKPOINT = "SN-F5/none.safetensors"

# What is explained at once; a transparent network keeps some 20 MiB an image for a gradient.
AT_ONCE = 8


def batches(scale: str) -> list[Batch]:
    """A test and a method each; the network's own explanations first, sampled Shapley values last."""
    if scale == "smoke":
        sizes = {"data": "digits", "checkpoint": None, "images": 2}
        settings = {"integrated_gradients": {"steps": 2}, "shapley": {"patch": 16, "permutations": 4}}
        tasks = ("8->3", "removal")
        few = {}
    else:
        sizes = {"data": "mnist", "checkpoint": CHECKPOINT}
        large = scale == "paper"
        settings = {
            "integrated_gradients": {"steps": 64 if large else 16},
            "shapley": {"patch": 4, "permutations": 32 if large else 8},
        }
        tasks = TEST_IMAGES
        few = {} if large else {"shapley": 16}
    found = []
    for method in METHODS:
        for task in tasks:
            whole = {"paper": TEST_IMAGES[task], "cpu": 100, "smoke": 2}[scale]
            config = {"task": task, "method": method, **sizes, "images": few.get(method, whole)}
            found.append(Batch(config | settings.get(method, {}), (0,)))
    return found


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Explain test images by one method, and put the explanations to one test."""
    net, told = _network(config["checkpoint"], folder.parent, device)
    x, y = images.test_images(config["data"])
    if config["task"] != "removal":
        x = x[y == PAIRS[config["task"]][0]]
    x = x[: config["images"]].to(device)
    test = _removed if config["task"] == "removal" else _flipped
    return [{"network": told, **test(config, net, x, seed)} for seed in seeds]


def _network(checkpoint: str | None, results: Path, device: str) -> tuple[ImageShapNet, dict]:
    """The network, and what identifies it. None: one that was not trained."""
    if checkpoint is None:
        net = images.network("shapnet", (1, 4, 10), torch.Generator().manual_seed(0)).requires_grad_(False)
        return net.to(device), {"channels": list(net.channels)}
    path = results / checkpoint
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; shapnotes reproduce SN-F5 trains it, or see --out")
    net = images.load(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return net.to(device), {"sha256": digest, "channels": list(net.channels)}


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


def of(runs: list[dict], task: str, method: str) -> dict | None:
    """The result of a test and method, None where the record has none."""
    found = [run for run in runs if run["config"]["task"] == task and run["config"]["method"] == method]
    return found[0]["result"] if found else None


def marks(runs: list[dict], task: str, method: str, quantity: str = "change") -> Tensor:
    """One number an image: the change of log-odds; or the area of a removal curve, `quantity` "change", "remaining"."""
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


def complete(runs: list[dict], tasks: tuple[str, ...]) -> bool:
    """Whether the record has the paper's: its methods on all its test images, of one network of its width."""
    found = [of(runs, task, method) for task in tasks for method in ("ours", *RIVALS)]
    if not all(found):
        return False
    sizes = [len(r["change"]["area"] if "fractions" in r else r["change"]) for r in found]
    wanted = [TEST_IMAGES[task] for task in tasks for _ in ("ours", *RIVALS)]
    networks = {str(r["network"]) for r in found}
    return sizes == wanted and len(networks) == 1 and found[0]["network"]["channels"][1] == WIDTH


def scope(runs: list[dict], tasks: tuple[str, ...]) -> str:
    """How much of the paper's a record has, in words."""
    width = sorted({run["result"]["network"]["channels"][1] for run in runs})
    counts = [f"{len(marks(runs, t, 'ours'))} images ({t})" for t in tasks if of(runs, t, "ours")]
    return f"{', '.join(counts)}; network of width {', '.join(map(str, width))} (the paper's: {WIDTH})"


def summary(runs: list[dict]) -> list[str]:
    """A line a test and method: the mean, and our explanations less it with t and Cohen's d_z."""
    lines = [f"{'test':20} {'method':20} images  mean                 ours minus it, 95 %            t      d_z"]
    for task in TEST_IMAGES:
        for quantity in ("change", "remaining") if task == "removal" else ("change",):
            for method, name in METHODS.items():
                if of(runs, task, method) is None:
                    continue
                values = marks(runs, task, method, quantity)
                mean, error = mean_and_error(values.tolist())
                test = f"removal, {quantity}" if task == "removal" else task
                line = f"{test:20} {name:20} {len(values):6d}  {f'{mean:.4g} ± {error:.2g}':20} "
                if method != "ours" and of(runs, task, "ours"):
                    found = against(runs, task, method, quantity)
                    interval = f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g})"
                    line += f"{interval:28} {found.t:7.2f} {found.effect_size:6.2f}"
                lines.append(line.rstrip())
    gaps = {m: [of(runs, t, m)["gap"] for t in TEST_IMAGES if of(runs, t, m)] for m in METHODS}
    told = ", ".join(f"{METHODS[m]} {max(values):.1g}" for m, values in gaps.items() if values)
    return [*lines, f"largest mean gap of a sum, in parts of the sizes: {told}"]


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to figure 4 and its caption: the verdict, our numbers, the paper's words.

    Three statements, `statements`. The figure's own heights cannot be read from the text.
    """
    ours = "; ".join(f"{name}: {'yes' if held else 'no'}" for name, held in statements(runs).items())
    means = [
        f"{name} "
        + ", ".join(f"{METHODS[m]} {_mean(runs, task, m, q)}" for m in ("ours", *RIVALS) if of(runs, task, m))
        for task, q, name in (
            ("9->1", "change", "log-odds"),
            ("removal", "change", "least salient first, area"),
            ("removal", "remaining", "most salient first, area"),
        )
    ]
    ours = f"{scope(runs, ('9->1', 'removal'))}. {ours}. Means: {'; '.join(means)}"
    paper = "best of six in digit flipping and top-k removal, second in least-k removal"
    if not complete(runs, ("9->1", "removal")):
        return "not run at full scale", ours, paper
    kept = list(statements(runs).values())
    return "reproduced" if all(kept) else "partly" if any(kept) else "not reproduced", ours, paper


def statements(runs: list[dict]) -> dict[str, bool]:
    """Which of the caption's statements the record has: our explanations against each of the paper's five methods."""
    tests = {
        "best in digit flipping": ("9->1", "change", 0),
        "second in least-k removal": ("removal", "change", 1),
        "best in top-k removal": ("removal", "remaining", 0),
    }
    held = {}
    for name, (task, quantity, ahead) in tests.items():
        there = [m for m in RIVALS if of(runs, task, m)] if of(runs, task, "ours") else []
        sides = [better(runs, task, m, quantity) for m in there]
        held[name] = len(there) == len(RIVALS) and sides.count(-1) == ahead and sides.count(0) == 0
    return held


def _mean(runs: list[dict], task: str, method: str, quantity: str) -> str:
    mean, error = mean_and_error(marks(runs, task, method, quantity).tolist())
    return f"{mean:.3g} ± {error:.1g}"
