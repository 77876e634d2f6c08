"""Write the nodes of a plan, one after the other. Imports no torch.

Sizes, strides, levels and dilations follow from what a node reads. Whatever does not fit is refused at once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from shiftaddaug.nets.node_checks import check_node, check_positive, check_space
from shiftaddaug.nets.nodes import GATE, WITH_MODULES, Level, Node, Space, padded, stride_after, strided
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import Size

IMAGE = "image"


class Writer:
    """Nodes in the order in which they are written, which is the order of execution. A value is a node's name.

    Args:
        in_channels: of the image.
        image_size: (H, W), pixels.
        output_stride: beyond it, strides become dilation: the layer that would stride keeps the dilation before it,
            and those after it have it multiplied (as torchvision's `replace_stride_with_dilation`).

    All methods raise ValueError or TypeError on a name that is taken, on unknown spaces and on shapes that do not fit,
    and KeyError on values that nobody has written.
    """

    def __init__(self, in_channels: int, image_size: Size, output_stride: int | None = None) -> None:
        if output_stride is not None:
            check_positive("output_stride", output_stride)
        self.image_size, self.output_stride = image_size, output_stride
        self.spaces: dict[str, Space] = {}
        self.nodes: dict[str, Node] = {}
        self.group = self.unit = ""
        self._strides: dict[str, int] = {}
        self._dilations: dict[str, int] = {}
        self._levels: dict[int, str] = {}
        self._add(Node(IMAGE, "image", (), self.space(IMAGE, in_channels, "fixed"), image_size))

    @contextmanager
    def part(self, group: str, unit: str = "") -> Iterator[None]:
        """Label the nodes that are written inside with a group and a unit."""
        before = self.group, self.unit
        self.group, self.unit = group, unit
        try:
            yield
        finally:
            self.group, self.unit = before

    def space(self, name: str, channels: int, kind: Literal["fixed", "width", "hidden"], parent: str = "") -> str:
        """Add a space, and return its name."""
        space = Space(name, channels, kind, parent)
        check_space(space, self.spaces)
        self.spaces[name] = space
        return name

    def parts(self, value: str) -> tuple[str, ...]:
        """Return the values that a concatenation holds in turn; of any other value, itself."""
        node = self.nodes[value]
        return node.inputs if node.kind == "concat" else (value,)

    def space_of(self, value: str) -> str:
        """Return the space of a value; of a concatenation, that of its first part."""
        return self.nodes[self.parts(value)[0]].space

    def width(self, value: str) -> int:
        """Return how many channels a value has in the target."""
        return sum(self.spaces[self.nodes[part].space].channels for part in self.parts(value))

    def stride(self, value: str) -> int:
        """Return how many pixels of the image lie between two of a value's; 0 of a pooled one."""
        return self._strides[value]

    def conv(
        self,
        name: str,
        *inputs: str,
        out: str,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        dilation: int = 1,
        group: str = "",
    ) -> str:
        """Write a convolution of one value, or of several as one concatenation; padding keeps the size.

        What `output_stride` asks for multiplies its dilation.
        """
        check_positive(f"{name}: stride", stride)
        sources = self._all_parts(inputs)
        before, turned = self._dilations[sources[0]], 1
        if self.output_stride is not None and self._strides[sources[0]] * stride > self.output_stride:
            stride, turned = 1, stride
        check_positive(f"{name}: dilation", dilation)
        dilation = before * dilation if kernel > 1 else 1
        size = strided(self.nodes[sources[0]].size, stride)
        self._add(Node(name, "conv", sources, out, size, kernel, stride, dilation, depthwise, bias, group=group))
        self._dilations[name] = before * turned
        return name

    def linear(self, name: str, *inputs: str, out: str) -> str:
        """Write a linear layer with bias, of one pooled value or of several as one concatenation."""
        return self._add(Node(name, "linear", self._all_parts(inputs), out, (1, 1), bias=True))

    def norm(self, name: str, value: str) -> str:
        """Write a batch-norm."""
        return self._like(name, "norm", value)

    def act(self, name: str, value: str, act: str) -> str:
        """Write an activation; without one (`none`) the value itself is returned."""
        return value if act == "none" else self._like(name, "act", value, act=act)

    def add(self, name: str, value: str, other: str) -> str:
        """Write a sum of two values of one space. A shortcut comes first: such a block can be skipped."""
        return self._like(name, "add", value, other)

    def gate(self, name: str, value: str, gate: str, mode: str = "") -> str:
        """Write the product of a value and the hard sigmoid (or, by `mode`, `sigmoid`) of a pooled one of its space."""
        return self._like(name, "gate", value, gate, mode=mode)

    def pool(self, name: str, value: str) -> str:
        """Write the mean over all positions."""
        return self._add(Node(name, "pool", (value,), self.nodes[value].space, (1, 1)))

    def max_pool(self, name: str, value: str, kernel: int, stride: int) -> str:
        """Write the largest value of each window; its size is that of a convolution with the same stride."""
        check_positive(f"{name}: kernel", kernel)
        check_positive(f"{name}: stride", stride)
        if self.output_stride is not None and self._strides[value] * stride > self.output_stride:
            raise ValueError(f"{name}: output_stride={self.output_stride} would dilate a max-pooling")
        node = self.nodes[value]
        return self._add(Node(name, "max_pool", (value,), node.space, strided(node.size, stride), kernel, stride))

    def upsample(self, name: str, value: str, like: str, mode: str = "") -> str:
        """Write an enlargement to the size that another value has when it is computed.

        It is bilinear; `nearest`, or `aligned`: bilinear, the centres of corners lying on each other.
        """
        like = self.parts(like)[0]
        size = self.nodes[like].size
        node = self._add(Node(name, "upsample", (value, like), self.nodes[value].space, size, mode=mode))
        self._dilations[name] = self._dilations[like]
        return node

    def pad(self, name: str, value: str, multiple: int) -> str:
        """Write a value with zeros below and to the right, up to the next multiples of a number."""
        check_positive(f"{name}: multiple", multiple)
        node = self.nodes[value]
        return self._add(Node(name, "pad", (value,), node.space, padded(node.size, multiple), multiple=multiple))

    def crop(self, name: str, value: str, like: str) -> str:
        """Write the upper left part of a value that has the size of another one when it is computed."""
        return self._add(Node(name, "crop", (value, like), self.nodes[value].space, self.nodes[like].size))

    def end_encoder(self) -> None:
        """Let strides and kernels that come from now on be what they say, whatever `output_stride` asked for before."""
        self.output_stride = None
        self._dilations = dict.fromkeys(self._dilations, 1)

    def concat(self, name: str, *inputs: str) -> str:
        """Write a concatenation. Layers that are given it read its parts, and nothing else may read it."""
        sources = self._all_parts(inputs)
        return self._add(Node(name, "concat", sources, "", self.nodes[sources[0]].size))

    def conv_norm_act(self, name: str, *inputs: str, out: str, act: str = "none", **options: Any) -> str:
        """Write a convolution, its batch-norm and its activation as name.conv, name.norm and name.act."""
        y = self.norm(f"{name}.norm", self.conv(f"{name}.conv", *inputs, out=out, **options))
        return self.act(f"{name}.act", y, act)

    def squeeze_excite(self, name: str, value: str, mid: str) -> str:
        """Write squeeze-excite through the space `mid` (arXiv 1709.01507, with a hard sigmoid gate)."""
        y = self.conv(f"{name}.reduce", self.pool(f"{name}.pool", value), out=mid, bias=True, group=GATE)
        y = self.act(f"{name}.act", y, "relu")
        y = self.conv(f"{name}.expand", y, out=self.nodes[value].space, bias=True, group=GATE)
        return self.gate(f"{name}.gate", value, y)

    def level(self, value: str) -> str:
        """Record a value as the last one at its stride so far, and return it."""
        self._levels[self._strides[value]] = value
        return value

    def levels(self) -> tuple[Level, ...]:
        """Return the recorded levels, finest first."""
        return tuple(Level(stride, node, self.nodes[node].space) for stride, node in sorted(self._levels.items()))

    def plan(self, name: str, outputs: Mapping[str, str]) -> Plan:
        """Return the plan of all that was written, with its named results."""
        nodes, spaces = tuple(self.nodes.values()), tuple(self.spaces.values())
        return Plan(name, self.image_size, spaces, nodes, tuple(outputs.items()), self.levels(), self._registered())

    def _registered(self) -> tuple[str, ...]:
        """Nodes with modules: units where their first node stands, a unit's gates after its other layers.

        Optimiser state goes by position, and random draws by order: older checkpoints have this one.
        """
        first: dict[str, int] = {}
        for i, node in enumerate(self.nodes.values()):
            first.setdefault(node.unit or node.name, i)
        nodes = [node for node in self.nodes.values() if node.kind in WITH_MODULES]
        nodes.sort(key=lambda node: (first[node.unit or node.name], node.group == GATE))
        return tuple(node.name for node in nodes)

    def _all_parts(self, inputs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(part for value in inputs for part in self.parts(value))

    def _like(self, name: str, kind: str, value: str, *others: str, act: str = "", mode: str = "") -> str:
        """Add a node of its first input's space and size."""
        first = self.nodes[value]
        return self._add(Node(name, kind, (value, *others), first.space, first.size, act=act, mode=mode))

    def _add(self, node: Node) -> str:
        node = replace(node, group=node.group or self.group, unit=self.unit)
        check_node(node, self.nodes, self.spaces)
        self.nodes[node.name] = node
        self._strides[node.name] = stride_after(node, [self._strides[name] for name in node.inputs])
        self._dilations[node.name] = self._dilations[node.inputs[0]] if node.inputs else 1
        return node.name
