"""The callbacks of a run: made from the configuration, put in order, asked whether they have anything to do."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate

from shiftaddaug.callbacks.order import idle_reasons
from shiftaddaug.errors import UserError

log = logging.getLogger(__name__)


def build_callbacks(config: Mapping[str, Any]) -> dict[str, pl.Callback]:
    """Callbacks by their names in `config`, the `callbacks` group; a name without content is one that is off.

    Raises:
        UserError: a name that stands for something else.
    """
    made = {str(name): instantiate(node) for name, node in config.items() if node}
    for name, callback in made.items():
        if not isinstance(callback, pl.Callback):
            raise UserError(f"callbacks.{name}: is a {type(callback).__name__}; must be a Lightning callback")
    return made


def note_idle(
    callbacks: Mapping[str, pl.Callback], trainer: pl.Trainer, pl_module: Any, typed: Sequence[str] = ()
) -> dict[str, str]:
    """Ask all callbacks why they have nothing to do, and warn where somebody wanted them to.

    That is where a callback says so itself, and where its own keys were typed. Others are part of every run, and idle
    because their mechanism is off: run.json records the reason.

    Args:
        callbacks: by their names in the configuration.
        trainer: of the run, before it trains.
        pl_module: the task.
        typed: overrides that the user typed.

    Returns:
        Reasons by name; callbacks that work are left out.
    """
    reasons = idle_reasons(callbacks, trainer, pl_module)
    for name, reason in reasons.items() if trainer.is_global_zero else ():
        key = f"callbacks.{name}"
        own = [override for override in typed if override.lstrip("+").startswith((f"{key}.", f"{key}="))]
        if getattr(callbacks[name], "warn_when_idle", False):
            log.warning("no effect, because %s: %s", reason, key)
        elif own:
            log.warning("no effect, because %s: %s", reason, ", ".join(own))
    return reasons
