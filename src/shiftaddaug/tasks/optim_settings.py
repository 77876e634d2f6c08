"""What the `optim` group may say, and facts of the optimisers that it names. Imports no torch."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from shiftaddaug.errors import UserError
from shiftaddaug.hydra_nodes import check_node
from shiftaddaug.settings import NonNegativeNumber, Share, check_group, options_near, shown
from shiftaddaug.tasks.run_length import asked_for

log = logging.getLogger(__name__)

Rate = Annotated[float, Meta(gt=0, le=1000)]
Momentum = Annotated[float, Meta(ge=0, lt=1)]

OPTIMIZER: dict[str, Any] = {
    "lr": Rate,
    "weight_decay": Annotated[float, Meta(ge=0, le=1000)],
    "momentum": Momentum,
    "dampening": Share,
    "alpha": Momentum,
    "rho": Momentum,
    "eps": Annotated[float, Meta(ge=0, le=1)],
    "betas": Annotated[list[Momentum], Meta(min_length=2, title="a list of numbers >= 0 and < 1, two at least")],
}
"""Ranges that the signatures of optimisers do not say."""

Factor = Annotated[float, Meta(gt=0, le=10)]
"""Factor by which a rate is multiplied again and again; above 1 it rises, as in a search for the largest rate."""

SCHEDULER: dict[str, Any] = {
    "interval": Literal["step", "epoch"],
    "gamma": Factor,
    "power": Annotated[float, Meta(gt=0, le=100)],
    "pct_start": Share,
    "div_factor": Annotated[float, Meta(ge=1)],
    "final_div_factor": Annotated[float, Meta(ge=1)],
    "base_momentum": Momentum,
    "max_momentum": Momentum,
    "decay_rate": Factor,
    "warmup_lr": Annotated[float, Meta(ge=0, le=1000)],
}
"""Ranges that the signatures of schedules do not say. `interval`, how often rates move, is no argument of theirs."""

OBEYED_BY = {
    "optim.warmup_epochs": ("${optim.warmup_epochs}", "run.warmup_steps"),
    "optim.min_lr": ("${optim.min_lr}",),
}
"""Keys that only some schedules obey, and the values in a schedule's yaml that say so."""


@dataclass(frozen=True)
class OptimSettings:
    """Keys of configs/optim. A yaml may have others that its optimiser's node is made of, such as timm's `name`."""

    lr: Rate
    optimizer: dict[str, Any]
    scheduler: Any = None
    warmup_epochs: Annotated[float, Meta(ge=0, le=10**6)] = 0.0
    min_lr: NonNegativeNumber = 0.0
    decay_norms: bool = False
    encoder_lr_mult: Annotated[float, Meta(gt=0, le=1000)] = 1.0


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
_DECOUPLED = ("AdamW",)
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


def undoes_scale(optimizer: Mapping[str, Any]) -> bool:
    """Whether the steps of the node `optim.optimizer` stay as they are when all gradients of a weight are scaled.

    Decay that is added to the gradient (torch's Adam, but not AdamW) weighs otherwise then.
    """
    facts, name = optimizer_facts(optimizer), str(optimizer["_target_"]).rpartition(".")[2]
    decoupled = name in _DECOUPLED or optimizer.get("decoupled_weight_decay") is True
    return facts is not None and facts.own_scale and (decoupled or not optimizer.get("weight_decay"))


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
    _check_nesterov(settings.optimizer)
    scheduler = settings.scheduler
    if not isinstance(scheduler, Mapping) or "_target_" not in scheduler:
        name = "constant" if scheduler is None else scheduler
        raise UserError(f"optim.scheduler={shown(scheduler)}: is a group of its own; write optim/scheduler={name}")
    check_node("optim.scheduler", scheduler, SCHEDULER, more={"interval": SCHEDULER["interval"]})
    for key, value in scheduler.items():
        asked_for(f"optim.scheduler.{key}", value)
    if settings.warmup_epochs >= epochs and obeys(written["scheduler"], "optim.warmup_epochs"):
        log.warning(
            "optim.warmup_epochs=%s leaves no epoch at the full learning rate of trainer.max_epochs=%s",
            settings.warmup_epochs,
            epochs,
        )
    return settings


def _check_nesterov(optimizer: Mapping[str, Any]) -> None:
    """Refuse Nesterov's steps without a momentum, or with a dampened one: torch's SGD has none."""
    if optimizer.get("nesterov") is not True or not str(optimizer["_target_"]).startswith("torch.optim."):
        return
    remedy = "options: optim.optimizer.nesterov=false"
    if not optimizer.get("momentum"):
        momentum = shown(optimizer.get("momentum", 0))
        raise UserError(f"optim.optimizer.momentum={momentum}: must be a number > 0 with nesterov; {remedy}")
    if optimizer.get("dampening"):
        raise UserError(f"optim.optimizer.dampening={shown(optimizer['dampening'])}: must be 0 with nesterov; {remedy}")


def _refuse_unread(written: Mapping[str, Any]) -> None:
    """Refuse a key that nothing reads: a yaml may have keys of its own, for what it builds the optimiser of."""
    read = list(OptimSettings.__dataclass_fields__)
    known = [key for key in written if key in read or f"${{optim.{key}}}" in str(written)]
    for key, value in written.items():
        if key not in known:
            options = options_near(key, known, "optim.")
            raise UserError(f"optim.{key}={shown(value)}: no such key; {options}")
