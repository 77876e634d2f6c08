"""What a yaml of configs/sharing may say, and what kind of sharing it is. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from shiftaddaug.errors import UserError
from shiftaddaug.settings import PositiveInt, Scale, Seed, Weight, check, check_group


@dataclass(frozen=True)
class SharingSettings:
    """Keys of every yaml of configs/sharing, and what others ask of sharing instead of its name."""

    name: str

    remaps: ClassVar[bool] = False
    """Whether weights are stored in Gaussian form, and operators read them through R."""
    converts: ClassVar[bool] = False
    """Whether operators read anything else than what is stored: through R, or through a trained map."""
    learns: ClassVar[bool] = False
    """Whether that map is trained."""
    penalises: ClassVar[bool] = False
    """Whether a penalty on the weights of multiplication-free layers is added to the loss."""


@dataclass(frozen=True)
class PlainSettings(SharingSettings):
    """Keys of sharing=none."""


@dataclass(frozen=True)
class HeterogeneousSettings(SharingSettings):
    """Keys of sharing=heterogeneous."""

    remaps = True
    converts = True

    gradient: Literal["inverse", "chain"] = "inverse"
    stored_ratio: Scale | None = 4.0
    remap_file: str | None = None


@dataclass(frozen=True)
class AffineSettings(SharingSettings):
    """Keys of sharing=affine."""

    converts = True
    learns = True

    pieces: PositiveInt = 100
    start: Literal["operator", "normal"] = "operator"
    gradient: Literal["inverse", "chain"] = "inverse"


@dataclass(frozen=True)
class KlSettings(SharingSettings):
    """Keys of sharing=kl."""

    penalises = True

    weight: Weight = 10.0
    laplace_scale: Scale = 2.0
    normal_std: Scale | None = 1.0
    seed: Seed = 0


SCHEMAS: dict[str, type[SharingSettings]] = {
    "none": PlainSettings,
    "heterogeneous": HeterogeneousSettings,
    "kl": KlSettings,
    "affine": AffineSettings,
}


def kind_of_sharing(sharing: Mapping[str, Any]) -> type[SharingSettings]:
    """Return the class that says what kind of sharing a composed or stored yaml of configs/sharing is.

    Raises:
        UserError: an unknown name.
    """
    name = sharing.get("name")
    check("sharing.name", name, Literal[tuple(SCHEMAS)])  # type: ignore[valid-type]
    return SCHEMAS[str(name)]


def check_sharing(sharing: Mapping[str, Any]) -> SharingSettings:
    """Refuse unknown keys, values outside their range, and a file that is not there; return the settings.

    Raises:
        UserError: the first mistake, by key.
    """
    settings = check_group("sharing", sharing, kind_of_sharing(sharing))
    remap_file = sharing.get("remap_file")
    if remap_file is not None and not Path(remap_file).expanduser().is_file():
        raise UserError(f"sharing.remap_file={remap_file}: no such file")
    return settings
