"""What a person sees while a run goes on: bar, throughput, one line per epoch."""

import logging
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

from shiftaddaug.callbacks.order import Stage

log = logging.getLogger(__name__)


class ProgressBar(RichProgressBar):
    """Lightning's rich bar without the version number."""

    stage = Stage.SHOW
    only_watches = True

    def idle(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str | None:
        """Say that the trainer goes without it, if so."""
        return None if self in trainer.callbacks else "trainer.enable_progress_bar=false"  # type: ignore[attr-defined]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class Throughput(pl.Callback):
    """Measure images/s of training and the time to the first step; log the learning rate beside them.

    The first step of a run is not counted in images/s: it pays for lazy initialisation. Validations are not, either,
    wherever in an epoch they are.
    """

    stage = Stage.MEASURE

    def __init__(self) -> None:
        self.first_step_time: float | None = None
        """Seconds since the epoch (time.time) at which the first training step had been made."""
        self.images_per_s: float | None = None
        """Images per second of the last whole epoch."""
        self._images = 0
        self._before, self._since = 0.0, 0.0
        self._lr = 0.0
        self._earlier: float | None = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of training and validation so far, those before the checkpoint that was resumed among them.

        None if that does not say how many they were."""
        if self._earlier is None:
            return None
        return self._earlier + (0.0 if self._began is None else time.perf_counter() - self._began)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._earlier = None  # until `load_state_dict`, which follows if there is a state

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier = state_dict["seconds"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._images, self._before, self._since = 0, 0.0, time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the rate of this step: when it has ended, the schedule has moved on."""
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.first_step_time is None:
            self.first_step_time = time.time()
            self._images, self._before, self._since = 0, 0.0, time.perf_counter()
        else:
            self._images += len(batch[0]) * trainer.world_size
        pl_module.log("lr", self._lr, on_step=True, on_epoch=False, prog_bar=True)
        if self._images:
            pl_module.log("images_per_s", self._images / self._spent(), on_step=True, on_epoch=False, prog_bar=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = self._spent()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._images:
            self.images_per_s = self._images / self._spent()

    def _spent(self) -> float:
        """Return seconds that this epoch has trained, validations left out."""
        return self._before + time.perf_counter() - self._since


class EpochLog(pl.Callback):
    """Log one line per epoch, for logs that are read after the bar is gone.

    A validation within an epoch has a line of its own, which says where it was. The epoch's line has the figures of the
    weights that it ends with: `-` where these were not validated.
    """

    stage = Stage.SHOW
    only_watches = True

    def __init__(self) -> None:
        self._validated_step: int | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what an earlier epoch logged last, such as the loss of augmented passes that are over."""
        for name in [name for name in trainer.callback_metrics if name.startswith("train/")]:
            del trainer.callback_metrics[name]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking:
            return
        self._validated_step = trainer.global_step
        if not trainer.is_last_batch:
            batches = f"{trainer.fit_loop.batch_idx + 1} of {trainer.num_training_batches} batches"
            self._line(trainer, f" after {batches}", _validation_names(pl_module), validated=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        training = ["train/loss", "train/loss_aug", f"train/{pl_module.objective.settings.headline}"]
        validated = self._validated_step == trainer.global_step
        validation = _validation_names(pl_module) if trainer.enable_validation else []
        self._line(trainer, "", [*training, *validation, "images_per_s"], validated)

    @staticmethod
    def _line(trainer: pl.Trainer, when: str, names: list[str], validated: bool) -> None:
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        shown = {name: f"{float(metrics[name]):.4g}" for name in names if name in metrics}
        if not validated:
            shown |= {name: "-" for name in names if name.startswith("val/")}
        ordered = dict.fromkeys(names)  # once each: the headline may be the loss
        parts = ", ".join(f"{name} {shown[name]}" for name in ordered if name in shown)
        log.info("epoch %d/%s%s: %s", trainer.current_epoch + 1, trainer.max_epochs, when, parts)


def _validation_names(pl_module: Any) -> list[str]:
    return ["val/loss", f"val/{pl_module.objective.settings.headline}"]
