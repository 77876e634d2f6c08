"""Architectures by name: one file of this folder for each. Imports no torch.

A file holds `SETTINGS`, a dataclass of the keys of configs/arch/<name>.yaml that inherits from `ArchSettings`
(`nets/arch.py`), and a function `write(writer, settings, encoder, outputs)`:

    writer    writes the nodes after the encoder's; a decoder's have the group `decoder`, and a unit for each block
    settings  is the `SETTINGS` of the run
    encoder   holds the feature maps by their stride (`nets/arch.py`)
    outputs   is the number of channels of the logits, whose group is `classifier`

`write` returns the logits, of the size of `encoder.image` where the settings say `dense`. Adding an architecture is
adding a file here, or in a plugin's `nets/archs`, and its yaml.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError
from shiftaddaug.nets.arch import ArchSettings, Encoder
from shiftaddaug.nets.writer import Writer
from shiftaddaug.settings import check_group, shown

WriteArch = Callable[[Writer, Any, Encoder, int], str]

FOLDER = "nets/archs"
DEFAULT: Mapping[str, Any] = {"name": "classifier"}
"""What every network was before there were others."""


def available(catalogue: Catalogue = PACKAGE_ONLY) -> list[str]:
    """Return the names of all architectures, sorted."""
    return sorted(catalogue.modules(FOLDER))


def dense(wanted: bool, catalogue: Catalogue = PACKAGE_ONLY) -> list[str]:
    """Return the names of those whose logits are of pixels, or of those whose are of images."""
    return [name for name in available(catalogue) if _module(name, catalogue).SETTINGS.dense == wanted]


def check_arch(arch: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> ArchSettings:
    """Return the settings of an architecture; refuse unknown keys, and values outside their range.

    Args:
        arch: as plain containers.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: the first mistake, by key.
    """
    if not isinstance(arch, Mapping):
        raise UserError(f"arch={shown(arch)}: must be a group of keys")
    schema: type[ArchSettings] = _module(arch.get("name"), catalogue).SETTINGS
    return check_group("arch", arch, schema)


def find(name: str, catalogue: Catalogue = PACKAGE_ONLY) -> WriteArch:
    """Return the function that writes an architecture.

    Raises:
        UserError: there is none of that name.
    """
    write: WriteArch = _module(name, catalogue).write
    return write


def _module(name: object, catalogue: Catalogue) -> Any:
    modules = catalogue.modules(FOLDER)
    if not isinstance(name, str) or name not in modules:
        hint = "" if catalogue.plugins else "; one of your own needs plugins=[...]"
        raise UserError(f"arch.name={shown(name)}: no such arch; options: {', '.join(available(catalogue))}{hint}")
    return import_module(modules[name])
