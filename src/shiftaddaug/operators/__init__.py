"""Operators by name: `build("add", eta=0.2)`. One folder of this one for each; plugins may hold more."""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.operators.settings import Arithmetic, OperatorSettings
from shiftaddaug.settings import shown

if TYPE_CHECKING:
    from shiftaddaug.operators.base import Operator

T = TypeVar("T", bound=OperatorSettings)

FOLDER = "operators"
NO_FIELDS = ("name", "mult_layers", "defaults")
"""Keys of a yaml of configs/op that are for the nets and for Hydra."""


def available(catalogue: Catalogue = PACKAGE_ONLY) -> list[str]:
    """The operators' names, sorted: the folders that hold settings. Imports none of them."""
    return sorted(_packages(catalogue))


def build(name: str, *, catalogue: Catalogue = PACKAGE_ONLY, **parameters: Any) -> "Operator":
    """The operator of that name with these fields.

    Raises:
        UserError: unknown operator or field, or a field's value the operator refuses.
    """
    from shiftaddaug.operators.base import Operator

    operator_class: type[Operator] = _class_in(name, catalogue, "operator", "OPERATOR", Operator)  # type: ignore[type-abstract]
    return _filled(operator_class, name, parameters)


def from_config(config: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> "Operator":
    """The operator of a yaml of configs/op, composed or as it stands in the file.

    Raises:
        UserError: as `build`.
    """
    return build(_name_in(config), catalogue=catalogue, **_fields(config))


def settings_from(config: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> OperatorSettings:
    """The settings in a yaml of configs/op, checked without importing torch.

    Raises:
        UserError: as `build`.
    """
    name = _name_in(config)
    settings_class = _class_in(name, catalogue, "settings", "SETTINGS", OperatorSettings)
    return _filled(settings_class, name, _fields(config))


def cannot_be_augmented(name: str) -> UserError:
    """The answer to augmenting an operator that is not shareable."""
    return UserError(
        f"op={name}: its trained tensors cannot be shared with a multiplicative weight, so it cannot be augmented; "
        f"options: aug=none, or another op"
    )


def _name_in(config: Mapping[str, Any]) -> str:
    if "name" not in config:
        raise UserError(f"op={shown(config)}: has no name")
    return str(config["name"])


def _packages(catalogue: Catalogue) -> dict[str, str]:
    found: dict[str, str] = {}
    for root, path in catalogue.folders(FOLDER):
        for settings in sorted(Path(path).glob("*/settings.py")):
            name = settings.parent.name
            if name in found:
                raise UserError(f"plugins: {root}.{name} is called as {found[name]} is; rename its folder")
            found[name] = f"{root}.{name}"
    return found


def _package(name: str, catalogue: Catalogue) -> str:
    known = _packages(catalogue)
    if name not in known:
        hint = "" if catalogue.plugins else "; one of your own needs plugins=[...]"
        raise UserError(f"op={name}: no such operator; options: {', '.join(sorted(known))}{hint}")
    return known[name]


def _class_in(name: str, catalogue: Catalogue, module: str, constant: str, base: type[T]) -> type[T]:
    """The class that a module of an operator's folder ends with.

    Raises:
        UserError: there is no such operator, its module cannot be imported, or ends otherwise.
    """
    full_name = f"{_package(name, catalogue)}.{module}"
    try:
        found = getattr(import_module(full_name), constant, None)
    except (Exception, SystemExit) as error:  # whatever the author's code does
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"op={name}: {full_name} cannot be imported ({type(error).__name__}: {reason})") from error
    if not isinstance(found, type) or not issubclass(found, base) or not dataclasses.is_dataclass(found):
        wanted = f"a frozen dataclass that inherits from {base.__name__}"
        raise UserError(f"op={name}: {full_name} must end with {constant} = a class, {wanted}")
    if getattr(found, "name", None) != name:
        raise UserError(f"op={name}: {found.__name__}.name is {getattr(found, 'name', 'missing')}; must be {name!r}")
    return found


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in config.items() if key not in NO_FIELDS}


def _filled(settings_class: type[T], name: str, parameters: Mapping[str, Any]) -> T:
    known = [field.name for field in dataclasses.fields(settings_class)]
    for key, value in parameters.items():
        if key not in known:
            options = ", ".join(known) or "none"
            raise UserError(f"op.{key}={shown(value)}: operator {name} has no such key; options: {options}")
    try:
        settings = settings_class(**parameters)
        if not isinstance(settings.arithmetic, Arithmetic):  # what costs and checks rely on is tried at once
            raise UserError(f"op={name}: states no arithmetic, but {shown(settings.arithmetic)}")
        return settings
    except UserError:
        raise
    except DAMAGE as error:  # a method that is missing, or a value of another type than it is compared with
        reason = " ".join(str(error).split()) or "states no arithmetic"
        raise UserError(f"op={name}: {reason}") from error
