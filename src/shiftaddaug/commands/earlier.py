"""Configurations of earlier versions, as they are written today. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from shiftaddaug import operators
from shiftaddaug.data.checks import read_stored
from shiftaddaug.errors import UserError

COSINE = {
    "_target_": "shiftaddaug.tasks.schedule.cosine",
    "_partial_": True,
    "interval": "step",
    "total_steps": "run.total_steps",
    "warmup_steps": "run.warmup_steps",
}
"""configs/optim/scheduler/cosine.yaml, but for `min_lr`."""


def as_of_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration under today's keys; values are left as they are.

    Padding of images once was in pixels; the constants of R once stood in `sharing.remaps`, by operator; every schedule
    once was a cosine. Keys that an operator of this package did not have then get its defaults, which do what was done
    then.
    """
    today = dict(config)
    optim = today.get("optim")
    if isinstance(optim, dict) and "scheduler" not in optim:
        today["optim"] = optim | {"scheduler": COSINE | {"min_lr": optim.get("min_lr")}}
    if isinstance(today.get("data"), dict):
        today["data"] = read_stored(today["data"])
    op, sharing = today.get("op"), today.get("sharing")
    if isinstance(op, dict) and isinstance(sharing, dict):
        remaps = sharing.get("remaps")
        today["sharing"] = {key: value for key, value in sharing.items() if key != "remaps"}
        defaults = _defaults(op)
        known = remaps.get(op.get("name")) if isinstance(remaps, dict) else None
        today["op"] = defaults | ({} if known is None else {"remap": known}) | op
    return today


def _defaults(op: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of the operator, if it is one of this package."""
    try:
        settings = operators.settings_from({"name": op.get("name")})
    except UserError:
        return {}
    remap = {} if settings.remap is None else {"remap": settings.remap.config()}
    return settings.config() | remap
