"""A feature pyramid for segmentation (arXiv 1612.03144; 1901.02446, figure 3): the four coarsest maps, summed from the
coarsest up, each enlarged to the finest one's size and merged.

The topology is that of `smp.FPN` (segmentation_models_pytorch).

NOTE: batch-norm where that has a group-norm over 32 groups: it costs nothing once deployed, and needs no 32 channels;
no dropout: nets as small as these underfit.
"""

from dataclasses import dataclass
from typing import Literal

from shiftaddaug.nets.arch import MODES, ArchSettings, Encoder, Interpolation, segmentation_head
from shiftaddaug.nets.settings import WidthOrShare
from shiftaddaug.nets.writer import Writer

MAPS = 4
"""Feature maps that are read."""


@dataclass(frozen=True)
class FpnSettings(ArchSettings):
    """Keys of configs/arch/fpn.yaml."""

    decoder_pyramid_channels: WidthOrShare
    decoder_segmentation_channels: WidthOrShare
    decoder_merge_policy: Literal["add", "cat"] = "add"
    decoder_interpolation: Interpolation = "nearest"
    decoder_lateral_norm: bool = False
    """Whether a batch-norm follows the 1x1 convolutions of the encoder's maps (ours)."""


SETTINGS = FpnSettings


def write(writer: Writer, settings: FpnSettings, encoder: Encoder, outputs: int) -> str:
    """Write pyramid, segmentation blocks and head."""
    if len(encoder.levels) < MAPS:
        raise encoder.refuse(f"feature maps at {MAPS} strides")
    pyramid = _write_pyramid(writer, settings, encoder, list(encoder.levels.values())[: -MAPS - 1 : -1])
    merged = _write_blocks(writer, settings, encoder, pyramid)
    return segmentation_head(writer, encoder, *merged, outputs=outputs)


def _write_pyramid(writer: Writer, settings: FpnSettings, encoder: Encoder, maps: list[str]) -> list[str]:
    """Write p5 to p2 of maps, coarsest first, and return them."""
    space = writer.space("decoder.pyramid", encoder.scaled(settings.decoder_pyramid_channels), "width")
    mode, pyramid = MODES[settings.decoder_interpolation], list[str]()
    for number, value in zip(range(MAPS + 1, 1, -1), maps, strict=True):
        name = f"decoder.p{number}"
        with writer.part("decoder", name):
            lateral = writer.conv(f"{name}.conv", value, out=space, bias=not settings.decoder_lateral_norm)
            if settings.decoder_lateral_norm:
                lateral = writer.norm(f"{name}.norm", lateral)
            if pyramid:
                up = writer.upsample(f"{name}.up", pyramid[-1], like=value, mode=mode)
                lateral = writer.add(f"{name}.add", up, lateral)
        pyramid.append(lateral)
    return pyramid


def _write_blocks(writer: Writer, settings: FpnSettings, encoder: Encoder, pyramid: list[str]) -> list[str]:
    """Write what brings each map to the finest one's size, and their sum; return it, or all to be concatenated."""
    width, adds = encoder.scaled(settings.decoder_segmentation_channels), settings.decoder_merge_policy == "add"
    summed = writer.space("decoder.merge", width, "width") if adds else ""
    results = []
    for i, value in enumerate(pyramid):
        name, finer = f"decoder.seg_blocks.{i}", pyramid[i + 1 :]
        with writer.part("decoder", name):
            out = summed or writer.space(name, width, "width")
            for j, like in enumerate(finer or [""]):
                last = j >= len(finer) - 1
                space = out if last else writer.space(f"{name}.{j}", width, "hidden", parent=out)
                value = writer.conv_norm_act(f"{name}.{j}", value, out=space, kernel=3, act="relu")
                value = writer.upsample(f"{name}.{j}.up", value, like=like, mode="aligned") if like else value
        results.append(value)
    if not adds:
        return results
    with writer.part("decoder", "decoder.merge"):
        total = results[0]
        for i, value in enumerate(results[1:]):
            total = writer.add(f"decoder.merge.{i}", total, value)
    return [total]
