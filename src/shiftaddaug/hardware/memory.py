"""Memory of an integer network on a microcontroller: activations in SRAM, weights in Flash. Lower bounds, in bytes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.cost import layer_weights
from shiftaddaug.nets.nodes import Node, values_read
from shiftaddaug.nets.plan import Plan

WEIGHT_BITS = 8
"""Bits of a weight whose operator does not need less."""
VECTOR_BITS = 32
"""Bits of each channel's scale and offset (batch-norm), and of a bias."""

IN_PLACE = ("norm", "act", "gate", "add", "pad", "crop")
"""Kinds that overwrite what they read, if their result is no larger: a layer's batch-norm and activation are computed
with it, what is cropped stays where it is, and a border of no pixels is none."""


@dataclass(frozen=True)
class Peak:
    """The most that is held at once, and where."""

    bytes: int
    layer: str


@dataclass(frozen=True)
class Held:
    """What is held while a node is computed."""

    node: str
    unit: str
    pixels: Mapping[str, int]
    """Positions of the values that are held, by the space of their channels."""


def peak_sram(plan: Plan, in_place_depthwise: bool = False) -> Peak:
    """Return the most bytes of 8-bit activations that are held at once, and the node that is computed then.

    A value is held from the node that computes it to its last reader. Weights and scratch memory do not count. For
    classifiers of inverted bottlenecks it equals what MCUNet counts (`count_peak_activation_size` in its code).

    Args:
        plan: of the network.
        in_place_depthwise: whether a depthwise layer of stride 1 overwrites its input, if nobody else reads that.
    """
    channels, best = plan.channels(), Peak(0, "")
    for held in held_values(plan, in_place_depthwise):
        elements = sum(channels[space] * pixels for space, pixels in held.pixels.items())
        if elements > best.bytes:
            best = Peak(elements, held.node)
    return best


def held_values(plan: Plan, in_place_depthwise: bool = False) -> list[Held]:
    """Return what is held at every node that takes memory of its own, in the order of execution.

    It is the same for sub-networks without some blocks, but for blocks of `reread_units`: a block that is skipped hands
    on a value of the space and size of its own.
    """
    end = len(plan.nodes)
    last = {value: place for place, node in enumerate(plan.nodes) for value in values_read(node)}
    last |= dict.fromkeys(_results(plan), end)
    buffers = _buffers(plan, last, in_place_depthwise)
    until: dict[str, int] = {}
    for place, node in enumerate(plan.nodes):
        if node.name in buffers:
            owner = buffers[node.name]
            until[owner] = max(until.get(owner, 0), last.get(node.name, place))
    found, live = list[Held](), dict[str, Node]()
    for place, node in enumerate(plan.nodes):
        live = {name: each for name, each in live.items() if until[name] >= place}
        if buffers.get(node.name) == node.name:
            live[node.name] = node
            pixels: Counter[str] = Counter()
            for each in live.values():
                pixels[each.space] += prod(each.size)
            found.append(Held(node.name, node.unit, pixels))
    return found


def _results(plan: Plan) -> set[str]:
    """Return the values that are held to the end: outputs, and the parts of those that are concatenations."""
    nodes = [plan.by_name[name] for _, name in plan.outputs]
    return {name for node in nodes for name in (node.name, *(node.inputs if node.kind == "concat" else ()))}


def reread_units(plan: Plan) -> tuple[str, ...]:
    """Return the blocks that can be skipped and whose input others may read, too, in order.

    Where such a block is skipped, one value is held in place of two. A block behind such a block is one itself: without
    the first, it reads what others read.
    """
    results, found = _results(plan), list[str]()
    exits = {its.exit: unit for unit, its in plan.skippable.items()}
    for unit, its in plan.skippable.items():
        read = any(its.entry in values_read(node) and node.unit != unit for node in plan.nodes)
        if read or its.entry in results or exits.get(its.entry) in found:
            found.append(unit)
    return tuple(found)


def _buffers(plan: Plan, last: Mapping[str, int], in_place_depthwise: bool) -> dict[str, str]:
    """Return the buffer of each value by its name: that of the value which it overwrites, or its own."""
    buffers: dict[str, str] = {}
    for place, node in enumerate(plan.nodes):
        if node.kind == "concat":
            continue  # its parts are read where they lie
        over = [name for name in values_read(node) if node.kind in IN_PLACE and last[name] == place]
        if in_place_depthwise and node.depthwise and node.stride == 1 and last[node.inputs[0]] == place:
            over = list(node.inputs)
        over = [name for name in over if prod(plan.by_name[name].size) >= prod(node.size)]
        buffers[node.name] = buffers[over[-1]] if over else node.name
    return buffers


def flash_bytes(plan: Plan, assignment: Assignment[Any]) -> int:
    """Return the bytes of all weights, scales, offsets and biases: without code, and so a lower bound.

    A weight has as many bits as its operator stores, 8 at most.
    """
    bits = sum(
        layer_weights(plan, layer) * min(assignment[layer.name].arithmetic.weight_bits, WEIGHT_BITS)
        for layer in plan.layers()
    )
    channels = plan.channels()
    vectors = sum(channels[node.space] * (2 if node.kind == "norm" else node.bias) for node in plan.nodes if node.space)
    return -(-(bits + vectors * VECTOR_BITS) // 8)
