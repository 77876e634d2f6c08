"""What data sets of images and masks have in common: their splits, their loaders, their augmentation."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from shiftaddaug.data.base import Batch
from shiftaddaug.data.loading import WorkerLoading
from shiftaddaug.data.mask_settings import MaskSettings
from shiftaddaug.data.masks import MaskedImages, Samples
from shiftaddaug.data.sampling import random_split
from shiftaddaug.nets.interface import Preprocessing

LOOKED_AT = 16
"""Samples of each split that are read before training, spread over it: a mistake is most often in all of them."""


class SegmentationDataModule(WorkerLoading):
    """Images and masks: a batch is normalised float32 images (N, C, H, W) and int64 labels (N, H, W), 255 not learned.

    Masks that say yes or no of each class are (N, classes, H, W).

    Training images are scaled, cropped, mirrored and coloured together with their masks (`joint.py`); the others are
    made to fit into `eval_size`. A set without images for validation has them held out of those for training by
    `split_seed`; one without images for test is tested on those that it has for validation.

    Raises:
        UserError: as ImageDataModule.
    """

    task: ClassVar[str] = "segmentation"
    """Whose masks these are: a run of another task is refused."""
    settings: MaskSettings

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self.num_classes = self.settings.classes()

    @abstractmethod
    def load(self) -> dict[str, Samples]:
        """Samples of the splits `train`, `test` and, if there are any for validation, `val`.

        Raises:
            UserError: they are not there.
        """

    def setup(self, stage: str | None = None) -> None:
        """Find the samples, hold some out for validation, and look at a few, once.

        Raises:
            UserError: they are not there, or are not what the configuration claims.
        """
        # joint.py imports torchvision, which takes a second
        from shiftaddaug.data.joint import EvaluationTransform, TrainingTransform

        if self.train_set is not None:
            return
        found = self.load()
        if "val" not in found:
            hold_out(found, "val", self.settings.val_fraction, self.settings.split_seed)
        for samples in found.values():
            _look_at(samples)
        evaluated = EvaluationTransform(self.settings)
        self.train_set = MaskedImages(found["train"], TrainingTransform(self.settings))
        self.val_set = MaskedImages(found["val"], evaluated)
        self.test_set = MaskedImages(found["test"], evaluated)

    def class_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes, if the settings have some."""
        return self.settings.class_names

    def preprocessing(self) -> Preprocessing:
        """Return what `joint.EvaluationTransform` does."""
        from shiftaddaug.data.joint import mean_levels

        return Preprocessing(
            channels=self.settings.in_channels,
            size=self.settings.evaluated,
            mean=self.settings.mean,
            std=self.settings.std,
            resize="fit",
            interpolation="bilinear",
            fill=tuple(map(int, mean_levels(self.settings))),
            upright=False,
        )

    def transform(self, images: Tensor, train: bool) -> Tensor:
        """Normalise; images and masks have been augmented together where they were read."""
        return self._normalise(images)

    def transform_batch(self, images: Tensor, wanted: Tensor, train: bool) -> Batch:
        return self.transform(images, train), wanted.long()


def hold_out(found: dict[str, Samples], split: str, fraction: float, seed: int) -> None:
    """Make some of the samples for training those of another split."""
    kept, held_out = random_split(len(found["train"]), fraction, seed, f"{split}_fraction")
    found |= {"train": found["train"].at(kept.tolist()), split: found["train"].at(held_out.tolist())}


def _look_at(samples: Samples) -> None:
    for index in torch.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).long().tolist():
        samples.read(index)
