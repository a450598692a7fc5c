"""What explanations are timed against: a loop over modules, a plain network, and shap's explainers."""

import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapnotes._runtime.extras import extra
from shapnotes.coalitions import masks, shapley_matrix
from shapnotes.shapnet import DeepShapNet
from shapnotes.shapnet.inner.perceptrons import Perceptrons
from shapnotes.shapnet.transform import ShapleyTransform


class Plain(nn.Module):
    """A Deep ShapNet's modules on what is there, without coalitions: a plain network of the same widths.

    The players of a module share its answer equally; all modules of a stage are evaluated together.
    """

    def __init__(self, net: DeepShapNet) -> None:
        super().__init__()
        self.stages = [(_blocks(stage), stage.get_buffer("order")) for stage in _stages(net)]

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features] -> [batch, features, outputs]"""
        z = x.T[:, None]
        for blocks, order in self.stages:
            shares = []
            for block in blocks:
                answer = torch.bmm(
                    block.last, torch.baddbmm(block.bias, block.first, block.members().gathered(z)).relu_()
                )
                shares.append(answer.div_(block.k).repeat_interleave(block.k, 0))
            z = torch.cat(shares).index_select(0, order)
        return z.permute(2, 0, 1)


class Loop(nn.Module):
    """A Deep ShapNet of perceptrons with one hidden layer and reference 0, one module after the other.

    Each module mixes its inputs with the reference by masks, is evaluated on these rows at once, and multiplies by the
    matrix of Shapley values; the values are added up player by player.
    """

    def __init__(self, net: DeepShapNet) -> None:
        super().__init__()
        self.stages = [
            [_Module(players, block, m) for block in _blocks(stage) for m, players in enumerate(block.sets)]
            for stage in _stages(net)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features] -> [batch, features, outputs]"""
        z = x[:, :, None]
        for modules in self.stages:
            total: list[Tensor | float] = [0.0] * z.shape[1]
            for module in modules:
                values = module(z[:, list(module.players)])
                for i, player in enumerate(module.players):
                    total[player] = total[player] + values[:, i]
            z = torch.stack(total, 1)  # type: ignore[arg-type]  # every player is in a module of every stage
        return z


class _Module(nn.Module):
    reference: Tensor
    masks: Tensor
    matrix: Tensor

    def __init__(self, players: Sequence[int], block: Perceptrons, m: int) -> None:
        super().__init__()
        k, (_, hidden, fan_in) = block.k, block.first.shape
        self.players = players
        first, last = nn.Linear(fan_in, hidden), nn.Linear(hidden, block.last.shape[1], bias=False)
        self.f = nn.Sequential(first, nn.ReLU(), last).to(block.last)
        first.weight.data, first.bias.data = block.first[m], block.bias[m, :, 0]
        last.weight.data = block.last[m]
        self.requires_grad_(False)
        self.register_buffer("reference", torch.zeros(k, fan_in // k).to(block.last))
        self.register_buffer("masks", masks(k)[:, None, :, None].to(block.last))
        self.register_buffer("matrix", shapley_matrix(k).T.to(block.last))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, players, channels] -> [batch, players, outputs]"""
        rows = self.masks * x + (1 - self.masks) * self.reference
        worths: Tensor = self.f(rows.flatten(2))  # [2^k, batch, outputs]
        return (worths.permute(1, 2, 0) @ self.matrix).transpose(1, 2)


def _stages(net: DeepShapNet) -> list[ShapleyTransform]:
    return [stage for stage in net.stages if isinstance(stage, ShapleyTransform)]


def _blocks(stage: ShapleyTransform) -> list[Perceptrons]:
    return [block for block in stage.blocks if isinstance(block, Perceptrons)]


def deep_shap(model: nn.Module, x: Tensor) -> Callable[[], NDArray[Any]]:
    """`shap.DeepExplainer` with the reference 0 as its background, ready to explain x."""
    explainer = _shap().DeepExplainer(model, torch.zeros_like(x))
    return lambda: explainer.shap_values(x, check_additivity=False)


def kernel_shap(model: nn.Module, x: Tensor, samples: int) -> Callable[[], NDArray[Any]]:
    """`shap.KernelExplainer` with the reference 0 as its background, ready to explain x, of one output."""
    explainer = _shap().KernelExplainer(_predictions(model, x), np.zeros((1, x.shape[1]), dtype=np.float32))
    row = x.cpu().numpy()
    return lambda: explainer.shap_values(row, nsamples=samples, l1_reg=False, silent=True)


def exact_shap(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """`shap.ExactExplainer` with the reference 0 as its background, ready to explain x, of one output."""
    shap, row = _shap(), x.cpu().numpy()
    background = shap.maskers.Independent(np.zeros((1, x.shape[1]), dtype=np.float32))
    explainer = shap.ExactExplainer(_predictions(model, x), background)
    return lambda: explainer(row, silent=True)


def _predictions(model: nn.Module, x: Tensor) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The model as a function of NumPy rows: [rows, features] -> [rows]."""

    @torch.no_grad()
    def predict(rows: NDArray[Any]) -> NDArray[Any]:
        answers: Tensor = model(torch.as_tensor(rows, dtype=x.dtype, device=x.device))
        return answers[:, 0].cpu().numpy()

    return predict


def _shap() -> ModuleType:
    with warnings.catch_warnings(), extra("compare"):
        warnings.simplefilter("ignore")  # of the packages that it imports
        import shap
    package: ModuleType = shap
    return package
