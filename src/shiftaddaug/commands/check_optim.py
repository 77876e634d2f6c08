"""Check the `optim` group: rates, warm-up and what the schedule asks for; warn of what has no effect."""

import logging
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.settings import options_near, shown
from shiftaddaug.tasks.run_length import asked_for

log = logging.getLogger(__name__)

READ = ("lr", "warmup_epochs", "min_lr", "decay_norms", "optimizer", "scheduler")
"""Keys that are read whatever the optimiser."""

USED_BY = {
    "optim.warmup_epochs": ("${optim.warmup_epochs}", "run.warmup_steps"),
    "optim.min_lr": ("${optim.min_lr}",),
}
"""Keys that only some schedules obey, and the values in a schedule's yaml that say so."""


def check_optim(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Check rates, warm-up and schedule.

    Args:
        cfg: of a run, its interpolations not resolved.
        overrides: what the user typed, to warn of settings without effect.

    Raises:
        UserError: the first mistake, by key.
    """
    optim = cfg.optim
    _refuse_unread(optim)
    if optim.min_lr >= optim.lr:
        raise UserError(f"optim.min_lr={optim.min_lr}: must be below optim.lr={optim.lr}")
    scheduler = optim.scheduler
    if not OmegaConf.is_dict(scheduler) or "_target_" not in scheduler:
        name = "constant" if scheduler is None else scheduler
        raise UserError(f"optim.scheduler={scheduler}: is a group of its own; write optim/scheduler={name}")
    for key, value in scheduler.items():
        asked_for(f"optim.scheduler.{key}", value)
    if optim.warmup_epochs >= cfg.trainer.max_epochs and _obeys(scheduler, "optim.warmup_epochs"):
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            optim.warmup_epochs,
            cfg.trainer.max_epochs,
        )
    for override in overrides:
        key = override.split("=")[0].lstrip("+")
        if key in USED_BY and not _obeys(scheduler, key):
            name = scheduler._target_.rpartition(".")[2]
            log.warning("no effect, because the schedule %s does not use it: %s", name, override)


def _refuse_unread(optim: DictConfig) -> None:
    """Refuse a key that nothing reads: a yaml may have keys of its own, for what it builds the optimiser of."""
    text, keys = OmegaConf.to_yaml(optim), [str(key) for key in optim]
    known = [key for key in keys if key in READ or f"${{optim.{key}}}" in text]
    for key in keys:
        if key not in known:
            options = options_near(key, known, "optim.")
            raise UserError(f"optim.{key}={shown(optim[key])}: no such key; {options}")


def _obeys(scheduler: DictConfig, key: str) -> bool:
    values = OmegaConf.to_container(scheduler, resolve=False).values()  # type: ignore[union-attr]
    return any(value in USED_BY[key] for value in values if isinstance(value, str))
