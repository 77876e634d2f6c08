"""A tiny encoder with five strides and every architecture after it, for tests."""

from typing import Any

from tests.build import make_supernet, read_yaml, unsettled

from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net

ARCHS = ("unet", "fpn", "deeplabv3plus", "lraspp")
CLASSES, SIZE, ODD = 3, (64, 96), (36, 44)
"""A size that the strides divide, and one that they do not."""

TABLE: dict[str, Any] = {
    "name": "tiny",
    "divisor": 2,
    "stem_stride": 2,
    "stem": {"channels": 4, "stride": 2},
    "stages": [
        {"block": "inverted_bottleneck", "channels": 4, "expand": 2, "depth": 2, "se": True},
        {"block": "inverted_bottleneck", "channels": 4, "expand": 2, "stride": 2},
        {"block": "basic", "channels": 6, "stride": 2, "act": "relu"},
        {"block": "inverted_bottleneck", "channels": 6, "expand": 2, "stride": 2, "depth": 2},
        {"block": "inverted_bottleneck", "channels": 8, "expand": 2, "stride": 2},
    ],
}

NARROW: dict[str, dict[str, Any]] = {
    "unet": {"decoder_channels": [8, 6, 6, 4, 4]},
    "fpn": {"decoder_pyramid_channels": 8, "decoder_segmentation_channels": 4},
    "deeplabv3plus": {"decoder_channels": 6, "decoder_highres_channels": 4, "decoder_atrous_rates": [1, 2, 3]},
    "lraspp": {"inter_channels": 6},
}


def arch_of(name: str, **keys: Any) -> dict[str, Any]:
    """The yaml of an architecture, narrowed, with other values of some keys."""
    return read_yaml("arch", name) | NARROW.get(name, {}) | keys


def plan_with(arch: str, size: tuple[int, int] = SIZE, **keys: Any) -> Plan:
    return plan_net(TABLE, CLASSES, 3, size, arch=arch_of(arch, **keys))


WIDTH: dict[str, Any] = {"width_multipliers": (1.0, 2.0), "divisor": 2}
FULL: dict[str, Any] = WIDTH | {"expand_multipliers": (1.0, 1.5), "extra_blocks": 1}


def make_masks(
    arch: str, op: str = "mult", sharing: NetSharing = PLAIN, size: tuple[int, int] = ODD, **augmentation: Any
) -> Supernet:
    """A supernet of masks, every batch-norm moved off its initial state."""
    return unsettled(make_supernet(plan_with(arch, size), op, sharing=sharing, **augmentation))
