"""Repeats trained together give the numbers of repeats trained one by one."""

import pytest
import torch
from torch import nn

from shapnotes.experiments.training import train_together
from shapnotes.nn import SALinear, ShapLULinear


def data(rows: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    return x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()


def models(layer, count=3):
    built = []
    for seed in range(count):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            hidden = [layer(5, 8)] if layer is not nn.Linear else [nn.Linear(5, 8), nn.ReLU()]
            built.append(nn.Sequential(*hidden, nn.Linear(8, 3)).double())
    return built


def train(chosen, seeds, optimiser):
    return train_together(
        chosen,
        data(40, 0),
        data(20, 1),
        optimiser=optimiser,
        epochs=2,
        batch_size=7,
        generators=[torch.Generator().manual_seed(s) for s in seeds],
        measure_every=4,
    )


@pytest.mark.parametrize("layer", [nn.Linear, SALinear, ShapLULinear])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_together_is_one_by_one(layer, kind):
    optimiser = lambda p: kind(p, lr=0.05)  # noqa: E731
    together = train(models(layer), range(3), optimiser)
    for i, model in enumerate(models(layer)):
        assert train([model], [i], optimiser) == [together[i]]
    assert together[0].steps == [0, 4, 8, 12]
    assert len({tuple(curve.train_accuracy) for curve in together}) > 1


def test_models_are_left_alone_and_training_trains():
    chosen = models(nn.Linear)
    before = [p.clone() for m in chosen for p in m.parameters()]
    curves = train(chosen, range(3), lambda p: torch.optim.Adam(p, lr=0.05))
    assert all(torch.equal(a, b) for a, b in zip(before, (p for m in chosen for p in m.parameters()), strict=True))
    assert all(curve.train_accuracy[-1] > curve.train_accuracy[0] for curve in curves)


def test_each_model_may_have_its_own_rows():
    x, y = data(40, 0)
    rows = torch.stack([torch.arange(20), torch.arange(20, 40)])
    options = {"optimiser": lambda p: torch.optim.SGD(p, lr=0.1), "epochs": 1, "batch_size": 5, "measure_every": 2}
    seeded = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    both = train_together(
        models(nn.Linear, 2), (x[rows], y[rows]), data(9, 1), generators=[seeded(), seeded()], **options
    )
    second = train_together(models(nn.Linear, 2)[1:], (x[20:], y[20:]), data(9, 1), generators=[seeded()], **options)
    assert both[1] == second[0]


def test_refusals():
    with pytest.raises(ValueError, match="3 models need a generator each; got 2"):
        train(models(nn.Linear), range(2), lambda p: torch.optim.SGD(p, lr=0.1))
    normed = [nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)).double() for _ in range(2)]
    with pytest.raises(ValueError, match="buffers"):
        train(normed, range(2), lambda p: torch.optim.SGD(p, lr=0.1))
