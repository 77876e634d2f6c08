"""The one way to a Lightning Trainer: what it says of its arguments becomes a line for people."""

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from shiftaddaug.errors import UserError

SPLITS = ("train", "val", "test")


def check_limits(config: DictConfig, data: pl.LightningDataModule, splits: Iterable[str] = SPLITS) -> None:
    """Check that a share of a split's batches is at least one of them: Lightning would say so when it gets there.

    Args:
        config: a composed yaml of configs/trainer.
        data: set up.
        splits: those that are going to be used.

    Raises:
        UserError: naming the limit.
    """
    for split in splits:
        share = config.get(f"limit_{split}_batches")
        if isinstance(share, float) and share < 1:
            batches = len(getattr(data, f"{split}_dataloader")())
            if int(share * batches) == 0:
                raise UserError(f"trainer.limit_{split}_batches={share}: is less than one of the {batches} batches")


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
