"""What a yaml of configs/optim may say, and facts of the optimisers that it names. Imports no torch."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shiftaddaug.errors import UserError
from shiftaddaug.settings import NonNegativeNumber, PositiveNumber, options_near, shown
from shiftaddaug.tasks.run_length import asked_for

log = logging.getLogger(__name__)

READ = ("lr", "warmup_epochs", "min_lr", "optimizer", "scheduler")
"""Keys that are read whatever the optimiser."""

OBEYED_BY = {
    "optim.warmup_epochs": ("${optim.warmup_epochs}", "run.warmup_steps"),
    "optim.min_lr": ("${optim.min_lr}",),
}
"""Keys that only some schedules obey, and the values in a schedule's yaml that say so."""


@dataclass(frozen=True)
class OptimSettings:
    """Keys of configs/optim besides the optimiser and its schedule."""

    lr: PositiveNumber
    warmup_epochs: NonNegativeNumber = 0.0
    min_lr: NonNegativeNumber = 0.0


@dataclass(frozen=True)
class OptimizerFacts:
    """What others ask of an optimiser instead of its name."""

    states: int
    """Tensors of a weight's size that it keeps besides momentum."""
    own_scale: bool
    """Whether the length of its steps does not follow the gradient's, so that the scale of weights means something."""


_OF_TORCH = {
    **{"SGD": OptimizerFacts(0, False), "ASGD": OptimizerFacts(1, True), "Adadelta": OptimizerFacts(2, True)},
    **dict.fromkeys(("RMSprop", "Adagrad"), OptimizerFacts(1, True)),
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Rprop"), OptimizerFacts(2, True)),
}
_SGD_OF_TIMM = ("sgd", "momentum", "nesterov")
"""Names by which timm makes torch's SGD."""


def optimizer_facts(optimizer: Mapping[str, Any]) -> OptimizerFacts | None:
    """Return the facts of the node `optim.optimizer`; None where it names what is not known here."""
    package, _, name = str(optimizer["_target_"]).rpartition(".")
    if package.startswith("torch.optim"):
        return _OF_TORCH.get(name)
    if package.startswith("timm.optim") and "opt" in optimizer:
        return OptimizerFacts(0, str(optimizer["opt"]).lower() not in _SGD_OF_TIMM)
    return None


def obeys(scheduler: Mapping[str, Any], key: str) -> bool:
    """Whether a schedule obeys one of the keys in `OBEYED_BY`.

    Args:
        scheduler: its node, as plain containers, interpolations not resolved.
        key: such as optim.min_lr.
    """
    return any(value in OBEYED_BY[key] for value in scheduler.values() if isinstance(value, str))


def check_optim(cfg: DictConfig) -> None:
    """Check rates, warm-up and schedule.

    Args:
        cfg: of a run, its interpolations not resolved.

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
    written: Any = OmegaConf.to_container(scheduler, resolve=False)
    if optim.warmup_epochs >= cfg.trainer.max_epochs and obeys(written, "optim.warmup_epochs"):
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            optim.warmup_epochs,
            cfg.trainer.max_epochs,
        )


def _refuse_unread(optim: DictConfig) -> None:
    """Refuse a key that nothing reads: a yaml may have keys of its own, for what it builds the optimiser of."""
    text, keys = OmegaConf.to_yaml(optim), [str(key) for key in optim]
    known = [key for key in keys if key in READ or f"${{optim.{key}}}" in text]
    for key in keys:
        if key not in known:
            options = options_near(key, known, "optim.")
            raise UserError(f"optim.{key}={shown(optim[key])}: no such key; {options}")
