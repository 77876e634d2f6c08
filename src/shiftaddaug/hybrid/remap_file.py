"""The constants of a remap in a file, as `src/fit_sharing.py` writes them. Imports no torch."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.operators.remap_settings import RemapSettings

FIELDS = tuple(field.name for field in fields(RemapSettings))
OPERATOR = "op"
"""What it was fitted for."""


def read_remap(path: str, operator: str) -> dict[str, Any]:
    """The constants of a remap.yaml as `src/fit_sharing.py` writes it.

    Raises:
        UserError: not such a file, or one fitted for another operator.
    """
    try:
        constants = OmegaConf.to_container(OmegaConf.load(Path(path).expanduser()))
    except Exception as error:
        raise UserError(f"sharing.remap_file={path}: cannot be read ({' '.join(str(error).split())[:100]})") from None
    if (
        not isinstance(constants, dict)
        or not set(map(str, constants)) <= {*FIELDS, OPERATOR}
        or "form" not in constants
    ):
        raise UserError(f"sharing.remap_file={path}: holds no remap (keys: {', '.join(sorted((*FIELDS, OPERATOR)))})")
    if constants.get(OPERATOR, operator) != operator:
        raise UserError(
            f"sharing.remap_file={path}: was fitted for op={constants[OPERATOR]}, this run has op={operator}"
        )
    for key, value in constants.items():
        if not _is_constant(value):  # a node or an interpolation, which composing a configuration would follow
            raise UserError(
                f"sharing.remap_file={path}: {key!s}={str(value)[:60]}: must be a number, a list of numbers, or a word"
            )
    return {str(key): value for key, value in constants.items() if key != OPERATOR}


def _is_constant(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, int | float) for item in value)
    return isinstance(value, int | float) or (isinstance(value, str) and value.isidentifier())


def with_remap_file(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's configuration with what `sharing.remap_file` holds in the place of the operator's own constants.

    So a run's configuration, and each of its checkpoints, says what it computes with, whatever becomes of the file.

    Args:
        config: as plain containers; it is left as it is.

    Raises:
        UserError: as `read_remap`.
    """
    op, sharing = config["op"], config["sharing"]
    path = sharing.get("remap_file")
    if path is None or "remap" not in op:
        return config
    return config | {
        "op": op | {"remap": read_remap(path, op["name"])},
        "sharing": sharing | {"remap_file": None},
    }
