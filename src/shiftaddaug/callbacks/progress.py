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

    The first step of a run is not counted in images/s: it pays for lazy initialisation.
    """

    stage = Stage.MEASURE

    def __init__(self) -> None:
        self.first_step_time: float | None = None
        """Seconds since the epoch (time.time) at which the first training step had been made."""
        self.images_per_s: float | None = None
        """Images per second of the last whole epoch."""
        self._images = 0
        self._since = 0.0
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
        self._images, self._since = 0, time.perf_counter()

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
            self._images, self._since = 0, time.perf_counter()
        else:
            self._images += len(batch[0]) * trainer.world_size
        pl_module.log("lr", self._lr, on_step=True, on_epoch=False, prog_bar=True)
        if self._images:
            rate = self._images / (time.perf_counter() - self._since)
            pl_module.log("images_per_s", rate, on_step=True, on_epoch=False, prog_bar=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # validation runs inside the training epoch: take the time before it
        if self._images and not trainer.sanity_checking:
            self._measure()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._images and not getattr(pl_module, "validated", True):
            self._measure()

    def _measure(self) -> None:
        self.images_per_s = self._images / (time.perf_counter() - self._since)


class EpochLog(pl.Callback):
    """Log one line per epoch, for logs that are read after the bar is gone."""

    stage = Stage.SHOW
    only_watches = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what an earlier epoch logged last, such as the loss of augmented passes that are over."""
        for name in [name for name in trainer.callback_metrics if name.startswith("train/")]:
            del trainer.callback_metrics[name]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        headline = pl_module.objective.settings.headline
        shown = ("train/loss", "train/loss_aug", f"train/{headline}", "val/loss", f"val/{headline}", "images_per_s")
        names = dict.fromkeys(shown)  # once each: the headline may be the loss
        parts = [f"{name} {metrics[name]:.4g}" for name in names if name in metrics]
        log.info("epoch %d/%s: %s", trainer.current_epoch + 1, trainer.max_epochs, ", ".join(parts))
