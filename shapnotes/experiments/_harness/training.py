"""Training that can be stopped: repeats of one run done together as one batched model, or one network by itself.

Together, the parameters of all repeats are stacked, each with its own leading row; `torch.func.vmap` runs the model
over the rows, and optimisers, being elementwise, keep them apart. The numbers are those of one repeat after the other,
in a fraction of the time.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from shapnotes._runtime.progress import progress_bar
from shapnotes.experiments._harness.checkpoints import Checkpoint, Clock

ROWS_MEASURED_AT_ONCE = 1000  # rows; more would be slower on a processor, whose cache they leave

Optimiser = Callable[[Sequence[Tensor]], torch.optim.Optimizer]
Schedule = Callable[[float], float]  # from the part of all steps that is done, 0 to 1, to a factor of the learning rate


@dataclass(frozen=True)
class Curve:
    """One repeat: after how many steps, the accuracy on the training data there, and the final one on the test data.

    test_curve    : the accuracy on the test data after the same steps, where that was asked for
    epoch_seconds : what each epoch took for all repeats together, divided by their number; no part of the result
    """

    steps: list[int]
    train_accuracy: list[float]
    test_accuracy: float
    test_curve: list[float] | None = None
    epoch_seconds: list[float] = field(default_factory=list, compare=False)


def curves_by_epoch(
    models: Sequence[nn.Module],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    optimiser: Optimiser,
    epochs: int,
    batch_size: int,
    generators: Sequence[torch.Generator],
    measure_every: int,
    measure_on: int | None = None,
    follow_test: bool = False,
    noise: Callable[[torch.Generator, int], Sequence[Tensor]] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[list[Curve]]:
    """Train classifiers of one architecture side by side by cross entropy: each epoch, the curves so far.

    models        : equal but for their parameters, on the device of the data; they are not changed
    train, test   : inputs [rows, *features] and labels [rows]; train may have a leading axis [models, rows, ...]
    optimiser     : from parameters to an elementwise optimiser, e.g. `lambda p: torch.optim.SGD(p, lr=0.1)`
    generators    : one per model, on the CPU; each draws its model's order of rows anew every epoch
    measure_every : steps between measurements of the training accuracy; the first is before the first step
    measure_on    : the training accuracy is that on the first so many rows (None: on all)
    follow_test   : measure the accuracy on the test data as often as that on the training data
    noise         : what a step draws for a model beside its rows, masks of dropout for instance: from a generator on
                    the device of the data and a number of rows to tensors [rows, ...], which the model is given after
                    x. Each model has a generator of its own for it, seeded from its `generators`. Accuracies are
                    measured without: the model is given x alone
    checkpoint    : where the state is kept, from which the next call goes on

    Cost: as many matrix products as one repeat, each as many times larger.
    """
    x, y = train
    shared = y.dim() == 1
    own = () if shared else (torch.arange(len(models), device=x.device)[:, None],)
    on_train = (x[:measure_on], y[:measure_on]) if shared else (x[:, :measure_on], y[:, :measure_on])
    group = _Group(models, optimiser, generators, x.device if noise else None)
    if any(value.numel() for value in group.buffers.values()):
        raise ValueError("models with buffers (batch normalisation) are not trained together; their updates would mix")

    def forward(values: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        return functional_call(group.skeleton, values, inputs)

    def loss(batch: Tensor) -> Tensor:
        drawn = [noise(source, batch.shape[1]) for source in group.sources] if noise else []
        logits = vmap(forward)(group.parameters, x[*own, batch], *map(torch.stack, zip(*drawn, strict=True)))
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), y[*own, batch].flatten(), reduction="none")
        return losses.unflatten(0, batch.shape).mean(1).sum()

    def measure() -> tuple[list[float], list[float]]:
        tested = _accuracy(forward, group.parameters, *test) if follow_test else []
        return _accuracy(forward, group.parameters, *on_train), tested

    measured: dict[int, tuple[list[float], list[float]]] = {}  # by steps done

    def look(step: int) -> None:
        if step % measure_every == 0 and step not in measured:
            measured[step] = measure()

    rows = x.shape[0 if shared else 1]
    for step in group.epochs(rows, batch_size, loss, epochs, look, checkpoint, measured):
        points = measured if step in measured else measured | {step: measure()}
        end = points[step]
        final = end[1] or _accuracy(forward, group.parameters, *test)
        yield [
            Curve(
                list(points),
                [trained[i] for trained, _ in points.values()],
                final[i],
                [tested[i] for _, tested in points.values()] if follow_test else None,
                [seconds / len(models) for seconds in group.seconds],
            )
            for i in range(len(models))
        ]


def train_together(*data: object, **settings: object) -> list[Curve]:
    """The curves after the last epoch of `curves_by_epoch`, which the arguments are those of."""
    *_, last = curves_by_epoch(*data, **settings)
    return last


def fit_together(
    models: Sequence[nn.Module],
    train: tuple[Tensor, Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimiser: Optimiser,
    epochs: int,
    batch_size: int,
    generators: Sequence[torch.Generator],
    schedule: Schedule | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[nn.Module]:
    """Train networks of one architecture side by side, each on rows of its own; the trained copies, in the same order.

    models     : equal but for their parameters, on the device of the data; they are not changed. Buffers are constants,
                 equal in all of them
    train      : inputs [models, rows, *features] and targets [models, rows, ...]
    loss       : of one model, from outputs [batch, ...] and targets [batch, ...] to a number
    optimiser, generators : as in `train_together`
    schedule   : of the learning rate; constant when None
    checkpoint : where the state is kept after every epoch

    Cost: as many matrix products as one model, each as many times larger.
    """
    x, y = train
    if x.shape[:1] + y.shape[:1] != (len(models),) * 2 or x.shape[1:2] != y.shape[1:2]:
        raise ValueError(
            f"{len(models)} models need inputs and targets [{len(models)}, rows, ...]; got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    group = _Group(models, optimiser, generators)
    for name, values in group.buffers.items():
        if not bool((values == values[0]).all()):
            raise ValueError(f"the buffer {name} is not the same in all models; only parameters may differ")
    constants = {name: values[0] for name, values in group.buffers.items()}
    own = torch.arange(len(models), device=x.device)[:, None]

    def cost(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(functional_call(group.skeleton, values | constants, (inputs,)), targets)

    def summed(batch: Tensor) -> Tensor:
        return vmap(cost)(group.parameters, x[own, batch], y[own, batch]).sum()

    for _ in group.epochs(x.shape[1], batch_size, summed, epochs, checkpoint=checkpoint, schedule=schedule):
        pass
    trained = [copy.deepcopy(model) for model in models]
    with torch.no_grad():
        for i, model in enumerate(trained):
            for name, value in model.named_parameters():
                value.copy_(group.parameters[name][i])
    return trained


def epochs_alone(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    *,
    draw: Callable[[torch.Generator], tuple[Tensor, ...]],
    step: Callable[..., Tensor],
    measure: Callable[[float], dict],
    batch_size: int,
    epochs: int,
    checkpoint: Checkpoint,
) -> Iterator[list[dict]]:
    """Train one network; goes on from the checkpoint.

    draw    : from the generator what an epoch is to draw, on the CPU: first the order of the rows
    step    : one step on rows: of (rows, epoch, *drawn) a number, which is summed over the epoch
    measure : numbers of the network after an epoch, from that sum

    Yields after every epoch, and at first where the checkpoint has some, a dict per epoch: what was measured, and the
    "seconds" on the clock and of the processors ("cpu_seconds").
    """
    history: list[dict] = []
    at: dict | None = None  # the epoch that is under way
    if kept := checkpoint.load():
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        generator.set_state(kept["generator"])
        history, at = kept["history"], kept["at"]
    if history:
        yield history

    def state() -> dict:
        return {
            "net": net.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": generator.get_state(),
            "history": history,
            "at": at and at | {"sum": float(at["sum"]), "seconds": wall.seconds(), "cpu_seconds": cpu.seconds()},
        }

    while len(history) < epochs:
        if at is None:
            at = {"drawn": draw(generator), "step": 0, "sum": 0.0, "seconds": 0.0, "cpu_seconds": 0.0}
        wall, cpu = Clock(at["seconds"]), Clock(at["cpu_seconds"], time.process_time)
        parts = at["drawn"][0].split(batch_size)
        with progress_bar(len(parts), f"steps of epoch {len(history) + 1} of {epochs}", None) as bar:
            bar.update(at["step"])
            for rows in parts[at["step"] :]:
                at["sum"] = at["sum"] + step(rows, len(history), *at["drawn"])
                at["step"] += 1
                bar.update()
                checkpoint.tick(state)
        taken = {"seconds": wall.seconds(), "cpu_seconds": cpu.seconds()}
        history.append(taken | measure(float(at["sum"])))
        at = None
        checkpoint.save(state())
        yield history


class _Group:
    """Models side by side: parameters and buffers by name, with a leading row per model, and their optimiser.

    generators : of the orders of rows, one per model
    noisy      : the device of further generators, `sources`, seeded from these, where steps draw noise
    skeleton   : a model without values, to call with those of one row
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimiser: Optimiser,
        generators: Sequence[torch.Generator],
        noisy: torch.device | None = None,
    ):
        if len(generators) != len(models) or not models:
            raise ValueError(f"{len(models)} models need a generator each; got {len(generators)}")
        parameters, self.buffers = stack_module_state(list(models))
        self.parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self.skeleton = copy.deepcopy(models[0]).to("meta")
        self.optimiser = optimiser(list(self.parameters.values()))
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.generators = list(generators)
        self.sources = [] if noisy is None else [_seeded_from(g, noisy) for g in generators]
        self.seconds: list[float] = []

    def epochs(
        self,
        rows: int,
        batch_size: int,
        loss: Callable[[Tensor], Tensor],
        epochs: int,
        look: Callable[[int], None] = lambda step: None,
        checkpoint: Checkpoint | None = None,
        measured: dict | None = None,
        schedule: Schedule | None = None,
    ) -> Iterator[int]:
        """Train; yields how many steps are done after every epoch, and at first where the checkpoint has some.

        loss     : of rows [models, batch], summed over models
        look     : is called with the number of steps done, before each step and after an epoch
        measured : what the caller gathers, kept with the state
        schedule : of the learning rate, by the steps done alone, so that it goes on where a run was stopped
        """
        checkpoint = checkpoint or Checkpoint(None, {})
        measured = {} if measured is None else measured
        device = next(iter(self.parameters.values())).device
        per_epoch = -(-rows // batch_size)
        step, order, clock = 0, None, None

        def state() -> dict:
            taken = clock.seconds() if order is not None else 0.0
            return self._state() | {"step": step, "order": order, "taken": taken, "measured": measured}

        if kept := checkpoint.load():
            self._restore(kept)
            measured.update(kept["measured"])
            step, order, clock = kept["step"], kept["order"], Clock(kept["taken"])
            if self.seconds:
                yield len(self.seconds) * per_epoch
        while len(self.seconds) < epochs:
            if order is None:
                order, clock = torch.stack([torch.randperm(rows, generator=g) for g in self.generators]), Clock()
            for batch in order.to(device).split(batch_size, 1)[step - len(self.seconds) * per_epoch :]:
                look(step)
                if schedule:
                    for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                        group["lr"] = rate * schedule(step / (epochs * per_epoch))
                self.optimiser.zero_grad()
                loss(batch).backward()
                self.optimiser.step()
                step += 1
                checkpoint.tick(state)
            look(step)
            self.seconds.append(clock.seconds())
            order = None
            checkpoint.save(state())
            yield step

    def _state(self) -> dict:
        return {
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "optimiser": self.optimiser.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "sources": [g.get_state() for g in self.sources],
            "seconds": self.seconds,
        }

    def _restore(self, state: dict) -> None:
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        for generators, kept in ((self.generators, state["generators"]), (self.sources, state["sources"])):
            for generator, one in zip(generators, kept, strict=True):
                generator.set_state(one)
        self.seconds = list(state["seconds"])


def _seeded_from(generator: torch.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))


@torch.no_grad()
def _accuracy(forward: Callable, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> list[float]:
    """Of each model, on rows that all share (y [rows]) or on its own (y [models, rows])."""
    axis = y.dim() - 1
    each = vmap(forward, in_dims=(0, 0 if axis else None))
    parts = zip(x.split(ROWS_MEASURED_AT_ONCE, axis), y.split(ROWS_MEASURED_AT_ONCE, axis), strict=True)
    right = [each(parameters, inputs).argmax(-1) == labels for inputs, labels in parts]
    return torch.cat(right, 1).double().mean(1).tolist()
