"""The operators that an `op` group of a configuration states: one, or several and the layers of each. Imports no torch.

{name: shift, weight_bits: 5, ..., mult_layers: [stem]}
{name: searched, operators: {shift: {name: shift, ...}, add: {...}}, layers: {shift: [stem.conv, ...], add: [...]}}
"""

from collections.abc import Mapping
from typing import Any

OPERATORS = "op.operators."
"""Begins the keys of operators of which there are several."""


def states_layers(op: Mapping[str, Any]) -> bool:
    """Return whether an `op` group says which layers compute with which operator."""
    return "layers" in op


def stated(op: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the operators that an `op` group states, by the key under which each stands there: `op` itself, if one."""
    if not states_layers(op):
        return {"op": op}
    return {f"{OPERATORS}{label}": raw for label, raw in op["operators"].items()}


def with_stated(op: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return an `op` group with other operators under the keys of `stated`."""
    if not states_layers(op):
        return dict(chosen["op"])
    labels = {key.removeprefix(OPERATORS): raw for key, raw in chosen.items()}
    return {**op, "operators": labels}
