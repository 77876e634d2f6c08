"""Configurations of earlier versions, as they are written today. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from shiftaddaug import operators
from shiftaddaug.data.checks import read_stored
from shiftaddaug.errors import UserError
from shiftaddaug.nets import archs
from shiftaddaug.operators.stated import stated, states_layers, with_stated

COSINE = {
    "_target_": "shiftaddaug.tasks.schedule.cosine",
    "_partial_": True,
    "interval": "step",
    "total_steps": "run.total_steps",
    "warmup_steps": "run.warmup_steps",
}
"""configs/optim/scheduler/cosine.yaml, but for `min_lr`."""

CLASSIFICATION = {"name": "classification", "headline": "top1", "better": "max"}
"""The keys of configs/task/classification.yaml that came when there were other tasks."""


def as_of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration under today's keys; values are left as they are.

    Padding of images once was in pixels; the constants of R once stood in `sharing.remaps`, by operator; every schedule
    once was a cosine; every task once was classification, and every network ended in a classifier. Keys that an
    operator of this package had not yet get the values that do what was done then.
    """
    today = {"arch": dict(archs.DEFAULT)} | dict(config)
    optim = today.get("optim")
    if isinstance(optim, dict) and "scheduler" not in optim:
        today["optim"] = optim | {"scheduler": COSINE | {"min_lr": optim.get("min_lr")}}
    if "task" in today:
        today["task"] = task_of(today)
    if isinstance(today.get("data"), dict):
        today["data"] = read_stored(today["data"])
    op, sharing = today.get("op"), today.get("sharing")
    if isinstance(op, dict) and isinstance(sharing, dict):
        remaps = sharing.get("remaps")
        today["sharing"] = {key: value for key, value in sharing.items() if key != "remaps"}
        several = op.get("operators")
        if states_layers(op) and isinstance(several, dict) and all(isinstance(each, dict) for each in several.values()):
            today["op"] = with_stated(op, {key: _defaults(each) | dict(each) for key, each in stated(op).items()})
        else:
            known = remaps.get(op.get("name")) if isinstance(remaps, dict) else None
            today["op"] = _defaults(op) | ({} if known is None else {"remap": known}) | op
    return today


def task_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The task of a stored configuration, or of what a target says of itself.

    Raises:
        UserError: what stands there is no task.
    """
    task = config.get("task", {})
    if not isinstance(task, dict):
        raise UserError(f"task={task}: is no configuration of a task")
    return task if "name" in task else CLASSIFICATION | task


def _defaults(op: Mapping[str, Any]) -> dict[str, Any]:
    """What was done without the operator's keys, if it is one of this package."""
    try:
        settings = operators.settings_from({"name": op.get("name")})
    except UserError:
        return {}
    remap = {} if settings.remap is None else {"remap": settings.remap.config()}
    return settings.config() | remap | dict(settings.before)
