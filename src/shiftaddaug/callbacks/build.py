"""The callbacks of a run, made from its configuration."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import build


def build_callbacks(config: Mapping[str, Any]) -> dict[str, pl.Callback]:
    """Callbacks by their names in `config`, the `callbacks` group; a name without content is one that is off.

    Raises:
        UserError: a name that stands for something else, or a callback that cannot be made.
    """
    made = {str(name): build(f"callbacks.{name}", node) for name, node in config.items() if node}
    for name, callback in made.items():
        if not isinstance(callback, pl.Callback):
            raise UserError(f"callbacks.{name}: is a {type(callback).__name__}; must be a Lightning callback")
    return made
