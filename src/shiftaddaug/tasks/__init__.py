"""Tasks by name: one folder of this one for each, with its settings and its objective; plugins may hold more.

Nothing here imports torch before an objective is built.
"""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.tasks.settings import TaskSettings

if TYPE_CHECKING:
    from shiftaddaug.tasks.base import Objective

FOLDER = "tasks"
NO_FIELDS = ("name", "defaults")
"""Keys of a yaml of configs/task that are for the catalogue and for Hydra."""


def available(catalogue: Catalogue = PACKAGE_ONLY) -> list[str]:
    """Return the tasks' names, sorted: the folders that hold settings. Imports none of them."""
    return sorted(_packages(catalogue))


def settings_from(config: Mapping[str, Any], catalogue: Catalogue = PACKAGE_ONLY) -> TaskSettings:
    """Return the settings in a yaml of configs/task, checked without importing torch.

    Raises:
        UserError: unknown task or key, or a value that the task refuses.
    """
    name = str(config.get("name"))
    settings_class: type[TaskSettings] = _class_in(name, catalogue, "settings", "SETTINGS", TaskSettings)
    known = [field.name for field in dataclasses.fields(settings_class)]
    given = {str(key): value for key, value in config.items() if key not in NO_FIELDS}
    for key, value in given.items():
        if key not in known:
            raise UserError(f"task.{key}={value}: task {name} has no such key; options: {', '.join(known)}")
    try:
        settings = settings_class(**given)
        settings.record()  # what reports rely on is tried at once
        return settings
    except UserError:
        raise
    except DAMAGE as error:  # a key that is missing, or a value of another type than it is compared with
        raise UserError(f"task={name}: {' '.join(str(error).split())}") from error


def build(config: Mapping[str, Any], num_outputs: int, catalogue: Catalogue = PACKAGE_ONLY) -> "Objective":
    """Return the objective of a task, by a yaml of configs/task.

    Args:
        config: composed, or as it was stored.
        num_outputs: channels of the network's outputs.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: as `settings_from`; a headline that is not measured of so many outputs; metrics other than the
            figures that the settings state.
    """
    from torchmetrics import Metric

    from shiftaddaug.tasks.base import Objective

    settings = settings_from(config, catalogue)
    objective_class = _class_in(settings.name, catalogue, "objective", "OBJECTIVE", Objective)
    objective: Objective = objective_class(settings, num_outputs)
    settings.check_outputs(num_outputs)
    measured, stated = list(objective.metrics()), [figure.name for figure in objective.figures]
    if sorted(measured) != sorted(stated):
        raise UserError(
            f"task={settings.name}: its objective measures {', '.join(measured)}, and its settings state the figures "
            f"{', '.join(stated)}"
        )
    for name, metric in objective.metrics().items():
        if not isinstance(metric, Metric):
            raise UserError(f"task={settings.name}: its metric {name} is a {type(metric).__name__}, not torchmetrics'")
    return objective


def _packages(catalogue: Catalogue) -> dict[str, str]:
    found: dict[str, str] = {}
    for root, path in catalogue.folders(FOLDER):
        for settings in sorted(path.glob("*/settings.py")):
            name = settings.parent.name
            if name in found:
                raise UserError(f"plugins: {root}.{name} is called as {found[name]} is; rename its folder")
            found[name] = f"{root}.{name}"
    return found


def _class_in(name: str, catalogue: Catalogue, module: str, constant: str, base: type) -> type[Any]:
    """The class that a module of a task's folder ends with.

    Raises:
        UserError: there is no such task, its module cannot be imported, or ends otherwise.
    """
    known = _packages(catalogue)
    if name not in known:
        hint = "" if catalogue.plugins else "; one of your own needs plugins=[...]"
        raise UserError(f"task={name}: no such task; options: {', '.join(sorted(known))}{hint}")
    full_name = f"{known[name]}.{module}"
    try:
        found = getattr(import_module(full_name), constant, None)
    except (Exception, SystemExit) as error:  # whatever the author's code does
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"task={name}: {full_name} cannot be imported ({type(error).__name__}: {reason})") from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise UserError(f"task={name}: {full_name} must end with {constant} = a class that inherits {base.__name__}")
    if issubclass(found, TaskSettings) and getattr(found, "name", None) != name:
        raise UserError(f"task={name}: {found.__name__}.name is {getattr(found, 'name', 'missing')}; must be {name!r}")
    return found
