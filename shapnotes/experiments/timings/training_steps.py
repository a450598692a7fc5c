"""LC-P1: what a training step with SA costs, over one with ReLU (Li and Cui, section 3.1: "only a 20 % increase").

The paper observed it in training its CIFAR-10 perceptron, for the same number of epochs, and names neither the machine
nor how SA was written, so neither its seconds nor their ratio can be compared. Here are single steps (forward, cross
entropy, backward, Adam) of `shapnotes bench training`, timed in turn with ReLU's, perceptrons 15 times and the
ResNet-20 5 times; ± is over the turns.
"""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, matches
from shapnotes.experiments._harness.statistics import Interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.cifar_perceptron.study import NETWORK

PAPER = 1.2


def finding(bench: dict) -> Finding:
    """What the timings say of the 20 %: of the network that the paper speaks of, and of the others of this book."""
    costs = {row["network"]: Interval(*row["over_relu_interval"]) for row in bench["rows"] if row["activation"] == "sa"}
    near = {network: matches(cost, PAPER) if network == NETWORK else None for network, cost in costs.items()}
    statement = Statement(
        "training with SA takes about 1.2 times as long as with ReLU",
        f"mean ratio of steps of {NETWORK} is at most √2 of its 95 % half-widths from {PAPER}",
        near[NETWORK],
        size=True,
    )
    table = tuple(
        Comparison(network, "SA over ReLU", cost, PAPER if network == NETWORK else None, near[network], ".2f")
        for network, cost in costs.items()
    )
    longer = costs[NETWORK].shown(".2f")
    unknown = "The paper names Keras, but neither the machine nor how SA was written."
    decides = f"{unknown} Here a step of {NETWORK} with SA takes {longer} times as long"
    return Finding((statement,), table, decides, comparable=False, fewer="single steps in place of a training")


CLAIM = Claim("LC-P1", "What a training step costs", finding, bench="bench_training.json", about=__doc__ or "")
