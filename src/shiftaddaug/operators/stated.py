"""The operators that an `op` group of a configuration states: one, or several and the layers of each. Imports no torch.

{name: shift, weight_bits: 5, ..., mult_layers: [stem]}
{name: searched, operators: {shift: {name: shift, ...}, add: {...}}, layers: {shift: [stem.conv, ...], add: [...]}}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from shiftaddaug.errors import UserError
from shiftaddaug.settings import check, check_group

T = TypeVar("T")

OPERATORS = "op.operators."
"""Begins the keys of operators of which there are several."""


@dataclass(frozen=True)
class SeveralSettings:
    """Keys of an `op` group that states several operators."""

    name: str
    operators: dict[str, dict[str, Any]]
    """Operators by label, each with its name and keys."""
    layers: dict[str, list[str]]
    """Names of the layers of each label."""


def states_layers(op: Mapping[str, Any]) -> bool:
    """Return whether an `op` group says which layers compute with which operator."""
    return "layers" in op


def stated(op: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the operators that an `op` group states, by the key under which each stands there: `op` itself, if one."""
    if not states_layers(op):
        return {"op": op}
    return {f"{OPERATORS}{label}": raw for label, raw in op["operators"].items()}


def make_stated(op: Mapping[str, Any], make: Callable[[Mapping[str, Any]], T]) -> dict[str, T]:
    """Return the operators (or their settings) that an `op` group states, by the keys of `stated`.

    Args:
        op: the group, as plain containers.
        make: makes one of its name and fields.

    Raises:
        UserError: a mistake, by the key under which it stands.
    """
    if not states_layers(op):
        return {"op": make(op)}
    settings = check_group("op", op, SeveralSettings, more=["mult_layers"])
    for label, names in settings.layers.items():
        if label not in settings.operators:
            options = ", ".join(settings.operators)
            raise UserError(f"op.layers.{label}: no such operator in op.operators; options: {options}")
        check(f"op.layers.{label}", names, list[str])
    return {key: _make_under(key, raw, make) for key, raw in stated(op).items()}


def _make_under(key: str, raw: Mapping[str, Any], make: Callable[[Mapping[str, Any]], T]) -> T:
    """Return an operator; a mistake is told under its own key."""
    try:
        return make(raw)
    except UserError as error:
        message = str(error)
        inside = f"{key}.{message[3:]}" if message.startswith("op.") else f"{key}: {message}"
        raise UserError(inside) from None


def with_stated(op: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return an `op` group with other operators under the keys of `stated`."""
    if not states_layers(op):
        return dict(chosen["op"])
    labels = {key.removeprefix(OPERATORS): raw for key, raw in chosen.items()}
    return {**op, "operators": labels}
