"""How far training is, for schedules that are functions of it."""

from typing import Any

import lightning.pytorch as pl

from shiftaddaug.errors import UserError


def training_share(trainer: pl.Trainer, steps: bool = False) -> float:
    """Share of training, in (0, 1], that is done when the running epoch ends, or the running step.

    NOTE: its end, not its beginning: the last epoch and the last step are at 1, so that whatever a schedule has to
    have finished by then, if only by 1.0, is trained in its final form at least once, in a run of one epoch too.

    Args:
        trainer: at the start of an epoch, or of a step.
        steps: count optimiser steps; else epochs.
    """
    if steps:
        return min(1.0, (trainer.global_step + 1) / max(1.0, float(trainer.estimated_stepping_batches)))
    return min(1.0, (trainer.current_epoch + 1) / max(1, trainer.max_epochs or 1))


def refuse_other_settings(callback: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raise UserError on the first setting that differs from the checkpoint's."""
    for key, value in ours.items():
        if key in theirs and theirs[key] != value:
            raise UserError(
                f"callbacks.{callback}.{key}={value}: the checkpoint was trained with {theirs[key]}; resume with that"
            )
