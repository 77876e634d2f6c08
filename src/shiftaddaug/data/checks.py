"""Checks of the data configuration that need neither torch nor the images.

A command calls `check_data_config` before it imports torch; the data modules call the same functions.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from shiftaddaug.data.cifar_layout import CIFAR_LAYOUTS, cifar_layout, find_cifar, require_cifar
from shiftaddaug.data.class_folders import count_classes, has_test_split
from shiftaddaug.errors import UserError
from shiftaddaug.settings import MOST, Count, InnerShare, PositiveInt, Seed, check, shown

LARGEST_SIDE = 2**14
"""Largest side of an image, in pixels."""
HELD = {"digits": (10, 1)} | {name: (layout.num_classes, 3) for name, layout in CIFAR_LAYOUTS.items()}
"""(classes, channels) of the data sets that come in one form only."""

Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE)]
ImageSize = Annotated[
    Side | Annotated[list[Side], Meta(min_length=2, max_length=2)],
    Meta(title=f"a whole number >= 1 and <= {LARGEST_SIDE} (px), or two of them, [height,width]"),
]
ShareOfSide = Annotated[
    float, Meta(ge=0, lt=1, title="a share of the image's side, >= 0 and < 1, such as 0.125 (4 of 32 px)")
]

ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]

RANGES: dict[str, Any] = {
    "data_dir": Annotated[str | Path | None, Meta(title="a path, or null")],
    "num_classes": Annotated[int, Meta(ge=2, le=MOST)] | None,
    "in_channels": PositiveInt,
    "image_size": ImageSize,
    "batch_size": PositiveInt,
    "crop_padding": ShareOfSide,
    "num_workers": Count,
    "seed": Seed,
    "split_seed": Seed,
    "val_fraction": ShareBelowOne,
    "test_fraction": InnerShare,
    "horizontal_flip": bool,
    "download": bool,
    "verify": bool,
}
"""Types of the keys that data modules share."""


def check_data_config(cfg: Mapping[str, Any]) -> None:
    """Check the `data` group of a composed configuration: its values, and that the files it names are there.

    Keys that are absent are not checked; data modules that are not known here have only their values checked.

    Raises:
        UserError: one line with the key, the bad value and what to do.
    """
    check_values(cfg)
    name = str(cfg.get("name"))
    if name in HELD:
        check_held(name, *HELD[name], num_classes=cfg.get("num_classes"), in_channels=cfg.get("in_channels"))
    if _class_of(cfg) == "CifarDataModule":
        check_cifar(cfg.get("data_dir"), name, bool(cfg.get("download", False)))
    elif holds_any_images(cfg):
        held = count_classes(cfg.get("data_dir"), name)
        check_held(name, held, None, num_classes=cfg.get("num_classes"))


def holds_any_images(cfg: Mapping[str, Any]) -> bool:
    """Whether a `data` group names a folder of the user's own: its name does not say what is in it."""
    return _class_of(cfg) == "ImageFolderDataModule"


def _class_of(cfg: Mapping[str, Any]) -> str:
    return str(cfg.get("_target_", "")).rpartition(".")[2]


def without_effect(cfg: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the keys of a checked `data` group that its files take the place of, and why."""
    folder = cfg.get("data_dir")
    if not holds_any_images(cfg) or not has_test_split(Path(str(folder)).expanduser()):
        return {}
    return dict.fromkeys(("val_fraction", "split_seed"), f"{folder} has a test/ besides its val/")


def holds_validation(data: Mapping[str, Any]) -> bool:
    """Whether the `data` group of a configuration leaves images to validate on: `val_fraction=0` carves none out.

    A folder of images that brings splits of its own keeps them.
    """
    if data.get("val_fraction") != 0:
        return True
    return holds_any_images(data) and has_test_split(Path(data["data_dir"]).expanduser())


def read_stored(data: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` group of a checkpoint, a target or a run, as it is written today: padding once was in pixels."""
    padding, side = data.get("crop_padding"), data.get("image_size")
    if isinstance(padding, int) and padding >= 1 and isinstance(side, int) and side >= 1:
        return dict(data) | {"crop_padding": padding / side}
    return dict(data)


def check_values(values: Mapping[str, Any]) -> None:
    """Check each value on its own, and `mean` and `std` against `in_channels`.

    Raises:
        UserError: as `check_data_config`.
    """
    for key, annotation in RANGES.items():
        if key in values:
            value = values[key]
            listed = isinstance(value, Iterable) and not isinstance(value, str)
            check(f"data.{key}", list(value) if listed else value, annotation)
    for key in ("mean", "std"):
        if values.get(key) is not None and values.get("in_channels") is not None:
            check_per_channel(key, values[key], values["in_channels"])


def check_held(
    name: str,
    held_classes: int,
    held_channels: int | None,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
) -> None:
    """Compare what the configuration claims (None: nothing) with what the data set holds (None: any number).

    Raises:
        UserError: they disagree.
    """
    if num_classes is not None and num_classes != held_classes:
        raise UserError(f"data.num_classes={num_classes}: {name} holds {held_classes} classes")
    if None not in (in_channels, held_channels) and in_channels != held_channels:
        raise UserError(f"data.in_channels={in_channels}: {name} holds images of {held_channels} channels")


def check_cifar(data_dir: str | Path | None, name: str, download: bool) -> None:
    """Check that the files of a CIFAR are there, or may be fetched.

    Raises:
        UserError: there is no CIFAR of that name, or its files (or some of them) are not there.
    """
    layout = cifar_layout(name)
    if data_dir is None:
        raise UserError(f"paths.data_dir=null: {layout.title} needs a folder that holds, or will hold, {layout.folder}")
    if download:
        find_cifar(data_dir, layout)
    else:
        require_cifar(data_dir, layout)


def check_per_channel(key: str, values: Iterable[float], in_channels: int) -> None:
    """Check `mean` or `std`: one finite number per channel; a deviation is positive.

    Raises:
        UserError: it is not so.
    """
    listed = list(values) if isinstance(values, Iterable) else [values]
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in listed)
    if len(listed) != in_channels or not numbers:
        wanted = f"must be {in_channels} numbers, one per channel (data.in_channels)"
        raise UserError(f"data.{key}={shown(listed)}: {wanted}")
    if key == "std" and min(listed) <= 0:
        raise UserError(f"data.std={shown(listed)}: must be positive")
