"""Other explanation methods behind one call: captum's and shap's, with the axes and the checks of this package.

Every function takes (f, x, baseline, *, settings) and returns attributions [batch, *features, *outputs], every feature
a player, on x's device and in x's dtype; no gradients flow. The methods themselves are captum's and shap's: nothing of
them is written anew here. Those explain one output at a time, so the costs below are for each output (a gradient is a
forward and a backward pass), unless they say otherwise.

Two properties are stated of each. Efficiency (local accuracy): the attributions sum to f(x) - f(r), r the baseline.
Missingness: a feature that equals its baseline gets zero.

f        : [rows, *features] -> [rows, *outputs], deterministic, each row by itself
x        : [batch, *features], floating point
baseline : None (0), a number, or a tensor that broadcasts to x

Bad input is refused as in `shapley_values`, and so are models that are random, mix rows, or answer NaN or infinity: a
look at a few rows costs 17 evaluations beside those that are stated. A missing package raises ImportError with the
extra that installs it.
"""

import importlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from numbers import Integral
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from shapnotes._runtime.chunking import rows_at_once
from shapnotes._runtime.tracing import copied
from shapnotes.activations import KINDS, ActivationsAsModules
from shapnotes.exact import shapley_values
from shapnotes.explanation import Explanation
from shapnotes.game import Game, GapError, Model, check_closure, finite_output, in_dtype
from shapnotes.sampling import sample_shapley_values

Baseline = Tensor | float | None

MAX_STEPS = 2**10  # of an integral; the places of its terms come from a matrix of steps times steps


def explain_with(method: str, f: Model, x: Tensor, baseline: Baseline = None, **settings: object) -> Explanation:
    """An explanation by a method that is named: a key of `METHODS`, whose functions say what each computes.

    settings : those of the method, `steps=` or `seed=` for example

    Returns an `Explanation`, whose gap() says how far the method is from efficiency; standard errors are there for
    "sampling". Raises ValueError for a name that is none, and what the method raises. Cost: the method's, and two
    evaluations an input for the predictions.

    >>> product = lambda z: z[:, 0] * z[:, 1]
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> explain_with("input_x_gradient", product, x).attributions, explain_with("input_x_gradient", product, x).gap()
    (tensor([[6., 6.]]), tensor([-6.]))
    >>> explain_with("exact", product, x).attributions
    tensor([[3., 3.]])
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    found = METHODS[method](f, x, baseline, **settings)
    attributions, errors = found if isinstance(found, tuple) else (found, None)
    empty, full, _ = _ends(Game(f, x, baseline))
    return Explanation(attributions, full, empty, inputs=x, standard_errors=errors)


# --- gradients -----------------------------------------------------------------------------------------------------


def saliency(f: Model, x: Tensor, baseline: Baseline = None, *, absolute: bool = True) -> Tensor:
    """The slope of the model at the input, by `captum.attr.Saliency`.

        | df/dx_i (x) |,        without the bars for absolute=False

    Neither efficient nor zero for what is missing; the baseline has no part in it. In the unit of f's output per unit
    of x. Cost: one gradient.

    Source: Simonyan, Vedaldi and Zisserman (2014); with sign, Baehrens et al. (2010).

    >>> saliency(lambda z: z[:, 0] - 2 * z[:, 1], torch.tensor([[5.0, 7.0]]))
    tensor([[1., 2.]])
    """
    attr = _package("captum.attr")
    return _by_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.Saliency(model).attribute(x, target=output, abs=absolute),
    )


def input_x_gradient(f: Model, x: Tensor, baseline: Baseline = None) -> Tensor:
    """The slope times the distance from the baseline, by `captum.attr.InputXGradient`.

        (x_i - r_i) df/dx_i (x)

    captum's method knows no baseline: it is given z -> f(r + z) at z = x - r, which changes nothing where r = 0.
    Missingness holds; efficiency only where f is linear between r and x. Cost: one gradient.

    Source: Shrikumar et al. (2016).
    """
    attr = _package("captum.attr")
    return _by_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.InputXGradient(lambda z: model(r + z)).attribute(
            (x - r).detach().requires_grad_(), target=output
        ),
    )


def integrated_gradients(f: Model, x: Tensor, baseline: Baseline = None, *, steps: int = 50) -> Tensor:
    """The mean slope on the way from the baseline to the input, by `captum.attr.IntegratedGradients`.

        (x_i - r_i)  integral over t from 0 to 1 of  df/dx_i (r + t (x - r))

    The integral is a Gauss-Legendre sum of `steps` terms, whose weights captum rounds to float32. Missingness holds;
    efficiency up to that rounding where f is smooth; the gap of a network with kinks falls about as 1 / steps. Cost:
    `steps` gradients, all in memory together: explain fewer inputs at a time where that is too much.

    steps : from 1 to 1024

    Source: Sundararajan, Taly and Yan (2017).
    """
    steps = _count("steps", steps, MAX_STEPS)
    attr = _package("captum.attr")
    return _by_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.IntegratedGradients(model).attribute(x, r, target=output, n_steps=steps),
    )


def gradient_shap(f: Model, x: Tensor, baseline: Baseline = None, *, samples: int = 50, seed: int = 0) -> Tensor:
    """Integrated gradients with the integral drawn at random, by `captum.attr.Saliency` at the places drawn.

        (x_i - r_i)  mean over draws of t, uniform on [0, 1], of  df/dx_i (r + t (x - r))

    samples : draws an input, shared by all outputs; which ones depends on the input's place in the batch

    That is captum's and shap's GradientShap with one baseline and no noise. Their draws come from the global generators
    of a process, which other threads draw from as well; here they come from a generator of this call.

    Missingness holds, efficiency in expectation. Cost: `samples` gradients, those of an input in memory together.

    Source: Lundberg and Lee's package shap; Erion et al. (2021), as expected gradients.
    """
    samples = _count("samples", samples)
    seed = _seed(seed)
    attr = _package("captum.attr")

    def attribute(model: nn.Module, x: Tensor, r: Tensor, output: int) -> Tensor:
        generator, slopes = torch.Generator().manual_seed(seed), []
        draws = torch.rand(len(x), samples, generator=generator, dtype=torch.float64)
        for one, base, t in zip(x, r, draws.to(x), strict=True):
            places = (base + t.reshape(-1, *[1] * one.dim()) * (one - base)).detach().requires_grad_()
            slopes.append(attr.Saliency(model).attribute(places, target=output, abs=False).mean(0))
        return torch.stack(slopes) * (x - r)

    return _by_output(Game(f, x, baseline), attribute)


# --- multipliers in place of gradients -----------------------------------------------------------------------------


def deeplift(f: nn.Module, x: Tensor, baseline: Baseline = None) -> Tensor:
    """DeepLIFT with the rescale rule, by `captum.attr.DeepLift`.

        (x_i - r_i) m_i

    m_i is df/dx_i by the chain rule, with the derivative of every activation a(z) replaced by the slope of its chord
    (a(z) - a(z')) / (z - z'), where z goes into the activation at x and z' at r. Efficient by construction, and missing
    features get zero. Not the Shapley value in general. Cost: one gradient of two rows, x and r.

    f : an nn.Module, whose activations may be modules, used once or several times, functions or methods: ReLU,
        LeakyReLU, ELU, Tanh, Sigmoid, Softplus, max pooling without overlap; on tensors whose first axis is the batch.
        It is left as it is: captum is given modules in place of these calls (see `shapnotes.activations`)

    Any other activation is taken at its derivative, softmax as well (explain the logits); then the sum does not close,
    which is raised as `GapError`.

    Source: Shrikumar, Greenside and Kundaje (2017), section 3.5.1.
    """
    _check_module(f)
    attr = _package("captum.attr")
    game = Game(f, x, baseline)

    def attribute(model: nn.Module, x: Tensor, r: Tensor, output: int) -> Tensor:
        with _quiet():
            return attr.DeepLift(model).attribute(x, r, target=output)

    attributions = _by_output(Game(ActivationsAsModules(f, game.x[:1]), x, baseline), attribute)
    names = ", ".join(kind.__name__ for kind in KINDS)
    return _closed(
        game,
        attributions,
        f"DeepLIFT, as captum has it, follows {names}. Another activation escapes, as does max pooling whose windows "
        "overlap, and one whose input has another first axis than the batch",
    )


def deep_shap(f: nn.Module, x: Tensor, baseline: Baseline = None) -> Tensor:
    """Deep SHAP, by `shap.DeepExplainer` with the baseline as its only background sample.

    Deep SHAP is the mean of DeepLIFT's attributions over a background sample. With one baseline it is DeepLIFT, in the
    code of the method's authors: efficiency, missingness and errors are those of `deeplift`. But it follows only
    activations that are modules, each called once in a forward pass. It knows GELU, SELU and softmax as well, and takes
    the derivative where |z - z'| < 1e-6 (captum: 1e-10). Half precisions are explained in float32, since NumPy has no
    bfloat16. Cost: one gradient of two rows an input, inputs one after the other, and one evaluation.

    Source: Lundberg and Lee (2017), section 4.2.
    """
    _check_module(f)
    shap = _package("shap")
    game = Game(f, x, baseline)
    with torch.no_grad():
        outputs = game.inspect()[0].answer.shape[1:]
    wide = x.dtype if x.dtype == torch.float64 else torch.float32
    with _apart(), _quiet():
        model = _Rows(_copy(f).to(wide))
        pairs = zip(*(t.detach().clone().to(wide).split(1) for t in (game.x, game.baseline)), strict=True)
        parts = [shap.DeepExplainer(model, r).shap_values(one, check_additivity=False) for one, r in pairs]
    return _closed(
        game,
        torch.from_numpy(np.concatenate(parts)).to(x).reshape(*x.shape, *outputs),
        "Deep SHAP follows activations that are modules (nn.ReLU, nn.Tanh, ...), called once in a forward pass; one "
        "that is called as a function, twice, or is unknown to it escapes, and so does one whose input has another "
        "first axis than the batch",
    )


# --- Shapley values ------------------------------------------------------------------------------------------------


def kernel_shap(f: Model, x: Tensor, baseline: Baseline = None, *, samples: int | None = None, seed: int = 0) -> Tensor:
    """Shapley values by weighted regression on sampled coalitions, by `shap.KernelExplainer` without regularisation.

        argmin over phi of  sum over sampled S of  w(S) [ v(S) - v(0) - sum_{i in S} phi_i ]^2,
        subject to  sum_i phi_i = v(N) - v(0),        w(S) = (n-1) / ( C(n, |S|) |S| (n - |S|) )

    samples : coalitions an input; None for shap's 2 n + 2048. From 2**n - 2 on the values are exact. With hardly more
              than n the system is close to singular, and the values anything; shap warns where it is singular

    n counts the players that are not missing. Efficient by the constraint. Missingness holds, and a little more: shap
    takes a feature for missing within 1e-5 |r_i| + 1e-8 of its baseline, and sets values below 1e-10 to 0. Which
    coalitions an input gets depends on its place in the batch. shap draws from NumPy's global generator, which is
    seeded and then put back, one call at a time; what other threads draw from it meanwhile follows the seed too. Cost:
    samples + 2 evaluations an input, for all outputs together.

    Source: Lundberg and Lee (2017), theorem 2.
    """
    if samples is not None:
        samples = _count("samples", samples)
    seed = _seed(seed)
    shap = _package("shap")
    game = Game(f, x, baseline)
    with torch.no_grad():
        look, chunk_size = game.inspect()

    def model(rows: np.ndarray) -> np.ndarray:
        z = torch.tensor(rows, dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])  # f may write into it
        with torch.no_grad():
            answers = torch.cat([game.worths(part) for part in z.split(chunk_size)])
        return answers.reshape(len(z), -1).double().cpu().numpy()

    settings = {"nsamples": "auto" if samples is None else samples, "l1_reg": False, "silent": True}
    pairs = zip(
        *(t.detach().double().cpu().numpy().reshape(len(x), 1, -1) for t in (game.x, game.baseline)), strict=True
    )
    with _seeded(seed):
        parts = [shap.KernelExplainer(model, r).shap_values(one, **settings) for one, r in pairs]
    found = torch.from_numpy(np.concatenate(parts)).reshape(*x.shape, *look.answer.shape[1:])
    return in_dtype(found, x.dtype).to(x.device)


def sampling(
    f: Model, x: Tensor, baseline: Baseline = None, *, permutations: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """`shapnotes.sample_shapley_values` with a seed: (values, standard errors).

    Efficient, and missing features get zero. Cost: permutations * (n - 1) + 2 evaluations an input, for all outputs
    together, n counted over the players that differ from the baseline.
    """
    generator = torch.Generator().manual_seed(_seed(seed))
    with torch.no_grad():
        return sample_shapley_values(f, x, baseline, permutations=permutations, generator=generator)


def exact(f: Model, x: Tensor, baseline: Baseline = None) -> Tensor:
    """`shapnotes.shapley_values`: what the others are measured against.

    Efficient, and missing features get zero. Cost: 2**n evaluations an input, for all outputs together, n counted over
    the players that differ from the baseline.
    """
    with torch.no_grad():
        return shapley_values(f, x, baseline)


METHODS: dict[str, Callable[..., Tensor | tuple[Tensor, Tensor]]] = {
    method.__name__: method
    for method in (
        exact,
        sampling,
        kernel_shap,
        deep_shap,
        deeplift,
        integrated_gradients,
        gradient_shap,
        input_x_gradient,
        saliency,
    )
}


# --- what the adapters share ---------------------------------------------------------------------------------------


class _Rows(nn.Module):
    """f with its outputs in one row: [rows, *features] -> [rows, outputs]; it may write into what it is given."""

    def __init__(self, f: Model):
        super().__init__()
        self.f = f

    def forward(self, z: Tensor) -> Tensor:
        return finite_output(self.f(z.clone()), len(z)).reshape(len(z), -1)


def _by_output(game: Game, attribute: Callable[[nn.Module, Tensor, Tensor, int], Tensor]) -> Tensor:
    """`attribute` (model, x, baseline, output) for every output, stacked: [batch, *features, *outputs]."""
    with torch.no_grad():
        game.inspect()
    with _apart():
        x, r = game.x.detach().clone().requires_grad_(), game.baseline.detach().clone()
        row = x[:1].detach().clone().requires_grad_()
        answer = game(row.clone())
        if not answer.requires_grad or torch.autograd.grad(answer.sum(), row, allow_unused=True)[0] is None:
            raise ValueError(
                "f's output does not depend on x by way of autograd (is it detached, or made by numpy?), and this "
                "method needs its gradient; exact, sampling and kernel_shap do not"
            )
        outputs, model = answer.shape[1:], _Rows(game.f)
        parts = [attribute(model, x, r, output).detach() for output in range(prod(outputs))]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ValueError(
            "f's gradient is NaN or infinite at x or between the baseline and x, where this method needs it; exact, "
            "sampling and kernel_shap do not"
        )
    return in_dtype(torch.stack(parts, -1), x.dtype).reshape(*x.shape, *outputs)


def _copy(f: nn.Module) -> nn.Module:
    """A copy for hooks to be set on: f keeps its hooks, attributes and gradients whatever happens."""
    with torch.inference_mode(False):
        f = copied(f)
    for module in f.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # hooks need what went in
    return f


@contextmanager
def _apart() -> Iterator[None]:
    """Autograd as captum and shap need it."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


_ALONE = threading.Lock()  # Python's warning filters and NumPy's generator belong to the whole process


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what captum and shap say about setting hooks, and shap of modules; a gap is raised where it matters."""
    with _ALONE, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Setting forward, backward hooks")
        warnings.filterwarnings("ignore", "unrecognized nn.Module")
        yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator seeded, for one thread at a time, and afterwards as it was."""
    with _ALONE:
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _package(name: str) -> ModuleType:
    try:
        with _ALONE, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages that it imports
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'this method needs the {name.split(".")[0]} package: pip install "shapnotes[compare]"'
        ) from error


@torch.no_grad()
def _ends(game: Game) -> tuple[Tensor, Tensor, float]:
    """The predictions at the baseline and at x, and the precision of the numbers inside f."""
    look = game.first_look()
    return *game.ends(rows_at_once(game.x, look.bytes)), look.eps


def _closed(game: Game, attributions: Tensor, why: str) -> Tensor:
    """The attributions, unless they miss f(x) - f(r); what else can be the reason."""
    empty, full, eps = _ends(game)
    players = tuple(range(1, game.x.dim()))
    scale = attributions.abs().sum(players)
    try:
        check_closure(attributions.sum(players), empty, full, scale=scale, eps=eps)
    except GapError as error:
        raise GapError(f"{why}. Here {error}") from None
    return attributions


def _check_module(f: object) -> None:
    if not isinstance(f, nn.Module):
        raise TypeError(
            f"f must be an nn.Module, whose activations can be followed; got {type(f).__name__}. For any function "
            "there are integrated_gradients and kernel_shap"
        )


def _count(name: str, count: object, most: int | None = None) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1 or (most and count > most):
        limit = f"from 1 to {most}" if most else "at least 1"
        raise ValueError(f"{name} must be a whole number, {limit}; got {count!r}")
    return int(count)


def _seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1; got {seed!r}")
    return int(seed)
