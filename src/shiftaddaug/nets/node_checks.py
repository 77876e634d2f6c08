"""What a space and a node may look like. Imports no torch.

The writer asks before it adds a node, and reading a stored plan asks again: a file may be damaged, or hostile.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from shiftaddaug.nets.nodes import Node, Space, padded, strided
from shiftaddaug.nets.sizes import Size

ACTS = ("none", "relu", "relu6", "h_swish")
SPACE_KINDS = ("fixed", "width", "hidden")

MODES: Mapping[str, tuple[str, ...]] = {"upsample": ("", "nearest", "aligned"), "gate": ("", "sigmoid")}
"""Modes by kind of node; other kinds have none."""

INPUTS: Mapping[str, tuple[int, int | None]] = {
    "image": (0, 0),
    "conv": (1, None),
    "linear": (1, None),
    "norm": (1, 1),
    "act": (1, 1),
    "add": (2, 2),
    "gate": (2, 2),
    "pool": (1, 1),
    "max_pool": (1, 1),
    "upsample": (2, 2),
    "pad": (1, 1),
    "crop": (2, 2),
    "concat": (2, None),
}
"""Least and most inputs by kind of node; None is any number."""

MOST_DILATION = 512
"""Largest dilation of a convolution: its input is padded by that much, and half a thousand is beyond any decoder's."""
NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)


def check_space(space: Space, others: Mapping[str, Space]) -> None:
    """Refuse a space that no writer would make.

    Raises:
        TypeError, ValueError: its name is taken, its kind or parent unknown, its channels no positive number.
    """
    check_name(space.name, others)
    if space.kind not in SPACE_KINDS:
        raise ValueError(f"space {space.name}: no such kind: {space.kind}")
    check_positive(f"space {space.name}: channels", space.channels)
    if space.parent != "" and space.parent not in others:
        raise ValueError(f"space {space.name}: no such space before it: {space.parent}")


def check_node(node: Node, earlier: Mapping[str, Node], spaces: Collection[str]) -> None:
    """Refuse a node that cannot be computed after the earlier ones.

    Raises:
        TypeError, ValueError: an unknown kind, input or space; a shape that does not fit.
    """
    check_name(node.name, earlier)
    if node.kind not in INPUTS:
        raise ValueError(f"{node.name}: no such kind of node: {node.kind}")
    least, most = INPUTS[node.kind]
    if not isinstance(node.inputs, tuple) or len(node.inputs) < least or (most is not None and len(node.inputs) > most):
        raise ValueError(f"{node.name}: a {node.kind} cannot read {node.inputs}")
    for name in node.inputs:
        if name not in earlier:
            raise ValueError(f"{node.name}: no such node before it: {name}")
    check_fields(node)
    inputs = [earlier[name] for name in node.inputs]
    for source in inputs:
        if source.kind == "concat":
            raise ValueError(f"{node.name}: reads the concatenation {source.name}; give it the parts")
    if node.kind == "concat" and node.space != "":
        raise ValueError(f"{node.name}: a concat has no space of its own")
    if node.kind != "concat" and node.space not in spaces:
        raise ValueError(f"{node.name}: no such space: {node.space}")
    if inputs:
        check_shapes(node, inputs)


def check_fields(node: Node) -> None:
    """Refuse fields of a wrong type or range, and fields that the kind does not have.

    Raises:
        TypeError, ValueError: the first one.
    """
    check_size(node.name, node.size)
    for key in ("kernel", "stride", "dilation"):
        value = getattr(node, key)
        check_positive(f"{node.name}: {key}", value)
        if value != 1 and node.kind != "conv" and (node.kind != "max_pool" or key == "dilation"):
            raise ValueError(f"{node.name}: a {node.kind} has no {key}")
    if node.dilation > MOST_DILATION:
        raise ValueError(f"{node.name}: dilation={node.dilation}: must be at most {MOST_DILATION}")
    if node.kernel % 2 == 0 and node.kind != "max_pool":
        raise ValueError(f"{node.name}: kernel={node.kernel}: must be odd")
    for key in ("depthwise", "bias"):
        if not isinstance(getattr(node, key), bool):
            raise TypeError(f"{node.name}: {key} must be true or false")
    if node.depthwise and node.kind != "conv":
        raise ValueError(f"{node.name}: a {node.kind} cannot be depthwise")
    if (node.act in ACTS) != (node.kind == "act") or (node.kind != "act" and node.act != ""):
        raise ValueError(f"{node.name}: act={node.act}: no such activation of a {node.kind}")
    if node.mode not in MODES.get(node.kind, ("",)):
        raise ValueError(f"{node.name}: mode={node.mode}: no such mode of kind {node.kind}")
    check_positive(f"{node.name}: multiple", node.multiple)
    if node.multiple != 1 and node.kind != "pad":
        raise ValueError(f"{node.name}: a {node.kind} has no multiple")
    for key in ("group", "unit"):
        if not isinstance(getattr(node, key), str):
            raise TypeError(f"{node.name}: {key} must be a string")


def check_shapes(node: Node, inputs: list[Node]) -> None:
    """Refuse a node whose space or size does not follow from its inputs.

    Raises:
        ValueError: it does not.
    """
    first, other = inputs[0], inputs[-1]
    same_size = first.size == other.size if node.kind != "gate" else other.size == (1, 1)
    if node.kind == "upsample":
        same_size = True
    if node.kind == "crop":
        same_size = first.size[0] >= other.size[0] and first.size[1] >= other.size[1]
    if not same_size or any(node.kind in ("conv", "linear", "concat") and x.size != first.size for x in inputs):
        raise ValueError(f"{node.name}: its inputs differ in size: {[x.size for x in inputs]}")
    if node.kind == "linear" and first.size != (1, 1):
        raise ValueError(f"{node.name}: a linear layer reads pooled values, not {first.size}")
    kept = node.kind not in ("conv", "linear", "concat") or node.depthwise
    if kept and (node.space != first.space or (node.depthwise and len(inputs) > 1)):
        raise ValueError(f"{node.name}: reads {first.space}, and writes {node.space}")
    if node.kind in ("add", "gate") and other.space != first.space:
        raise ValueError(f"{node.name}: its inputs differ in space: {first.space}, {other.space}")
    if node.size != _size_after(node, inputs):
        raise ValueError(f"{node.name}: size {node.size}, not {_size_after(node, inputs)}")


def _size_after(node: Node, inputs: list[Node]) -> Size:
    if node.kind in ("conv", "max_pool"):
        return strided(inputs[0].size, node.stride)
    if node.kind == "pool":
        return 1, 1
    if node.kind == "pad":
        return padded(inputs[0].size, node.multiple)
    return inputs[1].size if node.kind in ("upsample", "crop") else inputs[0].size


def check_name(name: Any, taken: Collection[str]) -> None:
    """Refuse what cannot be a path of modules, and a name that is taken.

    Raises:
        TypeError, ValueError: it is so.
    """
    if not isinstance(name, str):
        raise TypeError(f"{name}: a name must be a string")
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: no name of a module")
    if name in taken:
        raise ValueError(f"{name}: a name that is taken")


def check_positive(what: str, value: Any) -> None:
    """Refuse what is no positive integer.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what}={value}: must be an integer")
    if value < 1:
        raise ValueError(f"{what}={value}: must be positive")


def check_size(what: str, size: Any) -> None:
    """Refuse what is no pair of positive integers.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(size, tuple) or len(size) != 2:
        raise TypeError(f"{what}: {size} must be (height, width)")
    for side in size:
        check_positive(f"{what}: side", side)
