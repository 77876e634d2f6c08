"""How a layer's weight is read in a pass: by its operator or another, multiplied, or both in shares.

A reading is a value that a pass hands to a layer (`hybrid/layers.py`). It says what the target's slice of the weight is
computed with, and what a wider slice is where one operator computes all of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import Mult

if TYPE_CHECKING:
    from shiftaddaug.hybrid.weight import HybridWeight

MULT = Mult()


@dataclass(frozen=True)
class ByOperator:
    """Compute with the layer's own operator, or with an alternative."""

    weight: Tensor | None = None
    """What it computes with at the target's width, where that was read for all layers and passes at once
    (`Supernet.operator_weights`). By default the layer reads its parameters."""

    alternative: Reader | None = None
    """What computes in place of the layer's own operator."""

    def operator(self, layer: "HybridWeight") -> Operator:
        """Return what computes the target part."""
        return layer.operator if self.alternative is None else self.alternative.operator

    def sharing(self, layer: "HybridWeight") -> Sharing:
        """Return how the operator shares the weight."""
        return layer.sharing if self.alternative is None else self.alternative.sharing

    def target(self, layer: "HybridWeight", kernel: int | None = None) -> Tensor:
        """Return the operator's weight, of the target's shape (that of a smaller kernel, if the layer makes one)."""
        return layer.operator_weight(kernel, self.alternative) if self.weight is None else self.weight

    def whole(self, layer: "HybridWeight", weight: Tensor, kernel: int | None = None) -> Tensor:
        """Return the weight that the operator reads at any width, given that slice of the stored weight."""
        measured = layer.target_weight(layer.transformed_kernel(kernel))
        if self.alternative is None:
            return layer.effective_weight(layer.read(weight, measured))
        return self.alternative.effective_weight(self.alternative.sharing.read_around(weight, measured))


@dataclass(frozen=True)
class Multiplied:
    """Multiply with the stored weight, whatever the layer's operator."""

    def operator(self, layer: "HybridWeight") -> Operator:
        """Return multiplication."""
        return MULT

    def sharing(self, layer: "HybridWeight") -> Sharing:
        """Return how the layer's own operator shares the weight."""
        return layer.sharing

    def target(self, layer: "HybridWeight", kernel: int | None = None) -> Tensor:
        """Return the target's slice of the stored weight."""
        return layer.target_weight(kernel)

    def whole(self, layer: "HybridWeight", weight: Tensor, kernel: int | None = None) -> Tensor:
        """Return the slice as it is."""
        return weight


@dataclass(frozen=True)
class MultipliedBeside(Multiplied):
    """Multiply with the stored weight, beside an operator that reads R(W).

    The gradient is divided by R', and so in the units of R(W), as the operator's is: `rescale_gradients` converts the
    sum of the two.
    """

    weight: Tensor | None = None
    """The target's slice with such a gradient, where that was made for all layers at once."""

    def target(self, layer: "HybridWeight", kernel: int | None = None) -> Tensor:
        """Return the target's slice of the stored weight."""
        if self.weight is not None:
            return self.weight
        measured = None if kernel is None else [layer.target_weight()]
        return layer.sharing.stored([layer.target_weight(kernel)], measured)[0]

    def whole(self, layer: "HybridWeight", weight: Tensor, kernel: int | None = None) -> Tensor:
        """Return the slice, R taking mean and spread of the target's."""
        return layer.sharing.stored([weight], [layer.target_weight()])[0]


@dataclass(frozen=True)
class Blended:
    """Mix both results: y = a op(x) + (1 - a) mult(x)."""

    share: float
    """Share a of the operator, in (0, 1)."""
    by_operator: ByOperator = ByOperator()
    multiplied: Multiplied = MultipliedBeside()


Reading = ByOperator | Multiplied | Blended
BY_OPERATOR, MULTIPLIED = ByOperator(), Multiplied()
