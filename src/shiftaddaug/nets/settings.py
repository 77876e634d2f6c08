"""What a net's table (a yaml of configs/net) and an augmentation (configs/aug) may say. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets import blocks
from shiftaddaug.nets.node_checks import ACTS
from shiftaddaug.settings import ODD, PathName, PositiveInt, Share, Weight, check, check_group, shown

WIDEST = 2**16
"""Channels of a space, and what multiplies them: more are a mistake."""

Width = Annotated[int, Meta(ge=1, le=WIDEST)]
WidthOrShare = Annotated[float, Meta(gt=0, le=WIDEST)]
Stride = Annotated[int, Meta(ge=1, le=64)]
Multiplier = Annotated[float, Meta(ge=1, le=1000)]
Multipliers = Annotated[
    list[Multiplier], Meta(min_length=1, title="a list of numbers >= 1 and <= 1000, such as [1.0,1.6,2.2]")
]
LayerNames = Annotated[list[str], Meta(title="a list of layers; [] names none")]
Stages = Annotated[list[Any], Meta(min_length=1, title="a list of stages, such as [{block: basic, channels: 16}]")]
ExtraBlocks = Annotated[int, Meta(ge=0, le=100)]
SomeExtraBlocks = Annotated[int, Meta(ge=1, le=100)]
Kernel = Annotated[int, Meta(ge=1, le=63, extra=ODD)]
Act = Literal[ACTS]  # type: ignore[valid-type]


@dataclass(frozen=True)
class NetSettings:
    """Keys of configs/net/*.yaml; `nets/tables.py` says what they mean."""

    name: str
    stem: dict[str, Any]
    stages: Stages
    width_mult: WidthOrShare = 1.0
    divisor: Width = 8
    stem_stride: Stride | Literal["auto"] = "auto"
    mult_layers: LayerNames = ()  # type: ignore[assignment]
    head: dict[str, Any] | None = None
    neck: dict[str, Any] | None = None
    classifier_norm: bool = False
    output_stride: Stride | None = None
    width_multipliers: Multipliers = ()  # type: ignore[assignment]
    expand_multipliers: Multipliers = ()  # type: ignore[assignment]
    init_from: PathName | None = None
    freeze_encoder: bool = False
    path: PathName | None = None
    """The file that a searched net was read from (`nets/searched.py`); the other keys hold what was in it."""
    searched_at: PositiveInt | list[PositiveInt] | None = None
    surroundings: dict[str, Any] | None = None


@dataclass(frozen=True)
class StemSettings:
    """Keys of a table's stem."""

    channels: WidthOrShare
    kernel: Kernel = 3
    stride: Stride = 2
    act: Act = "relu6"
    pool: Kernel | None = None


@dataclass(frozen=True)
class HeadSettings:
    """Keys of a table's head, and of its neck."""

    channels: WidthOrShare
    act: Act = "relu6"
    min_channels: Width = 1


@dataclass(frozen=True)
class StageSettings:
    """Keys of a stage that every kind of block has; a list holds one value for each block."""

    block: str
    channels: WidthOrShare | list[WidthOrShare]
    kernels: Kernel | list[Kernel] = 3
    stride: Stride = 1
    depth: Annotated[int, Meta(ge=0, le=1000)] = 1
    act: Act | list[Act] = "relu6"


@dataclass(frozen=True)
class AugSettings:
    """Keys of configs/aug/*.yaml."""

    name: str
    weight: Weight = 1.0
    operator: Literal["mult", "same"] = "mult"
    distill_weight: Weight = 0.0
    distill_temperature: Annotated[float, Meta(ge=0.01, le=1000)] = 1.0
    width_multipliers: Multipliers = ()  # type: ignore[assignment]
    expand_multipliers: Multipliers = ()  # type: ignore[assignment]
    width_until: Share = 0.5
    expand_until: Share = 1.0
    depth_until: Share = 1.0
    divisor: Width = 8
    init: Literal["target", "widest"] = "target"
    channels: dict[str, list[Width]] = field(default_factory=dict)
    extra_blocks: ExtraBlocks | dict[str, ExtraBlocks] = 0
    extra_after: list[str] | None = None
    retire_start: Share = 0.25
    retire_end: Share = 0.75
    retire_fade: bool = True


def check_net(net: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> NetSettings:
    """Return the settings of a table; refuse unknown keys, and values outside their range.

    Args:
        net: as plain containers.
        catalogue: of the package and the plugins in use, whose blocks the table may name.

    Raises:
        UserError: the first mistake, by key.
    """
    settings = check_group("net", net, NetSettings)
    check_group("net.stem", net["stem"], StemSettings)
    for part in ("head", "neck"):
        if net.get(part) is not None:
            check_group(f"net.{part}", net[part], HeadSettings)
    for i, stage in enumerate(net["stages"]):
        key = f"net.stages.{i}"
        if not isinstance(stage, dict):
            raise UserError(f"{key}={shown(stage)}: must hold keys, such as {{block: basic, channels: 16}}")
        own = blocks.keys(stage.get("block"), catalogue)
        if own is None:  # a plugin's block that does not say which
            own = dict.fromkeys(stage, object)
        check_group(key, stage, StageSettings, more=own)
        for name, annotation in own.items():
            if name in stage and annotation is not object:
                check(f"{key}.{name}", stage[name], annotation)
    return settings


def check_aug(aug: Mapping[str, Any]) -> AugSettings:
    """Return the settings of an augmentation; refuse unknown keys, and values outside their range.

    Raises:
        UserError: the first mistake, by key.
    """
    settings = check_group("aug", aug, AugSettings)
    for key in ("width_multipliers", "expand_multipliers"):
        if settings.channels and max(getattr(settings, key)) > 1:
            raise UserError(
                f"aug.{key}={shown(getattr(settings, key))}: aug.channels says how wide it gets; options: [1.0], or "
                f"aug=width_expand"
            )
    if isinstance(settings.extra_blocks, dict) and settings.extra_after is not None:
        raise UserError(
            f"aug.extra_after={shown(settings.extra_after)}: aug.extra_blocks names the blocks; options: null"
        )
    if settings.retire_start > settings.retire_end:
        raise UserError(
            f"aug.retire_start={settings.retire_start}: must not be after aug.retire_end={settings.retire_end}"
        )
    return settings
