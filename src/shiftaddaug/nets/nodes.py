"""What a plan is made of: spaces of channels, nodes that compute, levels. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shiftaddaug.nets.sizes import Size

WEIGHTED = ("conv", "linear")
"""Kinds of nodes that have a weight."""

WITH_MODULES = (*WEIGHTED, "norm")
"""Kinds of nodes that cannot be computed without a module."""

GATE = "se"
"""Group of the layers that compute gates (squeeze-excite)."""


EXTRAS = "extras"
"""Where the modules of extra blocks lie in a supernet."""


def is_extra(name: str) -> bool:
    """Return whether a node or unit of that name belongs to an extra block."""
    return name.startswith(f"{EXTRAS}.")


@dataclass(frozen=True)
class Space:
    """Channels shared by the nodes that produce and consume them."""

    name: str
    channels: int
    """Number of channels in the target."""
    kind: Literal["fixed", "width", "hidden"]
    """What widens it: nothing, width augmentation, or expand augmentation (and its parent's width)."""
    parent: str = ""
    """Hidden spaces: the width space whose multiplier they follow."""


@dataclass(frozen=True)
class Node:
    """One operation, named as its value, and as its module if it has one."""

    name: str
    kind: str
    """image, conv, linear, norm, act, add, gate, pool, max_pool, upsample, pad, crop or concat."""
    inputs: tuple[str, ...]
    """Names of the nodes whose values it reads. A layer with several reads their concatenation."""
    space: str
    """Space of its channels; empty for a concat, whose channels are those of its inputs in turn."""
    size: Size
    """(H, W) of its value at the plan's image size."""
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False
    bias: bool = False
    act: str = ""
    """The activation's name, of an act node."""
    group: str = ""
    """stem, blocks, se, head, decoder or classifier: what `net.mult_layers` may name."""
    unit: str = ""
    """The block that it belongs to, if any."""
    mode: str = ""
    """How an upsample or a gate computes (`nets/functions.py`); empty: bilinear, by a hard sigmoid."""
    multiple: int = 1
    """What the sides of a pad node's value are multiples of."""


@dataclass(frozen=True)
class Level:
    """The last value at a stride, and the space of its channels."""

    stride: int
    node: str
    space: str


def stride_after(node: Node, strides: Sequence[int]) -> int:
    """Stride of a node's value, given those of its inputs; 0 for pooled values."""
    if node.kind == "image":
        return 1
    if node.kind == "pool":
        return 0
    return strides[1] if node.kind == "upsample" else strides[0] * node.stride


def values_read(node: Node) -> tuple[str, ...]:
    """Names of the inputs whose values a node needs: of those that it is made as large as, it needs the size alone."""
    return node.inputs[:1] if node.kind in ("upsample", "crop") else node.inputs


def with_modules(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Names of the nodes that need modules, in the order of execution."""
    return tuple(node.name for node in nodes if node.kind in WITH_MODULES)


def strided(size: Size, stride: int) -> Size:
    """Return the size of a strided layer's output: padding is such that every position of the stride counts."""
    return -(-size[0] // stride), -(-size[1] // stride)


def padded(size: Size, multiple: int) -> Size:
    """Return the next size whose sides are multiples of a number."""
    height, width = strided(size, multiple)
    return multiple * height, multiple * width
