"""A supernet that is widened and sampled, trained for four epochs of two steps, with a checkpoint after each."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from tests.build import bottlenecks
from tests.tasks.little import NESTEROV, make_batch
from tests.tasks.little import fit as fit_batches
from tests.tasks.little import make_task as make_little_task

from shiftaddaug.callbacks.sampling import SampleSubnets
from shiftaddaug.tasks.training import Training

TABLE = bottlenecks(se=True)
EPOCHS = 4
BATCHES = [make_batch(seed, 8) for seed in (1, 2)]


def make_task(op: str = "shift", **arguments: Any) -> Training:
    """Training of that net by Nesterov's momentum, the stem multiplying; arguments as in `tests/tasks/little.py`."""
    return make_little_task(op, ["stem"], **{"table": TABLE, "optimizer": NESTEROV, **arguments})


def fit(folder: Path, task: Training, *callbacks: pl.Callback, resume: Path | None = None, **options: Any) -> None:
    """Train, validate every epoch, and save it as epoch=N.ckpt."""
    saving = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    called = [SampleSubnets(seed=0), *callbacks, saving]
    options = {"max_epochs": EPOCHS, "callbacks": called, "enable_checkpointing": True, **options}
    fit_batches(task, BATCHES, BATCHES, resume, default_root_dir=folder, **options)
