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

MEASURED_AT_ONCE = 1000  # rows; more would be slower on a processor, whose cache they leave


@dataclass(frozen=True)
class Curve:
    """One repeat: after how many steps, the accuracy on the training data there, and the final one on the test data.

    test_curve: the accuracy on the test data after the same steps, where that was asked for.
    """

    steps: list[int]
    train_accuracy: list[float]
    test_accuracy: float
    test_curve: list[float] | None = None


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
    measure_on: int | None = None,
    follow_test: bool = False,
    noise: Callable[[torch.Generator, int], Sequence[Tensor]] | None = None,
) -> list[Curve]:
    """Train classifiers of one architecture side by side by cross entropy; one curve a model.

    models        : equal but for their parameters, on the device of the data; they are not changed
    train, test   : inputs [rows, *features] and labels [rows]; train may have a leading axis [models, rows, ...]
    optimiser     : from parameters to an elementwise optimiser, e.g. `lambda p: torch.optim.SGD(p, lr=0.1)`
    generators    : one a model, on the CPU; each draws its model's order of rows anew every epoch
    measure_every : steps between measurements of the training accuracy; the first is before the first step
    measure_on    : the training accuracy is that on the first so many rows (None: on all)
    follow_test   : measure the accuracy on the test data as often as that on the training data
    noise         : what a step draws for a model beside its rows, masks of dropout for instance: from a generator on
                    the device of the data and a number of rows to tensors [rows, ...], which the model is given after
                    x. Each model has a generator of its own for it, seeded from its `generators`. Accuracies are
                    measured without: the model is given x alone

    Cost: as many matrix products as one repeat, each as many times larger.
    """
    parameters, buffers, skeleton = _stacked(models, generators)
    if any(value.numel() for value in buffers.values()):
        raise ValueError("models with buffers (batch normalisation) are not trained together; their updates would mix")

    def forward(values: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        return functional_call(skeleton, values, inputs)

    x, y = train
    shared = y.dim() == 1
    rows = x.shape[0 if shared else 1]
    own = () if shared else (torch.arange(len(models), device=x.device)[:, None],)
    on_train = (x[:measure_on], y[:measure_on]) if shared else (x[:, :measure_on], y[:, :measure_on])
    steps = optimiser(list(parameters.values()))
    sources = [_seeded_from(g, x.device) for g in generators] if noise else []
    measured: list[tuple[int, list[float], list[float]]] = []
    done = 0

    def measure() -> None:
        tested = _accuracy(forward, parameters, *test) if follow_test else []
        measured.append((done, _accuracy(forward, parameters, *on_train), tested))

    for _ in range(epochs):
        order = torch.stack([torch.randperm(rows, generator=g) for g in generators]).to(x.device)
        for batch in order.split(batch_size, 1):
            if done % measure_every == 0:
                measure()
            drawn = [noise(source, batch.shape[1]) for source in sources]
            steps.zero_grad()
            logits = vmap(forward)(parameters, x[*own, batch], *map(torch.stack, zip(*drawn, strict=True)))
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), y[*own, batch].flatten(), reduction="none")
            losses.unflatten(0, batch.shape).mean(1).sum().backward()
            steps.step()
            done += 1
    measure()
    at, trained, tested = zip(*measured, strict=True)
    final = tested[-1] or _accuracy(forward, parameters, *test)
    return [
        Curve(list(at), [v[i] for v in trained], final[i], [v[i] for v in tested] if follow_test else None)
        for i in range(len(models))
    ]


def fit_together(
    models: Sequence[nn.Module],
    train: tuple[Tensor, Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimiser: Callable[[Sequence[Tensor]], torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    generators: Sequence[torch.Generator],
) -> list[nn.Module]:
    """Train networks of one architecture side by side, each on rows of its own; the trained copies, in the same order.

    models     : equal but for their parameters, on the device of the data; they are not changed. Buffers are constants,
                 equal in all of them
    train      : inputs [models, rows, *features] and targets [models, rows, ...]
    loss       : of one model, from outputs [batch, ...] and targets [batch, ...] to a number
    optimiser, generators : as in `train_together`

    Cost: as many matrix products as one model, each as many times larger.
    """
    x, y = train
    if x.shape[:1] + y.shape[:1] != (len(models),) * 2 or x.shape[1:2] != y.shape[1:2]:
        raise ValueError(
            f"{len(models)} models need inputs and targets [{len(models)}, rows, ...]; got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    parameters, buffers, skeleton = _stacked(models, generators)
    for name, values in buffers.items():
        if not bool((values == values[0]).all()):
            raise ValueError(f"the buffer {name} is not the same in all models; only parameters may differ")
    constants = {name: values[0] for name, values in buffers.items()}

    def cost(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(functional_call(skeleton, values | constants, (inputs,)), targets)

    steps = optimiser(list(parameters.values()))
    own = torch.arange(len(models), device=x.device)[:, None]
    for _ in range(epochs):
        order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators]).to(x.device)
        for batch in order.split(batch_size, 1):
            steps.zero_grad()
            vmap(cost)(parameters, x[own, batch], y[own, batch]).sum().backward()
            steps.step()
    trained = [copy.deepcopy(model) for model in models]
    with torch.no_grad():
        for i, model in enumerate(trained):
            for name, value in model.named_parameters():
                value.copy_(parameters[name][i])
    return trained


def _stacked(
    models: Sequence[nn.Module], generators: Sequence[torch.Generator]
) -> tuple[dict[str, Tensor], dict[str, Tensor], nn.Module]:
    """Parameters and buffers by name, a leading row a model, and a model without values to call with them."""
    if len(generators) != len(models) or not models:
        raise ValueError(f"{len(models)} models need a generator each; got {len(generators)}")
    parameters, buffers = stack_module_state(list(models))
    parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    return parameters, buffers, copy.deepcopy(models[0]).to("meta")


def _seeded_from(generator: torch.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))


@torch.no_grad()
def _accuracy(forward: Callable, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> list[float]:
    """Of each model, on rows that all share (y [rows]) or on its own (y [models, rows])."""
    axis = y.dim() - 1
    each = vmap(forward, in_dims=(0, 0 if axis else None))
    parts = zip(x.split(MEASURED_AT_ONCE, axis), y.split(MEASURED_AT_ONCE, axis), strict=True)
    right = [each(parameters, inputs).argmax(-1) == labels for inputs, labels in parts]
    return torch.cat(right, 1).double().mean(1).tolist()
