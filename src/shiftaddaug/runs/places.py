"""Where callbacks, loggers and the trainer write, as far as their keys say. Imports no torch."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.files import refuse_unwritable
from shiftaddaug.report.results import RUN

PLACES = ("dirpath", "folder", "save_dir", "log_dir", "root_dir", "dir", "default_root_dir")
"""Names that arguments for folders have: here, in Lightning, and in loggers of others."""


def check_places(config: Mapping[str, Any]) -> None:
    """Refuse folders that cannot be written into: whoever writes there says so when an epoch has been trained.

    Folders of the run itself are left to those who name it, and addresses of servers to these.

    Args:
        config: of a run, as plain containers.

    Raises:
        UserError: naming the key and the folder.
    """
    own = Path(config["paths"]["output_dir"])
    for group in ("callbacks", "logger", "trainer"):
        for key, place in _places(group, config.get(group)):
            if "://" not in place and not Path(place).expanduser().is_relative_to(own):
                refuse_unwritable(key, Path(place).expanduser())


def refuse_old_run(folder: Path) -> None:
    """Refuse a folder that a run has written into.

    Raises:
        UserError: naming it.
    """
    if (folder / RUN).exists():
        raise UserError(f"paths.output_dir={folder}: holds a run already, which is never overwritten")


def refuse_begun_run(folder: Path) -> None:
    """Refuse a folder that a run has written into; to other processes of a run, its first one has begun.

    Raises:
        UserError: naming it.
    """
    if "LOCAL_RANK" not in os.environ:
        refuse_old_run(folder)


def _places(key: str, node: Any) -> Iterator[tuple[str, str]]:
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name in PLACES and isinstance(value, str):
            yield f"{key}.{name}", value
        yield from _places(f"{key}.{name}", value)
