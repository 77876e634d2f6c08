"""How good a sub-network is with the weights that it inherits from its supernet."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from shiftaddaug.nets.extract import extract
from shiftaddaug.nets.recalibrate import recalibrate
from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.evaluation import Batch, Evaluation


class Inherited:
    """Scores sub-networks of a supernet, which stays as it is.

    Statistics of batch-norms are measured anew, on images as in training; a network is then scored on others, which
    its supernet has not been trained with. Both are the same for every network.

    Args:
        supernet: that the weights are of.
        objective: whose headline figure is the score.
        calibration: batches of images (N, C, H, W).
        scored: batches of images, and what is wanted of them.
    """

    def __init__(
        self, supernet: Supernet, objective: Objective, calibration: Sequence[Tensor], scored: Sequence[Batch]
    ) -> None:
        self.supernet, self.objective = supernet.eval(), objective
        self.figure = objective.settings.headline_figure
        self._calibration = [_laid_out(images) for images in calibration]
        self._scored = [(_laid_out(images), wanted) for images, wanted in scored]

    def __call__(self, spec: SubnetSpec) -> float:
        """Return the headline figure of a sub-network, as it is measured (a share, say)."""
        target = extract(self.supernet, spec)
        recalibrate(target.net, self._calibration)
        module, metric = Evaluation(target.net, self.objective).eval(), self.objective.metrics()[self.figure.name]
        with torch.inference_mode():
            for images, wanted in self._scored:
                metric.update(self.objective.infer(module, images), wanted)
            return float(metric.compute())


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def calibration_images(data: pl.LightningDataModule, batches: int) -> list[Tensor]:
    """Return the first batches of an epoch, as a network is fed them in training.

    Args:
        data: set up.
        batches: how many, if there are so many.
    """
    return [images for images, _ in _fed(data, "train", batches)]


def scored_batches(data: pl.LightningDataModule, images: int) -> list[Batch]:
    """Return the first images of the validation split, as a network is fed them, with what is wanted of them."""
    left, batches = images, []
    for fed, wanted in _fed(data, "val", None):
        batches.append((fed[:left], wanted[:left]))
        left -= len(fed)
        if left <= 0:
            break
    return batches


def _fed(data: pl.LightningDataModule, split: str, batches: int | None) -> Iterator[Batch]:
    loader: Any = data.train_dataloader() if split == "train" else data.val_dataloader()
    transform: Any = getattr(data, "transform_batch", None)
    for images, wanted in islice(loader, batches):
        yield (images, wanted) if transform is None else transform(images, wanted, train=split == "train")
