"""Other explanation methods behind one call: captum's and shap's, with the axes and the checks of this package.

Every function takes (f, x, baseline, *, settings) and returns attributions [batch, *features, *outputs], every feature
a player, on x's device and in x's dtype; no gradients flow. `exact`, `sampling` and `regression` are this package's
own; the other methods are captum's and shap's, and none of them is implemented anew here. Those explain one output at a
time, so the costs below are per output (a gradient is a forward and a backward pass), unless they say otherwise.

Two properties are stated of each. Efficiency (local accuracy): the attributions sum to f(x) - f(r), r the baseline.
Missingness: a feature that equals its baseline gets zero.

Bad input is refused as in `shapley_values`, and so are models that are random, mix rows, or return NaN or infinity:
evaluating a few rows twice costs up to 17 evaluations in addition to those that are stated. A missing package raises
ImportError with the extra that installs it.
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
from shapnotes.explanation import Explanation, GapError, check_closure
from shapnotes.game import Game, Model, finite_output, in_dtype
from shapnotes.regression import regression_shapley_values
from shapnotes.sampling import sample_shapley_values

__all__ = [
    "deep_shap",
    "deeplift",
    "exact",
    "explain_with",
    "gradient_shap",
    "input_x_gradient",
    "integrated_gradients",
    "kernel_shap",
    "regression",
    "saliency",
    "sampling",
]

Baseline = Tensor | float | None

MAX_STEPS = 2**10  # of an integral; the nodes of the quadrature come from a matrix of steps times steps


def explain_with(method: str, f: Model, x: Tensor, baseline: Baseline = None, **settings: object) -> Explanation:
    """An explanation by the method of this name, one of the functions of this module.

    Parameters
    ----------
    method : str
        "exact", "sampling", "regression", "kernel_shap", "deep_shap", "deeplift", "integrated_gradients",
        "gradient_shap", "input_x_gradient" or "saliency".
    f : callable
        [rows, *features] -> [rows, *outputs], deterministic, each row by itself.
    x : Tensor
        [batch, *features], floating point.
    baseline : Tensor or float, optional
        What stands for absent: None (0), a number, or a tensor that broadcasts to x.
    **settings
        Those of the method, `steps=` or `seed=` for example.

    Returns
    -------
    Explanation
        Its `gap` says how far the method is from efficiency; standard errors are there for "sampling" and
        "regression".

    Raises
    ------
    ValueError, TypeError
        For an unknown name, for unusable arguments, and for an f that is random, mixes rows, or returns NaN or
        infinity.
    ImportError
        Where the package that has the method, captum or shap, is not installed.
    GapError
        Where attributions that should add up do not: from "exact", "deeplift" and "deep_shap".

    Cost
    ----
    The method's, and two evaluations per input for the predictions.

    Examples
    --------
    >>> product = lambda z: z[:, 0] * z[:, 1]
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> explanation = explain_with("input_x_gradient", product, x)
    >>> explanation.attributions, explanation.gap()
    (tensor([[6., 6.]]), tensor([-6.]))
    >>> explain_with("exact", product, x).attributions
    tensor([[3., 3.]])
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; choose from {', '.join(METHODS)}")
    result = METHODS[method](f, x, baseline, **settings)
    attributions, standard_errors = result if isinstance(result, tuple) else (result, None)
    empty, full, _ = _predictions(Game(f, x, baseline))
    return Explanation(attributions, full, empty, inputs=x, standard_errors=standard_errors)


# --- gradients -----------------------------------------------------------------------------------------------------


def saliency(f: Model, x: Tensor, baseline: Baseline = None, *, absolute: bool = True) -> Tensor:
    r"""The derivative of the model at the input, by `captum.attr.Saliency`.

    .. math::
        \left| \frac{\partial f}{\partial x_i}(x) \right|

    without the bars for `absolute=False`. In the unit of f's output per unit of x. Neither efficient nor zero for what
    is missing; the baseline plays no part.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    absolute : bool
        Whether the sign is dropped.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `explain_with`.

    Cost
    ----
    One gradient.

    Source
    ------
    Simonyan, Vedaldi and Zisserman (2014); with sign, Baehrens et al. (2010).

    Examples
    --------
    >>> saliency(lambda z: z[:, 0] - 2 * z[:, 1], torch.tensor([[5.0, 7.0]]))
    tensor([[1., 2.]])
    """
    attr = _import("captum.attr")
    return _per_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.Saliency(model).attribute(x, target=output, abs=absolute),
    )


def input_x_gradient(f: Model, x: Tensor, baseline: Baseline = None) -> Tensor:
    r"""The derivative times the distance from the baseline, by `captum.attr.InputXGradient`.

    .. math::
        (x_i - r_i)\, \frac{\partial f}{\partial x_i}(x)

    captum's method has no baseline: it is given :math:`z \mapsto f(r + z)` at :math:`z = x - r`, which changes nothing
    where :math:`r = 0`. Missingness holds; efficiency only where f is linear between :math:`r` and :math:`x`.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `explain_with`.

    Cost
    ----
    One gradient.

    Source
    ------
    Shrikumar et al. (2016).
    """
    attr = _import("captum.attr")
    return _per_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.InputXGradient(lambda z: model(r + z)).attribute(
            (x - r).detach().requires_grad_(), target=output
        ),
    )


def integrated_gradients(f: Model, x: Tensor, baseline: Baseline = None, *, steps: int = 50) -> Tensor:
    r"""The mean derivative on the way from the baseline to the input, by `captum.attr.IntegratedGradients`.

    .. math::
        (x_i - r_i) \int_0^1 \frac{\partial f}{\partial x_i}\bigl(r + t\,(x - r)\bigr)\, dt

    The integral is a Gauss-Legendre sum of `steps` terms, whose weights captum rounds to float32. Missingness holds;
    efficiency up to that rounding where f is smooth; the gap of a network with kinks falls about as 1 / steps.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    steps : int
        From 1 to 1024.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `explain_with`.

    Cost
    ----
    `steps` gradients, all in memory together: explain fewer inputs at a time where that is too much.

    Source
    ------
    Sundararajan, Taly and Yan (2017).
    """
    steps = _checked_count("steps", steps, MAX_STEPS)
    attr = _import("captum.attr")
    return _per_output(
        Game(f, x, baseline),
        lambda model, x, r, output: attr.IntegratedGradients(model).attribute(x, r, target=output, n_steps=steps),
    )


def gradient_shap(f: Model, x: Tensor, baseline: Baseline = None, *, samples: int = 50, seed: int = 0) -> Tensor:
    r"""Integrated gradients with the integral drawn at random, by `captum.attr.Saliency` at the points drawn.

    .. math::
        (x_i - r_i)\, \frac{1}{m} \sum_{j=1}^m \frac{\partial f}{\partial x_i}\bigl(r + t_j\,(x - r)\bigr),

        t_j \text{ uniform on } [0, 1]

    This is captum's and shap's GradientShap with one baseline and no noise. Their draws come from the global generators
    of a process, from which other threads draw as well; here they come from a generator of this call. Missingness
    holds, efficiency in expectation.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    samples : int
        Draws per input, shared by all outputs; which ones depends on the input's index in the batch.
    seed : int
        Of the generator.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `explain_with`.

    Cost
    ----
    `samples` gradients, those of an input in memory together.

    Source
    ------
    Lundberg and Lee's package shap; Erion et al. (2021), as expected gradients.
    """
    samples = _checked_count("samples", samples)
    seed = _checked_seed(seed)
    attr = _import("captum.attr")

    def attribute(model: nn.Module, x: Tensor, r: Tensor, output: int) -> Tensor:
        generator, derivatives = torch.Generator().manual_seed(seed), []
        draws = torch.rand(len(x), samples, generator=generator, dtype=torch.float64, device="cpu")
        for one, base, t in zip(x, r, draws.to(x), strict=True):
            points = (base + t.reshape(-1, *[1] * one.dim()) * (one - base)).detach().requires_grad_()
            derivatives.append(attr.Saliency(model).attribute(points, target=output, abs=False).mean(0))
        return torch.stack(derivatives) * (x - r)

    return _per_output(Game(f, x, baseline), attribute)


# --- multipliers in place of gradients -----------------------------------------------------------------------------


def deeplift(f: nn.Module, x: Tensor, baseline: Baseline = None) -> Tensor:
    r"""DeepLIFT with the rescale rule, by `captum.attr.DeepLift`.

    .. math::
        (x_i - r_i)\, m_i

    The multiplier :math:`m_i` is :math:`\partial f / \partial x_i` by the chain rule, with the derivative of every
    activation :math:`a(z)` replaced by the slope of its chord :math:`(a(z) - a(z')) / (z - z')`, where :math:`z` is the
    activation's argument at :math:`x` and :math:`z'` the one at :math:`r`. Efficient by construction, and missing
    features get zero. Not the Shapley value in general.

    captum is given modules in place of the model's calls of activations; the model itself is not changed.

    Parameters
    ----------
    f : nn.Module
        [rows, *features] -> [rows, *outputs], deterministic, each row by itself. Its
        activations may be modules, used once or several times, functions or methods: ReLU, LeakyReLU, ELU, Tanh,
        Sigmoid, Softplus, max pooling without overlap; on tensors whose first axis is the batch.
    x, baseline
        As in `explain_with`.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError
        As in `explain_with`.
    GapError
        Where the sum does not close: any other activation is taken at its derivative, softmax as well (explain the
        logits).
    ImportError
        Where captum is not installed.

    Cost
    ----
    One gradient of two rows, x and r.

    Source
    ------
    Shrikumar, Greenside and Kundaje (2017), section 3.5.1.
    """
    _check_module(f)
    attr = _import("captum.attr")
    game = Game(f, x, baseline)
    game.probe()  # says so where f does not take x as it is

    def attribute(model: nn.Module, x: Tensor, r: Tensor, output: int) -> Tensor:
        with _without_warnings():
            attributions: Tensor = attr.DeepLift(model).attribute(x, r, target=output)
        return attributions

    attributions = _per_output(Game(ActivationsAsModules(f, game.x[:1]), x, baseline), attribute)
    names = ", ".join(kind.__name__ for kind in KINDS)
    return _checked_closure(
        game,
        attributions,
        f"DeepLIFT, as captum has it, follows {names}. Another activation escapes, as does max pooling whose windows "
        "overlap, and one whose input has another first axis than the batch",
    )


def deep_shap(f: nn.Module, x: Tensor, baseline: Baseline = None) -> Tensor:
    """Deep SHAP, by `shap.DeepExplainer` with the baseline as its only background sample.

    Deep SHAP is the mean of DeepLIFT's attributions over a background sample. With one baseline it is `deeplift`, in
    the code of the method's authors: efficiency, missingness and errors are the same. But it follows only activations
    that are modules, each called once in a forward pass. It knows GELU, SELU and softmax as well, and takes the
    derivative where |z - z'| < 1e-6 (captum: 1e-10). Half precisions are explained in float32, since NumPy has no
    bfloat16.

    Parameters
    ----------
    f : nn.Module
        [rows, *features] -> [rows, *outputs], deterministic, each row by itself. Its
        activations are modules.
    x, baseline
        As in `explain_with`.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError
        As in `explain_with`.
    GapError
        Where the sum does not close.
    ImportError
        Where shap is not installed.

    Cost
    ----
    One gradient of two rows per input, inputs one after the other, and one evaluation.

    Source
    ------
    Lundberg and Lee (2017), section 4.2.
    """
    _check_module(f)
    shap = _import("shap")
    game = Game(f, x, baseline)
    with torch.no_grad():
        outputs = game.inspect()[0].output.shape[1:]
    dtype = x.dtype if x.dtype == torch.float64 else torch.float32
    with _recording_gradients(), _without_warnings():
        model = _FlatOutputs(_copy(f).to(dtype))
        pairs = zip(*(torch.split(t.detach().clone().to(dtype), 1) for t in (game.x, game.baseline)), strict=True)
        parts = [shap.DeepExplainer(model, r).shap_values(one, check_additivity=False) for one, r in pairs]
    return _checked_closure(
        game,
        torch.from_numpy(np.concatenate(parts)).to(x).reshape(*x.shape, *outputs),
        "Deep SHAP follows activations that are modules (nn.ReLU, nn.Tanh, ...), called once in a forward pass; one "
        "that is called as a function, twice, or is unknown to it escapes, and so does one whose input has another "
        "first axis than the batch",
    )


# --- Shapley values ------------------------------------------------------------------------------------------------


def kernel_shap(f: Model, x: Tensor, baseline: Baseline = None, *, samples: int | None = None, seed: int = 0) -> Tensor:
    r"""Shapley values by weighted regression on sampled coalitions, by `shap.KernelExplainer` without regularisation.

    .. math::
        \min_\phi \sum_{S \text{ sampled}} w_S \Bigl[ v(S) - v(\emptyset) - \sum_{i \in S} \phi_i \Bigr]^2

        \text{subject to} \quad \sum_i \phi_i = v(N) - v(\emptyset),

        k(s) = \frac{n - 1}{\binom{n}{s}\, s\,(n - s)}

    :math:`w_S` is k(|S|) for the sizes that are taken whole, the smallest and the largest; the others' weight is shared
    by how often each coalition was drawn. n counts the players that are not missing. Efficient by the constraint.
    Missingness holds, and a little more: shap takes a feature for missing within 1e-5 |r_i| + 1e-8 of its baseline, and
    sets values below 1e-10 to 0.

    Which coalitions an input gets depends on its index in the batch. shap draws from NumPy's global generator, which is
    seeded and then put back, one call at a time; what other threads draw from it meanwhile follows the seed too.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    samples : int, optional
        Coalitions per input; None for shap's 2 n + 2048. From 2**n - 2 on the values are exact. With hardly more than n
        the system is close to singular, and the values arbitrary; shap warns where it is singular.
    seed : int
        Of NumPy's generator.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `explain_with`.

    Cost
    ----
    samples + 2 evaluations per input, for all outputs together.

    Source
    ------
    Lundberg and Lee (2017), theorem 2.
    """
    if samples is not None:
        samples = _checked_count("samples", samples)
    seed = _checked_seed(seed)
    shap = _import("shap")
    game = Game(f, x, baseline)
    with torch.no_grad():
        probe, chunk_size = game.inspect()

    def model(rows: np.ndarray) -> np.ndarray:
        """The worths of coalitions, from masked inputs [rows, features] to [rows, outputs]."""
        z = torch.tensor(rows, dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])  # f may write into it
        with torch.no_grad():
            worths = torch.cat([game.worths(part) for part in torch.split(z, chunk_size)])
        return worths.reshape(len(z), -1).double().cpu().numpy()

    settings = {"nsamples": "auto" if samples is None else samples, "l1_reg": False, "silent": True}
    pairs = zip(
        *(t.detach().double().cpu().numpy().reshape(len(x), 1, -1) for t in (game.x, game.baseline)), strict=True
    )
    with _numpy_seeded(seed):
        parts = [shap.KernelExplainer(model, r).shap_values(one, **settings) for one, r in pairs]
    values = torch.from_numpy(np.concatenate(parts)).reshape(*x.shape, *probe.output.shape[1:])
    return in_dtype(values, x.dtype).to(x.device)


def sampling(
    f: Model, x: Tensor, baseline: Baseline = None, *, permutations: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """`shapnotes.sample_shapley_values` with a seed in place of a generator.

    Efficient, and missing features get zero.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    permutations : int
        Orders per input, even and at least 4.
    seed : int
        Of the generator that the orders are drawn from.

    Returns
    -------
    tuple of Tensor
        (values, standard_errors), each [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError
        As in `explain_with`.

    Cost
    ----
    permutations * (n - 1) + 2 evaluations per input, for all outputs together, n counted over the players that differ
    from the baseline.

    Source
    ------
    Castro, Gomez and Tejada (2009).
    """
    generator = torch.Generator().manual_seed(_checked_seed(seed))
    with torch.no_grad():
        return sample_shapley_values(f, x, baseline, permutations=permutations, generator=generator)


def regression(
    f: Model, x: Tensor, baseline: Baseline = None, *, evaluations: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """`shapnotes.regression_shapley_values` with a seed in place of a generator.

    Efficient, and missing features get zero.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.
    evaluations : int, optional
        Per input, even; None for 2 n + 2048, or 6 n where that is more. From 2**n - 2 on the values are exact.
    seed : int
        Of the generator that the coalitions are drawn from.

    Returns
    -------
    tuple of Tensor
        (values, standard_errors), each [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError
        As in `explain_with`.

    Cost
    ----
    evaluations + 2 per input, for all outputs together.

    Source
    ------
    Lundberg and Lee (2017); Covert and Lee (2021).
    """
    generator = torch.Generator().manual_seed(_checked_seed(seed))
    with torch.no_grad():
        return regression_shapley_values(f, x, baseline, evaluations=evaluations, generator=generator)


def exact(f: Model, x: Tensor, baseline: Baseline = None) -> Tensor:
    """`shapnotes.shapley_values`: what the others are measured against.

    Efficient, and missing features get zero.

    Parameters
    ----------
    f, x, baseline
        As in `explain_with`.

    Returns
    -------
    Tensor
        [batch, *features, *outputs], on x's device and in x's dtype.

    Raises
    ------
    ValueError, TypeError
        As in `explain_with`.

    Cost
    ----
    2**n evaluations per input, for all outputs together, n counted over the players that differ from the baseline.

    Source
    ------
    Shapley (1953).
    """
    with torch.no_grad():
        return shapley_values(f, x, baseline)


METHODS: dict[str, Callable[..., Tensor | tuple[Tensor, Tensor]]] = {
    method.__name__: method
    for method in (
        exact,
        sampling,
        regression,
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


class _FlatOutputs(nn.Module):
    """f with one axis of outputs: [rows, *features] -> [rows, outputs]; f may write into its argument."""

    def __init__(self, f: Model) -> None:
        super().__init__()
        self.f = f

    def forward(self, z: Tensor) -> Tensor:
        """The flattened outputs, finite."""
        return finite_output(self.f(z.clone()), len(z)).reshape(len(z), -1)


def _per_output(game: Game, attribute: Callable[[nn.Module, Tensor, Tensor, int], Tensor]) -> Tensor:
    """attribute(model, x, baseline, output) for every output, stacked: [batch, *features, *outputs]."""
    with torch.no_grad():
        game.inspect()
    with _recording_gradients():
        x, r = game.x.detach().clone().requires_grad_(), game.baseline.detach().clone()
        row = x[:1].detach().clone().requires_grad_()
        y = game(row.clone())
        if not y.requires_grad or torch.autograd.grad(y.sum(), row, allow_unused=True)[0] is None:
            raise ValueError(
                "f's output does not depend on x by way of autograd (is it detached, or made by numpy?), and this "
                "method needs its gradient; exact, sampling and kernel_shap do not"
            )
        outputs, model = y.shape[1:], _FlatOutputs(game.f)
        parts = [attribute(model, x, r, output).detach() for output in range(prod(outputs))]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ValueError(
            "f's gradient is NaN or infinite at x or between the baseline and x, where this method needs it; exact, "
            "sampling and kernel_shap do not"
        )
    return in_dtype(torch.stack(parts, -1), x.dtype).reshape(*x.shape, *outputs)


def _copy(f: nn.Module) -> nn.Module:
    """A copy to set hooks on, without in-place activations, since hooks need an activation's argument.

    f keeps its hooks, attributes and gradients whatever happens.
    """
    with torch.inference_mode(False):
        f = copied(f)
    for module in f.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 (an attribute of some modules only)
    return f


@contextmanager
def _recording_gradients() -> Iterator[None]:
    """Autograd switched on, as captum and shap need it, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


_PROCESS_STATE = threading.Lock()  # Python's warning filters and NumPy's generator belong to the whole process


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without captum's and shap's warnings of hooks and unknown modules; a gap is raised where it matters."""
    with _PROCESS_STATE, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Setting forward, backward hooks")
        warnings.filterwarnings("ignore", "unrecognized nn.Module")
        yield


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator seeded, for one thread at a time, and restored afterwards."""
    with _PROCESS_STATE:
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _import(name: str) -> ModuleType:
    """captum.attr or shap, without the warnings of the packages that they import."""
    try:
        with _PROCESS_STATE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'this method needs the {name.split(".")[0]} package: pip install "shapnotes[compare]"'
        ) from error


@torch.no_grad()
def _predictions(game: Game) -> tuple[Tensor, Tensor, float]:
    """The predictions at the baseline and at x, and the machine epsilon of the numbers inside f."""
    probe = game.probe()
    return *game.empty_and_full(rows_at_once(game.x, probe.largest_bytes)), probe.eps


def _checked_closure(game: Game, attributions: Tensor, cause: str) -> Tensor:
    """The attributions; GapError where they do not sum to f(x) - f(r), with the likely cause."""
    empty, full, eps = _predictions(game)
    players = tuple(range(1, game.x.dim()))
    scale = attributions.abs().sum(players)
    try:
        check_closure(attributions.sum(players), empty, full, scale=scale, eps=eps)
    except GapError as error:
        raise GapError(f"{cause}. Here {error}") from None
    return attributions


def _check_module(f: object) -> None:
    """Raise TypeError unless f is a module."""
    if not isinstance(f, nn.Module):
        raise TypeError(
            f"f must be an nn.Module, whose activations can be followed; got {type(f).__name__}. For any function "
            "there are integrated_gradients and kernel_shap"
        )


def _checked_count(name: str, count: object, most: int | None = None) -> int:
    """The count as an int; refused where it is no whole number from 1 to `most`."""
    if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 1 or (most and int(count) > most):
        limit = f"from 1 to {most}" if most else "at least 1"
        raise ValueError(f"{name} must be a whole number, {limit}; got {count!r}")
    return int(count)


def _checked_seed(seed: object) -> int:
    """The seed as an int; refused where NumPy could not take it."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1; got {seed!r}")
    return int(seed)
