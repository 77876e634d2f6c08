"""Small labelled image sets that live in memory as uint8 tensors and are augmented a batch at a time."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from shiftaddaug.data import augment
from shiftaddaug.data.base import Batch, ClassificationDataModule
from shiftaddaug.data.pixels import PIL_MODES
from shiftaddaug.data.sampling import stratified_split
from shiftaddaug.data.settings import InMemorySettings
from shiftaddaug.errors import UserError
from shiftaddaug.nets.interface import Preprocessing

log = logging.getLogger(__name__)


class LabelledImages(Dataset[Batch]):
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,).

    A loader asks for a whole batch of indices at once.

    Raises:
        UserError: images or labels of another type or shape, or the two differ in number.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise UserError(f"data: images are {_form(images)}, must be uint8 (N, C, H, W) of 0..255")
        if labels.dtype != torch.int64 or labels.dim() != 1:
            raise UserError(f"data: labels are {_form(labels)}, must be int64 (N,)")
        if len(images) != len(labels):
            raise UserError(f"data: {len(images)} images but {len(labels)} labels; the files do not belong together")
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.select(torch.as_tensor(indices))

    def select(self, indices: Tensor) -> Batch:
        """Copies of the images and labels at `indices`, int64."""
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class LoadedSet:
    """What `load` found: training and test images at one stored size, and how many classes there are."""

    train: LabelledImages
    test: LabelledImages
    num_classes: int


class InMemoryDataModule(ClassificationDataModule):
    """Base of data sets that fit in memory; a subclass says in `load` where the images come from.

    Images larger than `image_size` are made smaller once, at setup; smaller ones are stored as they are, and each
    batch is enlarged (bilinearly) where it is computed with, after cropping and flipping at the stored size. That goes
    for height and width apart: images are fitted to a rectangle, whatever it does to their proportions.
    """

    settings: InMemorySettings

    @abstractmethod
    def load(self) -> LoadedSet:
        """Read the images from where they are kept.

        Raises:
            UserError: they are not there or cannot be read.
        """

    def setup(self, stage: str | None = None) -> None:
        """Load the images and carve the validation set, once; all stages share one load.

        Raises:
            UserError: the images cannot be read, or are not what the configuration claims.
        """
        if self.train_set is not None:
            return
        loaded = self.load()
        for part in (loaded.train, loaded.test):
            self.settings.check_held(loaded.num_classes, part.images.shape[1])
            _check_labels(self.settings.name, part.labels, self.num_classes)
        if int(loaded.train.images.max()) <= 1:
            log.warning("data=%s: no pixel is brighter than 1 of 255; was it divided by 255?", self.settings.name)
        kept, held_out = stratified_split(loaded.train.labels, self.settings.val_fraction, self.settings.split_seed)
        train = self._sized(loaded.train)
        self.train_set = LabelledImages(*train.select(kept))
        self.val_set = LabelledImages(*train.select(held_out))
        self.test_set = self._sized(loaded.test)

    def transform(self, images: Tensor, train: bool) -> Tensor:
        if train:
            padding = round(self.settings.crop_padding * min(images.shape[-2:]))
            images = augment.random_crop_flip(images, padding, self.settings.horizontal_flip)
        unit = augment.enlarged(images, self.settings.size)
        return augment.normalise(unit, self.settings.mean, self.settings.std)

    def preprocessing(self) -> Preprocessing | None:
        """Return it as `setup` and `transform` do it; None of a subclass that transforms images its own way.

        Pictures have one channel or three: others of a subclass are no pictures.
        """
        own = type(self).transform is not InMemoryDataModule.transform
        if own or self.settings.in_channels not in PIL_MODES:
            return None
        return Preprocessing(
            channels=self.settings.in_channels,  # type: ignore[arg-type]
            size=self.settings.size,
            mean=self.settings.mean,
            std=self.settings.std,
            resize="stretch",
            interpolation="mean_or_bilinear",
            enlarged="fractions",
        )

    def _sized(self, part: LabelledImages) -> LabelledImages:
        height, width = (min(sides) for sides in zip(part.images.shape[-2:], self.settings.size, strict=True))
        if part.images.shape[-2:] == (height, width):
            return part
        return LabelledImages(augment.resize_images(part.images, (height, width)), part.labels)

    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], batch_size: int, drop_last: bool
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=_already_a_batch,
            generator=self._loader_generator(),
        )


def _already_a_batch(batch: Any) -> Any:
    return batch


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    if not len(labels):
        raise UserError(f"data={name}: holds no images for training, or none for test")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise UserError(
            f"data.num_classes={num_classes}: {name} holds labels {low}..{high}, expected 0..{num_classes - 1}"
        )
