"""The constants of a remap in a file, as `src/fit_sharing.py` writes them. Imports no torch."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.files import read_yaml
from shiftaddaug.operators.remap_settings import RemapSettings
from shiftaddaug.operators.stated import stated, with_stated

FIELDS = tuple(field.name for field in fields(RemapSettings))
OPERATOR = "op"
"""What it was fitted for."""


def read_remap(path: str, *names: str) -> tuple[dict[str, Any], str]:
    """The constants of a remap.yaml as `src/fit_sharing.py` writes it, and the operator that they are for.

    Args:
        path: of the file.
        names: of the operators that a run computes with.

    Raises:
        UserError: not such a file, one fitted for another operator, or one that does not say for which of several.
    """
    try:
        constants = read_yaml(Path(path).expanduser())
    except Exception as error:
        raise UserError(f"sharing.remap_file={path}: cannot be read ({' '.join(str(error).split())[:100]})") from None
    if (
        not isinstance(constants, dict)
        or not set(map(str, constants)) <= {*FIELDS, OPERATOR}
        or "form" not in constants
    ):
        raise UserError(f"sharing.remap_file={path}: holds no remap (keys: {', '.join(sorted((*FIELDS, OPERATOR)))})")
    ours = ",".join(names)
    if OPERATOR not in constants and len(names) > 1:
        raise UserError(
            f"sharing.remap_file={path}: has no key op, and this run has op={ours}; options: op: {names[0]}"
        )
    operator = constants.get(OPERATOR, names[0])
    if operator not in names:
        raise UserError(f"sharing.remap_file={path}: was fitted for op={operator}, this run has op={ours}")
    for key, value in constants.items():
        if not _is_constant(value):  # a node or an interpolation, which composing a configuration would follow
            raise UserError(
                f"sharing.remap_file={path}: {key!s}={str(value)[:60]}: must be a number, a list of numbers, or a word"
            )
    return {str(key): value for key, value in constants.items() if key != OPERATOR}, str(operator)


def _is_constant(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, int | float) for item in value)
    return isinstance(value, int | float) or (isinstance(value, str) and value.isidentifier())


def remap_of(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the constants in the file that a run's configuration names, and the operator that they are for.

    Args:
        config: as plain containers; it names a file.

    Raises:
        UserError: as `read_remap`.
    """
    every = stated(config["op"]).values()
    names = [op["name"] for op in every if "remap" in op] or [op["name"] for op in every]
    return read_remap(config["sharing"]["remap_file"], *dict.fromkeys(names))


def with_remap_file(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's configuration with what `sharing.remap_file` holds in the place of the operator's own constants.

    So a run's configuration, and each of its checkpoints, says what it computes with, whatever becomes of the file.

    Args:
        config: as plain containers; it is left as it is.

    Raises:
        UserError: as `read_remap`.
    """
    operators, sharing = stated(config["op"]), config["sharing"]
    if sharing.get("remap_file") is None or not any("remap" in op for op in operators.values()):
        return config
    remap, name = remap_of(config)
    chosen = {key: {**op, "remap": remap} if op["name"] == name else op for key, op in operators.items()}
    return config | {"op": with_stated(config["op"], chosen), "sharing": sharing | {"remap_file": None}}
