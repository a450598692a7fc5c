"""What a Deep ShapNet's prediction with its explanation costs, beside the same network as a plain loop over modules."""

from statistics import median

import torch
from torch import Tensor, nn

from shapnotes.bench import in_turn, provenance
from shapnotes.coalitions import masks, shapley_matrix
from shapnotes.shapnet import DeepShapNet

BATCHES = (1, 64, 1024)
CHANNELS = (1, 20)  # between the stages; the paper does not say how many its network has


@torch.no_grad()
def shapnet(device: str = "cpu", repeats: int = 21) -> dict:
    """The network of SN's Table 5 (16 features, 32 modules of a pair, a hidden layer of 100) against a plain loop.

    The loop has the same weights and visits one module after the other, each evaluated on its four masked inputs. Both
    predict and explain a batch without gradients and are timed in turn, `repeats` times; a ratio is that of the
    medians, with the smallest and largest ratio of one turn beside it.
    """
    rows = []
    for channels in CHANNELS:
        for batch in BATCHES:
            generator = torch.Generator().manual_seed(batch)
            net = DeepShapNet(16, channels, 1, hidden=(100,))
            net.reset_parameters(generator)
            net = net.to(device).requires_grad_(False)
            x = torch.randn(batch, 16, generator=generator).to(device)
            loop = Loop(net)
            torch.testing.assert_close(loop(x), net.explain(x).attributions, rtol=1e-3, atol=1e-4)
            ours, theirs = in_turn([lambda n=net, x=x: n.explain(x), lambda m=loop, x=x: m(x)], repeats, x.device)
            each = [b / a for a, b in zip(ours, theirs, strict=True)]
            rows.append(
                {
                    "channels": channels,
                    "batch": batch,
                    "seconds": median(ours),
                    "loop_seconds": median(theirs),
                    "loop_over_ours": median(theirs) / median(ours),
                    "range": [min(each), max(each)],
                }
            )
    return provenance("shapnotes bench shapnet", device) | {"rows": rows}


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
            values = [module(z) for module in modules]
            total = z.new_zeros(len(z), z.shape[1], values[0].shape[2])
            for module, value in zip(modules, values, strict=True):
                total[:, module.players] += value
            z = total
        return z


class _Module(nn.Module):
    def __init__(self, players: tuple[int, ...], block: nn.Module, m: int):
        super().__init__()
        k, (_, hidden, fan_in) = block.k, block.first.shape
        self.f = nn.Sequential(
            nn.Linear(fan_in, hidden), nn.ReLU(), nn.Linear(hidden, block.last.shape[1], bias=False)
        ).to(block.last)
        self.f[0].weight.data = block.first[m]
        self.f[0].bias.data = block.bias[m, :, 0]
        self.f[2].weight.data = block.last[m]
        self.requires_grad_(False)
        self.register_buffer("players", torch.tensor(players, device=block.last.device))
        self.register_buffer("masks", masks(k, device=block.last.device)[:, :, None])
        self.register_buffer("weights", shapley_matrix(k).to(block.last))

    def forward(self, z: Tensor) -> Tensor:
        rows = torch.where(self.masks, z[:, None, self.players], 0.0)
        return self.weights @ self.f(rows.flatten(2))
