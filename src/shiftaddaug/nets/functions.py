"""What nodes without a module compute, by the node's kind."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shiftaddaug.nets.nodes import Node


def activate(name: str, x: Tensor) -> Tensor:
    """Apply `name`: none, relu, relu6 or h_swish (arXiv 1905.02244, eq. 1: x relu6(x + 3) / 6)."""
    if name == "none":
        return x
    if name == "relu":
        return F.relu(x)
    if name == "relu6":
        return F.relu6(x)
    assert name == "h_swish", name
    return F.hardswish(x)


def _act(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return activate(node.act, inputs[0])


def _add(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]


def _gate(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0] * (torch.sigmoid(inputs[1]) if node.mode == "sigmoid" else F.hardsigmoid(inputs[1]))


def _pool(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].mean((2, 3), keepdim=True)


def _max_pool(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """Even windows begin at the stride's positions, odd ones lie around them; windows may end beyond the border."""
    padding, even = (node.kernel - 1) // 2, node.kernel % 2 == 0
    return F.max_pool2d(inputs[0], node.kernel, node.stride, padding, ceil_mode=even)


def _upsample(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    # the other value's size as it is, not the plan's: images of other sizes go through the same network
    size = inputs[1].shape[2:]
    if node.mode == "nearest":
        return F.interpolate(inputs[0], size, mode="nearest")
    return F.interpolate(inputs[0], size, mode="bilinear", align_corners=node.mode == "aligned")


def _pad(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """Zeros below and to the right; what needs none is returned as it is."""
    height, width = inputs[0].shape[2:]
    below, right = -height % node.multiple, -width % node.multiple
    return F.pad(inputs[0], (0, right, 0, below)) if below or right else inputs[0]


def _crop(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """Keep what lies over the other value, both having one upper left corner."""
    height, width = inputs[1].shape[2:]
    return inputs[0][:, :, :height, :width]


def _concat(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(inputs), 1)


FUNCTIONS: Mapping[str, Callable[[Node, Sequence[Tensor]], Tensor]] = {
    "act": _act,
    "add": _add,
    "gate": _gate,
    "pool": _pool,
    "max_pool": _max_pool,
    "upsample": _upsample,
    "pad": _pad,
    "crop": _crop,
    "concat": _concat,
}
