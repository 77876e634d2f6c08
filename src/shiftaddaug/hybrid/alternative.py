"""Operators that a pass may compute a layer's target part with, in place of the layer's own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import NetSharing, Sharing
from shiftaddaug.operators.base import Operator


@dataclass(frozen=True)
class Reader:
    """An operator, and how it reads a layer's stored weight."""

    operator: Operator
    sharing: Sharing

    @property
    def converts_gradients(self) -> bool:
        """Whether the gradient of what it reads becomes an update of the stored weight by rules of its own."""
        return self.sharing.converts or self.operator.publishes_updates

    def effective_weight(self, weight: Tensor) -> Tensor:
        """Return what the operator computes with, given the `weight` it reads; of operators that train no other."""
        return self.operator.effective_weight({"weight": weight})


def readers(
    alternatives: Mapping[str, Operator], sharing: NetSharing, shapes: Collection[tuple[int, ...]]
) -> dict[str, Reader]:
    """Return how alternatives read the weights of a net, by their names.

    Args:
        alternatives: operators by the names that a `SubnetSpec` calls them.
        sharing: of the net.
        shapes: of the target's weights of its layers.

    Raises:
        UserError: an operator that computes with anything besides a slice of a layer's weight.
    """
    for name, operator in alternatives.items():
        if sharing.of(operator).affine is not None:
            raise UserError(
                f"alternatives: {name}: sharing=affine trains factors for a layer's own operator, and none for others; "
                f"options: sharing=none, heterogeneous"
            )
        reason = _why_it_is_none(operator, shapes)
        if reason is not None:
            raise UserError(
                f"alternatives: {name}: op={operator.name} {reason}, and a layer has its weight alone for all of them; "
                f"options: operators that compute with a slice of the weight, such as shift and add"
            )
    return {name: Reader(operator, sharing.of(operator)) for name, operator in alternatives.items()}


def _why_it_is_none(operator: Operator, shapes: Collection[tuple[int, ...]]) -> str | None:
    if operator.input_tensors:
        return f"reads {', '.join(operator.input_tensors)} to prepare its input"
    for shape in shapes:
        trained, kept = operator.parameter_shapes(shape), operator.init_buffers(shape)
        if trained != {"weight": shape}:
            return f"trains {', '.join(trained)}"
        if kept:
            return f"keeps {', '.join(kept)}"
    return None if operator.shareable else "trains a weight that is none to multiply by"
