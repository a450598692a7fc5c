"""What ten methods say of each pixel of an image, for any combination of a network's outputs."""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from shapnotes import explainers
from shapnotes.experiments._models.transparent_image import TransparentImage
from shapnotes.sampling import sample_shapley_values
from shapnotes.shapnet import ImageShapNet

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
