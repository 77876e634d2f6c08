"""What a training step keeps of the values in a plan, and how much of it at once. Imports no torch.

Autograd keeps what a node's backward pass reads: layers and batch-norms their inputs, relu its result, other
activations their inputs, gates both factors. A layer of several sources keeps their concatenation. A tensor is freed
once the backward pass has gone through the first node that reads it there. `peak_bytes` follows the passes of a step
forward and back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from shiftaddaug.nets.nodes import WEIGHTED, Node
from shiftaddaug.nets.plan import Plan

KEEPS_INPUT = (*WEIGHTED, "norm", "gate", "max_pool")
"""Kinds of nodes whose backward pass reads what they read."""
KEEPS_RESULT = ("relu",)
"""Activations whose backward pass reads what they give."""


@dataclass(frozen=True)
class LayerMemory:
    """What a layer's computation asks of memory."""

    result: int
    """Bytes of an element of its result."""
    inputs: tuple[int, ...]
    """Bytes of an element of each tensor that is kept of its input: an operator, and what multiplies beside it, may
    compute in different precisions. One of the value's own precision is the value itself."""
    copies: tuple[int, ...] = ()
    """Bytes of an element of each tensor that the layer makes of its input and keeps."""
    workspace: int = 0
    """Bytes of an element of temporary copies of its input and its result, in either pass."""
    unfolds: bool = False
    """Whether a kernel larger than 1 is computed on a copy of the patches of all images."""


LayerMemories = Callable[[Node], LayerMemory]


def peak_bytes(passes: Sequence[tuple[Plan, LayerMemories]], image_bytes: int) -> int:
    """Return the most bytes that a training step holds for one image.

    Args:
        passes: the plans that are computed, one after the other, before one backward pass; and how their layers are.
        image_bytes: of an element of an image.
    """
    held = peak = 0
    walked = []
    for plan, layers in passes:
        walk = PassMemory(plan, layers, image_bytes)
        peak = max(peak, held + walk.forward_peak())
        held += walk.kept()
        walked.append((held, walk))
    for held_before, walk in reversed(walked):
        peak = max(peak, held_before + walk.backward_peak())
    return peak


class PassMemory:
    """One pass through a plan: sizes of values in bytes of one image, and how long tensors live."""

    def __init__(self, plan: Plan, layers: LayerMemories, image_bytes: int) -> None:
        self.plan, channels = plan, plan.channels()
        self.layers = {node.name: layers(node) for node in plan.layers()}
        self.width: dict[str, int] = {}
        self.elements: dict[str, int] = {}
        self.place = {node.name: i for i, node in enumerate(plan.nodes)}
        self.end = len(plan.nodes) - 1
        self.last = self.place | {name: self.place[node.name] for node in plan.nodes for name in node.inputs}
        for node in plan.nodes:
            self.elements[node.name] = (
                prod(node.size) * channels[node.space] if node.space else sum(self.elements[i] for i in node.inputs)
            )
            self.width[node.name] = self._width(node, image_bytes)
        self.tensors = self._tensors()

    def _width(self, node: Node, image_bytes: int) -> int:
        if node.name in self.layers:
            return self.layers[node.name].result
        return max((self.width[name] for name in node.inputs), default=image_bytes)

    def bytes_of(self, name: str) -> int:
        """Return the size of a node's value."""
        return self.elements[name] * self.width[name]

    def _tensors(self) -> Mapping[tuple[str, int, str], tuple[int, int, int]]:
        """Return the tensors that are kept: bytes, the place at which each is made, and that whose return frees it."""
        found: dict[tuple[str, int, str], tuple[int, int, int]] = {}

        def keep(value: str, width: int, owner: str, first: int, last: int) -> None:
            size, since, until = found.get((value, width, owner), (self.elements[value] * width, first, last))
            found[value, width, owner] = size, min(since, first), min(until, last)

        for node in self.plan.nodes:
            place = self.place[node.name]
            if node.kind == "act" and node.act in KEEPS_RESULT:
                keep(node.name, self.width[node.name], "", place, place)
            elif node.kind in KEEPS_INPUT or (node.kind == "act" and node.act != "none"):
                layer = self.layers.get(node.name)
                joins = layer is not None and len(node.inputs) > 1
                for value in node.inputs:
                    for width in (self.width[value],) if layer is None else layer.inputs:
                        own = joins or width != self.width[value]  # a copy
                        keep(value, width, node.name if own else "", place if own else self.place[value], place)
                    for i, width in enumerate(() if layer is None else layer.copies):
                        keep(value, width, f"{node.name} {i}", place, place)
        return found

    def kept(self) -> int:
        """Return the bytes that are kept when the pass has been computed."""
        return sum(size for size, _, _ in self.tensors.values())

    def forward_peak(self) -> int:
        """Return the most bytes that are held while the pass is computed."""
        shared = {value for value, _, owner in self.tensors if not owner}
        spans = [(size, since, self.end) for size, since, _ in self.tensors.values()]
        spans += [(self.bytes_of(name), at, self.last[name]) for name, at in self.place.items() if name not in shared]
        return max(map(sum, zip(self._held(spans), map(self._workspace, self.plan.nodes), strict=True)))

    def backward_peak(self) -> int:
        """Return the most bytes beyond those of `kept` that are held while the pass is gone back through."""
        spans = [(-size, 0, until - 1) for size, _, until in self.tensors.values()]  # freed by then
        spans += [(self.bytes_of(name), at, self.last[name]) for name, at in self.place.items() if at]  # gradients
        return max(map(sum, zip(self._held(spans), map(self._workspace, self.plan.nodes), strict=True)))

    def _held(self, spans: Sequence[tuple[int, int, int]]) -> list[int]:
        """Return the bytes that are held at each node, of (bytes, first place, last place)."""
        changes = [0] * (self.end + 2)
        for size, first, last in spans:
            changes[first] += size
            changes[last + 1] -= size
        return list(accumulate(changes))[:-1]

    def _workspace(self, node: Node) -> int:
        layer = self.layers.get(node.name)
        if layer is None:
            return 0
        inputs = sum(self.elements[name] for name in node.inputs)
        unfolded = 0
        if layer.unfolds and node.kernel > 1 and not node.depthwise:
            channels = inputs // prod(self.plan.by_name[node.inputs[0]].size)
            unfolded = node.kernel**2 * channels * prod(node.size) * layer.result
        return layer.workspace * (inputs + self.elements[node.name]) + unfolded
