"""What the package's folders hold, and those of plugins: the only place that turns a stored name into code.

A plugin is an importable package that mirrors this one's folders: `operators/<name>/`, `tasks/<name>/`,
`nets/blocks/<name>.py`, `nets/archs/<name>.py`, `data/<name>.py`, `configs/<group>/<name>.yaml`. It is named on the
command line (`plugins=[my_package]`) and never by a stored file. Nothing here imports torch, and nothing is imported
before it is asked for.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.settings import shown

PACKAGE = "shiftaddaug"

FOLDERS = ("configs/", "operators/", "tasks/", "nets/", "data/", "callbacks/", "report/")
"""Folders of a plugin, of which it has one at least; what is in others is found by its dotted name alone."""


@dataclass(frozen=True)
class Catalogue:
    """The package and the plugins of a command, in the order in which they are searched."""

    plugins: tuple[str, ...] = ()
    """Dotted names of importable packages."""

    def folders(self, folder: str) -> list[tuple[str, Path]]:
        """Module name and path of `folder` (such as `operators` or `nets/blocks`) in the package and each plugin."""
        dotted = folder.replace("/", ".")
        found = [(f"{root}.{dotted}", _path(root) / folder) for root in (PACKAGE, *self.plugins)]
        return [(name, path) for name, path in found if path.is_dir()]

    def modules(self, folder: str) -> dict[str, str]:
        """Full names of the modules in `folder`, by their short name; the package's win over a plugin's."""
        known: dict[str, str] = {}
        for root, path in self.folders(folder):
            files = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(("_", "."))]
            for entry in files:
                if entry.suffix == ".py" or (entry.is_dir() and (entry / "__init__.py").exists()):
                    known.setdefault(entry.stem, f"{root}.{entry.stem}")
        return known

    def holds(self, folder: str, module: str) -> bool:
        """Whether `module`, a full name, is a module of that folder."""
        return module in self.modules(folder).values()

    def load(self, folder: str, target: str, base: type) -> type[Any]:
        """The class that `target` (`package.folder.module.Class`) names, if `folder` holds it and `base` is its base.

        Raises:
            UserError: it is no class of that folder: a stored file could name anything.
        """
        module, _, name = target.rpartition(".")
        found = getattr(importlib.import_module(module), name, None) if self.holds(folder, module) else None
        if not isinstance(found, type) or not issubclass(found, base) or found.__module__ != module:
            raise UserError(f"{target}: no class of {self._places(folder)}{needs_plugin(target)}")
        return found

    def config_dirs(self) -> list[Path]:
        """The `configs` folders of the plugins."""
        return [path for name, path in self.folders("configs") if not name.startswith(f"{PACKAGE}.")]

    def _places(self, folder: str) -> str:
        return ", ".join(name for name, _ in self.folders(folder))


PACKAGE_ONLY = Catalogue()
"""Catalogue without plugins."""


def config_dir() -> Path:
    """Return the folder of the package's configs: the checkout's, or the copy inside an installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "configs"
    return checkout if (checkout / "train.yaml").exists() else package / "configs"


def catalogue_of(plugins: Any) -> Catalogue:
    """The catalogue of a command's `plugins`, each of which is imported: a mistake shows here.

    A plugin is looked for in the working directory, too. One that holds a `/` is a path.

    Raises:
        UserError: not a list of names, or a plugin that cannot be imported.
    """
    if isinstance(plugins, str) or not isinstance(plugins, Sequence):
        raise UserError(
            f"plugins={shown(plugins)}: must be a list of importable packages, such as plugins=[my_operators]"
        )
    return Catalogue(tuple(_imported(str(plugin)).__name__ for plugin in plugins))


def needs_plugin(name: str) -> str:
    """The end of a message on something stored that is not of this package."""
    return "" if name.startswith(f"{PACKAGE}.") else "; if it is a plugin's, name that: plugins=[...]"


def _imported(plugin: str) -> ModuleType:
    folder = Path(plugin).expanduser()
    place = folder.absolute().parent if "/" in plugin else Path.cwd()
    name = folder.name if "/" in plugin else plugin
    if str(place) not in sys.path:
        sys.path.append(str(place))
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever its author wrote
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"plugins={plugin}: cannot be imported ({type(error).__name__}: {reason})") from error
    if not hasattr(module, "__path__"):
        raise UserError(f"plugins={plugin}: is a single file; must be a package, with folders such as operators/")
    if not any((Path(place) / folder).is_dir() for place in module.__path__ for folder in FOLDERS):
        raise UserError(f"plugins={plugin}: is no plugin; must be a package with one of {', '.join(FOLDERS)}")
    return module


def _path(root: str) -> Path:
    specification = importlib.util.find_spec(root)
    assert specification is not None and specification.submodule_search_locations, root
    return Path(next(iter(specification.submodule_search_locations)))
