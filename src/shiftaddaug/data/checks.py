"""Checks of the data configuration that need neither torch nor the images."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from shiftaddaug.data.settings import ImageSettings, settings_from
from shiftaddaug.errors import UserError
from shiftaddaug.signatures import signature_of


def check_data_config(cfg: Mapping[str, Any]) -> None:
    """Check the `data` group of a composed configuration: its values, and that the files it names are there.

    Of data modules without settings that can be read without torch nothing is checked.

    Raises:
        UserError: one line with the key, the bad value and what to do.
    """
    settings = settings_of(cfg)
    if settings is not None:
        settings.check_source()


def settings_of(cfg: Mapping[str, Any]) -> ImageSettings | None:
    """Return the settings in the `data` group of a configuration, without importing the data module.

    Returns:
        None where `kind_of` is None.

    Raises:
        UserError: a key is unknown, missing or out of its range.
    """
    kind = kind_of(cfg)
    return None if kind is None else settings_from(kind, {key: cfg[key] for key in cfg if not _is_hydras(key)})


def kind_of(cfg: Mapping[str, Any]) -> type[ImageSettings] | None:
    """Return the class of the settings in a `data` group.

    Returns:
        None if the module has a constructor of its own instead, or settings that stand beside it in its file.

    Raises:
        UserError: no data module is named.
    """
    if "_target_" not in cfg:
        raise UserError("data._target_: is missing; must name a data module")
    signature = signature_of(str(cfg["_target_"]))
    if signature is None or signature.settings is None:
        return None
    module, _, name = signature.settings.rpartition(".")
    kind = getattr(import_module(module), name, None)
    return kind if isinstance(kind, type) and issubclass(kind, ImageSettings) else None


def _is_hydras(key: str) -> bool:
    return key.startswith("_") and key.endswith("_")


def holds_any_images(cfg: Mapping[str, Any]) -> bool:
    """Whether a `data` group names a folder of the user's own: its name does not say what is in it."""
    kind = kind_of(cfg)
    return kind is not None and kind.any_images


def without_effect(cfg: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the keys of a checked `data` group that its files take the place of, and why."""
    settings = settings_of(cfg)
    return {} if settings is None else settings.without_effect()


def holds_validation(cfg: Mapping[str, Any]) -> bool:
    """Whether a `data` group leaves images to validate on."""
    settings = settings_of(cfg)
    return cfg.get("val_fraction") != 0 if settings is None else settings.validates()


def read_stored(data: Mapping[str, Any]) -> dict[str, Any]:
    """The `data` group of a checkpoint, a target or a run, as it is written today: padding once was in pixels."""
    padding, side = data.get("crop_padding"), data.get("image_size")
    if isinstance(padding, int) and padding >= 1 and isinstance(side, int) and side >= 1:
        return dict(data) | {"crop_padding": padding / side}
    return dict(data)
