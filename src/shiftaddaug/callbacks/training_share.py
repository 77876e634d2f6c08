"""How far training is, for schedules that are functions of it."""

from typing import Any

import lightning.pytorch as pl

from shiftaddaug.errors import UserError
from shiftaddaug.settings import shown


def training_share(trainer: pl.Trainer, steps: bool = False) -> float:
    """Share of training that is done, in [0, 1]: 0 in the first epoch (or step), 1 in the last.

    So what a schedule starts from is trained at least once, and so is what it ends with, if only by 1.0. A run of one
    epoch is at 1.

    Args:
        trainer: at the start of an epoch, or of a step.
        steps: count optimiser steps; else epochs.
    """
    if steps:
        done, last = trainer.global_step, float(trainer.estimated_stepping_batches) - 1
    else:
        done, last = trainer.current_epoch, (trainer.max_epochs or 1) - 1
    return min(1.0, done / last) if last > 0 else 1.0


class Progress:
    """The share of training, which stays at 1 where a run that has finished is trained further: nothing goes back."""

    def __init__(self) -> None:
        self.over = False
        """Whether it has been 1."""

    def share(self, trainer: pl.Trainer, steps: bool = False) -> float:
        """Return `training_share`, or 1 if it has been."""
        share = 1.0 if self.over else training_share(trainer, steps)
        self.over = share >= 1
        return share


def refuse_other_settings(callback: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raise UserError on the first setting that differs from the checkpoint's."""
    for key, value in ours.items():
        if key in theirs and theirs[key] != value:
            raise UserError(
                f"callbacks.{callback}.{key}={shown(value)}: the checkpoint was trained with {shown(theirs[key])}; "
                f"resume with that"
            )
