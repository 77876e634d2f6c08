"""How much memory a recorded network needs, read off its operations."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node


def peak_bytes(program: ExportedProgram) -> int:
    """Return the bytes of the values that live at once, at most, while one image is computed; without the weights.

    Every value lives from the operation that makes it to the last one that reads it, or a view of it. Scratch memory
    within an operation is not counted.

    Args:
        program: whose only open size is the number of images.
    """
    kept = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind != InputKind.USER_INPUT}
    nodes: list[Node] = list(program.graph.nodes)
    owner: dict[Node, Node | None] = {}
    last: dict[Node, int] = {}
    for place, node in enumerate(nodes):
        owner[node] = _owner(node, owner, kept)
        read = (owner[node], *(owner[each] for each in node.all_input_nodes))
        last |= dict.fromkeys([each for each in read if each is not None], place)
    over: dict[int, int] = {}
    for held, place in last.items():
        over[place] = over.get(place, 0) + _bytes(held)
    live = peak = 0
    for place, node in enumerate(nodes):
        live += _bytes(node) if owner[node] is node else 0
        peak = max(peak, live)
        live -= over.get(place, 0)
    return peak


def _owner(node: Node, owner: Mapping[Node, Node | None], kept: Collection[str]) -> Node | None:
    """Return the node whose memory a node's value lies in; None for weights, and what is computed of them alone."""
    if node.op == "placeholder":
        return None if node.name in kept else node
    read = [owner[each] for each in node.all_input_nodes]
    if node.op == "output" or not any(read):
        return None
    return read[0] if _is_view(node) else node


def _is_view(node: Node) -> bool:
    """Whether an operation's result lies in the memory of what it reads."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "call_function"  # an element of what an operation returned
    return any(value.alias_info is not None for value in node.target._schema.returns)


def _bytes(node: Node) -> int:
    """Return the bytes of a node's tensors, of one image."""
    value = node.meta.get("val")
    tensors: Iterable[object] = value if isinstance(value, list | tuple) else (value,)
    return sum(_elements(each) * each.element_size() for each in tensors if isinstance(each, torch.Tensor))


def _elements(tensor: torch.Tensor) -> int:
    total = 1
    for size in tensor.shape:
        total *= size if isinstance(size, int) else _of_one_image(size)
    return total


def _of_one_image(size: torch.SymInt) -> int:
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))
