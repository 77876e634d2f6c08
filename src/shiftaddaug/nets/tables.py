"""Decode an architecture table (a yaml of configs/net) into a `Plan`. Imports no torch.

A table holds `stem`, `stages`, `head` and `neck`. A stage is a list of equal-width blocks:

    {block: inverted_bottleneck, channels: 16, expand: [3, 5], kernels: [7, 3], stride: 2, act: relu6}

`block` names a file of `nets/blocks/`. `channels` and `hidden` are multiplied by `width_mult` and rounded to multiples
of `divisor`; `expand` multiplies the rounded channels that enter the block. One number in place of a list serves all
`depth` blocks. `output_stride`, which may be left out, turns strides beyond it into dilation. A stem's `pool: 3` adds a
3x3 max-pooling of stride 2, but where `stem_stride: auto` makes the stride 1. `classifier_norm: true` ends the net as
AdderNet's do (arXiv 1912.13200, in its code): a 1x1 convolution without bias, and a batch-norm on the logits.

Stem and stages are the encoder. An architecture (`nets/archs/`) follows it: head, neck and classifier, or a decoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets import archs, blocks
from shiftaddaug.nets.arch import ArchSettings, Encoder
from shiftaddaug.nets.entry import Entry, Scaling, act_of
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import Size, as_size, shown_size
from shiftaddaug.nets.writer import IMAGE, Writer

DEEPEST = 1000
"""Blocks of a stage: more are a mistake, or a damaged file that would never be built."""
SMALL_IMAGE = 48
"""Images whose larger side has up to so many pixels get a stride-1 stem unless `net.stem_stride` says otherwise."""


def plan_net(
    table: Mapping[str, Any],
    num_classes: int,
    in_channels: int,
    image_size: int | Sequence[int],
    catalogue: Catalogue = PACKAGE_ONLY,
    arch: Mapping[str, Any] = archs.DEFAULT,
) -> Plan:
    """The plan of the target network.

    Args:
        table: a net's yaml, as plain containers.
        num_classes: channels of the logits.
        in_channels: channels of the image.
        image_size: side of a square image, or [height, width], pixels.
        catalogue: of the package and the plugins in use, whose blocks the table may name.
        arch: what follows the table's stages, a yaml of configs/arch, as plain containers.

    Raises:
        UserError: an entry no network can be built from, an image smaller than the net's total stride, or an
            architecture that needs other feature maps than the net has.
    """
    settings = archs.check_arch(arch, catalogue)
    try:
        plan = _decode(table, settings, num_classes, in_channels, as_size(image_size), catalogue)
        total_stride = plan.total_stride
    except UserError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"net={table.get('name')}: no network can be built from its table ({reason})") from error
    if min(plan.image_size) < total_stride:
        raise UserError(
            f"data.image_size={shown_size(image_size)}: too small for net={plan.name}, whose strides multiply to "
            f"{total_stride}; give at least {total_stride} px, or a smaller net.stem_stride"
        )
    return plan


def _decode(
    table: Mapping[str, Any],
    arch: ArchSettings,
    num_classes: int,
    in_channels: int,
    image_size: Size,
    catalogue: Catalogue,
) -> Plan:
    """Write encoder and architecture.

    What has logits of pixels pads images, of whatever size they are, to multiples of the coarsest stride.
    """
    output_stride = arch.output_stride_with(table)

    def written(multiple: int) -> tuple[Writer, Encoder]:
        writer, scaled = Writer(in_channels, image_size, output_stride), scaling(table)
        image = writer.pad("pad", IMAGE, multiple) if multiple > 1 else IMAGE
        last = write_features(writer, table, scaled, catalogue, image)
        levels = {level.stride: level.node for level in writer.levels()}
        stem = int(table["stem"].get("stride", 2)) if keeps_size(table, image_size) else 1
        key = "net.output_stride" if arch.output_stride is None else "arch.encoder_output_stride"
        _check_output_stride(writer, table, key)
        writer.end_encoder()
        return writer, Encoder(arch.name, table, scaled, image, last, levels, stem)

    writer, encoder = written(1)
    if arch.dense:
        writer, encoder = written(encoder.coarsest)
    logits = archs.find(arch.name, catalogue)(writer, arch, encoder, num_classes)
    if arch.dense and encoder.image != IMAGE:
        logits = writer.crop("crop", logits, like=IMAGE)
    wanted = image_size if arch.dense else (1, 1)
    if writer.nodes[logits].size != wanted:
        raise ValueError(f"arch={arch.name}: its logits are of {writer.nodes[logits].size}, not of {wanted}")
    return writer.plan(table["name"], {"logits": logits})


def plan_encoder(
    table: Mapping[str, Any],
    in_channels: int,
    image_size: int | Sequence[int],
    output_stride: int | None = None,
    catalogue: Catalogue = PACKAGE_ONLY,
) -> Plan:
    """The plan of a table's stem and stages alone. Its outputs are the feature maps, finest first.

    Args:
        table, in_channels, image_size, catalogue: as of `plan_net`.
        output_stride: turns strides beyond it into dilation. There are as many outputs as without: the last ones are
            then of one stride.

    Raises:
        UserError, TypeError, ValueError, LookupError: an entry that no network can be built from.
    """
    writers = [Writer(in_channels, as_size(image_size), stride) for stride in (None, output_stride)]
    for writer in writers:
        write_features(writer, table, scaling(table), catalogue)
    undilated, writer = writers
    _check_output_stride(writer, table, "output_stride")
    outputs = {f"stride{level.stride}": level.node for level in undilated.levels()}
    return writer.plan(table["name"], outputs)


def _check_output_stride(writer: Writer, table: Mapping[str, Any], key: str) -> None:
    """Refuse an output stride that lies between two strides of the encoder.

    Raises:
        UserError: naming the strides.
    """
    strides = [level.stride for level in writer.levels()]
    if writer.dilated and max(strides) != writer.output_stride:
        raise UserError(
            f"{key}={writer.output_stride}: net={table.get('name')} has feature maps at strides "
            f"{', '.join(map(str, strides))} up to there; options: one of them, null"
        )


def scaling(table: Mapping[str, Any]) -> Scaling:
    """Return how a table's widths become channels.

    Raises:
        UserError: its width_mult is not positive.
    """
    scaled = Scaling(float(table.get("width_mult", 1.0)), int(table.get("divisor", 8)))
    if scaled.width_mult <= 0:
        raise UserError(f"net.width_mult={scaled.width_mult}: must be positive")
    return scaled


def write_features(
    writer: Writer, table: Mapping[str, Any], scaled: Scaling, catalogue: Catalogue = PACKAGE_ONLY, image: str = IMAGE
) -> str:
    """Write stem and stages, record the levels, and return the last block's value.

    Args:
        writer: writes.
        table: as of `plan_net`.
        scaled: how its widths become channels.
        catalogue: as of `plan_net`.
        image: the value that the stem reads.

    Raises:
        UserError, TypeError, ValueError, LookupError: an entry that no network can be built from.
    """
    stem = table["stem"]
    with writer.part("stem"):
        out = writer.space("stem", scaled(stem["channels"]), "width")
        options = {"kernel": stem.get("kernel", 3), "stride": _stem_stride(table, writer.image_size)}
        value = writer.level(writer.conv_norm_act("stem", image, out=out, act=act_of(stem), **options))
        if stem.get("pool") is not None and not keeps_size(table, writer.image_size):
            value = writer.level(writer.max_pool("stem.pool", value, kernel=stem["pool"], stride=2))
    count = 0
    for stage in table["stages"]:
        write = blocks.find(stage.get("block"), catalogue)
        for i in range(depth_of(stage)):
            values = {key: value_of(item, i) for key, item in stage.items()}
            entry = Entry(f"blocks.{count}", values | {"stride": stage.get("stride", 1)}, i == 0, scaled)
            with writer.part("blocks", entry.name):
                value = writer.level(write(writer, entry, value))
            count += 1
    return value


def keeps_size(table: Mapping[str, Any], image_size: Size) -> bool:
    """Whether the image is so small that the stem keeps its size, unless the table says otherwise."""
    return table.get("stem_stride", "auto") == "auto" and max(image_size) <= SMALL_IMAGE


def _stem_stride(table: Mapping[str, Any], image_size: Size) -> int:
    stride = table.get("stem_stride", "auto")
    if stride == "auto":
        return 1 if keeps_size(table, image_size) else int(table["stem"].get("stride", 2))
    if not isinstance(stride, int) or stride < 1:
        raise UserError(f"net.stem_stride={stride}: must be 'auto' or a positive integer")
    return stride


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def value_of(value: Any, place: int) -> Any:
    """Return what a value of a stage's key says of one of its blocks."""
    return value[place] if _is_list(value) else value


def depth_of(stage: Mapping[str, Any]) -> int:
    """Return how many blocks a stage has.

    Raises:
        UserError: it contradicts itself.
    """
    lengths = {len(value) for value in stage.values() if _is_list(value)}
    if "depth" in stage:
        lengths.add(int(stage["depth"]))
    if len(lengths) > 1:
        raise UserError(f"net.stages: lists of different lengths in {dict(stage)}")
    depth = lengths.pop() if lengths else 1
    if not 0 <= depth <= DEEPEST:
        raise UserError(f"net.stages: depth={str(depth)[:20]}: must be between 0 and {DEEPEST} blocks")
    return depth
