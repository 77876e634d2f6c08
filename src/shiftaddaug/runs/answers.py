"""Keep what the network says of each image while a split is evaluated, for `report/answers.py` to write."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import SequentialSampler

from shiftaddaug.data.sampling import ShardSampler
from shiftaddaug.errors import printable
from shiftaddaug.nets.plan import Plan
from shiftaddaug.report.answers import Answer, write_answers
from shiftaddaug.report.harmless import harmless
from shiftaddaug.runs.interface import interface_of
from shiftaddaug.tasks.base import Objective


class KeepAnswers(pl.Callback):
    """Keep an answer for each image of the split that is validated or tested last; none where a task ranks no classes.

    In several processes each has the answers of all, once the split is done.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        """In the order of images."""
        self._places: list[int] | None = None
        self._dataset: Any = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(trainer.val_dataloaders)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begin(trainer.test_dataloaders)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep(pl_module, outputs, batch[1])

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._keep(pl_module, outputs, batch[1])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._gather(trainer)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._gather(trainer)

    def _begin(self, loader: Any) -> None:
        """Ask the loader for the places of its images; those of a loader that shuffles are counted as they come."""
        self.answers = []
        sampler = getattr(loader, "sampler", None)
        self._places = list(sampler) if isinstance(sampler, ShardSampler | SequentialSampler) else None
        self._dataset = getattr(loader, "dataset", None)

    def _keep(self, pl_module: Any, outputs: Any, wanted: Any) -> None:
        ranked = pl_module.objective.ranked(outputs, 1) if isinstance(outputs, torch.Tensor) else None
        if ranked is None or wanted.ndim != 1:
            return
        predicted, scores = (each[:, 0].tolist() for each in ranked)
        for label, said, score in zip(wanted.tolist(), predicted, scores, strict=True):
            number = len(self.answers)
            index = number if self._places is None else self._places[number]
            self.answers.append(Answer(index, self._file(index), int(label), said, score))

    def _file(self, index: int) -> str | None:
        """Return the file of an image, where the data set says it."""
        file_of = getattr(self._dataset, "file_of", None)
        return None if file_of is None or self._places is None else printable(file_of(index))

    def _gather(self, trainer: pl.Trainer) -> None:
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self.answers)
            self.answers = [answer for part in parts for answer in part]
        self.answers.sort(key=lambda answer: answer.number)


def write_kept(kept: KeepAnswers, folder: Path, objective: Objective, data: Any, plan: Plan) -> bool:
    """Write what was kept, and say whether there is something; what cannot be written is warned of.

    Args:
        kept: of a split that has been evaluated.
        folder: of the files.
        objective: of the task, which names the classes.
        data: the data module, which names them too.
        plan: of the network.
    """
    if kept.answers:
        with harmless("what was predicted of each image could not be written"):
            write_answers(folder, kept.answers, plan.num_classes, interface_of(objective, data, plan).classes)
    return bool(kept.answers)
