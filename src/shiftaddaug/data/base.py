"""What data sets of images have in common: their settings, loaders and normalisation; and those of labelled images."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from shiftaddaug.data import augment
from shiftaddaug.data.sampling import ShardSampler, equal_batches
from shiftaddaug.data.settings import ClassificationSettings, ImageSettings, settings_from
from shiftaddaug.nets.interface import Preprocessing
from shiftaddaug.seeding import derive_seed

Batch = tuple[Tensor, Tensor]


class ImageDataModule(LightningDataModule, ABC):
    """Images in three splits, as batches of normalised float32 images and what is wanted of them.

    Its keys are the fields of the dataclass that it annotates `settings` with, given by name.

    Training images come in an order that is a function of (seed, epoch); Lightning tells the sampler the epoch.
    The last training batch is dropped if it is smaller than the others. Validation and test images come in
    stored order, dealt out to the processes without repeating any.

    Raises:
        UserError: a key is unknown, missing or out of its range.
    """

    settings: ImageSettings

    def __init__(self, **keys: Any) -> None:
        super().__init__()
        self.settings = settings_from(_settings_class(type(self)), keys)
        self.train_set: Dataset[Any] | None = None
        self.val_set: Dataset[Any] | None = None
        self.test_set: Dataset[Any] | None = None

    @abstractmethod
    def transform(self, images: Tensor, train: bool) -> Tensor:
        """Images as the network is fed them.

        Args:
            images: uint8 (N, C, H, W), 0..255, as a loader yields them.
            train: whether to augment; draws from torch's global generator.

        Returns:
            float32 (N, C, *image_size), normalised.
        """

    def transform_batch(self, images: Tensor, wanted: Tensor, train: bool) -> Batch:
        """Return a batch as the network is fed it; labels stay as they are, masks move along with their images.

        Args:
            images, train: see `transform`.
            wanted: what a loader yields beside the images.
        """
        return self.transform(images, train), wanted

    def class_names(self) -> Sequence[str] | None:
        """Return the names of the classes, in the order of labels, once `setup` is done; None if they have none."""
        return None

    def preprocessing(self) -> Preprocessing | None:
        """Return what evaluation makes of a picture, as plain data that a deployed network carries.

        None: not stated. Then nobody else can prepare a picture as evaluation does.
        """
        return None

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Transform a batch on the device that computes with it, augmenting it while training (Lightning's hook)."""
        return self.transform_batch(*batch, train=self.trainer is not None and bool(self.trainer.training))

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = self._trained_images()
        replicas, rank = self._replicas()
        seed = derive_seed("order", self.settings.seed)  # the sampler adds the epoch to it
        sampler = self._train_sampler(dataset, num_replicas=replicas, rank=rank, seed=seed, drop_last=True)
        return self._loader(
            dataset, sampler, self.settings.batch_size, drop_last=len(sampler) > self.settings.batch_size
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        dataset = self._ready(self.val_set)
        return self._eval_loader(dataset) if len(dataset) else []  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Any]:
        return self._eval_loader(self._ready(self.test_set))

    def _trained_images(self) -> Dataset[Any]:
        """Return what an epoch trains."""
        return self._ready(self.train_set)

    def _train_sampler(self, dataset: Dataset[Any], **options: Any) -> DistributedSampler[Any]:
        return DistributedSampler(dataset, shuffle=True, **options)

    @abstractmethod
    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], batch_size: int, drop_last: bool
    ) -> DataLoader[Any]:
        """A loader of (uint8 images (N, C, H, W), what is wanted of them)."""

    def _loader_generator(self) -> torch.Generator:
        """Generator of what a DataLoader draws when it is opened.

        Draws out of torch's global generator would shift the image augmentation of the epoch, and a resumed run opens
        its loaders at other moments."""
        return torch.Generator().manual_seed(derive_seed("loader", self.settings.seed))

    def _eval_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        replicas, rank = self._replicas()
        batch_size = equal_batches(len(dataset), replicas, self.settings.batch_size)  # type: ignore[arg-type]
        return self._loader(dataset, ShardSampler(dataset, replicas, rank), batch_size, drop_last=False)

    def _replicas(self) -> tuple[int, int]:
        """Return (number of processes, which of them this one is)."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def _ready(self, dataset: Dataset[Any] | None) -> Dataset[Any]:
        assert dataset is not None, "call setup() first"
        return dataset

    def _normalise(self, images: Tensor) -> Tensor:
        return augment.normalise(augment.to_unit(images), self.settings.mean, self.settings.std)


def _settings_class(module: type[ImageDataModule]) -> type[ImageSettings]:
    """Return what the class, or the nearest of its bases, annotates `settings` with."""
    for each in module.__mro__:
        if "settings" in inspect.get_annotations(each):
            kind: type[ImageSettings] = inspect.get_annotations(each, eval_str=True)["settings"]
            return kind
    raise AssertionError("ImageDataModule annotates its settings")


class ClassificationDataModule(ImageDataModule):
    """Labelled images: a batch is normalised float32 images (N, C, H, W) and int64 labels (N,).

    Raises:
        UserError: as ImageDataModule; or the data are known to have another number of classes.
    """

    task: ClassVar[str] = "classification"
    """Whose labels these are: a run of another task is refused."""
    settings: ClassificationSettings

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        self.num_classes = self.settings.classes()
