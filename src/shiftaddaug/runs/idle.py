"""Callbacks that have nothing to do: whoever wanted them to is told."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl

from shiftaddaug.callbacks.order import idle_reasons
from shiftaddaug.runs.rules import say_no_effect, typed_of


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
        own = typed_of([key], typed)
        if getattr(callbacks[name], "warn_when_idle", False):
            say_no_effect(reason, [key])
        elif own:
            say_no_effect(reason, own)
    return reasons
