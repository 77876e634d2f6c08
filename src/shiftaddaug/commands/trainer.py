"""The one way to a Lightning Trainer: what it says of its arguments becomes a line for people."""

from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from shiftaddaug.errors import UserError


def build_trainer(config: DictConfig, **options: Any) -> pl.Trainer:
    """The Trainer of a composed yaml of configs/trainer.

    Raises:
        UserError: an argument that it refuses, an accelerator that is not there among them.
    """
    try:
        trainer: pl.Trainer = instantiate(config, **options)
    except Exception as error:  # Hydra wraps what the Trainer says
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer
