"""SN-Tab2: Deep ShapNets for images beside a comparable convolutional network (Shapley Explanation Networks, Table 2).

The paper: Adam with its defaults, batches of 64, 10 epochs on MNIST and FashionMNIST and 60 on CIFAR-10; channels 1 (or
3), six times 128, and 10; images as in `images`. What its comparable network is it does not say. Here it has the same
convolutions and leaky ReLUs and a sum over the image: by Proposition 13.1 (b) a ShapNet of one stage is that network,
and with more stages the two differ in what they pass on. Both start from the same weights and see the same images in
the same order, so that they are compared in pairs.

At the scale "cpu" networks are an eighth as wide, learn three times as fast, and see fewer images. FashionMNIST is left
out where it is not at hand; our CIFAR-10 went through JPEG once more.
"""

from pathlib import Path

from shapnotes.experiments import images
from shapnotes.experiments.record import mean_and_error, paired_interval
from shapnotes.experiments.sweep import Batch

ID = "SN-Tab2"
TITLE = "Images: Deep ShapNets and comparable networks"
CHECKPOINTS = True

MODELS = {"shapnet": "Deep ShapNet", "cnn": "comparable network"}
PAPER = {  # accuracy, in the order of MODELS
    "mnist": (0.9950, 0.9917),
    "fashion_mnist": (0.9195, 0.9168),
    "cifar10": (0.8206, 0.7996),
}
EPOCHS = {"mnist": 10, "fashion_mnist": 10, "cifar10": 60}


def batches(scale: str) -> list[Batch]:
    """Runs of both models, one after the other for each seed."""
    if scale == "paper":
        data, seeds, settings = list(PAPER), range(3), {"width": 128, "images": None, "rate": 0.001, "measured": None}
        epochs = EPOCHS
    elif scale == "cpu":
        data, seeds = ["mnist", "cifar10"], range(3)
        settings = {"width": 16, "images": 20_000, "rate": 0.003, "measured": None, "compiled": True}
        epochs = dict.fromkeys(data, 2)
    else:
        data, seeds, settings = ["digits"], range(2), {"width": 2, "images": 64, "rate": 0.003, "measured": 32}
        epochs = {"digits": 1}
    return [
        Batch({"data": name, "model": model, "epochs": epochs[name], "batch_size": 64, **settings}, (seed,))
        for name in data
        for seed in seeds
        for model in MODELS
    ]


def run(config: dict, seeds: tuple[int, ...], device: str, folder: Path) -> list[dict]:
    """Train a network a seed, or read it from `folder`, and measure it on the test images."""
    data, width = config["data"], config["width"]
    x, y = (t.to(device) for t in images.test_images(data, config["measured"]))
    stages = 6 if data != "digits" else 2
    training = {"channels": [x.shape[1], *[width] * stages, 10]}
    training |= {key: value for key, value in config.items() if key not in ("width", "measured")}
    found = []
    for seed in seeds:
        net = images.trained(training, seed, device, folder / f"{data}-{config['model']}-{seed}.safetensors")
        found.append({"accuracy": images.accuracy(net, x, y), "images": len(x)})
    return found


# --- what the record says ------------------------------------------------------------------------------------------


def accuracies(runs: list[dict], data: str, model: str) -> dict[int, float]:
    """The accuracy of each seed."""
    return {
        run["seed"]: run["result"]["accuracy"]
        for run in runs
        if (run["config"]["data"], run["config"]["model"]) == (data, model)
    }


def lead(runs: list[dict], data: str) -> tuple[float, float]:
    """By how much the ShapNet is ahead, and the half-width of the 95 % interval over pairs of runs."""
    return paired_interval(*(accuracies(runs, data, model) for model in MODELS))


def summary(runs: list[dict]) -> list[str]:
    """A line a data set and model: our accuracy with its standard error over runs, the paper's, and the lead."""
    lines = [f"{'data':14} {'model':19} runs  accuracy          paper"]
    for data in dict.fromkeys(run["config"]["data"] for run in runs):
        for i, (model, name) in enumerate(MODELS.items()):
            found = accuracies(runs, data, model)
            if not found:
                continue
            mean, error = mean_and_error(found.values())
            paper = f"{PAPER[data][i]:.4f}" if data in PAPER else ""
            lines.append(f"{data:14} {name:19} {len(found):4}  {mean:.4f} ± {error:.4f}   {paper}")
        if len(accuracies(runs, data, "shapnet").keys() & accuracies(runs, data, "cnn").keys()) > 1:
            mean, half = lead(runs, data)
            lines.append(f"{data:14} lead of the ShapNet       {mean:+.4f} ± {half:.4f} (95 %)")
    return lines


def verdict(runs: list[dict]) -> tuple[str, str, str]:
    """How the record stands to the table: on each data set, the ShapNet is ahead (95 % interval beyond zero)."""
    paper = "; ".join(f"{data} {ours:.4f} and {theirs:.4f}" for data, (ours, theirs) in PAPER.items())
    pairs = [
        data for data in PAPER if len(accuracies(runs, data, "cnn").keys() & accuracies(runs, data, "shapnet")) > 1
    ]
    leads = {data: lead(runs, data) for data in pairs}
    ours = "; ".join(
        f"{data} {_told(runs, data, 'shapnet')} and {_told(runs, data, 'cnn')}, lead {mean:+.4f} ± {half:.4f} (95 %)"
        for data, (mean, half) in leads.items()
    )
    if any(run["scale"] != "paper" for run in runs) or len(leads) < len(PAPER):
        width, epochs = (max(run["config"][key] for run in runs) for key in ("width", "epochs"))
        return "not run at full scale", f"{width} channels in place of 128, {epochs} epochs: {ours}", paper
    ahead = [mean > half for mean, half in leads.values()]
    return "reproduced" if all(ahead) else "partly" if any(ahead) else "not reproduced", ours, paper


def _told(runs: list[dict], data: str, model: str) -> str:
    mean, error = mean_and_error(accuracies(runs, data, model).values())
    return f"{mean:.4f} ± {error:.4f}"
