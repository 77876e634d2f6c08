"""A network as data: a graph of nodes over channel spaces. Imports no torch.

A *space* is a set of channels that several nodes share: the output of the stem, a residual stream (one space for all
blocks that add to it), the hidden channels of one block. Widths are properties of spaces, never of layers, so
producers and consumers cannot disagree. A *node* is one operation; its value and its module carry its name.
`nets/writer.py` writes plans, `nets/tables.py` decodes a net's yaml through it, and `nets/net.py` computes them.
"""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shiftaddaug.nets.node_checks import check_node, check_positive, check_size, check_space
from shiftaddaug.nets.nodes import WEIGHTED, WITH_MODULES, Level, Node, Space, stride_after, with_modules
from shiftaddaug.nets.sizes import Size
from shiftaddaug.nets.units import Ends, ends, without

if TYPE_CHECKING:
    from shiftaddaug.nets.spec import SubnetSpec

Step = tuple[Node, tuple[str, ...]]
"""A node, and the values that nobody reads after it."""


@dataclass(frozen=True)
class Plan:
    """A whole network. Layers are named as they are in the state dict of the built network."""

    name: str
    image_size: Size
    spaces: tuple[Space, ...]
    nodes: tuple[Node, ...]
    """Nodes in the order in which they are computed. Another order rounds gradients otherwise."""
    outputs: tuple[tuple[str, str], ...]
    """Name and node of each result; the first is the headline one."""
    levels: tuple[Level, ...] = ()
    """Feature maps that a decoder may read, finest first."""
    registered: tuple[str, ...] = ()
    """Nodes with modules, in the order of parameters, of optimiser state and of random draws."""

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name. Nobody may change the dict."""
        return {node.name: node for node in self.nodes}

    def channels(self) -> dict[str, int]:
        """Target channels by space name."""
        return {space.name: space.channels for space in self.spaces}

    def index(self) -> dict[str, int]:
        """Position in `spaces` by space name."""
        return {space.name: i for i, space in enumerate(self.spaces)}

    @property
    def num_classes(self) -> int:
        """Channels of the headline output."""
        return self.channels()[self.by_name[self.outputs[0][1]].space]

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return self.channels()[self.nodes[0].space]

    @property
    def total_stride(self) -> int:
        """Stride of the coarsest feature map."""
        return max(self.strides().values())

    def strides(self) -> dict[str, int]:
        """Stride of every value by node name; 0 for pooled values."""
        strides: dict[str, int] = {}
        for node in self.nodes:
            strides[node.name] = stride_after(node, [strides[name] for name in node.inputs])
        return strides

    def layers(self) -> tuple[Node, ...]:
        """Every layer with weights, in the order of execution."""
        return tuple(node for node in self.nodes if node.kind in WEIGHTED)

    def sources(self, node: Node) -> tuple[str, ...]:
        """Spaces of what a node reads, one for each input."""
        return tuple(self.by_name[name].space for name in node.inputs)

    def is_normalised(self, node: Node) -> bool:
        """Whether batch-norms are all that reads a node's value: they absorb a scale of its channels."""
        readers = [other for other in self.nodes if node.name in other.inputs]
        return bool(readers) and all(other.kind == "norm" for other in readers)

    def units(self) -> dict[str, tuple[Node, ...]]:
        """Nodes of each block by its name, in the order of execution."""
        units: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.unit:
                units.setdefault(node.unit, []).append(node)
        return {name: tuple(nodes) for name, nodes in units.items()}

    def at(self, spec: "SubnetSpec") -> "Plan":
        """Return the plan of a sub-network: what it computes, and so what it costs.

        A block that fades is still in it.

        Args:
            spec: of this plan's spaces. The plan of a supernet with extra blocks is `Supernet.graph`.

        Raises:
            ValueError: a spec that no sub-network of this plan has.
        """
        self.check(spec)
        kernels, widths = dict(spec.kernels), zip(self.spaces, spec.channels, strict=True)
        whole = replace(
            self,
            spaces=tuple(replace(space, channels=channels) for space, channels in widths),
            nodes=tuple(replace(node, kernel=kernels.get(node.name, node.kernel)) for node in self.nodes),
        )
        return without(whole, spec.skipped)

    def check(self, spec: "SubnetSpec") -> None:
        """Refuse a spec that no sub-network of this plan has, but for widths: how far it is widened it does not say.

        Raises:
            ValueError: a wrong number of channels; names of layers or blocks that are not there, or cannot be told so.
        """
        if len(spec.channels) != len(self.spaces):
            raise ValueError(f"channels: {len(spec.channels)} for {len(self.spaces)} spaces of net={self.name}")
        for i, channels in self._kept:
            if spec.channels[i] != channels:
                raise ValueError(f"channels of {self.spaces[i].name}: {spec.channels[i]}: must be {channels}")
        for key, units in (("skipped", spec.skipped), ("fades", [unit for unit, _ in spec.fades])):
            for unit in units:
                if unit not in self.skippable:
                    options = ", ".join(self.skippable)
                    raise ValueError(f"{key}: {unit}: no block of net={self.name} that can be; options: {options}")
        pairs = (("blends", spec.blends), ("operators", spec.operators))
        for key, layers in (("multiplied", spec.multiplied), *((key, dict(value)) for key, value in pairs)):
            for layer in layers:
                if layer not in self.by_name or self.by_name[layer].kind not in WEIGHTED:
                    raise ValueError(f"{key}: {layer}: no such layer in net={self.name}")
        for layer, kernel in spec.kernels:
            node = self.by_name.get(layer)
            if node is None or node.kind != "conv":
                raise ValueError(f"kernels: {layer}: no such convolution in net={self.name}")
            if not 1 <= kernel <= node.kernel:
                options = ", ".join(map(str, range(1, node.kernel + 1, 2)))
                raise ValueError(f"kernels: {layer}: {kernel}: no such kernel; options: {options}")

    @cached_property
    def skippable(self) -> dict[str, Ends]:
        """The units that can be skipped, in order, and their ends. Nobody may change the dict."""
        found = {unit: ends(self, unit) for unit in self.units()}
        return {unit: its for unit, its in found.items() if its is not None}

    @cached_property
    def _kept(self) -> list[tuple[int, int]]:
        """Position and channels of spaces that no sub-network changes: the image's, and a result's that is fixed."""
        results = {self.by_name[node].space for _, node in self.outputs} | {self.nodes[0].space}
        return [(i, s.channels) for i, s in enumerate(self.spaces) if s.name in results and s.kind == "fixed"]

    def last_uses(self, names: Collection[str] | None = None) -> tuple[Step, ...]:
        """The nodes that have to be computed, each with the values that nobody reads after it.

        Args:
            names: of the nodes whose values are wanted, and kept; by default the outputs.
        """
        wanted = {node for _, node in self.outputs} if names is None else set(names)
        needed = set(wanted)
        last: dict[str, str] = {}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                for name in (*node.inputs, node.name):
                    last.setdefault(name, node.name)
        over: dict[str, list[str]] = {}
        for name, reader in last.items():
            if name not in wanted:
                over.setdefault(reader, []).append(name)
        return tuple((node, tuple(over.get(node.name, ()))) for node in self.nodes if node.name in needed)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for json, without fields that have their default; `Plan.from_dict` reads them."""
        raw: dict[str, Any] = {
            "name": self.name,
            "image_size": list(self.image_size),
            "spaces": [_stated(space) for space in self.spaces],
            "nodes": [_stated(node) for node in self.nodes],
            "outputs": dict(self.outputs),
            "levels": [_stated(level) for level in self.levels],
        }
        if self.registered != with_modules(self.nodes):
            raw["registered"] = list(self.registered)
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Plan":
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: containers that no `to_dict` wrote.
        """
        nodes = tuple(Node(**_tuples(node)) for node in raw["nodes"])
        plan = cls(
            name=raw["name"],
            image_size=tuple(raw["image_size"]),  # type: ignore[arg-type]
            spaces=tuple(Space(**space) for space in raw["spaces"]),
            nodes=nodes,
            outputs=tuple(raw["outputs"].items()) if isinstance(raw["outputs"], Mapping) else (),
            levels=tuple(Level(**level) for level in raw["levels"]),
            registered=tuple(raw.get("registered", with_modules(nodes))),
        )
        _check(plan)
        return plan


def _stated(value: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from their default, as plain containers."""
    pairs = ((field, getattr(value, field.name)) for field in fields(value))
    stated = {field.name: item for field, item in pairs if field.default is MISSING or item != field.default}
    return {key: list(item) if isinstance(item, tuple) else item for key, item in stated.items()}


def _tuples(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in dict(raw).items()}


def _check(plan: Plan) -> None:
    """Refuse a plan that no writer wrote.

    Raises:
        TypeError, ValueError: the first reason.
    """
    if not isinstance(plan.name, str):
        raise TypeError(f"name={plan.name}: must be a string")
    check_size("image_size", plan.image_size)
    spaces: dict[str, Space] = {}
    for space in plan.spaces:
        check_space(space, spaces)
        spaces[space.name] = space
    nodes: dict[str, Node] = {}
    for node in plan.nodes:
        if (node.kind == "image") != (not nodes):
            raise ValueError(f"{node.name}: the first node, and no other, is the image")
        check_node(node, nodes, spaces)
        nodes[node.name] = node
    if not nodes or plan.nodes[0].size != plan.image_size:
        raise ValueError(f"no image of size {plan.image_size}")
    _check_results(plan, nodes)


def _check_results(plan: Plan, nodes: Mapping[str, Node]) -> None:
    """Refuse outputs, levels and an order of registration that do not fit the nodes."""
    if not plan.layers():
        raise ValueError("no layer with a weight")
    if not plan.outputs:
        raise ValueError("no output")
    for name, node in plan.outputs:
        if not isinstance(name, str) or node not in nodes:
            raise ValueError(f"output {name}: no such node: {node}")
    for level in plan.levels:
        check_positive("stride of a level", level.stride)
        if level.node not in nodes or nodes[level.node].space != level.space:
            raise ValueError(f"level {level.stride}: no node {level.node} of the space {level.space}")
    if sorted(plan.registered) != sorted(node.name for node in plan.nodes if node.kind in WITH_MODULES):
        raise ValueError("registered: does not name every node with a module once")
