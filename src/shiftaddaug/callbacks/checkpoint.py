"""Checkpoints of a run: the best on validation, and the last."""

import shutil
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.errors import UserError
from shiftaddaug.files import whole
from shiftaddaug.settings import checked


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, then put it there in one step.

    A run killed while it writes leaves the previous checkpoint whole. Lightning writes into the system's temporary
    folder first, which protects only where that lies on the same file system.

    Raises:
        UserError: it cannot be written, as on a full disk; no half of it is left.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(exist_ok=True)  # not its parents: a run whose folder is gone has lost its records
        except OSError as error:
            raise UserError(f"{path}: could not be written ({error.strerror})") from error
        with whole(path) as half:
            torch.save(checkpoint, half)


class _OfWholeEpochs(ModelCheckpoint):
    """Saves nothing in the middle of an epoch, where `trainer.max_time` may stop: resuming trains that epoch again."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


class BestCheckpoint(_OfWholeEpochs):
    """best.ckpt: the best value of `monitor` so far, the highest or (`mode="min"`) the lowest.

    It holds the weights that were validated when its score was measured. After a validation at an epoch's end it is
    written with the epoch; after a scheduled one within an epoch (`trainer.val_check_interval`) it is written at once.
    An epoch that was not validated at its end leaves it alone. A validation that a stop within an epoch brought about
    does not count, for a resumed run trains that epoch again.

    A resumed run writes into a folder of its own. Lightning then forgets which score was the best; here the best of
    the resumed run stands until it is beaten, so that resuming changes nothing; its file is copied. Its score is read
    from that file: one that was written within the epoch that is trained again is newer than the resumed checkpoint.

    A task that is not `validated` has no best epoch, and gets no such file.
    """

    stage = Stage.SAVE

    @checked("callbacks.best_checkpoint")
    def __init__(self, dirpath: str, monitor: str, mode: Literal["max", "min"] = "max") -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._resumed: Path | None = None
        self._validated_step: int | None = None

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say that no epoch can be the best, if so."""
        return None if getattr(pl_module, "validated", True) else "nothing is validated with data.val_fraction=0"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note which weights have a score now; save them, if they are trained further before their epoch ends."""
        if trainer.sanity_checking:
            return
        self._validated_step = trainer.global_step
        if not trainer.is_last_batch and _is_scheduled(trainer):
            ModelCheckpoint.on_train_epoch_end(self, trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save, where the weights of this moment have a score."""
        if getattr(pl_module, "validated", True) and self._validated_step == trainer.global_step:
            super().on_train_epoch_end(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note where the resumed checkpoint lies: its run's folder may have been moved or copied since."""
        self._resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far, which lies beside the resumed checkpoint, or where it was written.

        Raises:
            UserError: its file is gone.
        """
        if not state_dict["best_model_path"]:
            super().load_state_dict({**state_dict, "dirpath": self.dirpath})
            return
        old, new = Path(state_dict["best_model_path"]), Path(str(self.dirpath)) / "best.ckpt"
        beside = self._resumed.with_name(old.name) if self._resumed is not None else old
        old = beside if beside.exists() else old
        if not old.exists():
            raise UserError(
                f"ckpt_path: the best checkpoint of the resumed run, {old}, is gone; resume with it in place"
            )
        if old != new:
            _copy(old, new)
        paths = {"best_model_path": str(new), "kth_best_model_path": str(new), "dirpath": self.dirpath}
        score = self._score_in(old)
        scores = {"best_model_score": score, "kth_value": score, "best_k_models": {str(new): score}}
        super().load_state_dict({**state_dict, **paths, **scores})

    def _score_in(self, path: Path) -> Tensor:
        """Return the score of the weights in a best.ckpt, which its own state says.

        Raises:
            UserError: it cannot be read.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            score: Tensor = content["callbacks"][self.state_key]["best_model_score"]
        except Exception as error:  # damaged bytes make the unpickler raise almost anything
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"ckpt_path: best checkpoint of the resumed run, {path}, is damaged ({reason})") from None
        return score


class LastCheckpoint(_OfWholeEpochs):
    """last.ckpt: the end of the last finished epoch.

    A callback of its own because `save_last` of Lightning's saves only when the best is saved too.
    """

    stage = Stage.SAVE_LAST
    only_watches = True

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath=dirpath, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing: what was last is past."""


def _is_scheduled(trainer: pl.Trainer) -> bool:
    """Whether `trainer.val_check_interval` asks for a validation after this batch."""
    loop, interval = trainer.fit_loop, trainer.val_check_batch
    batch = loop.total_batch_idx if trainer.check_val_every_n_epoch is None else loop.batch_idx
    return interval is not None and (batch + 1) % interval == 0


@rank_zero_only
def _copy(old: Path, new: Path) -> None:
    new.parent.mkdir(exist_ok=True)
    with whole(new) as half:
        shutil.copyfile(old, half)


def checkpoint_path(trainer: pl.Trainer, kind: type[ModelCheckpoint]) -> Path | None:
    """Where the best or the last checkpoint lies, if there is one."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, kind) and callback.best_model_path:
            path = Path(callback.best_model_path)
            return path if path.exists() else None
    return None
