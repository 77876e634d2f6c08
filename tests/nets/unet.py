"""A little network of an encoder and a decoder with skip connections, for tests."""

from typing import Any

import torch
from tests.build import images as noise
from tests.build import make_supernet, unsettled
from torch import Tensor

from shiftaddaug.hybrid.sharing import PLAIN, Sharing
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import scaling, write_features
from shiftaddaug.nets.writer import Writer

TABLE: dict[str, Any] = {
    "name": "unet",
    "divisor": 2,
    "stem": {"channels": 4, "stride": 2},
    "stages": [
        {"block": "inverted_bottleneck", "channels": 4, "expand": 2, "depth": 2, "se": True},
        {"block": "inverted_bottleneck", "channels": 6, "expand": 2, "stride": 2, "depth": 2},
        {"block": "basic", "channels": 8, "stride": 2, "act": "relu"},
    ],
}
CLASSES, SIZE = 3, (50, 70)
"""Odd sizes: 25 x 35, 13 x 18, 7 x 9."""


def unet_plan(output_stride: int | None = None) -> Plan:
    """From the coarsest level up: enlarged, and read together with the next finer one."""
    writer = Writer(3, SIZE, output_stride)
    value = write_features(writer, TABLE, scaling(TABLE))
    skips = [level.node for level in writer.levels()][-2::-1]
    for i, skip in enumerate(skips):
        name = f"decoder.{i}"
        with writer.part("decoder", name):
            up = writer.upsample(f"{name}.up", value, like=skip)
            space = writer.space(name, 6, "width")
            value = writer.conv_norm_act(name, up, skip, out=space, kernel=3, act="relu")
    with writer.part("classifier"):
        logits = writer.conv("classifier", value, out=writer.space("classes", CLASSES, "fixed"), bias=True)
    return writer.plan("unet", {"logits": logits, "features": value})


def make_unet(op: str = "mult", sharing: Sharing = PLAIN, width: float = 2.0, extra_blocks: int = 1) -> Supernet:
    """A supernet of it, every batch-norm moved off its initial state."""
    net = make_supernet(
        unet_plan(),
        op,
        ["stem", "se", "classifier"],
        width_multipliers=(1.0, width),
        expand_multipliers=(1.0, 1.5),
        divisor=2,
        extra_blocks=extra_blocks,
        sharing=sharing,
    )
    return unsettled(net)


def images(size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float32) -> Tensor:
    """Two of them."""
    return noise(2, size=size, dtype=dtype)
