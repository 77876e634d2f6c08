"""What the `optim` group may say: rates, warm-up, the optimiser and its schedule. Imports no torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.settings import NonNegativeNumber, PositiveNumber, check_group, options_near, shown
from shiftaddaug.tasks.run_length import asked_for

log = logging.getLogger(__name__)

OPTIMIZER: dict[str, Any] = {"lr": PositiveNumber, "weight_decay": NonNegativeNumber, "momentum": NonNegativeNumber}
"""Ranges that the signatures of optimisers do not say."""

INTERVALS = ("step", "epoch")
"""How often the learning rate moves."""

USED_BY = {
    "optim.warmup_epochs": ("${optim.warmup_epochs}", "run.warmup_steps"),
    "optim.min_lr": ("${optim.min_lr}",),
}
"""Keys that only some schedules obey, and the values in a schedule's yaml that say so."""


@dataclass(frozen=True)
class OptimSettings:
    """Keys of configs/optim. A yaml may have others that its optimiser's node is made of, such as timm's `name`."""

    lr: PositiveNumber
    optimizer: dict[str, Any]
    scheduler: Any = None
    warmup_epochs: NonNegativeNumber = 0.0
    min_lr: NonNegativeNumber = 0.0
    decay_norms: bool = False


def check_optim(
    optim: Mapping[str, Any], written: Mapping[str, Any], epochs: int, typed: Sequence[str] = ()
) -> OptimSettings:
    """Check rates, warm-up, optimiser and schedule.

    Args:
        optim: the group, as plain containers.
        written: the same with its interpolations as they are written, which say what reads a key.
        epochs: of the run.
        typed: what the user typed, to warn of settings without effect.

    Raises:
        UserError: the first mistake, by key.
    """
    settings: OptimSettings = check_group("optim", optim, OptimSettings, more=optim)
    _refuse_unread(written)
    if settings.min_lr >= settings.lr:
        raise UserError(f"optim.min_lr={settings.min_lr}: must be below optim.lr={settings.lr}")
    check_node("optim.optimizer", settings.optimizer, OPTIMIZER)
    scheduler = settings.scheduler
    if not isinstance(scheduler, Mapping) or "_target_" not in scheduler:
        name = "constant" if scheduler is None else scheduler
        raise UserError(f"optim.scheduler={scheduler}: is a group of its own; write optim/scheduler={name}")
    check_node("optim.scheduler", scheduler, more={"interval": Literal[INTERVALS]})  # type: ignore[valid-type]
    for key, value in scheduler.items():
        asked_for(f"optim.scheduler.{key}", value)
    _warn(settings, written["scheduler"], epochs, typed)
    return settings


def _warn(settings: OptimSettings, written: Mapping[str, Any], epochs: int, typed: Sequence[str]) -> None:
    if settings.warmup_epochs >= epochs and _obeys(written, "optim.warmup_epochs"):
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            settings.warmup_epochs,
            epochs,
        )
    for override in typed:
        key = override.split("=")[0].lstrip("+")
        if key in USED_BY and not _obeys(written, key):
            name = written["_target_"].rpartition(".")[2]
            log.warning("no effect, because the schedule %s does not use it: %s", name, override)


def _refuse_unread(written: Mapping[str, Any]) -> None:
    """Refuse a key that nothing reads: a yaml may have keys of its own, for what it builds the optimiser of."""
    read = list(OptimSettings.__dataclass_fields__)
    known = [key for key in written if key in read or f"${{optim.{key}}}" in str(written)]
    for key, value in written.items():
        if key not in known:
            options = options_near(key, known, "optim.")
            raise UserError(f"optim.{key}={shown(value)}: no such key; {options}")


def _obeys(scheduler: Mapping[str, Any], key: str) -> bool:
    return any(value in USED_BY[key] for value in scheduler.values() if isinstance(value, str))
