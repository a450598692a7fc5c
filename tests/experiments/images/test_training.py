"""Images are prepared as the paper says, training can be stopped, and both kinds of networks start alike."""

import json

import pytest
import torch
from interrupted import stopped_and_gone_on
from oracles import tolerance
from safetensors.torch import save_file
from torch import nn

from shapnotes import datasets
from shapnotes.experiments._harness.checkpoints import Checkpoint
from shapnotes.experiments.images import data, training
from shapnotes.shapnet import ImageShapNet

F64 = tolerance(torch.float64)
CONFIG = {
    "data": "digits",
    "model": "shapnet",
    "channels": [1, 2, 10],
    "batch_size": 16,
    "images": 48,
    "rate": 0.003,
    "penalty": "l1",
    "layers": "all",
    "strength": 0.1,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_test_images_are_padded_with_black_and_normalised():
    x = torch.rand(3, 1, 28, 28, generator=seeded())
    found = data.prepared(x, "mnist")
    torch.testing.assert_close(found[:, :, 2:30, 2:30], (x - 0.1307) / 0.3081)
    assert found.shape == (3, 1, 32, 32) and float(found[0, 0, 0, 0]) == pytest.approx(-0.1307 / 0.3081)
    colours = torch.rand(2, 3, 32, 32, generator=seeded())
    expected = torch.stack([(colours[:, 1] - 0.4822) / 0.1994, (colours[:, 2] - 0.4465) / 0.2010])
    torch.testing.assert_close(data.prepared(colours, "cifar10")[:, 1:].transpose(0, 1), expected)


@pytest.mark.parametrize(("name", "shape", "most"), [("mnist", (1, 28, 28), 4), ("cifar10", (3, 32, 32), 8)])
def test_training_images_are_crops_of_the_padded_image(name, shape, most):
    """Each is the padded image moved by 0 to `most` pixels, in CIFAR-10 mirrored or not; and all moves occur."""
    x = torch.rand(200, *shape, generator=seeded())
    found = data.augmented(x, name, seeded(1))
    whole = data._normalised(nn.functional.pad(x, (4,) * 4), name)
    moves = set()
    for image, original in zip(found, whole, strict=True):
        fits = [
            (down, right, mirrored)
            for down in range(most + 1)
            for right in range(most + 1)
            for mirrored in (False, True)
            if torch.equal(original[:, down : down + 32, right : right + 32].flip(2) if mirrored else
                           original[:, down : down + 32, right : right + 32], image)
        ]  # fmt: skip
        assert len(fits) == 1
        moves.add(fits[0])
    assert {down for down, _, _ in moves} == {right for _, right, _ in moves} == set(range(most + 1))
    assert {mirrored for _, _, mirrored in moves} == ({False, True} if name == "cifar10" else {False})


def test_digits_are_like_mnist():
    """Twenty pixels of ink inside 32, black outside, and still the same digits."""
    digits = datasets.digits().x[:20]
    found = data.like_mnist(digits[:, 0])
    assert found.shape == (20, 1, 32, 32) and torch.equal(found, data.like_mnist(digits))
    black = found[0, 0, 0, 0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[6:26, 6:26] = True
    assert (found[..., ~inside] == black).all() and float(found.max()) == pytest.approx((1 - 0.1307) / 0.3081)
    small = nn.functional.interpolate(found[..., 6:26, 6:26] * 0.3081 + 0.1307, size=8, mode="area")
    alike = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(small, digits, strict=True)]
    assert min(alike) > 0.95


def test_both_networks_have_the_same_weights():
    """With one stage they are the same function, up to its value at the reference (Proposition 13.1)."""
    ours, theirs = (training.network(kind, [1, 3], seeded()).double() for kind in ("shapnet", "cnn"))
    x = torch.randn(2, 1, 8, 8, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x) - theirs(torch.zeros_like(x)), **F64)
    deep = [training.network(kind, [1, 2, 2, 3], seeded()) for kind in ("shapnet", "cnn")]
    for a, b in zip(*(net.parameters() for net in deep), strict=True):
        assert torch.equal(a, b)


def test_the_loss_is_cross_entropy_and_the_penalty():
    net = training.network("shapnet", CONFIG["channels"], seeded()).double()
    x, y = torch.randn(3, 1, 6, 6, generator=seeded(), dtype=torch.float64), torch.tensor([1, 0, 9])
    entropy = nn.functional.cross_entropy(net(x), y)
    layers = [z.abs().sum((1, 2)).mean() for z in net.layers(x)]
    largest = net.layers(x)[-1].abs().amax((1, 2)).mean()
    for change, expected in (
        ({}, entropy + 0.1 * sum(layers)),
        ({"layers": "last"}, entropy + 0.1 * layers[-1]),
        ({"layers": "last", "penalty": "linf"}, entropy + 0.1 * largest),
        ({"penalty": "none"}, entropy),
    ):
        torch.testing.assert_close(training.loss(net, x, y, CONFIG | change), expected, **F64)


def trained(checkpoint, seed=0, epochs=2, **change):
    """The networks of a training after every epoch, as weights, and what was measured."""
    measure = lambda net: {"accuracy": 0.5}  # noqa: E731
    for net, history in training.training(CONFIG | change, seed, "cpu", checkpoint, epochs, measure):
        yield {name: value.clone() for name, value in net.state_dict().items()}, history


@pytest.mark.parametrize("change", [{}, {"model": "cnn", "penalty": "none"}])
@pytest.mark.parametrize("moments", [(1,), (4,), (2, 3)])
def test_training_goes_on_where_it_was_stopped(tmp_path, change, moments):
    """48 images in batches of 16, two epochs: six steps, each with crops of its own."""
    *_, (whole, history) = trained(Checkpoint(None, {}), 3, **change)
    (found, told), steps = stopped_and_gone_on(lambda one: trained(one, 3, **change), tmp_path / "x.pt", *moments)
    assert whole.keys() == found.keys() and all(torch.equal(value, found[name]) for name, value in whole.items())
    assert [epoch["loss"] for epoch in told] == [epoch["loss"] for epoch in history]
    assert [set(epoch) for epoch in told] == [{"loss", "accuracy", "seconds", "cpu_seconds"}] * 2
    assert steps <= 6 + len(moments)
    *_, (other, _) = trained(Checkpoint(None, {}), 4, **change)
    assert any(not torch.equal(value, other[name]) for name, value in whole.items())


def test_a_network_is_kept_with_how_it_was_trained(tmp_path):
    path = tmp_path / "new" / "net.safetensors"
    net = training.network("shapnet", CONFIG["channels"], seeded())
    training.keep(net, path, CONFIG, 3, 2)
    loaded = training.load(path)
    assert isinstance(loaded, ImageShapNet) and not any(p.requires_grad for p in loaded.parameters())
    x = data.like_mnist(datasets.digits().x[:2])
    assert torch.equal(net(x), loaded(x))
    assert training.configuration(path) == CONFIG
    assert path.stat().st_mode & 0o777 == 0o644 and [one.name for one in path.parent.iterdir()] == ["net.safetensors"]


def kept(path, tensors=None, **change):
    """A file of weights like those of the experiments; `change` to its metadata, None takes an entry away."""
    net = training.network("shapnet", CONFIG["channels"], seeded())
    told = {"config": json.dumps(CONFIG), "seed": "0", "epochs": "2"} | change
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    save_file(
        (tensors or (lambda w: w))(weights), path, {key: value for key, value in told.items() if value is not None}
    )
    return path


def longer(weights):
    name = next(iter(weights))
    return weights | {name: torch.cat([weights[name]] * 2)}


@pytest.mark.parametrize(
    ("tensors", "change", "message"),
    [
        (None, {"config": None}, "is no network of these experiments, or is damaged: KeyError"),
        (None, {"config": "{"}, "is no network of these experiments, or is damaged: JSONDecodeError"),
        (None, {"config": json.dumps({"model": "shapnet"})}, "is no network of these experiments, or is damaged"),
        (None, {"config": json.dumps(CONFIG | {"model": "cnn"})}, "a network of the kind 'cnn', and no image ShapNet"),
        (None, {"config": json.dumps(CONFIG | {"channels": [1, 10**6, 10]})}, "does not have the weights of an image"),
        (longer, {}, "does not have the weights of an image ShapNet of the channels"),
        (lambda w: {k: v for k, v in w.items() if "bias" not in k}, {}, "does not have the weights"),
        (
            lambda w: {k: v * float("nan") for k, v in w.items()},
            {},
            "has NaN or infinity; expected finite torch.float32",
        ),
        (lambda w: {k: v.to(torch.int8) for k, v in w.items()}, {}, "is torch.int8 or has NaN"),
    ],
)
def test_what_is_no_network_is_named(tmp_path, tensors, change, message):
    with pytest.raises(ValueError, match=rf"net\.safetensors.*{message}"):
        training.load(kept(tmp_path / "net.safetensors", tensors, **change))


@pytest.mark.parametrize("damage", [b"", b"no network", slice(100), slice(-50)])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = kept(tmp_path / "net.safetensors")
    path.write_bytes(path.read_bytes()[damage] if isinstance(damage, slice) else damage)
    for read in (training.load, training.configuration):
        with pytest.raises(ValueError, match=r"net\.safetensors is no network of these experiments, or is damaged"):
            read(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        training.load(tmp_path / "gone.safetensors")


def test_accuracy_is_that_of_all_images(monkeypatch):
    monkeypatch.setattr(training, "ROWS_MEASURED_AT_ONCE", 3)
    x = torch.eye(7)
    assert training.accuracy(nn.Identity(), x, torch.tensor([0, 1, 2, 3, 4, 0, 0])) == 5 / 7
