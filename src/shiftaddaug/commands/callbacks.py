"""The callbacks of a run: made from the configuration, put in order, asked whether they have anything to do."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from shiftaddaug.callbacks.order import idle_reasons
from shiftaddaug.errors import UserError
from shiftaddaug.runs.rules import say_no_effect, typed_of


def build_callbacks(config: DictConfig) -> dict[str, pl.Callback]:
    """Callbacks by their names in `config`, the `callbacks` group; a name without content is one that is off.

    Raises:
        UserError: a name that stands for something else.
    """
    made = {str(name): instantiate(node) for name, node in config.items() if node}
    for name, callback in made.items():
        if not isinstance(callback, pl.Callback):
            raise UserError(f"callbacks.{name}: is a {type(callback).__name__}; must be a Lightning callback")
    return made


def typed_overrides() -> list[str]:
    """What the user typed; nothing outside of a command."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def note_idle(
    callbacks: Mapping[str, pl.Callback], trainer: pl.Trainer, pl_module: Any, overrides: Sequence[str] = ()
) -> dict[str, str]:
    """Ask all callbacks why they have nothing to do, and warn where somebody wanted them to.

    That is where a callback says so itself, and where its own keys were typed. Others are part of every run, and idle
    because their mechanism is off: run.json records the reason.

    Args:
        callbacks: by their names in the configuration.
        trainer: of the run, before it trains.
        pl_module: the task.
        overrides: what the user typed.

    Returns:
        Reasons by name; callbacks that work are left out.
    """
    reasons = idle_reasons(callbacks, trainer, pl_module)
    for name, reason in reasons.items() if trainer.is_global_zero else ():
        key = f"callbacks.{name}"
        typed = typed_of([key], overrides)
        if getattr(callbacks[name], "warn_when_idle", False):
            say_no_effect(reason, [key])
        elif typed:
            say_no_effect(reason, typed)
    return reasons
