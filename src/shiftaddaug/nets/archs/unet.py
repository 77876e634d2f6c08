"""U-Net's decoder (arXiv 1505.04597): from the coarsest feature map up, each joined with the next finer one.

The topology is that of `smp.Unet` (segmentation_models_pytorch) without attention and without a block in the centre:
nearest enlargement, two 3x3 convolutions a block, the last block at the image's size, a 3x3 convolution for the logits.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from shiftaddaug.nets.arch import MODES, ArchSettings, Encoder, Interpolation, segmentation_head
from shiftaddaug.nets.settings import WidthOrShare
from shiftaddaug.nets.writer import Writer


@dataclass(frozen=True)
class UnetSettings(ArchSettings):
    """Keys of configs/arch/unet.yaml."""

    decoder_channels: Annotated[list[WidthOrShare], Meta(min_length=1)]
    decoder_interpolation: Interpolation = "nearest"


SETTINGS = UnetSettings


def write(writer: Writer, settings: UnetSettings, encoder: Encoder, outputs: int) -> str:
    """Write a block for each of `decoder_channels`, coarsest first, and the head."""
    strides, value = _strides(settings, encoder), encoder.last
    skips = [encoder.levels[stride] for stride in strides[-2::-1]]
    mode = MODES[settings.decoder_interpolation]
    for i, width in enumerate(settings.decoder_channels):
        name, skip = f"decoder.blocks.{i}", skips[i : i + 1]
        with writer.part("decoder", name):
            up = writer.upsample(f"{name}.up", value, like=skip[0] if skip else encoder.image, mode=mode)
            out = writer.space(name, encoder.scaled(width), "width")
            hidden = writer.space(f"{name}.hidden", encoder.scaled(width), "hidden", parent=out)
            y = writer.conv_norm_act(f"{name}.conv1", up, *skip, out=hidden, kernel=3, act="relu")
            value = writer.conv_norm_act(f"{name}.conv2", y, out=out, kernel=3, act="relu")
    return segmentation_head(writer, encoder, value, outputs=outputs, kernel=3)


def _strides(settings: UnetSettings, encoder: Encoder) -> list[int]:
    """Return the strides that are read: 2, 4, 8, ..., as many as there are widths."""
    count = len(settings.decoder_channels)
    strides, found = [2**i for i in range(1, count + 1)], [stride for stride in encoder.levels if stride > 1]
    if found != strides:
        halving = bool(found) and found == [2**i for i in range(1, len(found) + 1)]
        shorter = ",".join(f"{width:g}" for width in settings.decoder_channels[-len(found) :])
        widths = f"arch.decoder_channels=[{shorter}]" if len(found) < count else f"{len(found)} arch.decoder_channels"
        raise encoder.refuse(
            f"feature maps at strides {', '.join(map(str, strides))}, as arch.decoder_channels holds {count} widths",
            *([widths] if halving else []),
        )
    return strides
