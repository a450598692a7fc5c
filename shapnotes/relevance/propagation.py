"""Down through the layers of a model: the relevance of its output, handed down to its input."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from shapnotes.explanation import GapError
from shapnotes.game import Game
from shapnotes.relevance.graph import layers_of, run
from shapnotes.relevance.layer import Layer
from shapnotes.relevance.rules import total

MAX_RELATIVE_GAP = 1e-7  # of a layer's relevance: what rounding may lose


class Relevances(list[Tensor]):
    """A list of relevances, one per layer, from the input's to the output's; what `propagate` returns.

    Parameters
    ----------
    relevances : sequence of Tensor
        The entries, each of the shape of its layer's output.
    names : list of str
        Of each entry, the layer whose output it belongs to; the first is "input".
    totals : Tensor
        [layers, batch], each entry's sum, in float64. In a chain of layers all rows agree when eps = 0, which is what
        conservation says. Where a network branches, an entry holds what runs through its branch alone; the first and
        the last row still agree. With several relevances at once, [layers, batch, several].
    absorbed : Tensor
        [batch], what eps took from each input's relevance in all layers together; zero when eps is. With several
        relevances at once, [batch, several].
    """

    def __init__(self, relevances: Sequence[Tensor], names: list[str], totals: Tensor, absorbed: Tensor):
        super().__init__(relevances)
        self.names, self.totals, self.absorbed = names, totals, absorbed


def propagate(model: nn.Module, x: Tensor, relevance: Tensor, eps: float = 0.0) -> Relevances:
    r"""The relevance of every layer's outputs and of the input, given that of the model's output.

    .. math::
        r(x_k \leftarrow y) = \frac{w_k x_k + b/n}{\sum_i w_i x_i + b}\, r(y),

        r(x_k) = \sum_y r(x_k \leftarrow y)

    Here y is a neuron with n inputs :math:`x_i`, weights :math:`w_i` and bias b. The shares of a neuron sum to one, so
    the total relevance is the same in every layer. With eps > 0 the denominator d becomes d + eps sign(d), where
    sign(0) = 1; then each neuron absorbs the part eps / (|d| + eps) of its relevance.

    What the formula becomes for the layers of a model:

    - Linear, and Conv2d with all its arguments; a convolution's neuron has the inputs of its patch. Zeros added as
      padding are no inputs: n counts what lies inside the image, so that no share of the bias leaks away. Padding that
      repeats the image (reflect, replicate, circular) does count, and returns its share to what it repeats.
    - ReLU: unchanged. The factor Phi of the closed form cancels, so a linear layer has one rule with and without ReLU;
      relevance that arrives at a neuron that is off passes through it too. For the same reason the subclasses of
      Linear and Conv2d in `shapnotes.nn`, which hold their activation, have the rule of the layer that they extend.
    - Sums of two layers (+, torch.add): neurons with weights 1 and b = 0. AvgPool2d, AdaptiveAvgPool2d: equal weights.
    - MaxPool2d: all to the largest entry of a window; ties share equally.
    - BatchNorm1d, BatchNorm2d: right after a Linear or Conv2d that no other layer reads, they are part of its weights
      and bias, as in a network prepared for inference. Elsewhere they have one input each, which gets everything.
    - Flatten, view, reshape; Identity and dropout (which does nothing here): unchanged.

    A neuron whose terms and bias are all zero has 0/0 as share. With eps = 0 its inputs share equally, 1/n each: the
    limit b -> 0. With eps > 0 it absorbs everything, as the formula says. Terms that cancel, but not as far as to be
    refused, conserve the total by shares that are large and of both signs; some eps is wise for those as well.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, made of the layers above, and such that `torch.fx` can trace it. Arguments of its forward
        that have a default have it. While it traces, `torch.fx` patches the modules of the whole process: other threads
        may go on using theirs, but should not trace (compile, export) meanwhile.
    x : Tensor
        [batch, *features].
    relevance : Tensor
        [batch, *outputs], shaped like model(x); or [batch, *outputs, several], each relevance along the last axis
        propagated by itself (one per class, say: `softmax_relevance`).
    eps : float
        Not negative.

    Returns
    -------
    Relevances
        [input relevance, ..., output relevance]: a list with one entry for the input and one for the output of each
        layer, in the order of computation, shaped like what they belong to (with `several` last if given), on x's
        device and in x's dtype; no gradients flow. For an nn.Sequential, entry i is the relevance of the input of
        layer i. It also has names, totals and what eps absorbed.

    Raises
    ------
    TypeError
        For a layer without a rule, by its name.
    GapError
        If conservation breaks with eps = 0: non-zero relevance arrives at a neuron whose terms cancel to less than
        1e-12 of their size (their shares would be rounding, or infinite), or which sees nothing but padding. With
        eps > 0 that relevance is in `absorbed`.
    ValueError
        For shapes that do not fit, and where the layers do not give the model's output.

    Cost
    ----
    Per linear layer three forward and, for each of `several`, two backward passes, in float64; memory for all
    activations, and for `several` relevances per layer.

    Source
    ------
    Li and Cui, equation 2 (after Bach et al., 2015, who have no b/n). The rules for sums, pooling and normalisation are
    ours. It is exact for one linear layer; through more layers it treats neurons as independent players, and is an
    approximation that can be wrong by any amount (the paper's footnote 1).
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, whose layers can be followed; got {type(model).__name__}")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not (isfinite(eps) and eps >= 0):
        raise ValueError(f"eps must be a finite number, 0 or larger; got {eps!r}")
    game = Game(model, x)
    # Inference mode is left because shares are computed by automatic differentiation, layer by layer.
    with torch.inference_mode(False), torch.no_grad():
        prediction = game(x.clone())
        start = _checked_relevance(relevance, prediction)
        layers = layers_of(model)
        run(layers, x, prediction)
        relevances, absorbed = hand_down(layers, start, eps)
        several = relevance.dim() > prediction.dim()
        return Relevances(
            [_several_last(r, several).to(x.dtype) for r in relevances.values()],
            [layer.name for layer in relevances],
            torch.stack([_several_last(total(r), several) for r in relevances.values()]),
            _several_last(absorbed, several),
        )


def hand_down(layers: list[Layer], relevance: Tensor, eps: float) -> tuple[dict[Layer, Tensor], Tensor]:
    """From the relevance of the last layer's output to that of every layer's, in order, and what eps absorbed.

    Relevances are [several, batch, *outputs], in float64; absorbed is [several, batch].
    """
    relevances: dict[Layer, Tensor] = {layers[-1]: relevance}
    layers = [layer for layer in layers if layer.rule is not None]
    absorbed = relevance.new_zeros(relevance.shape[:2])
    for layer in reversed(layers):
        r = relevances.setdefault(layer, relevance.new_zeros(len(relevance), *layer.output.shape))
        if layer.rule is None or not layer.reads:
            continue
        shares, lost = layer.rule(layer, r, eps)
        _check_conservation(layer, r, shares, lost)
        absorbed = absorbed + lost
        for read, share in zip(layer.reads, shares, strict=True):
            relevances[read] = relevances[read] + share if read in relevances else share
    return {layer: relevances[layer] for layer in layers}, absorbed


def _check_conservation(layer: Layer, relevance: Tensor, shares: list[Tensor], lost: Tensor | float) -> None:
    """Raise unless what a layer hands down is what it was given, less what eps absorbed."""
    gap = total(relevance) - lost
    for share in shares:
        gap = gap - total(share)
    if not bool((gap.abs() <= MAX_RELATIVE_GAP * total(relevance.abs())).all()):
        raise GapError(
            f"relevance is not conserved in {layer.name!r}: the gap is {gap.abs().max():.3g} of "
            f"{relevance.abs().sum():.3g}. Its neurons' terms all but cancel; use eps > 0, larger than it is, so that "
            "such neurons absorb their relevance"
        )


def _several_last(r: Tensor, several: bool) -> Tensor:
    """The axis of several relevances from the front to the end, or away."""
    return r.movedim(0, -1) if several else r[0]


def _checked_relevance(relevance: Tensor, prediction: Tensor) -> Tensor:
    """[several, batch, *outputs] in float64; several is 1 if there is no such axis."""
    if not isinstance(relevance, Tensor) or not relevance.is_floating_point():
        kind = relevance.dtype if isinstance(relevance, Tensor) else type(relevance).__name__
        raise TypeError(f"relevance must be a floating-point tensor shaped like the model's output; got {kind}")
    if relevance.layout != torch.strided:
        raise TypeError(f"relevance must be dense; got the layout {relevance.layout} (use .to_dense())")
    shape = tuple(prediction.shape)
    if relevance.shape != shape and (relevance.shape[:-1] != shape or relevance.shape[-1] == 0):
        raise ValueError(
            f"relevance has shape {tuple(relevance.shape)}, but the model's output is {shape}; give one relevance per "
            f"output, or several along one more axis, [{', '.join(map(str, shape))}, several]"
        )
    if relevance.device != prediction.device:
        raise ValueError(f"relevance is on {relevance.device}, the model's output on {prediction.device}; move one")
    if not bool(torch.isfinite(relevance).all()):
        raise ValueError("relevance holds NaN or infinity; it must say how much each output contributes")
    return (relevance.movedim(-1, 0) if relevance.shape != shape else relevance[None]).double()
