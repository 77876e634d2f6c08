"""What a run says of its target beside the weights: how images are prepared, and what outputs stand for."""

from typing import Any

from shiftaddaug.nets.interface import Interface, Preprocessing
from shiftaddaug.nets.plan import Plan
from shiftaddaug.report.harmless import harmless
from shiftaddaug.tasks.base import Objective


def interface_of(objective: Objective, data: Any, plan: Plan) -> Interface:
    """Return what a data module and an objective state; what a plugin's fail to state is warned of and left out.

    Args:
        objective: of the task.
        data: a data module that is set up; `class_names` and `preprocessing` are asked for where it has them.
        plan: of the network.
    """
    name, outputs, channels = objective.settings.name, plan.num_classes, plan.in_channels
    named, prepared = Interface(task=name), Interface(task=name)
    with harmless("the target does not carry the names of its classes"):
        held = _asked(data, "class_names")
        classes = objective.classes(None if held is None else [*held])
        named = Interface(task=name, classes=None if classes is None else tuple(classes))
        named.check_outputs(outputs, channels)
    with harmless("the target does not carry how images are prepared"):
        stated = _asked(data, "preprocessing")
        if not isinstance(stated, Preprocessing | None):
            raise TypeError(f"preprocessing returned a {type(stated).__name__}; must be a Preprocessing, or None")
        Interface(preprocessing=stated).check_outputs(outputs, channels)
        prepared = Interface(preprocessing=stated)
    return Interface(task=name, classes=named.classes, preprocessing=prepared.preprocessing)


def _asked(data: Any, method: str) -> Any:
    """Return what a method of a data module returns; None where it has none."""
    ask = getattr(data, method, None)
    return ask() if callable(ask) else None
