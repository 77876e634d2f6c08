"""Randomness that a resumed run repeats exactly."""

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.seeding import derive_seed
from shiftaddaug.settings import Seed, checked


class ReseedEachEpoch(pl.Callback):
    """Seed Python, NumPy and torch from (seed, epoch, rank) at the start of each epoch.

    Image augmentation, mixup and dropout draw from these generators, so an epoch's draws do not depend on what ran
    before it: a run killed after any epoch and resumed repeats the uninterrupted one.
    """

    stage = Stage.SEED

    @checked("callbacks.reseed")
    def __init__(self, seed: Seed) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        seed = derive_seed(self.seed, trainer.current_epoch, trainer.global_rank)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (timm's mixup draws from the legacy generator)
        torch.manual_seed(seed)
