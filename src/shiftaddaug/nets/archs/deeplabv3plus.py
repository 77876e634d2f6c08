"""DeepLabv3+'s decoder (arXiv 1802.02611): atrous spatial pyramid pooling, and a fine feature map beside it.

The topology is that of `smp.DeepLabV3Plus` (segmentation_models_pytorch), in training as in evaluation: one image gives
the batch-norm of the pooled branch one value of each channel, so that a batch of one image cannot be trained on.

NOTE: no dropout: nets as small as these underfit.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from shiftaddaug.nets.arch import DilatedSettings, Encoder, segmentation_head, separable
from shiftaddaug.nets.settings import WidthOrShare
from shiftaddaug.nets.writer import Writer

FINE = 4
"""Stride of the fine feature map."""

Rate = Annotated[int, Meta(ge=1, le=1000)]
Rates = Annotated[list[Rate], Meta(min_length=1, title="a list of dilations, such as [3,6,9]")]


@dataclass(frozen=True)
class DeepLabV3PlusSettings(DilatedSettings):
    """Keys of configs/arch/deeplabv3plus.yaml."""

    decoder_channels: WidthOrShare
    decoder_highres_channels: WidthOrShare
    decoder_atrous_rates: Rates
    decoder_aspp_separable: bool = True
    decoder_depthwise_norm: bool = False
    """Whether a batch-norm follows the depthwise convolutions, too (as in the paper's code, not in smp's)."""


SETTINGS = DeepLabV3PlusSettings


def write(writer: Writer, settings: DeepLabV3PlusSettings, encoder: Encoder, outputs: int) -> str:
    """Write the pyramid, join it with the fine feature map, and write the head."""
    if FINE not in encoder.levels or encoder.coarsest <= FINE:
        raise encoder.refuse(f"a feature map at stride {FINE} and a coarser one")
    width, fine, norm = encoder.scaled(settings.decoder_channels), encoder.levels[FINE], settings.decoder_depthwise_norm
    coarse = _write_aspp(writer, settings, width, encoder.last)
    with writer.part("decoder", "decoder.refine"):
        out = writer.space("decoder.refine", width, "width")
        coarse = separable(writer, "decoder.refine", coarse, out=out, depthwise_norm=norm)
        coarse = writer.upsample("decoder.refine.up", coarse, like=fine, mode="aligned")
    with writer.part("decoder", "decoder.block1"):
        out = writer.space("decoder.block1", encoder.scaled(settings.decoder_highres_channels), "width")
        fine = writer.conv_norm_act("decoder.block1", fine, out=out, act="relu")
    with writer.part("decoder", "decoder.block2"):
        out = writer.space("decoder.block2", width, "width")
        value = separable(writer, "decoder.block2", coarse, fine, out=out, depthwise_norm=norm)
    return segmentation_head(writer, encoder, value, outputs=outputs)


def _write_aspp(writer: Writer, settings: DeepLabV3PlusSettings, width: int, value: str) -> str:
    """Write a 1x1 convolution, one of each rate, and the mean over all positions, joined by a 1x1 convolution."""
    name = "decoder.aspp"
    with writer.part("decoder", name):
        out = writer.space(name, width, "width")

        def branch(i: int) -> str:
            return writer.space(f"{name}.convs.{i}", width, "hidden", parent=out)

        branches = [writer.conv_norm_act(f"{name}.convs.0", value, out=branch(0), act="relu")]
        for i, rate in enumerate(settings.decoder_atrous_rates, start=1):
            own, space = f"{name}.convs.{i}", branch(i)
            if settings.decoder_aspp_separable:
                norm = settings.decoder_depthwise_norm
                y = separable(writer, own, value, out=space, dilation=rate, depthwise_norm=norm)
            else:
                y = writer.conv_norm_act(own, value, out=space, kernel=3, dilation=rate, act="relu")
            branches.append(y)
        last = len(branches)
        pooled = writer.pool(f"{name}.convs.{last}.pool", value)
        pooled = writer.conv_norm_act(f"{name}.convs.{last}", pooled, out=branch(last), act="relu")
        branches.append(writer.upsample(f"{name}.convs.{last}.up", pooled, like=value))
        return writer.conv_norm_act(f"{name}.project", *branches, out=out, act="relu")
