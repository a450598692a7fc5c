"""Repeats trained together give the numbers of repeats trained one by one, also where they draw noise; what is stopped
inside an epoch goes on to the same numbers."""

import pytest
import torch
from interrupted import Stopping, stopped_and_gone_on
from oracles import tolerance
from torch import nn

from shapnotes.experiments._harness import training
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments._harness.training import curves_by_epoch, epochs_alone, fit_together, train_together
from shapnotes.nn import SALinear, ShapLULinear
from shapnotes.shapnet import DeepShapNet


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


class Noisy(nn.Module):
    """One hidden layer, whose outputs are multiplied by what is drawn; notes what it is given."""

    def __init__(self, seed):
        super().__init__()
        self.layers = models(SALinear, seed + 1)[seed]
        self.given = []

    def forward(self, x, *drawn):
        self.given.append((len(x), [tuple(mask.shape) for mask in drawn]))
        hidden = self.layers[0](x)
        return self.layers[1](hidden * drawn[0] if drawn else hidden)


def halves(generator, rows):
    """Dropout of a half on eight units."""
    return (torch.empty(rows, 8, dtype=torch.float64).bernoulli_(0.5, generator=generator) * 2,)


def train(chosen, seeds, optimiser, **more):
    return train_together(
        chosen,
        data(40, 0),
        data(20, 1),
        optimiser=optimiser,
        epochs=2,
        batch_size=7,
        generators=[torch.Generator().manual_seed(s) for s in seeds],
        measure_every=4,
        **more,
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


def test_noise_is_each_models_own():
    """Together, alone and in another order: the same curves; other noise: other curves."""
    kind = lambda p: torch.optim.SGD(p, lr=0.5)  # noqa: E731
    options = {"noise": halves, "follow_test": True}
    built = [Noisy(seed) for seed in range(3)]
    torch.manual_seed(0)
    together = train(built, range(3), kind, **options)
    torch.manual_seed(1)  # the global state plays no part
    for i, model in enumerate(built):
        assert train([model], [i], kind, **options) == [together[i]]
    assert train(built[::-1], [2, 1, 0], kind, **options) == together[::-1]
    same_start = train([built[0], built[0]], [0, 1], kind, **options)
    assert same_start[0] == together[0] != same_start[1]
    assert train(built, range(3), kind, follow_test=True) != together


def test_one_noise_for_all_would_be_noticed():
    """A mutant that draws once for all models does not give the numbers of one by one."""
    kind = lambda p: torch.optim.SGD(p, lr=0.5)  # noqa: E731
    built = [Noisy(seed) for seed in range(3)]
    right = train(built, range(3), kind, noise=halves)
    drawn = []

    def first_draw(generator, rows):
        drawn.append(drawn[-1] if len(drawn) % 3 else halves(generator, rows))
        return drawn[-1]

    mutant = train(built, range(3), kind, noise=first_draw)
    assert mutant[0] == right[0] and mutant[1:] != right[1:]


def test_accuracies_are_measured_without_noise_and_in_parts(monkeypatch):
    kind = lambda p: torch.optim.SGD(p, lr=0.5)  # noqa: E731
    options = {"noise": halves, "follow_test": True, "measure_on": 13}
    whole = train([Noisy(0)], [0], kind, **options)
    monkeypatch.setattr(training, "ROWS_MEASURED_AT_ONCE", 8)
    given = []
    monkeypatch.setattr(Noisy, "__deepcopy__", lambda self, memo: _noting(self, given), raising=False)
    assert train([Noisy(0)], [0], kind, **options) == whole
    assert {rows for rows, drawn in given if drawn} == {7, 5}  # 40 rows in batches of 7
    assert {rows for rows, drawn in given if not drawn} == {8, 5, 4}  # 13 rows and 20 rows in parts of 8


def _noting(model, given):
    copied = Noisy(0)
    copied.given = given
    return copied


def test_what_is_measured():
    """The curves are the accuracies on the first rows and on the test rows; the last of them is the final one."""
    curve = train(models(nn.Linear, 1), [0], lambda p: torch.optim.SGD(p, lr=0.0), measure_on=11, follow_test=True)[0]
    with torch.no_grad():
        on_train, on_test = (
            float((models(nn.Linear, 1)[0](x[:rows]).argmax(1) == y[:rows]).double().mean())
            for (x, y), rows in ((data(40, 0), 11), (data(20, 1), 20))
        )
    assert curve.train_accuracy == [on_train] * 4 and curve.test_curve == [on_test] * 4
    assert curve.test_accuracy == on_test and curve.steps == [0, 4, 8, 12]
    assert train(models(nn.Linear, 1), [0], lambda p: torch.optim.SGD(p, lr=0.0))[0].test_curve is None


def test_refusals():
    with pytest.raises(ValueError, match="3 models need a generator each; got 2"):
        train(models(nn.Linear), range(2), lambda p: torch.optim.SGD(p, lr=0.1))
    normed = [nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)).double() for _ in range(2)]
    with pytest.raises(ValueError, match="buffers"):
        train(normed, range(2), lambda p: torch.optim.SGD(p, lr=0.1))


def own_rows(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, 30, 5, generator=generator, dtype=dtype)
    return x, x[..., 0] * x[..., 1] + x.square().sum(-1)


def squares(predictions, targets):
    return (predictions[:, 0] - targets).square().mean()


def shapnets(count=3):
    built = [DeepShapNet(5, 4, 1, (6,)).double() for _ in range(count)]
    for seed, net in enumerate(built):
        net.reset_parameters(torch.Generator().manual_seed(seed))
    return built


def fit(chosen, train, seeds, kind=torch.optim.SGD, epochs=2, schedule=None):
    return fit_together(
        chosen,
        train,
        loss=squares,
        optimiser=lambda p: kind(p, lr=0.01),
        epochs=epochs,
        batch_size=7,
        generators=[torch.Generator().manual_seed(s) for s in seeds],
        schedule=schedule,
    )


@pytest.mark.parametrize("built", [shapnets, lambda: models(nn.Linear), lambda: models(SALinear)])
def test_fitted_together_is_fitted_alone(built):
    """A model among others, each on its own rows: the parameters of the same steps written out for it alone."""
    x, y = own_rows(3)
    together = fit(built(), (x, y), range(3))
    for i, (model, found) in enumerate(zip(built(), together, strict=True)):
        (alone,) = fit([model], (x[i : i + 1], y[i : i + 1]), [i])
        optimiser, generator = torch.optim.SGD(model.parameters(), lr=0.01), torch.Generator().manual_seed(i)
        for _ in range(2):
            for batch in torch.randperm(30, generator=generator).split(7):
                optimiser.zero_grad()
                squares(model(x[i, batch]), y[i, batch]).backward()
                optimiser.step()
        for one, other, want in zip(found.parameters(), alone.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one.detach(), want.detach(), **tolerance(torch.float64))
            torch.testing.assert_close(other.detach(), want.detach(), **tolerance(torch.float64))


FALLING = lambda done: 1 - done  # noqa: E731


def test_a_schedule_is_a_factor_of_the_rate_in_each_step():
    """Two epochs of five steps: 0.01, 0.009, ..., 0.001; the mutant whose rate is constant gives other parameters."""
    x, y = own_rows(2)
    fitted = {how: fit(shapnets(2), (x, y), range(2), schedule=how) for how in (FALLING, None)}
    for i, model in enumerate(shapnets(2)):
        generator = torch.Generator().manual_seed(i)
        optimiser, rates = torch.optim.SGD(model.parameters(), lr=0.01), iter(range(10, 0, -1))
        for _ in range(2):
            for batch in torch.randperm(30, generator=generator).split(7):
                optimiser.param_groups[0]["lr"] = 0.001 * next(rates)
                optimiser.zero_grad()
                squares(model(x[i, batch]), y[i, batch]).backward()
                optimiser.step()
        assert next(rates, None) is None
        want = nn.utils.parameters_to_vector(model.parameters()).detach()
        found = {how: nn.utils.parameters_to_vector(nets[i].parameters()).detach() for how, nets in fitted.items()}
        torch.testing.assert_close(found[FALLING], want, **tolerance(torch.float64))
        assert float((found[None] - want).abs().max()) > 1e-3


def test_rows_of_another_model_would_be_noticed():
    """A mutant that gives every model the first one's order of rows does not give the numbers of one by one."""
    train = own_rows(2)
    right, mutant = fit(shapnets(2), train, [0, 1]), fit(shapnets(2), train, [0, 0])
    for one, other, same in zip(right, mutant, [True, False], strict=True):
        pairs = list(zip(one.parameters(), other.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs) == same


def test_fitting_leaves_models_alone_and_fits():
    train, chosen = own_rows(2), shapnets(2)
    before = [p.clone() for net in chosen for p in net.parameters()]
    fitted = fit(chosen, train, [0, 1], torch.optim.Adam, epochs=30)
    assert all(torch.equal(a, b) for a, b in zip(before, (p for m in chosen for p in m.parameters()), strict=True))
    for i, (net, start) in enumerate(zip(fitted, chosen, strict=True)):
        losses = [float(squares(m(train[0][i]), train[1][i]).detach()) for m in (net, start)]
        assert losses[0] < 0.5 * losses[1]
        assert float(net(torch.zeros(1, 5, dtype=torch.float64)).detach()) == 0  # buffers have come along


def test_refusals_of_fit_together():
    x, y = own_rows(3)
    with pytest.raises(ValueError, match=r"2 models need inputs and targets \[2, rows, ...\]; got shapes \(3, 30, 5\)"):
        fit(shapnets(2), (x, y), [0, 1])
    with pytest.raises(ValueError, match="3 models need a generator each; got 2"):
        fit(shapnets(3), (x, y), [0, 1])
    others = shapnets(3)
    others[1].baseline += 1
    with pytest.raises(ValueError, match="buffer baseline is not the same in all models"):
        fit(others, (x, y), range(3))


# --- stopped and gone on -------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pt"


ADAM = lambda p: torch.optim.Adam(p, lr=0.05)  # noqa: E731


def curves(checkpoint, count=3, epochs=3, noise=halves):
    """40 rows in batches of 7: six steps per epoch."""
    return curves_by_epoch(
        [Noisy(seed) for seed in range(count)],
        data(40, 0),
        data(20, 1),
        optimiser=ADAM,
        epochs=epochs,
        batch_size=7,
        generators=[torch.Generator().manual_seed(s) for s in range(count)],
        measure_every=4,
        follow_test=True,
        noise=noise,
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize("moments", [(1,), (2,), (5,), (6,), (7,), (12,), (18,), (3, 4, 5)])
@pytest.mark.parametrize("noise", [None, halves])
def test_curves_go_on_inside_an_epoch(path, moments, noise):
    *_, whole = curves(None, noise=noise)
    found, steps = stopped_and_gone_on(lambda checkpoint: curves(checkpoint, noise=noise), path, *moments)
    assert found == whole
    assert 18 <= steps <= 18 + len(moments)  # of what was saved nothing is done again
    assert [len(curve.epoch_seconds) for curve in found] == [3] * 3


def test_curves_of_more_epochs_go_on_from_those_of_fewer(path):
    first = list(curves(Checkpoint(path, {}), epochs=2))
    again = list(curves(Checkpoint(path, {}), epochs=3))
    whole = list(curves(None, epochs=3))
    assert first == whole[:2] and again == whole[1:]  # at first where the checkpoint is


def test_another_order_or_noise_would_be_noticed(path):
    """A mutant whose generators start anew, or whose noise does, does not give the numbers of one go."""
    *_, whole = curves(None)
    for forgotten in ("generators", "sources"):
        path.unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            list(curves(Stopping(path, 9)))
        state = Checkpoint(path, {"run": "x"}).load()
        fresh = [torch.Generator().manual_seed(100 + seed).get_state() for seed in range(3)]
        Checkpoint(path, {"run": "x"}).save(state | {forgotten: fresh})
        *_, mutant = curves(Stopping(path))
        assert mutant != whole


class Normed(nn.Module):
    """A network with batch normalisation, whose running means are part of its state."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.last = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.5, 0.5, generator=generator)
        self.double()

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.hidden(x))))


def alone(checkpoint, net, epochs=3):
    """40 rows in batches of 7; noise is drawn in every step, and a shift of the inputs for the whole epoch."""
    x, y = data(40, 0)
    generator, optimiser = torch.Generator().manual_seed(7), torch.optim.Adam(net.parameters(), lr=0.01)

    def step(rows, epoch, order, shift):
        net.train()
        moved = x[rows] + shift[rows, None] + torch.randn(len(rows), 5, generator=generator, dtype=x.dtype) / 10
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(moved), y[rows])
        loss.backward()
        optimiser.step()
        return loss.detach()

    def measure(total):
        net.eval()
        with torch.no_grad():
            return {"loss": total, "test": float(net(x).sum())}

    return epochs_alone(
        net,
        optimiser,
        generator,
        draw=lambda g: (torch.randperm(40, generator=g), torch.rand(40, generator=g, dtype=x.dtype)),
        step=step,
        measure=measure,
        batch_size=7,
        epochs=epochs,
        checkpoint=checkpoint,
    )


def without_seconds(history):
    assert all(epoch["seconds"] >= 0 and epoch["cpu_seconds"] >= 0 for epoch in history)
    return [{key: value for key, value in epoch.items() if "seconds" not in key} for epoch in history]


@pytest.mark.parametrize("moments", [(1,), (2,), (5,), (6,), (7,), (12,), (18,), (3, 4, 5)])
def test_a_network_alone_goes_on_inside_an_epoch(path, moments):
    nets = [Normed()]
    *_, whole = alone(Checkpoint(None, {}), nets[0])
    nets.append(None)

    def anew(checkpoint):
        nets[1] = Normed()
        return alone(checkpoint, nets[1])

    found, steps = stopped_and_gone_on(anew, path, *moments)
    assert without_seconds(found) == without_seconds(whole)
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name]), name
    assert 18 <= steps <= 18 + len(moments)


def test_a_network_alone_that_forgets_its_means_would_be_noticed(path):
    """A mutant whose running means start anew does not give the numbers of one go."""
    *_, whole = alone(Checkpoint(None, {}), Normed())
    with pytest.raises(KeyboardInterrupt):
        list(alone(Stopping(path, 9), Normed()))
    state = Checkpoint(path, {"run": "x"}).load()
    state["net"]["norm.running_mean"].zero_()
    Checkpoint(path, {"run": "x"}).save(state)
    *_, mutant = alone(Stopping(path), Normed())
    assert without_seconds(mutant) != without_seconds(whole)


@pytest.mark.parametrize("schedule", [None, FALLING])
def test_fitting_goes_on_inside_an_epoch(path, schedule):
    """Thirty rows in batches of 7: five steps per epoch."""

    def fitted(checkpoint):
        options = {"loss": squares, "optimiser": ADAM, "epochs": 3, "batch_size": 7, "checkpoint": checkpoint}
        options["schedule"] = schedule
        seeds = [torch.Generator().manual_seed(s) for s in range(2)]
        yield fit_together(shapnets(2), own_rows(2), generators=seeds, **options)

    (whole,) = fitted(None)
    found, steps = stopped_and_gone_on(fitted, path, 3, 6)
    assert steps <= 15 + 2
    for one, other in zip(whole, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
