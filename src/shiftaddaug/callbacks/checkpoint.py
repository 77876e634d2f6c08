"""Checkpoints of a run: the best on validation, and the last."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """best.ckpt: the highest value of `monitor` so far.

    A resumed run writes into a folder of its own. Lightning then forgets which score was the best; here the best of
    the resumed run stands until it is beaten, so that resuming changes nothing. Its file stays where it is.
    """

    def __init__(self, dirpath: str, monitor: str, mode: str = "max") -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class LastCheckpoint(ModelCheckpoint):
    """last.ckpt: the end of the last finished epoch.

    A callback of its own because `save_last` of Lightning's saves only when the best is saved too.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath=dirpath, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: what was last is past."""


def checkpoint_path(trainer: pl.Trainer, kind: type[ModelCheckpoint]) -> Path | None:
    """Where the best or the last checkpoint lies, if there is one."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, kind) and callback.best_model_path:
            path = Path(callback.best_model_path)
            return path if path.exists() else None
    return None
