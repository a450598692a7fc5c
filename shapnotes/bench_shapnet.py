"""What a Deep ShapNet's explained prediction costs, beside a plain loop over its modules and a plain network."""

import shutil
from copy import deepcopy
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from shapnotes.bench import in_turn, provenance
from shapnotes.coalitions import masks, shapley_matrix
from shapnotes.shapnet import DeepShapNet

COMPILER = shutil.which("c++") or shutil.which("g++")  # what torch.compile calls on a CPU
CALLS = {1: 20, 64: 10, 1024: 2}  # in a row, for a batch of so many; Table 5 has a thousand
CHANNELS = (1, 20)  # between the stages; the paper does not say how many its network has


@torch.no_grad()
def shapnet(device: str = "cpu", repeats: int = 21) -> dict:
    """The network of SN's Table 5 (16 features, 32 modules of a pair, a hidden layer of 100) against a plain loop.

    The loop has the same weights and goes the way of the layers that the paper's authors released, without their names
    of dimensions, which take time of their own: it visits one module after the other, mixes its inputs with the
    reference by masks, evaluates it on these four rows at once, multiplies by the matrix of values, and adds up player
    by player. Both predict and explain a batch without gradients. Ours is timed as it is and, where there is a
    compiler, after `compile()`. A plain network of the same widths (`Plain`), which explains nothing, is timed with
    them. All are timed in turn, some calls in a row, `repeats` times; a ratio is that of the
    medians, with the smallest and largest ratio of one turn beside it.
    """
    rows = []
    for channels in CHANNELS:
        for batch in CALLS:
            generator = torch.Generator().manual_seed(batch)
            net = DeepShapNet(16, channels, 1, hidden=(100,))
            net.reset_parameters(generator)
            net = net.to(device).requires_grad_(False)
            x = torch.randn(batch, 16, generator=generator).to(device)
            loop = Loop(net)
            torch.testing.assert_close(loop(x), net.explain(x).attributions, rtol=1e-3, atol=1e-4)
            contenders = {"seconds": net.explain, "loop_seconds": loop, "plain_seconds": Plain(net)}
            if COMPILER:
                torch._dynamo.reset()  # each batch its own program
                compiled = deepcopy(net)
                compiled.compile()
                torch.testing.assert_close(
                    compiled.explain(x).attributions, net.explain(x).attributions, rtol=1e-3, atol=1e-4
                )
                contenders["compiled_seconds"] = compiled.explain
            times = in_turn([partial(f, x) for f in contenders.values()], repeats, x.device, CALLS[batch])
            row = {"channels": channels, "batch": batch}
            row |= {name: median(taken) for name, taken in zip(contenders, times, strict=True)}
            for name, taken in zip(("ours", "compiled"), (times[0], *times[3:]), strict=False):
                each = [b / a for a, b in zip(taken, times[1], strict=True)]
                row |= {f"loop_over_{name}": median(times[1]) / median(taken), f"{name}_range": [min(each), max(each)]}
                row[f"{name}_over_plain"] = median(taken) / median(times[2])
            rows.append(row)
    return provenance("shapnotes bench shapnet", device) | {"rows": rows}


class Plain(nn.Module):
    """A Deep ShapNet's modules on what is there, without coalitions: a plain network of the same widths.

    The players of a module share its answer equally; all modules of a stage are evaluated together.
    """

    def __init__(self, net: DeepShapNet):
        super().__init__()
        self.stages = net.stages

    def forward(self, x: Tensor) -> Tensor:
        z = x.T[:, None]
        for stage in self.stages:
            shares = []
            for block in stage.blocks:
                answer = torch.bmm(block.last, torch.baddbmm(block.bias, block.first, block.given(z)).relu_())
                shares.append(answer.div_(block.k).repeat_interleave(block.k, 0))
            z = torch.cat(shares).index_select(0, stage.order)
        return z.permute(2, 0, 1)


class Loop(nn.Module):
    """A Deep ShapNet of perceptrons with one hidden layer and reference 0, one module after the other."""

    def __init__(self, net: DeepShapNet):
        super().__init__()
        self.stages = nn.ModuleList()
        for stage in net.stages:
            modules = nn.ModuleList()
            for block in stage.blocks:
                modules.extend(_Module(players, block, m) for m, players in enumerate(block.sets))
            self.stages.append(modules)

    def forward(self, x: Tensor) -> Tensor:
        z = x[:, :, None]
        for modules in self.stages:
            total: list[Tensor | float] = [0.0] * z.shape[1]
            for module in modules:
                values = module(z[:, list(module.players)])
                for i, player in enumerate(module.players):
                    total[player] = total[player] + values[:, i]
            z = torch.stack(total, 1)
        return z


class _Module(nn.Module):
    """One module: mixes its inputs with the reference by the masks, and multiplies by the matrix of values."""

    def __init__(self, players: tuple[int, ...], block: nn.Module, m: int):
        super().__init__()
        k, (_, hidden, fan_in) = block.k, block.first.shape
        self.players = players
        self.f = nn.Sequential(
            nn.Linear(fan_in, hidden), nn.ReLU(), nn.Linear(hidden, block.last.shape[1], bias=False)
        ).to(block.last)
        self.f[0].weight.data = block.first[m]
        self.f[0].bias.data = block.bias[m, :, 0]
        self.f[2].weight.data = block.last[m]
        self.requires_grad_(False)
        self.register_buffer("reference", torch.zeros(k, fan_in // k).to(block.last))
        self.register_buffer("masks", masks(k)[:, None, :, None].to(block.last))
        self.register_buffer("matrix", shapley_matrix(k).T.to(block.last))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.masks * x + (1 - self.masks) * self.reference
        worths = self.f(rows.flatten(2))  # [2^k, batch, outputs]
        return (worths.permute(1, 2, 0) @ self.matrix).transpose(1, 2)
