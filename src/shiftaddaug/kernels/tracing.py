"""What tools that count the work in a `torch.jit.trace` have to know of our operators."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Return the accumulations of a convolution node: outputs x inputs per output.

    Args:
        inputs: values of the graph, the second of which is the weight.
        outputs: of which the first is the result.
    """
    shape, weight = (value.type().sizes() for value in (outputs[0], inputs[1]))
    return prod(shape) * prod(weight[1:])


TRACE_HANDLES: dict[str, Callable[[Sequence[Any], Sequence[Any]], int]] = {"shiftaddaug::add_conv2d": _convolution}
"""Functions (inputs, outputs) that return a node's accumulations, by the node's kind, as fvcore takes them.

Nodes of all other layers are torch's own: `aten::_convolution` and `aten::linear`.
"""
