"""What a yaml of configs/sharing may say. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shiftaddaug.settings import NonNegativeNumber, PositiveNumber, Seed, check, check_group


@dataclass(frozen=True)
class PlainSettings:
    """Keys of sharing=none."""

    name: str


@dataclass(frozen=True)
class HeterogeneousSettings:
    """Keys of sharing=heterogeneous."""

    name: str
    gradient: Literal["inverse", "chain"] = "inverse"
    stored_ratio: PositiveNumber | None = 4.0
    remap_file: str | None = None


@dataclass(frozen=True)
class KlSettings:
    """Keys of sharing=kl."""

    name: str
    weight: NonNegativeNumber = 10.0
    laplace_scale: PositiveNumber = 2.0
    normal_std: PositiveNumber | None = 1.0
    seed: Seed = 0


SharingSettings = PlainSettings | HeterogeneousSettings | KlSettings

SCHEMAS: dict[str, type[Any]] = {"none": PlainSettings, "heterogeneous": HeterogeneousSettings, "kl": KlSettings}


def check_sharing(sharing: Mapping[str, Any]) -> SharingSettings:
    """Return the settings of a sharing; refuse unknown keys, and values outside their range.

    Raises:
        UserError: the first mistake, by key.
    """
    name = sharing.get("name")
    check("sharing.name", name, Literal[tuple(SCHEMAS)])  # type: ignore[valid-type]
    settings: SharingSettings = check_group("sharing", sharing, SCHEMAS[str(name)])
    return settings
