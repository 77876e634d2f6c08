"""Operators by name: `build("add", eta=0.2)`. One file of this folder for each."""

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.errors import UserError

if TYPE_CHECKING:
    from shiftaddaug.operators.base import Operator

NO_OPERATORS = ("__init__", "base", "quantize")
"""Files of this folder that hold no operator."""


def available() -> list[str]:
    """The operators' names, sorted (the files of this folder; imports none of them)."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_OPERATORS)


def build(name: str, **parameters: Any) -> "Operator":
    """The operator of that name with these fields.

    Raises:
        UserError: unknown operator or field, or a field's value the operator refuses.
    """
    if name not in available():
        raise UserError(f"op={name}: no such operator; options: {', '.join(available())}")
    operator_class: type[Operator] = import_module(f"{__name__}.{name}").OPERATOR
    known = [field.name for field in fields(operator_class)]
    for key, value in parameters.items():
        if key not in known:
            raise UserError(f"op.{key}={value}: operator {name} has no such key; options: {', '.join(known)}")
    return operator_class(**parameters)


NO_FIELDS = ("mult_layers", "defaults")
"""Keys of a yaml of configs/op that are for the nets and for Hydra."""


def from_config(config: Mapping[str, Any]) -> "Operator":
    """The operator of a yaml of configs/op, composed or as it stands in the file.

    Raises:
        UserError: as `build`.
    """
    return build(**{key: value for key, value in config.items() if key not in NO_FIELDS})
