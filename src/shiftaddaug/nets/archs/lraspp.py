"""LR-ASPP (MobileNetV3, arXiv 1905.02244, section 6.4): coarse features gated by their mean, fine ones beside them.

The topology is that of `torchvision.models.segmentation.LRASPP`.

NOTE: as there, the mean is over all positions (the paper pools 49 x 49), and the gate is a sigmoid.
"""

from dataclasses import dataclass

from shiftaddaug.nets.arch import CLASSIFIER, DilatedSettings, Encoder
from shiftaddaug.nets.nodes import GATE
from shiftaddaug.nets.settings import WidthOrShare
from shiftaddaug.nets.writer import Writer

FINE = 8
"""Stride of the fine feature map."""


@dataclass(frozen=True)
class LrasppSettings(DilatedSettings):
    """Keys of configs/arch/lraspp.yaml."""

    inter_channels: WidthOrShare


SETTINGS = LrasppSettings


def write(writer: Writer, settings: LrasppSettings, encoder: Encoder, outputs: int) -> str:
    """Write the gated coarse features, and the sum of the logits of both."""
    if FINE not in encoder.levels or encoder.coarsest <= FINE:
        raise encoder.refuse(f"a feature map at stride {FINE} and a coarser one")
    coarse, fine = encoder.last, encoder.levels[FINE]
    with writer.part("decoder", "decoder"):
        out = writer.space("decoder", encoder.scaled(settings.inter_channels), "width")
        y = writer.conv_norm_act("decoder.cbr", coarse, out=out, act="relu")
        scale = writer.conv("decoder.scale", writer.pool("decoder.pool", coarse), out=out, group=GATE)
        y = writer.gate("decoder.gate", y, scale, mode="sigmoid")
        y = writer.upsample("decoder.up", y, like=fine)
    with writer.part(CLASSIFIER):
        classes = writer.space("classes", outputs, "fixed")
        low = writer.conv("segmentation_head.low", fine, out=classes, bias=True)
        high = writer.conv("segmentation_head.high", y, out=classes, bias=True)
        y = writer.add("segmentation_head.add", low, high)
        return writer.upsample("upsample", y, like=encoder.image)
