"""What the `optim` group may say, and facts of the optimisers that it names. Imports no torch."""

import logging
from collections.abc import Mapping
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

OBEYED_BY = {
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


def sets_rate(scheduler: Mapping[str, Any]) -> bool:
    """Whether a schedule, of which this is the node, sets the learning rate whatever the optimiser was made with."""
    return str(scheduler["_target_"]).startswith("torch.") and "max_lr" in scheduler


def cycles_momentum(scheduler: Mapping[str, Any]) -> bool:
    """Whether a schedule sets the momentum, too."""
    return sets_rate(scheduler) and scheduler.get("cycle_momentum", True) is True


def check_optim(optim: Mapping[str, Any], written: Mapping[str, Any], epochs: int) -> OptimSettings:
    """Check rates, warm-up, optimiser and schedule.

    Args:
        optim: the group, as plain containers.
        written: the same with its interpolations as they are written, which say what reads a key.
        epochs: of the run.

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
    if settings.warmup_epochs >= epochs and obeys(written["scheduler"], "optim.warmup_epochs"):
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            settings.warmup_epochs,
            epochs,
        )
    return settings


def _refuse_unread(written: Mapping[str, Any]) -> None:
    """Refuse a key that nothing reads: a yaml may have keys of its own, for what it builds the optimiser of."""
    read = list(OptimSettings.__dataclass_fields__)
    known = [key for key in written if key in read or f"${{optim.{key}}}" in str(written)]
    for key, value in written.items():
        if key not in known:
            options = options_near(key, known, "optim.")
            raise UserError(f"optim.{key}={shown(value)}: no such key; {options}")
