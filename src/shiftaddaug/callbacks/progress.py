"""What a person sees while a run goes on: bar, throughput, one line per epoch."""

import logging
import math
import sys
import time
from multiprocessing import current_process
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar as LightningBar
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.callbacks.time_left import TimeLeft, shown_time
from shiftaddaug.terminal import StatusLine

log = logging.getLogger(__name__)


class ProgressBar(LightningBar):
    """One line on stderr while it is a terminal: epoch, step, loss of the target, and the time that is left.

    It is gone when training ends, and makes room for what is logged meanwhile. Lines of other processes and threads are
    none of it: one process of a run shows it, and no job that shares its terminal with others.
    """

    stage = Stage.SHOW
    only_watches = True

    def __init__(self) -> None:
        super().__init__()
        self._enabled = current_process().name == "MainProcess"
        self._line: StatusLine | None = None  # which could not be sent to processes that Lightning starts
        self._time = TimeLeft()
        self._loss: Tensor | None = None

    def idle(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str | None:
        """Say that the trainer goes without it, if so."""
        return None if self in trainer.callbacks else "trainer.enable_progress_bar=false"  # type: ignore[attr-defined]

    def disable(self) -> None:
        self._enabled = False
        self._clear()

    def enable(self) -> None:
        self._enabled = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # a command's stderr has a line that its stdout makes room for, too
        self._line = getattr(sys.stderr, "status_line", None) or StatusLine(sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        between = (trainer.val_check_batch or math.inf) * (trainer.check_val_every_n_epoch or 1)
        self._time = TimeLeft(sum(trainer.num_val_batches) / between)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._time.resume()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._time.step()
        self._loss = getattr(pl_module, "target_loss", None)
        self._show(f"step {_of(batch_idx + 1, trainer.num_training_batches)}", batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._time.pause()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._time.pause()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            done = trainer.fit_loop.batch_idx + 1
            self._show(f"validation {_of(batch_idx + 1, trainer.num_val_batches[dataloader_idx])}", done)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_last_batch:
            self._time.resume()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clear()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._clear()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._line is not None:
            self._line.clear()

    def _show(self, where: str, batches: int) -> None:
        """Show what is left when so many batches of the epoch are done, unless it was shown just now."""
        if not self._enabled or self._line is None or not self._line.is_due():
            return
        epoch = f"epoch {_of(self.trainer.current_epoch + 1, self.trainer.max_epochs)}"
        loss = [] if self._loss is None else [f"loss {float(self._loss):.4g}"]
        seconds = self._seconds(batches)
        time_left = [] if seconds is None else [f"{shown_time(seconds)} left"]
        parts = [[epoch, where, *loss, *time_left], [epoch, where, *time_left], [epoch, *time_left], [epoch]]
        self._line.show(["  ".join(each) for each in parts])

    def _seconds(self, batches: int) -> float | None:
        trainer = self.trainer
        left = math.inf
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            left = (trainer.max_epochs - trainer.current_epoch) * trainer.num_training_batches - batches
        if trainer.max_steps >= 0:
            left = min(left, (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
        seconds = math.inf if left == math.inf else self._time.seconds(max(0, left))
        limits = [timer.time_remaining() for timer in trainer.callbacks if isinstance(timer, Timer)]  # type: ignore[attr-defined]
        known = [each for each in (seconds, *limits) if each is not None and each < math.inf]
        return max(0.0, min(known)) if known else None


def _of(number: int, total: float | None) -> str:
    return f"{number}/{total}" if total is not None and 0 <= total < math.inf else str(number)


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
