"""A tiny encoder with five strides and every architecture after it, for tests."""

import re
from typing import Any

import torch
from tests.build import make_supernet, read_yaml, unsettled
from torch import Tensor, nn

from shiftaddaug import operators
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.nets.build import assign, build_plain
from shiftaddaug.nets.net import Net
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


def plain(plan: Plan) -> Net:
    """A multiplicative network of a plan, every parameter drawn, in float64."""
    net = build_plain(plan, assign(plan, operators.build("mult"))).double()
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return unsettled(net)


def copy_decoder(net: Net, module: nn.Module) -> None:
    """Give their convolutions and norms, in their order, our values; depthwise layers of one concatenation are one."""
    ours: list[dict[str, Tensor]] = []
    for name in net.plan.registered:
        if name.startswith(("decoder", "segmentation_head")):
            state = {key: value.clone() for key, value in net.get_submodule(name).state_dict().items()}
            if re.search(r"depthwise\.[1-9]", name):
                ours[-1]["weight"] = torch.cat([ours[-1]["weight"], state["weight"]])
            else:
                ours.append(state)
    others = [child for child in module.modules() if isinstance(child, nn.Conv2d | nn.BatchNorm2d)]
    for child, state in zip(others, ours, strict=True):
        child.load_state_dict(state)
