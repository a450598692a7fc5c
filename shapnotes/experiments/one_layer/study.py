"""One hidden layer on MNIST: how far each method is from the exact values, on trained weights.

A perceptron 784-100-10, trained on all 60,000 images for three epochs in batches of 64 by Adam with its defaults, from
PyTorch's first weights; images in [0, 1], absent pixels are blank (0). On the first test images the values of its
hidden neurons, and of its ten outputs, are computed to 1e-5 of their mean size ("lattice").

Four approximations are compared. (1) Li and Cui's equation 1 as printed. (2) The same without its share b / n of the
bias, *closed*: what the values then lack of the neuron's change of output is shared out in proportion to the squares of
the terms. (3) One normal distribution for each rate. (4) Edgeworth's series. Beside them stand random orders, half of
them the reverses of the others. An error is the mean distance from the
exact values, over the mean size of these, at pixels with ink. Blank pixels have the exact value zero, and are left out.
Equation 1 as printed gives them a share of the bias all the same; it is not counted, and would make its error larger.
"""

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import shapnotes as sn
from shapnotes import datasets
from shapnotes.experiments._harness.study import Batch, Study
from shapnotes.neuron import li_cui, relu_values

ACCURACY = 1e-5  # of the exact values, in units of their mean size
NORMALS = ("normal", "edgeworth", "li-cui")
HIDDEN, EPOCHS, IMAGES, REPEATS = 100, 3, 10, 3
PERMUTATIONS = (16, 64, 256)


def batches(scale: str) -> list[Batch]:
    """Three networks; at the scale "smoke" a small one on scikit-learn's digits."""
    if scale == "smoke":
        return [Batch(_config("digits", 8, 1, 2, (4,)), (0, 1))]
    return [Batch(_config("mnist", HIDDEN, EPOCHS, IMAGES, PERMUTATIONS), (seed,)) for seed in range(REPEATS)]


def _config(data: str, hidden: int, epochs: int, images: int, permutations: tuple) -> dict:
    return {
        "data": data,
        "hidden": hidden,
        "epochs": epochs,
        "images": images,
        "permutations": list(permutations),
    }


def run(config: dict, seeds: tuple[int, ...], device: str) -> list[dict]:
    """Train, explain, compare."""
    return [_run(config, seed, device) for seed in seeds]


def _run(config: dict, seed: int, device: str) -> dict:
    train, test = _data(config["data"])
    generator = torch.Generator().manual_seed(seed)
    net = _trained(train, config, generator, device)
    x = test.x.flatten(1).to(device)
    right = net(x).argmax(1) == test.y.to(device)
    inputs = x[: config["images"]].double()
    net = net.double()
    errors: dict[str, list[float]] = {}
    for one in inputs:
        for name, error in _image(net, one, config, generator):
            errors.setdefault(name, []).append(error)
    return {
        "test_accuracy": float(right.double().mean()),
        "pixels": (inputs != 0).sum(1).tolist(),
        "errors": errors,
        "map": _map(net, inputs[0], generator),
    }


def _data(name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    if name == "digits":
        return datasets.digits(), datasets.digits()
    return datasets.mnist("train"), datasets.mnist("test")


def _trained(train: datasets.Dataset, config: dict, generator: torch.Generator, device: str) -> nn.Sequential:
    x, y = train.x.flatten(1).to(device), train.y.to(device)
    net = nn.Sequential(nn.Linear(x.shape[1], config["hidden"]), nn.ReLU(), nn.Linear(config["hidden"], 10))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            bound = layer.in_features**-0.5  # PyTorch's own, from the run's generator
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
    net = net.to(device)
    optimiser = torch.optim.Adam(net.parameters())
    for _ in range(config["epochs"]):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.requires_grad_(False)


def _image(net: nn.Sequential, x: Tensor, config: dict, generator: torch.Generator) -> Iterator[tuple[str, float]]:
    """Errors on one input, by name: "neurons, normal", "outputs, 64 permutations", ..."""
    terms, offset = net[0].weight * x, net[0].bias
    moving = x != 0
    exact = relu_values(terms, offset, method="lattice", accuracy=ACCURACY).values[:, moving]
    outputs = net[2].weight @ exact
    found = {name: relu_values(terms, offset, method=name).values for name in NORMALS}
    found["li-cui, as printed"] = li_cui.values(terms, offset)
    for name, values in found.items():
        yield f"neurons, {name}", _error(values[:, moving], exact)
        yield f"outputs, {name}", _error(net[2].weight @ values[:, moving], outputs)
    for count in config["permutations"]:
        values, _ = sn.sample_shapley_values(net, x[None], permutations=count, generator=generator)
        yield f"outputs, {count} permutations", _error(values[0, moving].T, outputs)


def _error(values: Tensor, exact: Tensor) -> float:
    return float((values - exact).abs().mean() / exact.abs().mean())


def _map(net: nn.Sequential, x: Tensor, generator: torch.Generator) -> dict:
    """Values of the predicted class for one image, exact, by Edgeworth, and sampled for as long as Edgeworth took."""
    label = int(net(x[None])[0].argmax())
    terms, offset = net[0].weight * x, net[0].bias
    begin = time.process_time()
    fast = net[2].weight[label] @ relu_values(terms, offset).values
    seconds = time.process_time() - begin
    exact = net[2].weight[label] @ relu_values(terms, offset, method="lattice", accuracy=ACCURACY).values
    permutations, begin = 4, time.process_time()
    sampled, _ = sn.sample_shapley_values(net, x[None], permutations=permutations, generator=generator)
    spent = time.process_time() - begin
    if spent < seconds:
        permutations = max(4, 2 * int(2 * seconds / spent))
        sampled, _ = sn.sample_shapley_values(net, x[None], permutations=permutations, generator=generator)
    maps = {"lattice": exact, "edgeworth": fast, "sampled": sampled[0, :, label]}
    return {
        "label": label,
        "permutations": permutations,
        "edgeworth_cpu_seconds": seconds,
        **{name: [float(f"{value:.4g}") for value in values] for name, values in maps.items()},
    }


STUDY = Study("X-N1", "One hidden layer on MNIST, exact and by everything faster", batches, run)
