"""The relevance to start from: of linear, ReLU and softmax output layers."""

import torch
from torch import Tensor

from shapnotes._runtime.tensors import check_finite
from shapnotes.exact import shapley_values
from shapnotes.nn.functional import relu_shapley_values
from shapnotes.sampling import sample_shapley_values


def linear_relevance(output: Tensor) -> Tensor:
    r"""The relevance of a linear output layer: each output is its own.

    .. math::
        r(y_j) = y_j \text{ for output } j, \qquad 0 \text{ for the others}

    Parameters
    ----------
    output : Tensor
        [batch, out].

    Returns
    -------
    Tensor
        [batch, out, out]: entry (j, c) is the relevance of output j for output c. Give it to `propagate` as it is for
        all outputs together, or `[..., c]` for one.

    Raises
    ------
    TypeError, ValueError
        For anything but a floating-point tensor [batch, out] of finite numbers.

    Cost
    ----
    That of the copy.

    Source
    ------
    Li and Cui, section 2.1.
    """
    _check_outputs("output", output)
    return torch.diag_embed(output)


def relu_relevance(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""The relevance of an output layer y = max(W x + b, 0) in closed form, its Shapley Activation.

    .. math::
        r(y_j) = \sum_k \alpha_{jk} = \Phi\left(\frac{\mu + b}{\sigma}\right) (W x + b)_j

    with :math:`\mu`, :math:`\sigma` and :math:`\alpha` as in `shapnotes.nn.functional.relu_shapley_values`. Propagated
    through that layer it becomes :math:`\alpha_{jk}`: what equation 2 does to it is to divide by :math:`W x + b` and to
    multiply by :math:`w_k x_k + b/n`. (Not where :math:`W x + b = 0`: there it is zero, and what is left of the
    :math:`\alpha_{jk}` is their sum.)

    Parameters
    ----------
    x, weight, bias
        As in `shapnotes.nn.functional.relu_shapley_values`, and so are the errors.

    Returns
    -------
    Tensor
        [batch, out, out], to be used as that of `linear_relevance`.

    Cost
    ----
    O(batch out in).

    Source
    ------
    Li and Cui, equation 1 and section 2.1.
    """
    return torch.diag_embed(relu_shapley_values(x, weight, bias).sum(-1))


def softmax_relevance(
    logits: Tensor,
    permutations: int | None = 1000,
    generator: torch.Generator | None = None,
    baseline: Tensor | float | None = None,
    *,
    progress: bool | None = None,
) -> tuple[Tensor, Tensor]:
    r"""The relevance of the logits below a softmax, their Shapley values in its outputs, with standard errors.

    .. math::
        r(z_j) = \phi_j(v_c),

        v_c(S) = \mathrm{softmax}(z_S, r_{N - S})_c

    for class c, with the baseline r, 0 unless another is given. Absent means a logit of 0, as absent means an input of
    0 for every other neuron of the paper. The paper does not say so, and softmax itself does not single out 0: logits
    that are all larger by the same number give the same probabilities and other relevances. `baseline` takes another
    choice.

    Parameters
    ----------
    logits : Tensor
        [batch, classes], the output of a model that ends before its softmax.
    permutations : int or None
        How many random orders per input, as in `shapnotes.sample_shapley_values`; None for exact values, by 2**classes
        evaluations, which are fewer than those of 1000 orders up to 13 classes.
    generator : torch.Generator, optional
        To draw the orders from.
    baseline : Tensor or float, optional
        What an absent logit is; 0 where there is none.
    progress : bool, optional
        True or False shows or hides a bar; None shows it for runs of more than ten seconds.

    Returns
    -------
    values, standard_errors : Tensor
        [batch, classes, classes] each: entry (j, c) belongs to logit j and class c. The errors are zero when exact.
        Over j the values sum to softmax(z)_c - softmax(baseline)_c. `propagate(model, x, values)` handles all classes
        together, `propagate(model, x, values[..., c])` class c alone.

    Raises
    ------
    TypeError, ValueError
        For anything but a floating-point tensor [batch, classes], and as in `shapnotes.sample_shapley_values`.

    Cost
    ----
    permutations * (classes - 1) evaluations of softmax per input.

    Source
    ------
    Li and Cui, sections 2.1 and 3.2 (1000 paths).
    """
    _check_outputs("logits", logits)
    if permutations is None:
        values = shapley_values(_softmax, logits, baseline, progress=progress)
        return values, torch.zeros_like(values)
    return sample_shapley_values(
        _softmax, logits, baseline, permutations=permutations, generator=generator, progress=progress
    )


def _softmax(logits: Tensor) -> Tensor:
    """[rows, classes] -> [rows, classes]."""
    return torch.softmax(logits, -1)


def _check_outputs(name: str, y: Tensor) -> None:
    """Floating-point numbers [batch, out]."""
    if not isinstance(y, Tensor) or not y.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor [batch, out]; got {type(y).__name__}")
    if y.dim() != 2:
        raise ValueError(f"{name} must be [batch, out]; got shape {tuple(y.shape)}")
    check_finite(y, name)
