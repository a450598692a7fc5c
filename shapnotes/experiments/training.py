"""Repeats of one training run, done together as one batched model.

The parameters of all repeats are stacked, each with its own leading row; `torch.func.vmap` runs the model over the
rows, and optimisers, being elementwise, keep them apart. The numbers are those of one repeat after the other, in a
fraction of the time.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


@dataclass(frozen=True)
class Curve:
    """One repeat: after how many steps, the accuracy on the training data there, and the final one on the test data."""

    steps: list[int]
    train_accuracy: list[float]
    test_accuracy: float


def train_together(
    models: Sequence[nn.Module],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    optimiser: Callable[[Sequence[Tensor]], torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    generators: Sequence[torch.Generator],
    measure_every: int,
) -> list[Curve]:
    """Train classifiers of one architecture side by side by cross entropy; one curve a model.

    models        : equal but for their parameters, on the device of the data; they are not changed
    train, test   : inputs [rows, *features] and labels [rows]; train may have a leading axis [models, rows, ...]
    optimiser     : from parameters to an elementwise optimiser, e.g. `lambda p: torch.optim.SGD(p, lr=0.1)`
    generators    : one a model, on the CPU; each draws its model's order of rows anew every epoch
    measure_every : steps between measurements of the training accuracy; the first is before the first step

    Cost: as many matrix products as one repeat, each as many times larger.
    """
    if len(generators) != len(models) or not models:
        raise ValueError(f"{len(models)} models need a generator each; got {len(generators)}")
    parameters, buffers = stack_module_state(list(models))
    if any(value.numel() for value in buffers.values()):
        raise ValueError("models with buffers (batch normalisation) are not trained together; their updates would mix")
    parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    skeleton = copy.deepcopy(models[0]).to("meta")

    def forward(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(skeleton, values, (x,))

    x, y = (
        t.expand(len(models), *t.shape) if t.shape[0] != len(models) or t.dim() == d else t
        for t, d in zip(train, (2, 1), strict=True)
    )
    own = torch.arange(len(models), device=x.device)[:, None]
    steps = optimiser(list(parameters.values()))
    measured: list[tuple[int, list[float]]] = []
    done = 0
    for _ in range(epochs):
        order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators]).to(x.device)
        for batch in order.split(batch_size, 1):
            if done % measure_every == 0:
                measured.append((done, _accuracy(vmap(forward), parameters, x, y)))
            steps.zero_grad()
            logits = vmap(forward)(parameters, x[own, batch])
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), y[own, batch].flatten(), reduction="none")
            losses.unflatten(0, batch.shape).mean(1).sum().backward()
            steps.step()
            done += 1
    measured.append((done, _accuracy(vmap(forward), parameters, x, y)))
    tested = _accuracy(vmap(forward, in_dims=(0, None)), parameters, test[0], test[1])
    at, values = zip(*measured, strict=True)
    return [Curve(list(at), [v[i] for v in values], tested[i]) for i in range(len(models))]


@torch.no_grad()
def _accuracy(forward: Callable, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> list[float]:
    return (forward(parameters, x).argmax(-1) == y).double().mean(-1).tolist()
