"""Operators by name: `build("add", eta=0.2)`. One file of this folder for each."""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shiftaddaug.errors import UserError
from shiftaddaug.operators.fields import FIELDS, Fields

if TYPE_CHECKING:
    from shiftaddaug.operators.base import Operator

T = TypeVar("T")

NO_OPERATORS = ("__init__", "base", "fields", "quantize")
"""Files of this folder that hold no operator."""


def available() -> list[str]:
    """The operators' names, sorted (the files of this folder; imports none of them)."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_OPERATORS)


def build(name: str, **parameters: Any) -> "Operator":
    """The operator of that name with these fields.

    Raises:
        UserError: unknown operator or field, or a field's value the operator refuses.
    """
    _check_name(name)
    operator_class: type[Operator] = import_module(f"{__name__}.{name}").OPERATOR
    return _filled(operator_class, name, parameters)


NO_FIELDS = ("mult_layers", "defaults")
"""Keys of a yaml of configs/op that are for the nets and for Hydra."""


def from_config(config: Mapping[str, Any]) -> "Operator":
    """The operator of a yaml of configs/op, composed or as it stands in the file.

    Raises:
        UserError: as `build`.
    """
    return build(**_without_others(config))


def check_config(config: Mapping[str, Any]) -> Fields | None:
    """The fields of a yaml of configs/op, checked without importing torch; None if only building it can tell.

    Raises:
        UserError: as `build`.
    """
    parameters = _without_others(config)
    name = parameters.pop("name")
    _check_name(name)
    return _filled(FIELDS[name], name, parameters) if name in FIELDS else None


def cannot_be_augmented(name: str) -> UserError:
    """The answer to augmenting an operator that is not shareable."""
    return UserError(
        f"op={name}: its trained tensors cannot be shared with a multiplicative weight, so it cannot be augmented; "
        f"options: aug=none, or another op"
    )


def _without_others(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NO_FIELDS}


def _check_name(name: str) -> None:
    if name not in available():
        raise UserError(f"op={name}: no such operator; options: {', '.join(available())}")


def _filled(fields_class: type[T], name: str, parameters: Mapping[str, Any]) -> T:
    known = [field.name for field in dataclasses.fields(fields_class)]  # type: ignore[arg-type]
    for key, value in parameters.items():
        if key not in known:
            options = ", ".join(known) or "none"
            raise UserError(f"op.{key}={value}: operator {name} has no such key; options: {options}")
    return fields_class(**parameters)
