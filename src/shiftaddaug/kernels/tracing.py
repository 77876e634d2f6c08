"""Computing for elsewhere: whether a pass is recorded, and what tools that count the work in a trace have to know.

What is recorded runs where this package is not: in a file of `torch.export`, of `torch.jit.trace` or of ONNX. Layers
then compute by operations of torch alone, in place of ours, which are a fast path. `torch.compile` records nothing for
elsewhere, and keeps ours.
"""

import warnings
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor


def is_recorded() -> bool:
    """Whether `torch.export`, `torch.jit.trace` or `torch.onnx.export` records what is computed now."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def fixed_sizes(weight: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor that has the same one wherever a trace runs, such as a weight.

    `torch.jit.trace` would warn that these numbers become constants.
    """
    if not torch.jit.is_tracing():
        return tuple(weight.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return tuple(int(size) for size in weight.shape)


def _elements(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Return the elements of a node's result.

    Args:
        inputs: values of the graph.
        outputs: of which the first is the result.
    """
    return prod(outputs[0].type().sizes())


TRACE_HANDLES: dict[str, Callable[[Sequence[Any], Sequence[Any]], int]] = {"aten::abs": _elements}
"""Functions (inputs, outputs) that return a node's accumulations, by the node's kind, as fvcore takes them.

A deployed net takes absolute values in add layers alone, one for each accumulation (`kernels/add/recorded.py`). Nodes
of all other layers are `aten::_convolution` and `aten::linear`.
"""
