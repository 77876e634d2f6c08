"""Decode an architecture table (a yaml of configs/net) into a `NetPlan`. Imports no torch.

A table holds `stem`, `stages`, `head` and `neck`. A stage is a list of equal-width blocks:

    {block: inverted_bottleneck, channels: 16, expand: [3, 5], kernels: [7, 3], stride: 2, act: relu6}

`channels` and `hidden` are multiplied by `width_mult` and rounded to multiples of `divisor`; `expand` multiplies
the rounded channels that enter the block. One number in place of a list serves all `depth` blocks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import BlockPlan, ConvPlan, LinearPlan, NetPlan, Space, SqueezeExcitePlan

SMALL_IMAGE = 48
"""Images up to this side (pixels) get a stride-1 stem unless `net.stem_stride` says otherwise."""

SE_RATIO, SE_MIN_CHANNELS = 4, 16
"""Squeeze-excite reduction, and its least width (MobileNetV3 as NetAug builds it)."""

BLOCKS = ("inverted_bottleneck", "depthwise_separable", "basic")
ACTS = ("none", "relu", "relu6", "h_swish")


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least one divisor and at least 90 % of `value` (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def plan_net(table: Mapping[str, Any], num_classes: int, in_channels: int, image_size: int) -> NetPlan:
    """The plan of the target network.

    Args:
        table: a net's yaml, as plain containers.
        num_classes: width of the classifier.
        in_channels: channels of the image.
        image_size: side of the square image, pixels.

    Raises:
        UserError: an entry no network can be built from, or an image smaller than the net's total stride.
    """
    try:
        plan = _Decoder(table).decode(num_classes, in_channels, image_size)
        total_stride = plan.total_stride
        too_small = image_size < total_stride
    except UserError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"net={table.get('name')}: no network can be built from its table ({reason})") from error
    if too_small:
        raise UserError(
            f"data.image_size={image_size}: too small for net={plan.name}, whose strides multiply to "
            f"{total_stride}; give at least {total_stride} px, or a smaller net.stem_stride"
        )
    return plan


class _Decoder:
    """Walks a table once, collecting spaces and blocks."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table
        self.divisor = int(table.get("divisor", 8))
        self.width_mult = float(table.get("width_mult", 1.0))
        if self.width_mult <= 0:
            raise UserError(f"net.width_mult={self.width_mult}: must be positive")
        self.spaces: dict[str, Space] = {}
        self.blocks: list[BlockPlan] = []

    def space(self, name: str, channels: int, kind: Any, parent: str = "") -> str:
        self.spaces[name] = Space(name, channels, kind, parent)
        return name

    def scaled(self, channels: float) -> int:
        return make_divisible(channels * self.width_mult, self.divisor)

    def decode(self, num_classes: int, in_channels: int, image_size: int) -> NetPlan:
        table = self.table
        image = self.space("image", in_channels, "fixed")
        stem = ConvPlan(
            "stem",
            image,
            self.space("stem", self.scaled(table["stem"]["channels"]), "width"),
            kernel=table["stem"].get("kernel", 3),
            stride=self._stem_stride(image_size),
            act=_act(table["stem"]),
        )
        stream = stem.out
        for stage in table["stages"]:
            stream = self._stage(stage, stream)
        head, stream = self._head(stream)
        classifier = self._classifier(stream, num_classes)
        return NetPlan(
            table["name"], image_size, tuple(self.spaces.values()), stem, tuple(self.blocks), head, classifier
        )

    def _stem_stride(self, image_size: int) -> int:
        stride = self.table.get("stem_stride", "auto")
        if stride == "auto":
            return 1 if image_size <= SMALL_IMAGE else int(self.table["stem"].get("stride", 2))
        if not isinstance(stride, int) or stride < 1:
            raise UserError(f"net.stem_stride={stride}: must be 'auto' or a positive integer")
        return stride

    def _stage(self, stage: Mapping[str, Any], stream: str) -> str:
        kind = stage.get("block")
        if kind not in BLOCKS:
            raise UserError(f"net.stages: block={kind}: no such block; options: {', '.join(BLOCKS)}")
        depth = _depth(stage)
        for i in range(depth):
            entry = {key: value[i] if isinstance(value, Sequence) and not isinstance(value, str) else value
                     for key, value in stage.items()}  # fmt: skip
            entry["stride"] = stage.get("stride", 1) if i == 0 else 1
            stream = getattr(self, f"_{kind}")(entry, stream, first=i == 0)
        return stream

    def _out(self, entry: Mapping[str, Any], stream: str, residual: bool, exact: bool = False) -> str:
        """The block's output space: its input's if it adds to that, else a new one."""
        if residual:
            return stream
        channels = int(entry["channels"]) if exact else self.scaled(entry["channels"])
        return self.space(f"blocks.{len(self.blocks)}", channels, "width")

    def _inverted_bottleneck(self, entry: Mapping[str, Any], stream: str, first: bool) -> str:
        """Expand 1x1, depthwise, [squeeze-excite], project 1x1; a residual only after a stage's first block."""
        name, act, stride = f"blocks.{len(self.blocks)}", _act(entry), entry["stride"]
        width = self.spaces[stream].channels
        channels = self.scaled(entry["hidden"]) if "hidden" in entry else make_divisible(
            round(width * entry["expand"]), self.divisor)  # fmt: skip
        residual = not first and stride == 1 and width == self.scaled(entry["channels"])
        hidden = self.space(f"{name}.hidden", channels, "hidden", parent=stream)
        out = self._out(entry, stream, residual)
        excite = None
        if entry.get("se"):
            mid = max(make_divisible(channels / SE_RATIO, self.divisor), SE_MIN_CHANNELS)
            excite = SqueezeExcitePlan("se", hidden, self.space(f"{name}.se", mid, "fixed"), after=1)
        convs = (
            ConvPlan("expand", stream, hidden, act=act),
            ConvPlan("depthwise", hidden, hidden, _kernel(entry), stride, depthwise=True, act=act),
            ConvPlan("project", hidden, out),
        )
        shortcut = "identity" if residual else "none"
        self.blocks.append(BlockPlan(name, convs, shortcut, squeeze_excite=excite))  # type: ignore[arg-type]
        return out

    def _depthwise_separable(self, entry: Mapping[str, Any], stream: str, first: bool) -> str:
        """Depthwise, then 1x1; `residual: true` in the table adds the input (MobileNetV3's first block)."""
        name, stride = f"blocks.{len(self.blocks)}", entry["stride"]
        fits = stride == 1 and self.spaces[stream].channels == self.scaled(entry["channels"])
        residual = bool(entry.get("residual", not first)) and fits
        out = self._out(entry, stream, residual)
        convs = (
            ConvPlan("depthwise", stream, stream, _kernel(entry), stride, depthwise=True, act=_act(entry)),
            ConvPlan("project", stream, out),
        )
        self.blocks.append(BlockPlan(name, convs, "identity" if residual else "none"))
        return out

    def _basic(self, entry: Mapping[str, Any], stream: str, first: bool) -> str:
        """ResNet's basic block; a 1x1 convolution is the shortcut where the shape changes, as in AdderNet's nets."""
        name, act, stride = f"blocks.{len(self.blocks)}", _act(entry), entry["stride"]
        channels = self.scaled(entry["channels"])
        residual = stride == 1 and self.spaces[stream].channels == channels
        out = self._out(entry, stream, residual)
        hidden = self.space(f"{name}.hidden", channels, "hidden", parent=out)
        convs = (
            ConvPlan("conv1", stream, hidden, _kernel(entry), stride, act=act),
            ConvPlan("conv2", hidden, out, _kernel(entry)),
        )
        downsample = None if residual else ConvPlan("downsample", stream, out, 1, stride)
        self.blocks.append(BlockPlan(name, convs, "identity" if residual else "conv", downsample, act=act))
        return out

    def _head(self, stream: str) -> tuple[tuple[ConvPlan, ...], str]:
        head = self.table.get("head")
        if not head:
            return (), stream
        channels = max(self.scaled(head["channels"]), int(head.get("min_channels", 0)))
        out = self.space("head", channels, "width")
        return (ConvPlan("head", stream, out, act=_act(head)),), out

    def _classifier(self, stream: str, num_classes: int) -> tuple[LinearPlan, ...]:
        layers = []
        neck = self.table.get("neck")
        if neck:
            channels = max(self.scaled(neck["channels"]), int(neck.get("min_channels", 0)))
            out = self.space("neck", channels, "width")
            layers.append(LinearPlan("neck", stream, out, act=_act(neck)))
            stream = out
        layers.append(LinearPlan("classifier", stream, self.space("classes", num_classes, "fixed")))
        return tuple(layers)


def _depth(stage: Mapping[str, Any]) -> int:
    lengths = {len(v) for v in stage.values() if isinstance(v, Sequence) and not isinstance(v, str)}
    if "depth" in stage:
        lengths.add(int(stage["depth"]))
    if len(lengths) > 1:
        raise UserError(f"net.stages: lists of different lengths in {dict(stage)}")
    return lengths.pop() if lengths else 1


def _kernel(entry: Mapping[str, Any]) -> int:
    kernel = int(entry.get("kernels", 3))
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"net.stages: kernels={kernel}: must be odd and positive")
    return kernel


def _act(entry: Mapping[str, Any]) -> str:
    act = str(entry.get("act", "relu6"))
    if act not in ACTS:
        raise UserError(f"net: act={act}: no such activation; options: {', '.join(ACTS)}")
    return act
