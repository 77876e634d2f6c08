"""Blocks by name: one file of this folder for each, with a function `write(writer, entry, value)`. Imports no torch.

    writer  writes the block's nodes, and is labelled with the block's unit
    entry   is the block's row of a table (`nets/entry.py`); entry.name is the unit, which begins the nodes' names
    value   is what the block reads

`write` returns the block's result. Adding a kind of block is adding a file here, and a table that uses it.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from shiftaddaug.errors import UserError
from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer

WriteBlock = Callable[[Writer, Entry, str], str]


def available() -> list[str]:
    """Return the names of all blocks, sorted."""
    return sorted(module.name for module in iter_modules(__path__))


def find(name: object) -> WriteBlock:
    """Return the function that writes blocks of a kind.

    Raises:
        UserError: there is no such kind.
    """
    if name not in available():
        raise UserError(f"net.stages: block={name}: no such block; options: {', '.join(available())}")
    write: WriteBlock = import_module(f"{__name__}.{name}").write
    return write
