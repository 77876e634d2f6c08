"""A network as data: every layer, and the channel spaces that connect them. Imports no torch.

A *space* is a set of channels that several layers share: the output of the stem, a residual stream (one space
for all blocks that add to it), the hidden channels of one block. Widths are properties of spaces, never of
layers, so producers and consumers cannot disagree. `nets/tables.py` decodes a net's yaml into a `NetPlan`;
`nets/plain.py` builds the deployable network from it and `nets/supernet.py` the augmented one.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Space:
    """Channels shared by the layers that produce and consume them."""

    name: str
    channels: int
    """In the target."""
    kind: Literal["fixed", "width", "hidden"]
    """What widens it: nothing, width augmentation, or expand augmentation (and its parent's width)."""
    parent: str = ""
    """Hidden spaces: the width space whose multiplier they follow."""


@dataclass(frozen=True)
class ConvPlan:
    """Convolution, batch-norm and activation. Depthwise if `depthwise`; padding is kernel // 2."""

    name: str
    source: str
    out: str
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    act: str = "none"


@dataclass(frozen=True)
class SqueezeExcitePlan:
    """Squeeze-excite on the space `channels`, through the space `mid` (arXiv 1709.01507, hard sigmoid gate)."""

    name: str
    channels: str
    mid: str
    after: int
    """Index of the block's convolution whose output it gates."""


@dataclass(frozen=True)
class BlockPlan:
    """Convolutions in sequence; then the shortcut is added, then the activation applied."""

    name: str
    convs: tuple[ConvPlan, ...]
    shortcut: Literal["none", "identity", "conv"] = "none"
    downsample: ConvPlan | None = None
    """The shortcut's convolution, if it has one."""
    squeeze_excite: SqueezeExcitePlan | None = None
    act: str = "none"

    @property
    def stride(self) -> int:
        stride = 1
        for conv in self.convs:
            stride *= conv.stride
        return stride


@dataclass(frozen=True)
class LinearPlan:
    """Linear layer with bias, and activation, on pooled features."""

    name: str
    source: str
    out: str
    act: str = "none"


@dataclass(frozen=True)
class NetPlan:
    """A whole image classifier. Layers are named as they are in the state dict of the built network."""

    name: str
    image_size: int
    spaces: tuple[Space, ...]
    stem: ConvPlan
    blocks: tuple[BlockPlan, ...]
    head: tuple[ConvPlan, ...]
    """Convolutions between the last block and pooling."""
    classifier: tuple[LinearPlan, ...]
    """Linear layers after pooling; the last one yields the logits."""

    def channels(self) -> dict[str, int]:
        """Target channels by space name."""
        return {space.name: space.channels for space in self.spaces}

    def index(self) -> dict[str, int]:
        """Position in `spaces` by space name."""
        return {space.name: i for i, space in enumerate(self.spaces)}

    @property
    def num_classes(self) -> int:
        return self.channels()[self.classifier[-1].out]

    @property
    def in_channels(self) -> int:
        return self.channels()[self.stem.source]

    @property
    def total_stride(self) -> int:
        stride = self.stem.stride
        for block in self.blocks:
            stride *= block.stride
        return stride

    def layers(self) -> Iterator["Layer"]:
        """Every layer with weights, in forward order, with the side of the square map it reads."""
        size = self.image_size
        yield Layer("stem.conv", "stem", self.stem, size)
        size = -(-size // self.stem.stride)
        for block in self.blocks:
            yield from _block_layers(block, size)
            size = -(-size // block.stride)
        for conv in self.head:
            yield Layer(f"{conv.name}.conv", "head", conv, size)
        for linear in self.classifier:
            yield Layer(linear.name, "classifier", linear, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for json; `NetPlan.from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "NetPlan":
        """Raises KeyError or TypeError on containers that no `to_dict` wrote."""
        return cls(
            name=raw["name"],
            image_size=raw["image_size"],
            spaces=tuple(Space(**space) for space in raw["spaces"]),
            stem=ConvPlan(**raw["stem"]),
            blocks=tuple(_block_from_dict(block) for block in raw["blocks"]),
            head=tuple(ConvPlan(**conv) for conv in raw["head"]),
            classifier=tuple(LinearPlan(**linear) for linear in raw["classifier"]),
        )


@dataclass(frozen=True)
class Layer:
    """A layer with weights, as the cost model and the choice of operators see it."""

    name: str
    """In the state dict, without `.weight`."""
    group: str
    """stem, blocks, se, head or classifier: what `net.mult_layers` may name."""
    plan: ConvPlan | LinearPlan
    input_size: int
    """Side of the square input map."""

    @property
    def output_size(self) -> int:
        return -(-self.input_size // self.plan.stride) if isinstance(self.plan, ConvPlan) else 1


def _block_layers(block: BlockPlan, size: int) -> Iterator[Layer]:
    entry = size
    for i, conv in enumerate(block.convs):
        yield Layer(f"{block.name}.{conv.name}.conv", "blocks", conv, size)
        size = -(-size // conv.stride)
        excite = block.squeeze_excite
        if excite is not None and excite.after == i:
            name = f"{block.name}.{excite.name}"
            yield Layer(f"{name}.reduce", "se", ConvPlan("reduce", excite.channels, excite.mid), 1)
            yield Layer(f"{name}.expand", "se", ConvPlan("expand", excite.mid, excite.channels), 1)
    if block.downsample is not None:
        yield Layer(f"{block.name}.{block.downsample.name}.conv", "blocks", block.downsample, entry)


def _block_from_dict(raw: dict[str, Any]) -> BlockPlan:
    excite, downsample = raw["squeeze_excite"], raw["downsample"]
    return BlockPlan(
        name=raw["name"],
        convs=tuple(ConvPlan(**conv) for conv in raw["convs"]),
        shortcut=raw["shortcut"],
        downsample=None if downsample is None else ConvPlan(**downsample),
        squeeze_excite=None if excite is None else SqueezeExcitePlan(**excite),
        act=raw["act"],
    )
