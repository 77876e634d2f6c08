"""What the network says of a few images, as pictures, where a task can show it so."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from shiftaddaug.callbacks.order import Stage
from shiftaddaug.files import write_whole
from shiftaddaug.settings import PositiveInt, checked

log = logging.getLogger(__name__)

FILE = "predictions.npz"


class ShowPredictions(pl.Callback):
    """Write a few validation images with what is wanted and predicted of them, whenever there is a validation.

    `predictions.npz` has those of the last one: in the end, the deployed target's. Where nothing is validated they are
    of test images. W&B gets them as images with masks to be switched on and off. Failing costs a run nothing.

    Args:
        folder: of the file.
        images: at most so many, spread over the split: neighbours are often frames of one film.
    """

    stage = Stage.PICTURE
    only_watches = True
    sees_target = True

    @checked("callbacks.predictions")
    def __init__(self, folder: str, images: PositiveInt = 6) -> None:
        self.path, self.images = Path(folder) / FILE, images
        self.written = False
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def idle(self, trainer: pl.Trainer, pl_module: Any) -> str | None:
        """Say that the task shows texts, if so."""
        settings = pl_module.objective.settings
        return None if settings.pictures else f"task={settings.name} shows no pictures"

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking and dataloader_idx == 0:
            self._keep(trainer, pl_module, batch, shared_out(self.images, batch_idx, trainer.num_val_batches))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._show(trainer, pl_module)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not self.written and dataloader_idx == 0:
            self._keep(trainer, pl_module, batch, shared_out(self.images, batch_idx, trainer.num_test_batches))

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._show(trainer, pl_module)

    def _keep(self, trainer: pl.Trainer, pl_module: Any, batch: Any, count: int) -> None:
        """Keep some of a batch: colours of the images, what is wanted and what is predicted of them."""
        if not count or not trainer.is_global_zero or not pl_module.objective.settings.pictures:
            return
        with _harmless():
            images, wanted = (part[:count] for part in batch)
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                predicted = pl_module.objective.predictions(pl_module.objective.infer(pl_module, images))
            self._kept.append((_levels(images, trainer), wanted.cpu(), predicted.cpu()))

    def _show(self, trainer: pl.Trainer, pl_module: Any) -> None:
        kept, self._kept = self._kept, []
        if kept:
            with _harmless():
                levels, wanted, predicted = (torch.cat(parts) for parts in zip(*kept, strict=True))
                self._write(pl_module.objective, levels, wanted, predicted)
                self._tell(trainer, pl_module.objective, levels, wanted, predicted)

    def _write(self, objective: Any, levels: Tensor, wanted: Tensor, predicted: Tensor) -> None:
        legend: Mapping[str, Any] = objective.legend()
        shown: dict[str, Tensor] = {
            "images": levels,
            "wanted": torch.stack([objective.show(each) for each in wanted]),
            "predicted": torch.stack([objective.show(each) for each in predicted]),
            "colours": torch.tensor([*legend.values()], dtype=torch.uint8).view(-1, 3),
        }
        arrays: dict[str, Any] = {name: each.cpu().numpy() for name, each in shown.items()}
        file = BytesIO()
        np.savez_compressed(file, names=np.array([*legend], str), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, file.getvalue())
        self.written = True

    @staticmethod
    def _tell(trainer: pl.Trainer, objective: Any, levels: Tensor, wanted: Tensor, predicted: Tensor) -> None:
        """Hand images and masks to W&B's viewer."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not loggers:
            return
        given = [
            {"wanted": objective.layer(each), "predicted": objective.layer(other)}
            for each, other in zip(wanted, predicted, strict=True)
        ]
        masks = [
            {
                name: {"mask_data": labels.cpu().numpy(), "class_labels": dict(names)}
                for name, (labels, names) in each.items()
            }
            for each in given
        ]
        pictures = [each.movedim(0, -1).cpu().numpy() for each in levels]
        for logger in loggers:
            logger.log_image("predictions", pictures, step=trainer.global_step, masks=masks)


def shared_out(count: int, batch: int, batches: Any) -> int:
    """Return how many of `count` images a batch gives, for all batches to give about as many.

    Args:
        count: of images.
        batch: number of the batch, from 0.
        batches: how many there are, or a list of that; of an unknown number the first gives all.
    """
    number = batches[0] if isinstance(batches, list) else batches
    if not isinstance(number, int):
        return count if batch == 0 else 0
    return (batch + 1) * count // number - batch * count // number


@contextmanager
def _harmless() -> Iterator[None]:
    """Turn a full disk, or a server that does not answer, into a warning."""
    try:
        yield
    except Exception as error:
        log.warning("predictions could not be shown (%s: %s)", type(error).__name__, " ".join(str(error).split()))


def _levels(images: Tensor, trainer: pl.Trainer) -> Tensor:
    """Colours of normalised images, uint8 (N, 3, H, W); each from its least to its greatest value if nothing is known.

    Args:
        images: (N, C, H, W).
        trainer: whose data module's settings may have the mean and the standard deviation.
    """
    settings: Any = getattr(getattr(trainer, "datamodule", None), "settings", None)
    images = images.detach().float().cpu()
    if hasattr(settings, "mean") and hasattr(settings, "std"):
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (settings.mean, settings.std))
        unit = images * std + mean
    else:
        low, high = (getattr(images, name)(dim=(1, 2, 3), keepdim=True) for name in ("amin", "amax"))
        unit = (images - low) / (high - low).clamp(min=1e-12)
    levels = (255 * unit).round().clamp(0, 255).byte()
    return levels if levels.shape[1] == 3 else levels[:, :1].expand(-1, 3, -1, -1)
