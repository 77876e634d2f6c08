"""Technologies as data: what one operation costs, by kind and precision, with the source of every figure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from msgspec import Meta

from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.files import read_yaml
from shiftaddaug.operators.settings import KINDS
from shiftaddaug.settings import PositiveInt, check, check_group, shown

FOLDER = Path(__file__).parent

Picojoules = Annotated[float, Meta(ge=0, le=10**9)]


@dataclass(frozen=True)
class Operations:
    """Energy of one operation of each kind, in pJ."""

    bits: int
    """Bits of the numbers that are operated on."""
    energies: tuple[tuple[str, float], ...]
    """Energies by kind; kinds that are not here cannot be priced."""
    name: str = ""
    """Technology and precision, for messages."""

    def of(self, operations: Mapping[str, int]) -> float:
        """Return the energy of some operations, in pJ.

        Args:
            operations: how many of each kind (`Arithmetic.operations`).

        Raises:
            UserError: a kind that the technology says nothing of.
        """
        known = dict(self.energies)
        for kind in operations:
            if kind not in known:
                raise UserError(
                    f"hardware.accelerator.technology: {self.name} states no energy of the operation {kind}; options: "
                    f"{', '.join(known)}, or a file of your own that does"
                )
        return sum(known[kind] * count for kind, count in operations.items())


@dataclass(frozen=True)
class Technology:
    """A file of this folder."""

    name: str
    source: str
    precisions: Mapping[str, Operations] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    name: str
    source: str
    precisions: dict[str, Any]


def available() -> list[str]:
    """Return the names of the technologies of this folder, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_technology(name: str) -> Technology:
    """Return a technology.

    Args:
        name: of a file of this folder, or a path to a file that ends in .yaml.

    Raises:
        UserError: there is none, or its file holds no technology.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"hardware.accelerator.technology={name}: no such technology; options: {', '.join(available())}, or a "
            f"path to a .yaml file"
        )
    try:
        return _checked(read_yaml(path))
    except UserError as error:
        raise UserError(f"hardware.accelerator.technology={name}: {error}") from None
    except (OSError, yaml.YAMLError, *DAMAGE) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hardware.accelerator.technology={name}: cannot be read ({reason})") from error


def _checked(raw: Any) -> Technology:
    file = check_group("file", raw, _File)
    precisions = {}
    for precision, costs in file.precisions.items():
        key = f"precisions.{precision}"
        check(key, costs, dict[str, Any])
        for kind, value in costs.items():
            if kind not in (*KINDS, "bits"):
                raise UserError(f"{key}.{kind}={shown(value)}: no such operation; options: bits, {', '.join(KINDS)}")
            check(f"{key}.{kind}", value, PositiveInt if kind == "bits" else Picojoules)
        if "bits" not in costs:
            raise UserError(f"{key}.bits: is missing; must be a whole number")
        energies = tuple((kind, float(costs[kind])) for kind in KINDS if kind in costs)
        precisions[str(precision)] = Operations(costs["bits"], energies, f"{file.name} at {precision}")
    if not precisions:
        raise UserError("precisions: holds none")
    return Technology(file.name, file.source, precisions)
