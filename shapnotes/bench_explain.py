"""What one explanation costs: a Deep ShapNet's own, beside Deep SHAP and Kernel SHAP, as in SN's Table 5."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from shapnotes.bench import in_turn, provenance
from shapnotes.bench_shapnet import Loop
from shapnotes.experiments._harness.statistics import interval
from shapnotes.experiments._models.transparent import Transparent
from shapnotes.shapnet import DeepShapNet

FEATURES, CHANNELS, BATCH = 16, 20, 64
DNNS = {"DNN (eq. comp.)": [1800] * 8, "DNN (eq. param.)": [123] * 11}  # hidden layers
SAMPLES = {"Kernel SHAP (40)": 40, "Kernel SHAP (77)": 77, "Kernel SHAP (def.)": 2 * FEATURES + 2**11}

# Table 5: seconds for 1000 explanations, of the Deep ShapNet and of each DNN.
PAPER = {
    "loop": (20.47, None, None),
    "Deep SHAP": (46.10, 83.38, 8.56),
    "Kernel SHAP (40)": (60.78, 130.04, 11.52),
    "Kernel SHAP (77)": (72.61, 201.88, 13.53),
    "Kernel SHAP (def.)": (598.79, 789.08, 142.85),
}


def explain(device: str = "cpu", repeats: int = 11) -> dict:
    """Seconds of one explanation of 16 features by every method that the table has, and ratios to the ShapNet's own.

    The models are the paper's, untrained: a Deep ShapNet of 32 modules with a hidden layer of 100, and perceptrons with
    8 hidden layers of 1800 ("equivalent in computation") or 11 of 123 ("in parameters"), all with one output. Between
    the stages there are 20 channels, which the paper does not name; the network then has 149,600 parameters, and the
    perceptron of equal parameters 154,735.

    The ShapNet's prediction with its explanation is timed for one input ("ours"), for 64 at once, per input ("ours, 64
    at once"), and for one in a plain loop over modules ("loop", `bench_shapnet.Loop`), which is the form of the layers
    that the paper's authors released; so the paper's ratios belong beside those to the loop. Deep SHAP and Kernel SHAP
    are shap's, made beforehand with the reference 0 and timed while they explain one input; they explain many one after
    the other. Kernel SHAP is not regularised, which takes less time. Deep SHAP has to see a module for every activation
    and is given `experiments.opened.Transparent`.

    Each contender is called once per turn, `repeats` times; a ratio is that of the medians, with the smallest and
    largest ratio of one turn beside it, and the 95 % interval of the mean over turns.
    """
    generator = torch.Generator().manual_seed(0)
    net = DeepShapNet(FEATURES, CHANNELS, 1, hidden=(100,))
    net.reset_parameters(generator)
    net = net.to(device).requires_grad_(False)
    x = torch.randn(BATCH, FEATURES, generator=generator).to(device)
    one, loop = x[:1], Loop(net)
    torch.testing.assert_close(loop(one), net.explain(one).attributions, rtol=1e-3, atol=1e-4)
    models = {name: perceptron(widths, generator).to(device) for name, widths in DNNS.items()}
    contenders: dict[tuple[str, str], Callable] = {
        ("Deep ShapNet", "ours"): lambda: net.explain(one),
        ("Deep ShapNet", "ours, 64 at once"): lambda: net.explain(x),
        ("Deep ShapNet", "loop"): lambda: loop(one),
        ("Deep ShapNet", "Deep SHAP"): deep_shap(Transparent(net), one),
    }
    contenders |= {("Deep ShapNet", name): kernel_shap(net, one, n) for name, n in SAMPLES.items()}
    for model, dnn in models.items():
        contenders[model, "Deep SHAP"] = deep_shap(dnn, one)
        contenders |= {(model, name): kernel_shap(dnn, one, n) for name, n in SAMPLES.items()}
    state = np.random.get_state()  # the global generator, from which shap draws its samples
    try:
        np.random.seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shap, about systems with few samples
            times = in_turn(list(contenders.values()), repeats, x.device)
    finally:
        np.random.set_state(state)
    taken = dict(zip(contenders, times, strict=True))
    taken["Deep ShapNet", "ours, 64 at once"] = [t / BATCH for t in taken["Deep ShapNet", "ours, 64 at once"]]
    rows = [{"model": model, "method": method} | _against(taken, model, method) for model, method in taken]
    return provenance("shapnotes bench explain", device) | {"rows": rows}


def _against(taken: dict[tuple[str, str], list[float]], model: str, method: str) -> dict:
    """One contender's seconds, and its ratios to the ShapNet's own explanation in its three forms."""
    mine = taken[model, method]
    column = ["Deep ShapNet", *DNNS].index(model)
    paper = PAPER.get(method, (None,) * 3)[column]
    row = {"seconds": median(mine), "paper_over_loop": paper and paper / PAPER["loop"][0]}
    for name, other in (("ours", "ours"), ("batch", "ours, 64 at once"), ("loop", "loop")):
        each = [a / b for a, b in zip(mine, taken["Deep ShapNet", other], strict=True)]
        ratio = median(mine) / median(taken["Deep ShapNet", other])
        row |= {f"over_{name}": ratio, f"over_{name}_range": [min(each), max(each)]}
        row[f"over_{name}_interval"] = list(interval(each)) if len(each) > 1 else None
    return row


def perceptron(widths: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with a ReLU after each but the last, from 16 features to one output, drawn as PyTorch does."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([FEATURES, *widths, 1]):
        layers += [nn.utils.skip_init(nn.Linear, fan_in, fan_out), nn.ReLU()]
        for p in layers[-2].parameters():
            nn.init.uniform_(p, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return nn.Sequential(*layers[:-1])


def deep_shap(model: nn.Module, x: Tensor) -> Callable[[], np.ndarray]:
    """`shap.DeepExplainer` with the reference 0 as its background, ready to explain x."""
    shap = _shap()
    explainer = shap.DeepExplainer(model, torch.zeros_like(x))
    return lambda: explainer.shap_values(x, check_additivity=False)


def kernel_shap(model: nn.Module, x: Tensor, samples: int) -> Callable[[], np.ndarray]:
    """`shap.KernelExplainer` with the reference 0 as its background, ready to explain x."""

    @torch.no_grad()
    def predict(rows: np.ndarray) -> np.ndarray:
        return model(torch.as_tensor(rows, dtype=x.dtype, device=x.device))[:, 0].cpu().numpy()

    explainer = _shap().KernelExplainer(predict, np.zeros((1, x.shape[1]), dtype=np.float32))
    row = x.cpu().numpy()
    return lambda: explainer.shap_values(row, nsamples=samples, l1_reg=False, silent=True)


def _shap():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages that it imports
            import shap
    except ImportError as error:
        raise ImportError('this comparison needs the shap package: pip install "shapnotes[compare]"') from error
    return shap
