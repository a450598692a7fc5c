"""One step of a model's computation: what it is, what it reads, and what it puts out."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, fx, nn

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d

# The relevance [several, batch, *features] of each tensor that a layer reads, and what eps absorbed, [several, batch].
Shares = tuple[list[Tensor], Tensor | float]
# From a layer, the relevance of its output [several, batch, *outputs], and eps.
Rule = Callable[["Layer", Tensor, float], Shares]


@dataclass(eq=False)
class Layer:
    """One step of a model's computation.

    name          : its path in the model, or the name that torch.fx gives to an operation
    node          : its place in the graph
    rule          : None where it puts out no activations, but a shape
    module        : None for an operation
    reads         : the layers whose outputs it is given
    normalisation : the batch normalisation that counts as part of it
    output        : [batch, *outputs], once the model has run
    """

    name: str
    node: fx.Node
    rule: Rule | None
    module: nn.Module | None = None
    reads: tuple["Layer", ...] = ()
    normalisation: BatchNorm | None = None
    output: Tensor = field(init=False)

    def input(self) -> Tensor:
        """[batch, *features] in float64: what it is given by the first layer that it reads."""
        return self.reads[0].output.double()
