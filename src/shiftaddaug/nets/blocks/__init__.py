"""Blocks by name: one file of this folder for each, with a function `write(writer, entry, value)`. Imports no torch.

    writer  writes the block's nodes, and is labelled with the block's unit
    entry   is the block's row of a table (`nets/entry.py`); entry.name is the unit, which begins the nodes' names
    value   is what the block reads

`write` returns the block's result. Adding a kind of block is adding a file here, and a table that uses it. A dict
`KEYS` names the keys that a stage of such blocks has besides the common ones (`nets/settings.py`), with their types.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer

WriteBlock = Callable[[Writer, Entry, str], str]


FOLDER = "nets/blocks"


def available(catalogue: Catalogue = PACKAGE_ONLY) -> list[str]:
    """Return the names of all blocks, sorted."""
    return sorted(catalogue.modules(FOLDER))


def find(name: object, catalogue: Catalogue = PACKAGE_ONLY) -> WriteBlock:
    """Return the function that writes blocks of a kind.

    Raises:
        UserError: there is no such kind.
    """
    write: WriteBlock = _module(name, catalogue).write
    return write


def keys(name: object, catalogue: Catalogue = PACKAGE_ONLY) -> Mapping[str, Any] | None:
    """Return the keys of a stage that a kind of block has for itself, with their types; None if it does not say.

    Raises:
        UserError: there is no such kind.
    """
    return getattr(_module(name, catalogue), "KEYS", None)


def _module(name: object, catalogue: Catalogue) -> Any:
    modules = catalogue.modules(FOLDER)
    if not isinstance(name, str) or name not in modules:
        hint = "" if catalogue.plugins else "; one of your own needs plugins=[...]"
        raise UserError(f"net.stages: block={name}: no such block; options: {', '.join(available(catalogue))}{hint}")
    return import_module(modules[name])
